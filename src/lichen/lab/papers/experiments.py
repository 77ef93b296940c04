"""The papers' tables and figures as data: which models are trained, how, and what the papers print."""

from __future__ import annotations

from dataclasses import dataclass, replace

from lichen.errors import UsageError

LAMBDAS = (0.0009, 0.0018, 0.0035, 0.0067, 0.0130, 0.0250)  # correlation paper, section 4.1

# The paper's best alpha, 1e-13, is of a sum; on the mean it is this with 192 and with 320 latents (losses.correlation).
ALPHA, ALPHA_320 = 0.036, 0.1


@dataclass(frozen=True)
class Decorrelated:
    """The correlation loss of a variant: alpha of the mean's reduction, window and mask."""

    alpha: float = ALPHA
    window: int = 3
    mask: str = "point"


@dataclass(frozen=True)
class Variant:
    """A model to train at each lambda.

    `over` is the variant that its BD-rate is taken over, or a published curve. `paper_percent` is the BD-rate
    that the paper prints for it (negative: cheaper), or one computed from what it prints, and then `derived` says
    of what; `paper_ms_ssim_percent` that by MS-SSIM, `paper_s` the seconds for all of Kodak. `stages`: how the rates
    of the prior's stages are weighed in training, before and after its half (Qian 2021); `config` are changes to the
    row's config, as a recipe's [config] has them.
    """

    name: str
    model: str
    decorrelated: Decorrelated | None = None
    over: str | None = None
    paper_percent: float | None = None
    paper_ms_ssim_percent: float | None = None
    paper_s: float | None = None
    derived: str = ""
    stages: tuple[tuple[float, ...], tuple[float, ...]] | None = None
    config: str = ""


@dataclass(frozen=True)
class Reprint:
    """A line of a paper's table whose curve was published: recomputed from its points, nothing is trained.

    `ms_ssim_curve` has its points by MS-SSIM, where these are in a file of their own.
    """

    name: str
    curve: str
    paper_percent: float
    paper_ms_ssim_percent: float | None = None
    ms_ssim_curve: str | None = None


@dataclass(frozen=True)
class Comparison:
    """What a paper's text says of a variant: its rate over `anchor`, in per cent, and `said` of what that holds.

    `anchor` is another variant or a published curve.
    """

    test: str
    anchor: str
    paper_percent: float
    said: str


@dataclass(frozen=True)
class TrainingScale:
    """How much training: steps of `batch` crops of `crop` pixels for each of `lambdas`.

    `halving` is (first step, every, last step) of the learning rate. `meaningless`: the numbers prove that
    everything runs and nothing else. Costs are timed `repeats` times, on pictures of at most `pixels_max`; models are
    measured on the first `pictures` of a folder (None: on all).
    """

    name: str
    steps: int
    crop: int
    batch: int
    learning_rate: float
    lambdas: tuple[float, ...]
    halving: tuple[int, int, int] | None = None
    warmup: int = 200
    ema: float = 0.999
    cooldown: float = 0.3
    meaningless: bool = False
    repeats: int = 1
    pixels_max: int = 512 * 768
    pictures: int | None = None


SCALES = (
    TrainingScale("smoke", 2, 64, 1, 1e-4, LAMBDAS[1:5], meaningless=True, pictures=1),
    TrainingScale("small", 1000, 128, 8, 2e-4, LAMBDAS[:4], repeats=3, pixels_max=720 * 1280),
    TrainingScale(
        "paper",
        1_500_000,
        256,
        16,
        1e-4,
        LAMBDAS,
        (1_000_000, 50_000, 1_250_000),
        warmup=1,
        ema=0.0,
        repeats=10,
        pixels_max=2304 * 4096,
    ),
)

# Global Reference: CLIC's 1633 pictures, 1000 epochs with the first weights and, as it does not say, as many after.
_CLIC = TrainingScale(
    "paper", 408_000, 512, 8, 1e-4, LAMBDAS, warmup=1, ema=0.0, cooldown=0.2, repeats=10, pixels_max=2304 * 4096
)


@dataclass(frozen=True)
class Experiment:
    """A table or figure. `bpp_max` leaves out points of more bits, as the paper does.

    `correlation` also measures the latents' correlation at each lambda and draws its maps (figure 13, the
    supplement's maps). `paper` is the full protocol where it is not the correlation paper's.
    """

    name: str
    title: str
    variants: tuple[Variant, ...]
    reprints: tuple[Reprint, ...] = ()
    comparisons: tuple[Comparison, ...] = ()
    bpp_max: float | None = None
    correlation: bool = False
    paper: TrainingScale | None = None

    def at(self, scale: TrainingScale) -> TrainingScale:
        """The scale as this experiment means it."""
        return self.paper if self.paper is not None and scale.name == self.paper.name else scale


@dataclass(frozen=True)
class System:
    """A model whose modules are counted: its row, changes to its config, and GFLOPs by module as printed."""

    name: str
    model: str
    paper_gflops: dict[str, float]
    config: str = ""


@dataclass(frozen=True)
class PictureSize:
    """A picture of Table 3: GFLOPs of the entropy model, and the reference model's share of them, as printed."""

    name: str
    height: int
    width: int
    gflops: float
    reference_percent: float

    @property
    def pixels(self) -> int:
        return self.height * self.width


@dataclass(frozen=True)
class CostTable:
    """A table of operations: counted on the built models, and timed. Nothing is trained, whatever the scale."""

    name: str
    title: str
    systems: tuple[System, ...] = ()
    sizes: tuple[PictureSize, ...] = ()


def _pair(name: str, model: str, percent: float, alpha: float = ALPHA) -> tuple[Variant, Variant]:
    """A model without and with the correlation loss, and the BD-rate that the paper prints for it."""
    with_loss = Variant(f"{name} + correlation loss", model, Decorrelated(alpha), name, percent)
    return Variant(name, model), with_loss


def _pair_of_gains(name: str, model: str, plain: float, better: float, alpha: float = ALPHA) -> tuple[Variant, Variant]:
    """The same, of the gains over Cheng HP that the paper prints for both, in per cent.

    What it calls the loss's gain, 6.13 % and 3.3 %, is their difference; a rate over the plain model is a ratio.
    """
    first, second = _pair(name, model, round(100 * ((100 - better) / (100 - plain) - 1), 2), alpha)
    derived = f"of its gains over Cheng HP, {plain:g} and {better:g} %, whose difference is {better - plain:.2f}"
    return first, replace(second, derived=derived)


_HP, _HP_CORR = _pair("Cheng HP", "cheng-hp", -9.5)
_CKBD, _CKBD_CORR = _pair_of_gains("Cheng checkerboard", "cheng-checkerboard", 10.37, 16.5)
_CHARM, _CHARM_CORR = _pair_of_gains("Cheng ChARM", "cheng-charm", 14.69, 17.99)
_MINNEN = _pair("Minnen HP", "minnen-hp", -3.2)
_SWINT = _pair("SwinT HP", "swint-hp", -4.8, ALPHA_320)
_ELIC = _pair_of_gains("ELIC", "elic", 28.85, 30.36, ALPHA_320)


def _over_hp(variant: Variant, percent: float | None, seconds: float) -> Variant:
    return Variant(variant.name, variant.model, variant.decorrelated, _HP.name, percent, paper_s=seconds)


def _masked(mask: str, window: int) -> Variant:
    return Variant(f"{mask} {window}x{window}", "cheng-hp", Decorrelated(ALPHA, window, mask), _HP.name)


_BPG = "bpg_444_x265_ycbcr"
_STAGES = ((0.3, 0.3, 0.4), (0.1, 0.1, 0.8))
_TWO_STAGES = ((0.4, 0.6), (0.1, 0.9))  # ours: the paper does not say how models without a hyperprior were trained
_GDN = "[config.transform]\nsubtractive = false\n"
_WIDE = "[config.transform]\nlatents = 384\n"  # as many latents as Global Reference has, and the same hyperprior:
_HYPER = "[config.hyper]\ninner = [192, 192]\n"
_NO_HYPER = '[config.hyper]\nkind = "NoHyper"\n'
_NO_U = "[config.context]\nconfidence = false\n"


def _referring(name: str, config: str, hyper: bool = True) -> Variant:
    """A variant of Global Reference, over BPG."""
    stages = _STAGES if hyper else _TWO_STAGES
    return Variant(name, "global-reference", None, _BPG, stages=stages, config=config)


GLOBAL_REFERENCE = {
    "encoder": 84.12,
    "decoder": 279.47,
    "hyper encoder": 2.92,
    "hyper decoder": 7.62,
    "context model": 11.32,
    "reference model": 7.70,
    "parameter networks": 24.46,
}  # GFLOPs at 512 x 768, its Table 2
_MINNEN_2018 = {
    "encoder": 74.63,
    "decoder": 269.98,
    "hyper encoder": 2.92,
    "hyper decoder": 7.62,
    "context model": 11.32,
    "parameter networks": 8.15,
}
TABLE_3 = (
    PictureSize("240p", 240, 320, 9.98, 9.36),
    PictureSize("360p", 360, 480, 22.85, 10.90),
    PictureSize("480p", 480, 640, 41.59, 12.98),
    PictureSize("512x768", 512, 768, 54.03, 14.25),
    PictureSize("720p", 720, 1280, 138.04, 21.34),
    PictureSize("1080p", 1080, 1920, 366.57, 33.36),
    PictureSize("4k", 2304, 4096, 3296.99, 66.28),
)

COST_TABLES = (
    CostTable(
        "global-reference-table2",
        "Global Reference, Table 2: GFLOPs of each module at 512 x 768",
        systems=(
            System("Minnen 2018, 384 latents", "minnen-ar", _MINNEN_2018, _WIDE + _HYPER),
            System("Global Reference", "global-reference", GLOBAL_REFERENCE),
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
        "table1",
        "Correlation paper, Table 1 (and Figures 1, 12): BD-rate over Cheng HP, inference time for Kodak",
        (
            Variant(_HP.name, _HP.model, paper_s=4.66),
            _over_hp(_HP_CORR, -9.5, 4.66),
            _over_hp(_CKBD, -10.37, 5.33),
            _over_hp(_CKBD_CORR, -16.5, 5.33),
            _over_hp(_CHARM, -14.69, 8.14),
            _over_hp(_CHARM_CORR, -17.99, 8.14),
            Variant("Cheng AR", "cheng-ar", None, _HP.name, -18.47, paper_s=251.65),
        ),
    ),
    Experiment("fig7", "Correlation paper, Figure 7: three hyperpriors", (*_MINNEN, _HP, _HP_CORR, *_SWINT)),
    Experiment("fig10", "Correlation paper, Figure 10: Cheng with checkerboard", (_CKBD, _CKBD_CORR)),
    Experiment("fig11", "Correlation paper, Figure 11: Cheng with ChARM", (_CHARM, _CHARM_CORR)),
    Experiment(
        "fig13",
        "Correlation paper, Figure 13: gains against rate and correlation",
        (_HP, _HP_CORR, _CKBD, _CKBD_CORR, *_SWINT, *_MINNEN),
        correlation=True,
    ),
    Experiment("elic-table1", "Correlation paper's supplement, Table 1: ELIC and the correlation loss", _ELIC),
    Experiment(
        "elic-table3",
        "ELIC supplement, Table 3: BD-rate over VTM by PSNR and by MS-SSIM, points below 1 bpp",
        (
            Variant("ELIC", "elic", None, "vtm", -7.88, -12.73),
            Variant("ELIC-sm", "elic-sm", None, "vtm", -1.07, -5.59),
        ),
        (
            Reprint("ELIC", "paper-elic2022_mse", -7.88, -12.73, "paper-elic2022_ms-ssim"),
            Reprint("Minnen 2020", "paper-minnen2020-cc10_mse", 1.11),
            Reprint("Cheng 2020 [P], its authors' parallel model", "paper-cheng2020-parallel_mse", 3.89, -7.19),
            Reprint("Cheng 2020 [P], checkerboard", "paper-cheng2020-checkerboard-6M_mse", 3.89, -7.19),
            Reprint("Minnen 2018 [P], its authors' parallel model", "paper-minnen2018-parallel_mse", 20.0, 4.23),
            Reprint("Minnen 2018 [P], checkerboard", "paper-minnen2018-checkerboard_mse", 20.0, 4.23),
            Reprint("Cheng 2020 [S], trained by CompressAI", "compressai-cheng2020-anchor_mse_cuda", 3.35, -3.17),
            Reprint("Ballé 2018", "paper-bmshj2018-hyperprior", 40.85, 16.41),
            Reprint("Minnen 2018 [S]", "paper-mbt2018", 14.92, -0.68),
        ),
        bpp_max=1.0,
    ),
    Experiment(
        "supplement-alpha",
        "Correlation paper's supplement, Figure 1: alpha (as equivalents on the mean of 1e-13, 1e-10 and 1e-7)",
        (
            _HP,
            Variant("alpha 0.036", "cheng-hp", Decorrelated(0.036), _HP.name, -9.3),
            Variant("alpha 36", "cheng-hp", Decorrelated(36.0), _HP.name),
            Variant("alpha 36000", "cheng-hp", Decorrelated(36_000.0), _HP.name),
        ),
    ),
    Experiment(
        "supplement-mask",
        "Correlation paper's supplement, Figure 2: masks",
        (_HP, _masked("point", 3), _masked("short-cross", 3), _masked("long-cross", 5), _masked("border", 5)),
    ),
    Experiment(
        "supplement-window",
        "Correlation paper's supplement, Figure 3: windows",
        (
            _HP,
            *(_masked(mask, window) for mask in ("point", "short-cross") for window in (3, 5, 7)),
            *(_masked(mask, window) for mask in ("long-cross", "border") for window in (5, 7)),
        ),
    ),
    Experiment(
        "supplement-maps",
        "Correlation paper's supplement, Figure 6: correlation maps",
        (_HP, _HP_CORR, _CKBD, _CKBD_CORR),
        correlation=True,
    ),
    Experiment(
        "global-reference-fig7",
        "Global Reference, Figure 7: what context, reference, confidence U, hyperprior and GSDN bring; over BPG",
        (
            Variant("context", "minnen-ar", None, _BPG, config=_WIDE + _NO_HYPER),
            _referring("context + reference, no U", _GDN + _NO_HYPER + _NO_U, hyper=False),
            _referring("context + reference", _GDN + _NO_HYPER, hyper=False),
            Variant("context + hyperprior", "minnen-ar", None, _BPG, config=_WIDE + _HYPER),
            _referring("context + reference + hyperprior, no U", _GDN + _NO_U),
            _referring("context + reference + hyperprior", _GDN),
            _referring("full model with GSDN", ""),
        ),
        comparisons=(
            Comparison("full model with GSDN", _BPG, -21.0, "at low bit rates"),
            Comparison("context + reference, no U", "context", -5.3, "at the low bit rates"),
            Comparison("full model with GSDN", "context + reference + hyperprior", -2.0, "about"),
            Comparison("full model with GSDN", "context + hyperprior", -6.1, "over context-adaptive models"),
        ),
        paper=_CLIC,
    ),
)


def experiment(name: str) -> Experiment | CostTable:
    """The experiment or table of costs of that name. Raises `UsageError` with the names there are."""
    for candidate in (*EXPERIMENTS, *COST_TABLES):
        if candidate.name == name:
            return candidate
    names = ", ".join(e.name for e in (*EXPERIMENTS, *COST_TABLES))
    raise UsageError(f"no experiment {name!r}; there are: {names}")


def scale(name: str) -> TrainingScale:
    """The scale of that name. Raises `UsageError` with the names there are."""
    for candidate in SCALES:
        if candidate.name == name:
            return candidate
    raise UsageError(f"no scale {name!r}; there are: {', '.join(s.name for s in SCALES)}")
