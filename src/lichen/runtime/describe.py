"""What a `.lic` file says of itself."""

from __future__ import annotations

from importlib.metadata import version
from pathlib import Path
from typing import Any

from lichen.bitstream.container import Kind, read_container
from lichen.bitstream.fields import FILTERED, GREY, TRELLIS, VERSION, describe_header
from lichen.coding.backend import VARIABLE, chosen
from lichen.errors import BadInput
from lichen.image.files import read_whole
from lichen.runtime.engines import (
    DECODED_WORTH,
    ENCODED_WORTH,
    has_lab,
    has_onnx,
    info_of_weights,
    model_name,
    torch_is_faster,
)
from lichen.runtime.graphs import packaged


def describe_file(path: Path) -> dict[str, Any]:
    """Plain facts of a file; `-` is standard input. Raises `BadFile` or `BadInput`."""
    data = read_whole(path)
    try:
        container = read_container(data)
    except BadInput as error:
        raise type(error)(f"{path}: {error}") from error
    header = container.header
    groups = [len(payload) for payload in container.groups]
    payload_bytes = sum(map(len, container.latents))
    found = info_of_weights(header.weights)
    extras = {Kind(k).name.lower(): len(v) for k, v in container.sections.items() if k != Kind.LATENTS}
    return {
        "file": str(path),
        "format": VERSION,
        **describe_header(header),
        "model": model_name(header.model) or header.model,
        "weights_at": found and str(found.path),
        "trained_for": found and found.trained_for.value,
        "grey": bool(header.flags & GREY),
        "filtered": bool(header.flags & FILTERED),
        "trellis": bool(header.flags & TRELLIS),
        "size_bytes": len(data),
        "bpp": round(8 * len(data) / (header.width * header.height), 4),
        "latents_bytes": payload_bytes,
        "groups_bytes": groups,
        "extras_bytes": extras,
        "overhead_bytes": len(data) - payload_bytes - sum(extras.values()),
    }


def describe_engines() -> dict[str, str]:
    """What runs models on this machine: each engine's version or remedy, what `auto` takes, and the range coder."""
    graphs = ", ".join(bundle.folder.name for bundle in packaged())
    onnx = f"ONNX Runtime {version('onnxruntime')}: {graphs}" if has_onnx() else "missing: pip install onnxruntime"
    torch = f"PyTorch {version('torch')}: all models" if has_lab() else "missing: install the extra `lab`"
    large = f"torch for a folder or a large picture ({ENCODED_WORTH / 1e6:.0f} megapixels to encode, "
    large += f"{DECODED_WORTH / 1e6:.0f} to decode, or PyTorch is imported already), as it has bfloat16; else onnx"
    return {
        "onnx": onnx,
        "torch": torch,
        "auto": large if torch_is_faster() else "onnx for models with graphs, else torch",
        "range coder": f"{chosen().name} ({VARIABLE} forces constriction or python)",
    }
