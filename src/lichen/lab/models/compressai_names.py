"""Names of CompressAI's parameters, old and new, and what they are called here. Nothing is computed or guessed."""

from __future__ import annotations

import re

from torch import Tensor

State = dict[str, Tensor]

# Buffers that follow from the architecture or were made by update(): no part of what was learned.
_DERIVED = re.compile(r"(_cdf_length|_offset|_quantized_cdf|\.target|\.bound|\.pedestal|\.scale_table|\.scale_bound)$")

_WRAPPERS = {"module", "_orig_mod", "model", "net", "network", "codec"}

# Older and wrapped names -> those of the plain models of version 1.2.8.
_ALIASES = (
    (r"\.downsample\.", ".skip."),
    (r"^latent_codec\.(hyper\.)?(h_[as])\.", r"\2."),
    (r"^latent_codec\.(hyper|z)\.entropy_bottleneck\.", "entropy_bottleneck."),
    (r"^entropy_bottleneck\._(biases|matrices|factors)\.(\d)$", r"entropy_bottleneck.\1.\2"),
    (r"^entropy_bottleneck\._bias(\d)$", r"entropy_bottleneck.biases.\1"),
    (r"^entropy_bottleneck\._matrix(\d)$", r"entropy_bottleneck.matrices.\1"),
    (r"^entropy_bottleneck\._factor(\d)$", r"entropy_bottleneck.factors.\1"),
)

# Layers inside a transform; the order matters.
_LAYERS = (
    (r"\.conv_a\.(\d)\.conv\.", r".trunk.\1.body."),
    (r"\.conv_b\.(\d)\.conv\.", r".mask.\1.body."),
    (r"\.conv_b\.3\.", ".mask.3."),
    (r"\.conv1\.", ".body.0."),
    (r"\.(conv2|conv)\.", ".body.2."),
    (r"\.conv3\.", ".body.4."),
    (r"\.subpel_conv\.", ".body.0."),
    (r"\.upsample\.", ".skip."),
    (r"\.i?gdn\.", ".body.3."),
    (r"\.beta$", ".root_beta"),
    (r"\.gamma$", ".root_gamma"),
)

# CompressAI stores sqrt(value + 2^-36), bounded below; beta is at least 1e-6.
_PEDESTAL = 2.0**-36


def _rename(key: str, rules: tuple[tuple[str, str], ...]) -> str:
    for pattern, replacement in rules:
        key = re.sub(pattern, replacement, key)
    return key


def unwrapped(state: State) -> State:
    """Without what DataParallel, `torch.compile`, Lightning and classes around a model put before every name."""
    while state and (prefix := next(iter(state)).partition(".")[0]) in _WRAPPERS:
        if not all(key.startswith(f"{prefix}.") for key in state):
            break
        state = {key.removeprefix(f"{prefix}."): value for key, value in state.items()}
    return state


def learned(state: State) -> State:
    """The learned tensors of a checkpoint and its masks under the names of version 1.2.8, in float32."""
    renamed = {_rename(key, _ALIASES): value for key, value in unwrapped(state).items()}
    return {key: value.float() for key, value in renamed.items() if not _DERIVED.search(key)}


def layers(state: State, prefix: str, ours: str) -> State:
    """The tensors below `prefix`, as layers of our transforms below `ours`."""
    found = {key.removeprefix(prefix): value for key, value in state.items() if key.startswith(prefix)}
    return dict(_layer(ours + _rename(f".{key}", _LAYERS), value) for key, value in found.items())


def _layer(key: str, value: Tensor) -> tuple[str, Tensor]:
    if key.endswith("root_beta"):
        least = (1e-6 + _PEDESTAL) ** 0.5
        return key, (value.clamp(min=least) ** 2 - _PEDESTAL - 1e-6).clamp(min=0).sqrt()
    if key.endswith("root_gamma"):
        return key, (value.clamp(min=_PEDESTAL**0.5) ** 2 - _PEDESTAL).clamp(min=0).sqrt()
    return key, value
