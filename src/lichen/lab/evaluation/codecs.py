"""The codecs under test, models and peers behind one interface; and entries that name them, for worker processes."""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from PIL import Image

from lichen.codec import Codec
from lichen.errors import BadInput
from lichen.lab.engine.estimate import estimated_bits
from lichen.lab.engine.torch_engine import TorchEngine, find_device
from lichen.lab.evaluation.peers import Peer, peer, peer_errors
from lichen.lab.models.checkpoint import load_checkpoint
from lichen.lab.tensors import to_float
from lichen.options import Effort, EncodeOptions
from lichen.runtime.engine import Writing
from lichen.runtime.level import Level
from lichen.runtime.weights import find_by_name, find_named

QUALITIES = (0.0, 10.0, 20.0, 30.0, 40.0, 50.0, 60.0, 70.0, 80.0, 90.0, 100.0)
PEER_SETTINGS = 10  # spread over each peer's range


@dataclass(frozen=True)
class EstimatedRate:
    """What a model expects a file to cost, headers not counted, in bits per pixel: latents y and hyper-latents z.

    nan where there is no estimate. The latents have no z, and 0 stands for it, in models without a hyperprior.
    """

    y_bpp: float = math.nan
    z_bpp: float = math.nan

    @property
    def bpp(self) -> float:
        """Both together."""
        return self.y_bpp + self.z_bpp


class CodecUnderTest(Protocol):
    """A codec ready to run. Its seconds are of these calls: everything from pixels to file bytes and back."""

    def encode(self, image: Image.Image, setting: float) -> bytes:
        """An RGB picture as a whole file."""
        ...

    def decode(self, data: bytes, setting: float) -> Image.Image:
        """The file as an RGB picture; `setting` is the one that made it."""
        ...

    def estimated_rate(self, image: Image.Image, setting: float) -> EstimatedRate:
        """What the model expects a file to cost; nothing is known of peers."""
        ...


class Entry(Protocol):
    """A codec under test by name: small, and sent to worker processes."""

    @property
    def name(self) -> str:
        """What tables call it."""
        ...

    @property
    def versions(self) -> dict[float, str]:
        """For each setting what makes its files: a weights hash, or a library's version."""
        ...

    def open(self) -> CodecUnderTest:
        """Load the codec."""
        ...

    def __hash__(self) -> int: ...


@dataclass(frozen=True)
class PeerEntry:
    """A peer at settings spread over its range: ten, or those at `qualities` per cent of it."""

    name: str
    qualities: tuple[float, ...] = ()

    @property
    def versions(self) -> dict[float, str]:
        """The library's version at each of its settings here."""
        settings = peer(self.name).settings
        share = np.divide(self.qualities, 100) if self.qualities else np.linspace(0, 1, PEER_SETTINGS)
        picked = np.unique((share * (len(settings) - 1)).round().astype(int))
        version = peer(self.name).version()
        return {float(settings[i]): version for i in picked}

    def open(self) -> CodecUnderTest:
        """The peer, ready to run."""
        return _RunningPeer(peer(self.name))


@dataclass(frozen=True)
class ModelEntry:
    """Weights of ours that make one curve: a variable-rate model at some qualities, or fixed-rate models by lambda.

    `members` are (setting, weights file, hash). With `refine_steps` files are refined (`lab.engine.refinement`);
    `effort` is that of `EncodeOptions`.
    """

    name: str
    members: tuple[tuple[float, Path, str], ...]
    device: str
    refine_steps: int = 0
    effort: int | None = None

    @property
    def versions(self) -> dict[float, str]:
        """The weights' hash at each setting."""
        return {setting: digest for setting, _, digest in self.members}

    def open(self) -> CodecUnderTest:
        """The models, ready to run."""
        options = EncodeOptions(refine_steps=self.refine_steps, effort=self.effort)
        return _RunningModel({setting: path for setting, path, _ in self.members}, self.device, options)

    def tried(self, effort: int | None) -> ModelEntry:
        """The same with this effort, and a name that says so; itself for that of the weights, None."""
        if effort is None:
            return self
        return dataclasses.replace(self, name=f"{self.name}-effort{effort}", effort=effort)

    def refined(self, steps: int) -> ModelEntry:
        """The same with this many steps of refinement, and a name that says so; itself for 0 steps."""
        if not steps:
            return self
        return dataclasses.replace(self, name=f"{self.name}-refine{steps}", refine_steps=steps)

    @staticmethod
    def of(text: str, qualities: Sequence[float], device: str) -> ModelEntry:
        """`text`: a name of available weights, a weights file, or a folder of fixed-rate weights files.

        Raises `UnknownWeights`, `BadInput`.
        """
        path = Path(text)
        if path.is_dir() and not _is_name(text):
            return family(path.resolve().name, sorted(path.glob("*.safetensors")), device)
        file = find_named(text)
        return ModelEntry(file.stem, tuple(_members(file, qualities)), device)


def _is_name(text: str) -> bool:
    """Whether weights are found under this name, which then means them and not a folder of that name."""
    try:
        return find_by_name(text).is_file()
    except BadInput:
        return False


def apart(texts: Sequence[str], entries: Sequence[ModelEntry]) -> list[ModelEntry]:
    """Entries of files that have one name get their folders' names too: a/lichen.safetensors becomes `a-lichen`."""
    names = [entry.name for entry in entries]
    return [
        dataclasses.replace(entry, name=f"{Path(text).resolve().parent.name}-{entry.name}")
        if names.count(entry.name) > 1 and Path(text).is_file()
        else entry
        for text, entry in zip(texts, entries, strict=True)
    ]


def _members(path: Path, qualities: Sequence[float]) -> list[tuple[float, Path, str]]:
    checkpoint = load_checkpoint(path)
    rates, digest = checkpoint.config.rates, checkpoint.hash.hex()
    settings = qualities if rates.count > 1 else [rates.lam(0)]
    return [(float(setting), path.resolve(), digest) for setting in settings]


def family(name: str, files: Sequence[Path], device: str) -> ModelEntry:
    """One curve of fixed-rate weights files, one for each lambda. Raises `BadInput`, also for two of one lambda."""
    if not files:
        raise BadInput(f"{name}: no weights (*.safetensors) in it; give a weights file or a row's name")
    members = tuple(sorted(member for file in files for member in _members(file, (50,))))
    settings = [setting for setting, _, _ in members]
    if len(set(settings)) < len(settings):
        raise BadInput(f"{name}: several weights of one quality; a folder makes one curve of one model per lambda")
    return ModelEntry(name, members, device)


class _RunningPeer:
    def __init__(self, codec: Peer) -> None:
        self._codec = codec

    def encode(self, image: Image.Image, setting: float) -> bytes:
        with peer_errors(self._codec.name):
            return self._codec.encode(image, int(setting))

    def decode(self, data: bytes, setting: float) -> Image.Image:
        with peer_errors(self._codec.name):
            return self._codec.decode(data)

    def estimated_rate(self, image: Image.Image, setting: float) -> EstimatedRate:
        return EstimatedRate()


class _RunningModel:
    def __init__(self, files: dict[float, Path], device: str, options: EncodeOptions) -> None:
        self._device, self._options = find_device(device), options
        loaded = {path: Codec(weights=path, device=device) for path in set(files.values())}
        self._codecs = {setting: loaded[path] for setting, path in files.items()}

    def encode(self, image: Image.Image, setting: float) -> bytes:
        options = dataclasses.replace(self._options, quality=self._quality(setting))
        return self._codecs[setting].encode_with(image, options)

    def decode(self, data: bytes, setting: float) -> Image.Image:
        return Image.fromarray(self._codecs[setting].decode_picture(data).pixels)

    @torch.inference_mode()
    def estimated_rate(self, image: Image.Image, setting: float) -> EstimatedRate:
        if self._options.refine_steps:
            return EstimatedRate()  # a pass of the model would estimate other latents
        codec, pixels = self._codecs[setting], image.width * image.height
        level = Level.of_quality(self._quality(setting), codec.engine.levels)
        effort = codec.engine.effort if self._options.effort is None else Effort.of(self._options.effort)
        if effort >= Effort.TRELLIS:
            engine = self._engine(codec.engine.path)
            samples = np.asarray(image)
            how = Writing(trellis=True, pixels=samples, corrected_every=effort.corrected_every)
            z_bits, *y_bits = estimated_bits(engine, samples, level.index, how)
            return EstimatedRate(sum(y_bits) / pixels, z_bits / pixels)
        x = to_float(np.asarray(image)).to(self._device)
        coded = codec.checkpoint.model(x, torch.tensor([level.rate_level], device=self._device))
        return EstimatedRate(float(coded.bits_y) / pixels, float(coded.bits_z) / pixels)

    @functools.cache  # noqa: B019 - as long as the models run
    def _engine(self, path: Path) -> TorchEngine:
        return TorchEngine.load(path, self._device)

    def _quality(self, setting: float) -> float:
        """The setting of a fixed-rate model is its lambda, and it has but one quality."""
        return setting if self._codecs[setting].checkpoint.config.rates.count > 1 else 0.0
