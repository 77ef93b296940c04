"""Names in weights files, from older ones to the current ones. Plain data only, for both engines."""

from __future__ import annotations

from typing import Any

_KINDS = {"LevelSide": "LevelHyperPrior", "LearnedSide": "LearnedHyperPrior"}
_FIELDS = {"gaussian": "family", "inside": "mean_in_cdf"}
_MODEL_FIELDS = {"side": "hyper_prior", "single": "float32_prior", "filter": "post_filter"}
_TENSORS = {
    "prior.hyper_mean.": "prior.hyper_prior.mean.",
    "prior.hyper_raw.": "prior.hyper_prior.raw_scale.",
    "prior.side.": "prior.hyper_prior.",
    "picture_filter.": "post_filter.",
}
_PARTS = {"raw": "raw_scale", "base_raw": "base_raw_scale", "raws": "raw_scales"}
_DROPPED = {"prior.context.adaptation.scores.table"}  # frozen in the package since; files' own are not read


def migrate_config(data: Any) -> Any:
    """A config as JSON, with the current names of kinds and fields; what has them is unchanged."""
    if isinstance(data, list):
        return [migrate_config(item) for item in data]
    if not isinstance(data, dict):
        return data
    renamed = _MODEL_FIELDS if data.get("kind") == "ModelConfig" else _FIELDS
    fields = {renamed.get(name, name): migrate_config(value) for name, value in data.items()}
    if isinstance(kind := fields.get("kind"), str):
        fields["kind"] = _KINDS.get(kind, kind)
    return fields


def migrate_name(name: str) -> str | None:
    """The current name of a tensor; None for one that is no longer read."""
    if name in _DROPPED:
        return None
    for old, new in _TENSORS.items():
        if name.startswith(old):
            name = new + name.removeprefix(old)
    return ".".join(_PARTS.get(part, part) for part in name.split("."))
