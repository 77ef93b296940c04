"""CompressAI at work, in an environment of its own; run by `benchmarks.against_compressai`, imports nothing of ours.

    python compressai_worker.py ARCHITECTURE PICTURE WEIGHTS THREADS REPEATS

Builds the architecture at full width with random weights whose latents are lively, writes its state_dict to
WEIGHTS, then times the whole path of one picture, files included. Prints a line of JSON.
"""

import importlib.abc
import importlib.machinery
import json
import statistics
import sys
import time
import types

import numpy as np
import torch
from PIL import Image

ABSENT = ("torchvision", "torch_geometric", "pyntcloud")  # CompressAI imports them; the codecs do not use them
SPREAD = 3.0  # standard deviation of the latents and hyper-latents


class Absent(types.ModuleType):
    """A module whose classes and decorators do nothing."""

    __path__: list[str] = []  # noqa: RUF012

    def __getattr__(self, name: str) -> object:
        if name.startswith("__"):
            raise AttributeError(name)
        if name[0].isupper():
            return type(name, (), {"__init__": lambda *_: None})
        return lambda *_, **__: lambda function: function


class Finder(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Finds the absent modules."""

    def find_spec(self, name, path, target=None):
        absent = name.split(".")[0] in ABSENT
        return importlib.machinery.ModuleSpec(name, self, is_package=True) if absent else None

    def create_module(self, spec):
        return Absent(spec.name)

    def exec_module(self, module):
        pass


def build(architecture: str) -> torch.nn.Module:
    """The model at the widths of the papers."""
    from compressai import models

    sizes = {
        "mbt2018-mean": (models.MeanScaleHyperprior, 128, 192),
        "mbt2018": (models.JointAutoregressiveHierarchicalPriors, 192, 192),
        "cheng2020-anchor": (models.Cheng2020Anchor, 192),
        "cheng2020-anchor-checkerboard": (models.sensetime.Cheng2020AnchorCheckerboard, 192),
        "elic2022-official": (models.Elic2022Official, 192, 320),
    }
    kind, *widths = sizes[architecture]
    return kind(*widths).eval()


@torch.no_grad()
def enliven(model: torch.nn.Module, x: torch.Tensor) -> None:
    """Scale last layers so that latents spread and the predicted scales fit them."""
    hyper = model.latent_codec["hyper"] if hasattr(model, "latent_codec") else model
    spread(model.g_a, x)
    spread(hyper.h_a, model.g_a(x))
    for last in parameter_layers(model):
        last.weight.mul_(0.2)
        last.bias.zero_()
        last.bias[: len(last.bias) // 2] = SPREAD  # scales come first


def spread(network: torch.nn.Sequential, x: torch.Tensor) -> None:
    """Let the network's output have mean 0 and a standard deviation of SPREAD in each channel.

    With the means left in, most latents would lie far out under the predicted Gaussians, where sizes only compare
    the floors of two coders' tables, 2^-16 and 2^-24 (docs/papers.md). Where the network ends with an attention
    block the convolution before is scaled as a whole.
    """
    last = [layer for layer in network.modules() if isinstance(layer, torch.nn.Conv2d)][-1]
    if last is not network[-1]:
        for _ in range(3):
            before = next(layer for layer in reversed(network) if isinstance(layer, torch.nn.Conv2d))
            before.weight.mul_(SPREAD / float(network(x).std()))
        return
    output = network(x)
    factor = SPREAD / output.std(dim=(0, 2, 3))
    last.weight.mul_(factor[:, None, None, None])
    last.bias.sub_(output.mean(dim=(0, 2, 3))).mul_(factor)


def parameter_layers(model: torch.nn.Module) -> list[torch.nn.Module]:
    """The layers that give scales and means."""
    if hasattr(model, "entropy_parameters"):
        return [model.entropy_parameters[-1]]
    if not hasattr(model, "latent_codec"):
        return [model.h_s[-1]]
    named = dict(model.latent_codec.named_modules())
    found = [module for name, module in named.items() if name.endswith("entropy_parameters")]
    return [module[-1] for module in found if isinstance(module, torch.nn.Sequential)]  # codecs inside have an identity


def run(model: torch.nn.Module, picture: str, repeats: int) -> dict[str, object]:
    """Times of encoding to bytes and decoding to pixels, in seconds, the processor's time for both, and the size."""
    encode, decode, processor = [], [], []
    for _ in range(repeats):
        start, busy = time.perf_counter(), time.process_time()
        pixels = np.asarray(Image.open(picture).convert("RGB"))
        x = torch.from_numpy(pixels.copy()).permute(2, 0, 1)[None].float() / 255
        coded = model.compress(x)
        middle = time.perf_counter()
        x_hat = model.decompress(coded["strings"], coded["shape"])["x_hat"]
        Image.fromarray((x_hat[0].clamp(0, 1) * 255).round().byte().permute(1, 2, 0).numpy())
        encode.append(middle - start)
        decode.append(time.perf_counter() - middle)
        processor.append(time.process_time() - busy)
    return {
        "encode_s": statistics.median(encode),
        "decode_s": statistics.median(decode),
        "processor_s": statistics.median(processor),
        "size_bytes": size(coded["strings"]),
    }


def size(strings: object) -> int:
    """Bytes in nested lists of strings."""
    return len(strings) if isinstance(strings, bytes) else sum(map(size, strings))


@torch.no_grad()
def main() -> None:
    architecture, picture, weights, threads, repeats = sys.argv[1:]
    sys.meta_path.insert(0, Finder())
    import compressai

    torch.set_num_threads(int(threads))
    torch.manual_seed(0)
    model = build(architecture)
    pixels = np.asarray(Image.open(picture).convert("RGB"))
    enliven(model, torch.from_numpy(pixels.copy()).permute(2, 0, 1)[None].float() / 255)
    model.update(force=True)
    torch.save(model.state_dict(), weights)
    figures = run(model, picture, int(repeats))
    print(json.dumps({**figures, "compressai": compressai.__version__, "torch": torch.__version__}))


if __name__ == "__main__":
    main()
