"""Learning Accurate Entropy Model with Global Reference (ICLR 2021): its figures and its tables of operations.

Its models are trained on CLIC's 1633 pictures, with noise for the rate and straight-through rounding for the synthesis
(section 3). The paper says neither its lambdas nor how long it trains after the first 1000 epochs: the field's lambdas
are taken, and as many epochs again.
"""

from __future__ import annotations

from dataclasses import replace

from lichen.lab.models.config import Distortion
from lichen.lab.papers.protocol import (
    LAMBDAS,
    Comparison,
    CostTable,
    Experiment,
    PictureSize,
    System,
    TrainingScale,
    Variant,
)
from lichen.lab.training.recipe import Quantiser

_BPG = "bpg_444_x265_ycbcr"
_STAGES = ((0.3, 0.3, 0.4), (0.1, 0.1, 0.8))
_TWO_STAGES = ((0.4, 0.6), (0.1, 0.9))  # ours: the paper does not say how models of two stages were trained
_GDN = "[config.transform]\nsubtractive = false\n"
_WIDE = "[config.transform]\nlatents = 384\n"  # as many latents as Global Reference has, and the same hyperprior:
_HYPER = "[config.hyper]\ninner = [192, 192]\n"
_NO_HYPER = '[config.hyper]\nkind = "NoHyper"\n'
_NO_U = "[config.context]\nconfidence = false\n"
_NO_REFERENCE = '[config.context]\nkind = "StagedContext"\n'

_TRAINING = TrainingScale(
    name="paper",
    steps=408_000,
    crop=512,
    batch=8,
    learning_rate=1e-4,
    lambdas=LAMBDAS,
    warmup=1,
    ema=0.0,
    cooldown=0.2,
    repeats=10,
    pixels_max=2304 * 4096,
)


def _progressive(name: str, config: str, stages: tuple[tuple[float, ...], tuple[float, ...]] = _STAGES) -> Variant:
    """A variant of Global Reference, whose stages predict in turn; over BPG."""
    return Variant(name, "global-reference", over=_BPG, stages=stages, config=config)


_FULL = _progressive("full model with GSDN", "")
_FULL_MS_SSIM = replace(_FULL, name="full model for MS-SSIM", distortion=Distortion.MS_SSIM)
_CONTEXT_HYPER = Variant("context + hyperprior", "minnen-ar", over=_BPG, config=_WIDE + _HYPER)
_REFERENCE_HYPER = _progressive("context + reference + hyperprior", _GDN)

MODULE_GFLOPS = {
    "encoder": 84.12,
    "decoder": 279.47,
    "hyper encoder": 2.92,
    "hyper decoder": 7.62,
    "context model": 11.32,
    "reference model": 7.70,
    "parameter networks": 24.46,
}  # at 512 x 768, Table 2
_MINNEN_2018_GFLOPS = {
    "encoder": 74.63,
    "decoder": 269.98,
    "hyper encoder": 2.92,
    "hyper decoder": 7.62,
    "context model": 11.32,
    "parameter networks": 8.15,
}
_TABLE_3 = (
    ("240p", 240, 320, 9.98, 9.36),
    ("360p", 360, 480, 22.85, 10.90),
    ("480p", 480, 640, 41.59, 12.98),
    ("512x768", 512, 768, 54.03, 14.25),
    ("720p", 720, 1280, 138.04, 21.34),
    ("1080p", 1080, 1920, 366.57, 33.36),
    ("4k", 2304, 4096, 3296.99, 66.28),
)  # name, height, width, GFLOPs, share of the reference model in per cent
TABLE_3 = tuple(PictureSize(*line) for line in _TABLE_3)

COST_TABLES = (
    CostTable(
        "global-reference-table2",
        "Global Reference, Table 2: GFLOPs of each module at 512 x 768",
        systems=(
            System("Minnen 2018, 384 latents", "minnen-ar", _MINNEN_2018_GFLOPS, _WIDE + _HYPER),
            System("Global Reference", "global-reference", MODULE_GFLOPS),
        ),
    ),
    CostTable(
        "global-reference-table3",
        "Global Reference, Table 3: GFLOPs of the entropy model and the reference model's share, by size",
        sizes=TABLE_3,
    ),
)

EXPERIMENTS = (
    Experiment(
        "global-reference-fig6",
        "Global Reference, Figure 6: the full model, trained for MSE and for MS-SSIM, on Kodak",
        (_FULL, _FULL_MS_SSIM),
        comparisons=(
            Comparison(_FULL.name, _BPG, -21.0, "at low bit rates"),
            Comparison(_FULL.name, "paper-mbt2018", -6.1, "over context-adaptive models"),
        ),
        anchor=_BPG,
        published=(
            _BPG,
            "jpeg",
            "paper-mbt2018",
            "compressai-mbt2018_mse_cuda",
            "compressai-mbt2018_ms-ssim_cuda",
        ),
        paper=_TRAINING,
    ),
    Experiment(
        "global-reference-fig7",
        "Global Reference, Figure 7: what context, reference, confidence U, hyperprior and GSDN bring; over BPG",
        (
            Variant("context", "minnen-ar", over=_BPG, config=_WIDE + _NO_HYPER),
            _progressive("context + reference, no U", _GDN + _NO_HYPER + _NO_U, _TWO_STAGES),
            _progressive("context + reference", _GDN + _NO_HYPER, _TWO_STAGES),
            _CONTEXT_HYPER,
            _progressive("context + reference + hyperprior, no U", _GDN + _NO_U),
            _REFERENCE_HYPER,
            _FULL,
        ),
        comparisons=(
            Comparison(_FULL.name, _BPG, -21.0, "at low bit rates"),
            Comparison("context + reference, no U", "context", -5.3, "at the low bit rates"),
            Comparison(_FULL.name, _REFERENCE_HYPER.name, -2.0, "about"),
            Comparison(_FULL.name, _CONTEXT_HYPER.name, -6.1, "over context-adaptive models"),
        ),
        anchor=_BPG,
        paper=_TRAINING,
    ),
    Experiment(
        "global-reference-fig12",
        "Global Reference, Figure 12: the same as Figure 6 on CLIC (--test: its 102 validation pictures)",
        (
            replace(_CONTEXT_HYPER, over=None),
            replace(_FULL, over=_CONTEXT_HYPER.name),
            replace(_FULL_MS_SSIM, over=_CONTEXT_HYPER.name),
        ),
        anchor=_CONTEXT_HYPER.name,
        published=(),
        paper=_TRAINING,
    ),
    Experiment(
        "global-reference-fig13",
        "Global Reference, Figure 13: context and hyperprior with mixed quantisation and with stages; over BPG",
        (
            replace(_CONTEXT_HYPER, name="context + hyperprior, noise", quantiser=Quantiser.NOISE),
            replace(_CONTEXT_HYPER, name="context + hyperprior, mixed quantisation"),
            _progressive("context + hyperprior, in stages", _GDN + _NO_REFERENCE, _TWO_STAGES),
            _REFERENCE_HYPER,
            _FULL,
        ),
        anchor=_BPG,
        paper=_TRAINING,
    ),
)
