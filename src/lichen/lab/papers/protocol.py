"""What describes an experiment of a paper: which models are trained, how, and what the paper prints of them."""

from __future__ import annotations

from dataclasses import dataclass

from lichen.lab.losses.correlation import Mask
from lichen.lab.models.config import Distortion
from lichen.lab.training.recipe import Quantiser

LAMBDAS = (0.0009, 0.0018, 0.0035, 0.0067, 0.0130, 0.0250)  # correlation paper, section 4.1
HIGH_RATE_LAMBDAS = (0.08, 0.16)  # ELIC supplement, section 3
MS_SSIM_LAMBDAS = (3.0, 12.0, 40.0, 120.0)  # of 1 - MS-SSIM: ELIC supplement, section 3, after Cheng 2020
MS_SSIM_CROP = 192  # pixels: the least that five scales take, in whole hyper-latents

# The paper's best alpha, 1e-13, is of a sum; on the mean it is this with 192 and with 320 latents (losses.correlation).
ALPHA, ALPHA_320 = 0.036, 0.1


@dataclass(frozen=True)
class Decorrelated:
    """The correlation loss of a variant: alpha of the mean's reduction, window and mask."""

    alpha: float = ALPHA
    window: int = 3
    mask: Mask = Mask.POINT


@dataclass(frozen=True)
class Variant:
    """A model to train at each lambda.

    * `over`: the variant that its BD-rate is taken over, or a published curve.
    * `paper_percent`: the BD-rate that the paper prints for it (negative: cheaper), or one computed from what it
      prints, and then `derived` says of what; `paper_ms_ssim_percent` that by MS-SSIM; `paper_s` seconds for all of
      Kodak.
    * `stages`: how the rates of the prior's stages are weighed, before and after half of the training (Qian 2021).
    * `config`: changes to the row's config, as a recipe's [config] has them.
    * `distortion` and `quantiser`: what lambda weighs, and what stands in for rounding.
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
    distortion: Distortion = Distortion.MSE
    quantiser: Quantiser = Quantiser.MIXED


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

    `anchor` is another variant or a published curve; `by_ms_ssim`: at equal MS-SSIM, not PSNR.
    """

    test: str
    anchor: str
    paper_percent: float
    said: str
    by_ms_ssim: bool = False


@dataclass(frozen=True)
class TrainingScale:
    """How much training: steps of `batch` crops of `crop` pixels for each of `lambdas`.

    `high_rate_lambdas` come on top where an experiment has high-rate models. `halving` is (first step, every, last
    step) of the learning rate. `meaningless`: the numbers prove that everything runs and nothing else. Costs are timed
    `repeats` times, on pictures of at most `pixels_max`; models are measured on the first `pictures` of a folder (None:
    on all).
    """

    name: str
    steps: int
    crop: int
    batch: int
    learning_rate: float
    lambdas: tuple[float, ...]
    high_rate_lambdas: tuple[float, ...] = HIGH_RATE_LAMBDAS
    halving: tuple[int, int, int] | None = None
    warmup: int = 200
    ema: float = 0.999
    cooldown: float = 0.3
    meaningless: bool = False
    repeats: int = 1
    pixels_max: int = 512 * 768
    pictures: int | None = None


SCALES = (
    TrainingScale(
        name="smoke",
        steps=2,
        crop=64,
        batch=1,
        learning_rate=1e-4,
        lambdas=LAMBDAS[1:5],
        meaningless=True,
        pictures=1,
    ),
    TrainingScale(
        name="small",
        steps=1000,
        crop=128,
        batch=8,
        learning_rate=2e-4,
        lambdas=LAMBDAS[:4],
        high_rate_lambdas=(),
        repeats=3,
        pixels_max=720 * 1280,
    ),
    TrainingScale(
        name="paper",
        steps=1_500_000,
        crop=256,
        batch=16,
        learning_rate=1e-4,
        lambdas=LAMBDAS,
        halving=(1_000_000, 50_000, 1_250_000),
        warmup=1,
        ema=0.0,
        repeats=10,
        pixels_max=2304 * 4096,
    ),
)


@dataclass(frozen=True)
class Experiment:
    """A table or figure.

    * `bpp_max` leaves out points of more bits, as the paper does.
    * `correlation`: the latents' correlation is measured at each lambda too, and its maps are drawn.
    * `high_rates`: models at ELIC's two highest lambdas are trained too.
    * `anchor`: key of the curve that the report's savings are over. `published`: names of the published curves beside
      ours; None shows Kodak's where the pictures are Kodak's.
    * `paper`: the full protocol, where it is not the correlation paper's.
    """

    name: str
    title: str
    variants: tuple[Variant, ...]
    reprints: tuple[Reprint, ...] = ()
    comparisons: tuple[Comparison, ...] = ()
    bpp_max: float | None = None
    correlation: bool = False
    high_rates: bool = False
    anchor: str = "vtm"
    published: tuple[str, ...] | None = None
    paper: TrainingScale | None = None

    def at(self, scale: TrainingScale) -> TrainingScale:
        """The scale as this experiment means it."""
        return self.paper if self.paper is not None and scale.name == self.paper.name else scale

    def lambdas(self, variant: Variant, scale: TrainingScale) -> tuple[float, ...]:
        """The lambdas that a variant is trained at."""
        if variant.distortion is Distortion.MS_SSIM:
            return MS_SSIM_LAMBDAS
        return scale.lambdas + (scale.high_rate_lambdas if self.high_rates else ())


@dataclass(frozen=True)
class System:
    """A model whose modules are counted: its row, changes to its config, and GFLOPs by module as printed."""

    name: str
    model: str
    paper_gflops: dict[str, float]
    config: str = ""


@dataclass(frozen=True)
class PictureSize:
    """A size of Global Reference's Table 3: GFLOPs of the entropy model, the reference model's share, as printed."""

    name: str
    height: int
    width: int
    gflops: float
    reference_percent: float

    @property
    def pixels(self) -> int:
        """Height times width."""
        return self.height * self.width


@dataclass(frozen=True)
class CostTable:
    """A table of operations: counted on the built models, and timed. Nothing is trained, whatever the scale."""

    name: str
    title: str
    systems: tuple[System, ...] = ()
    sizes: tuple[PictureSize, ...] = ()
