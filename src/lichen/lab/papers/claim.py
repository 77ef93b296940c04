"""The numbers that decide whether the correlation loss pays: of one weights file, on some sets of pictures.

Rates are bits per pixel, D is 255^2 MSE of 8-bit RGB, J = R + lambda D; all are means over pictures. `files` are whole
files, written and decoded; refitted priors (`evaluation.context_gap`) are by estimated bits, with the distortion of
y_hat = round(y), which all of them code.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lichen.codec import Codec
from lichen.image.picture import Picture
from lichen.lab.engine.torch_engine import TorchEngine
from lichen.lab.evaluation.context_gap import Fit, RefittedPrior, corrections, fitted
from lichen.lab.inspection.inspect import inspect_model
from lichen.lab.losses.correlation import Correlation, channel_maps, normalised, off_centre
from lichen.lab.prior.file_coder import FileWriter
from lichen.lab.tensors import to_float
from lichen.metrics import psnr_db

WINDOW = 3
Report = Callable[[str], None]


@dataclass(frozen=True)
class Question:
    """What is measured: weights, sets of pictures by name, pictures to fit priors to, and how long these are fitted."""

    weights: Path
    sets: Mapping[str, Sequence[Picture]]
    training: Sequence[Picture]
    fit: Fit


def numbers(question: Question, report: Report) -> dict[str, Any]:
    """Everything about weights of one rate, as plain data. Raises `UsageError`, `BadData`."""
    codec = Codec(weights=question.weights)
    engine = TorchEngine.load(question.weights, torch.device("cpu"))
    lam = codec.checkpoint.config.rates.lam(0.0)
    sets: dict[str, dict[str, Any]] = {}
    for name, pictures in question.sets.items():
        report(f"{name}: files")
        sets[name] = {"pictures": len(pictures), "files": _files(codec, engine, pictures, lam)}
        report(f"{name}: correlation")
        sets[name]["latents"] = _correlation(engine, pictures)
    rounded = {name: [_rounded(engine, picture) for picture in pictures] for name, pictures in question.sets.items()}
    for prior, refitted in _refitted(engine, question, report).items():
        for name, coded in rounded.items():
            report(f"{name}: rate under {prior}")
            sets[name].setdefault("refitted", {})[prior] = _rate(refitted, coded, lam)
    for measured in sets.values():
        measured["gap"] = _gaps(measured["refitted"])
    facts = codec.checkpoint.facts
    return {
        "weights": codec.checkpoint.hash.hex(),
        "model": codec.checkpoint.name,
        "steps": facts.get("steps"),
        "recipe": facts.get("recipe"),
        "lambda": lam,
        "fit": {**vars(question.fit), "pictures": len(question.training)},
        "sets": sets,
    }


def _mse(a: NDArray[np.uint8], b: NDArray[np.uint8]) -> float:
    return float(255**2 / 10 ** (psnr_db(a, b) / 10))


def _files(codec: Codec, engine: TorchEngine, pictures: Sequence[Picture], lam: float) -> dict[str, Any]:
    """Whole files: their bits, those of z by a stream of its own, those of y the rest of the payload."""
    rows = []
    for picture in pictures:
        height, width = picture.pixels.shape[:2]
        data = codec.encode(Picture(picture.pixels), 0)  # without its profile and metadata
        with torch.inference_mode():
            y, z = engine.latents(picture.pixels, 0)
            payload = sum(map(len, engine.write(y, z, 0)[0]))
            writer = FileWriter()
            engine.prior.code_hyper(writer, torch.zeros(1, dtype=torch.float64), (z.shape[2], z.shape[3]), z.double())
        in_z = sum(map(len, writer.finish()))
        decoded = codec.decode_picture(data).pixels
        counted = np.array([len(data), payload - in_z, in_z]) * 8 / (height * width)
        rows.append([*counted, _mse(decoded, picture.pixels), psnr_db(decoded, picture.pixels)])
    bpp, in_y, in_z, mse, psnr = np.mean(rows, axis=0).tolist()
    each = [{"bpp": row[0], "mse": row[3]} for row in rows]
    found = {"bpp": bpp, "bpp_y": in_y, "bpp_z": in_z, "mse": mse, "psnr_db": psnr, "j": bpp + lam * mse}
    return {**found, "each": each}


@torch.no_grad()
def _correlation(engine: TorchEngine, pictures: Sequence[Picture]) -> dict[str, float]:
    """C of the loss and C / C(0); and the mean of |rho| over neighbours, each channel weighed by its rate."""
    model, rate_level = engine.checkpoint.model, torch.zeros(1)
    total, centres = torch.zeros(0), 0
    for picture in pictures:
        latents = model(to_float(picture.pixels), rate_level).latents
        u = normalised(latents, Correlation(WINDOW))
        count = (u.shape[2] - WINDOW + 1) * (u.shape[3] - WINDOW + 1)
        maps = channel_maps(u, WINDOW).double() * count
        total, centres = maps if not centres else total + maps, centres + count
    maps = total / centres
    seen = inspect_model(engine.checkpoint, pictures)
    middle = WINDOW // 2
    rho = maps / maps[:, middle, middle].clamp(min=1e-12)[:, None, None]
    of_channel = torch.stack([off_centre(one) for one in rho])
    pooled = maps.mean(dim=0)
    return {
        "off_centre": float(off_centre(pooled)),
        "centre": float(pooled[middle, middle]),
        "off_centre_normalised": float(off_centre(pooled / pooled[middle, middle])),
        "rate_weighted_rho": float((of_channel * seen.channel_bpp).sum() / seen.channel_bpp.sum()),
        "per_channel_loss": float((maps.square().sum(dim=(1, 2)) - maps[:, middle, middle].square()).mean()),
        "spatial_saving_bpp": seen.saving_bpp,
        "estimated_bpp": seen.estimated_bpp,
    }


def _refitted(engine: TorchEngine, question: Question, report: Report) -> dict[str, RefittedPrior]:
    """The priors of `context_gap`, fitted to the latents of the training pictures."""
    report(f"latents of {len(question.training)} training pictures")
    with torch.inference_mode():
        latents = [engine.latents(picture.pixels, 0)[0][0].half() for picture in question.training]
    config, model = engine.checkpoint.config, engine.checkpoint.model

    def said(step: int, bits: float) -> None:
        if step % 100 == 0 or step == question.fit.steps:
            report(f"step {step}: {bits / model.stride**2:.4f} bpp of crops")

    found = {}
    for name in corrections(config.transform.latents, config.features):
        report(f"fitting {name}")
        torch.manual_seed(question.fit.seed)
        correction = corrections(config.transform.latents, config.features)[name]
        found[name] = fitted(model, correction, latents, rate_level=0.0, fit=question.fit, report=said)
    return found


@dataclass(frozen=True)
class _Rounded:
    """A picture's latents y (1, M, h, w), and what y_hat = round(y) decodes to: its error."""

    y: Tensor
    pixels: int
    mse: float


@torch.inference_mode()
def _rounded(engine: TorchEngine, picture: Picture) -> _Rounded:
    height, width = picture.pixels.shape[:2]
    y = engine.latents(picture.pixels, 0)[0]
    return _Rounded(y, height * width, _mse(engine.pixels(torch.round(y), 0, height, width), picture.pixels))


@torch.inference_mode()
def _rate(refitted: RefittedPrior, pictures: Sequence[_Rounded], lam: float) -> dict[str, float]:
    """Estimated bits under a prior, and the distortion of y_hat = round(y)."""
    rows = []
    for picture in pictures:
        in_y, in_z = (float(bits) / picture.pixels for bits in refitted(picture.y, torch.zeros(1)))
        rows.append([in_y, in_z, picture.mse])
    in_y, in_z, mse = np.mean(rows, axis=0).tolist()
    return {"bpp": in_y + in_z, "bpp_y": in_y, "bpp_z": in_z, "mse": mse, "j": in_y + in_z + lam * mse}


def _gaps(refitted: Mapping[str, Mapping[str, float]]) -> dict[str, float]:
    """1 - R / R(hyperprior) for each prior, and the same of the bits of y."""
    plain = refitted["hyperprior"]
    others = {name: rates for name, rates in refitted.items() if name != "hyperprior"}
    whole = {name: 1 - rates["bpp"] / plain["bpp"] for name, rates in others.items()}
    return whole | {f"{name}, y": 1 - rates["bpp_y"] / plain["bpp_y"] for name, rates in others.items()}
