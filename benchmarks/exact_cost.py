"""What exactness costs: decoding with the prior in fixed point, against the same with its parameters in float32.

    python -m benchmarks.exact_cost [--rows lichen cheng-hp ...] [--seconds 20] [--size 768 512]

Every row at full width, on one photograph of Kodak's size, the slow rows (serial, and channel groups) on one of
384 x 256. Weights: shipped for `lichen`, from which our other rows take what they share; random elsewhere,
with latents and scales as lively as trained ones. A decode is the walk (the prior and the range coder) and
the synthesis. The prior is timed alone in both arithmetics, by a walk whose latents are told instead of
read, in turn with whole decodes; a decode in float32 is then the whole less the one prior plus the other.
Bars: +15 % for `lichen`, +25 % for hyperprior and checkerboard rows; the others are reported.
"""

from __future__ import annotations

import argparse
import copy
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import skimage
import torch
from PIL import Image
from torch import Tensor, nn

from benchmarks.common import Bar, finish, show, weights_hash
from lichen.lab.engine.torch_engine import TorchEngine
from lichen.lab.models.checkpoint import load_checkpoint, save_checkpoint
from lichen.lab.models.config import LEVEL_STEPS
from lichen.lab.models.prior_configs import CheckerboardContext, Context, DirectContext, FactorizedContext
from lichen.lab.models.zoo import ZOO, Row
from lichen.lab.prior.entropy_parameters import AnyEntropyParameters
from lichen.lab.prior.file_coder import FileReader
from lichen.lab.prior.masked import FixedPointMasked, MaskedConv
from lichen.lab.prior.prior import Prior
from lichen.lab.prior.reference import ReferenceModel, Weigh
from lichen.lab.prior.serial import SerialModel
from lichen.lab.tensors import to_float
from lichen.lab.transforms.blocks import Pointwise
from lichen.runtime.weights import find_by_name
from tests.small import enliven, scene

SIZE = (768, 512)
OURS_MAX, PARALLEL_MAX = 0.15, 0.25
REPEATS_MIN, REPEATS_MAX = 3, 25
PARALLEL = (Context, DirectContext, CheckerboardContext, FactorizedContext)


def limit_of(row: Row) -> float | None:
    """The most that exactness may add to a decode of this row; None where it is reported only."""
    if row.name == "lichen":
        return OURS_MAX
    return PARALLEL_MAX if isinstance(row.config.context, PARALLEL) else None


@torch.no_grad()
def weights_of(row: Row, folder: Path) -> Path:
    """A full-width weights file of the row."""
    if row.name == "lichen":
        return find_by_name("lichen")
    torch.manual_seed(0)
    model = row.config.build()
    if isinstance(row.config.context, Context):
        shipped = load_checkpoint(find_by_name("lichen")).model.state_dict()
        mine = model.state_dict().keys()
        model.load_state_dict({key: value for key, value in shipped.items() if key in mine}, strict=False)
    else:
        enliven(model, to_float(np.asarray(scene(192, 128))))
    path = folder / f"{row.name}.safetensors"
    save_checkpoint(path, row.name, row.config, model.state_dict(), facts={})
    return path


class Heard:
    """A reader that keeps what it read, call by call."""

    sequential = True

    def __init__(self, reader: FileReader) -> None:
        self._reader, self.latents = reader, list[Tensor]()

    def code(self, parameters: AnyEntropyParameters, y: Tensor | None, group: int = 0) -> Tensor:
        self.latents.append(self._reader.code(parameters, y, group))
        return self.latents[-1]

    def quantize(self, y: Tensor) -> Tensor:
        return self._reader.quantize(y)


class Told:
    """In place of a reader: it is told what it would read, so that only the prior takes time."""

    sequential = True

    def __init__(self, latents: list[Tensor]) -> None:
        self._left = iter(latents)

    def code(self, parameters: AnyEntropyParameters, y: Tensor | None, group: int = 0) -> Tensor:
        return next(self._left)

    def quantize(self, y: Tensor) -> Tensor:
        raise ValueError("a reader knows nothing beforehand")


class FloatMasked(FixedPointMasked):
    """A masked convolution in float32 that can be read step by step, which the training path never is."""

    def __init__(self, conv: MaskedConv) -> None:
        super().__init__(conv)
        taps = conv.weight[:, :, conv.mask].permute(0, 2, 1).flatten(1)
        self.product: nn.Module = Pointwise(taps.shape[1], taps.shape[0])  # type: ignore[assignment]
        self.product.weight.copy_(taps[:, :, None, None])
        if conv.bias is not None:
            self.product.bias.copy_(conv.bias)


class FloatWeigh(Weigh):
    """The weighing of a reference in float32: similarities are exact always."""

    def forward(self, x: Tensor, similarity: Tensor, confidence: Tensor) -> Tensor:
        return super().forward(x, similarity.to(x.dtype), confidence)


@torch.no_grad()
def float_prior(prior: Prior) -> Prior:
    """The prior as it is trained, float32; of serial rows one that can go step by step."""
    prior = copy.deepcopy(prior)
    if isinstance(prior.context, SerialModel | ReferenceModel):
        for parent in list(prior.context.modules()):
            for name, child in list(parent.named_children()):
                if isinstance(child, MaskedConv):
                    setattr(parent, name, FloatMasked(child))
                if isinstance(child, Weigh):
                    setattr(parent, name, FloatWeigh())
    return prior


def seconds_of(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


@torch.inference_mode()
def measure(row: Row, weights: Path, image: Image.Image, seconds: float) -> dict[str, Any]:
    """Median seconds of a decode and of both priors."""
    engine, pixels = TorchEngine.load(weights, torch.device("cpu")), np.asarray(image)
    quality_index = (engine.levels - 1) * LEVEL_STEPS // 2
    y, z = engine.latents(pixels, quality_index)
    payloads, _ = engine.write(y, z, quality_index)
    exact, plain = engine.prior, float_prior(engine.checkpoint.model.prior)
    shape, rate_level = (z.shape[2], z.shape[3]), torch.tensor([quality_index / LEVEL_STEPS], dtype=torch.float64)
    heard = Heard(FileReader(payloads))
    exact.walk(heard, rate_level, shape)
    as_floats = [latents.float() for latents in heard.latents]

    def decode() -> None:
        y_hat = engine.read(payloads, quality_index, *pixels.shape[:2])
        engine.pixels(y_hat, quality_index, *pixels.shape[:2])

    works: dict[str, Callable[[], object]] = {
        "decode": decode,
        "exact": lambda: exact.walk(Told(heard.latents), rate_level, shape),
        "float": lambda: plain.walk(Told(as_floats), rate_level.float(), shape),
    }
    times: dict[str, list[float]] = {name: [seconds_of(work)] for name, work in works.items()}
    each = sum(first for (first,) in times.values())
    for _ in range(max(REPEATS_MIN, min(REPEATS_MAX, int(seconds / each)))):
        for name, work in works.items():
            times[name].append(seconds_of(work))
    found = {name: statistics.median(taken[1:]) for name, taken in times.items()}  # the first warms up
    in_floats = found["decode"] - found["exact"] + found["float"]
    return {
        "model": row.name,
        "size": image.size,
        "repeats": len(times["decode"]) - 1,
        "bytes": sum(map(len, payloads)),
        "decode_s": found["decode"],
        "exact_prior_s": found["exact"],
        "float_prior_s": found["float"],
        "cost": found["decode"] / in_floats - 1,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", nargs="+", choices=[row.name for row in ZOO], default=[row.name for row in ZOO])
    parser.add_argument("--seconds", type=float, default=20, help="for the repeats of a row")
    parser.add_argument("--size", type=int, nargs=2, default=SIZE, help="of the picture; the slow rows' is half of it")
    args = parser.parse_args()
    photograph = Image.open(Path(skimage.__file__).parent / "data" / "astronaut.png").convert("RGB")
    found, bars = [], []
    with tempfile.TemporaryDirectory() as folder:
        for row in ZOO:
            if row.name not in args.rows:
                continue
            limit, (width, height) = limit_of(row), args.size
            size = (width, height) if limit is not None else (width // 2, height // 2)
            found.append(measure(row, weights_of(row, Path(folder)), photograph.resize(size), args.seconds))
            if limit is not None:
                bars.append(Bar(f"{row.name}: what exactness adds to a decode", found[-1]["cost"], limit))
            print(f"{row.name}: {100 * found[-1]['cost']:+.1f} %", flush=True)
    show(
        "decode with the prior in fixed point, milliseconds",
        ("", "picture", "decode", "exact prior", "float prior", "cost, %"),
        [
            (
                f["model"],
                "{} x {}".format(*f["size"]),
                *(1e3 * f[key] for key in ("decode_s", "exact_prior_s", "float_prior_s")),
                100 * f["cost"],
            )
            for f in found
        ],
    )
    finish("exact_cost", {"weights": weights_hash(), "rows": found}, bars)


if __name__ == "__main__":
    main()
