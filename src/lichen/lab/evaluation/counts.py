"""What a network costs: parameters and multiply-adds, measured on the built model.

Multiply-adds are those of convolutions and matrix products, transposed convolutions counted with their
stride. Biases, activations, gains and divisive normalisations (GDN) are left out, as the field does.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from lichen.lab.models.config import ModelConfig
from lichen.lab.post_filter.filters import PostFilter
from lichen.lab.prior.entropy_parameters import AnyEntropyParameters
from lichen.lab.prior.walk import ContextModel, walk_latents
from lichen.lab.transforms.gdn import Normalisation
from lichen.runtime.filter_sums import spacing

CONVENTION = (
    "Multiply-adds of convolutions and matrix products for each pixel, in thousands; transposed convolutions\n"
    "counted with their stride; GDN, activations and gains left out; measured at 256x256. M: millions of\n"
    "parameters. encode = analysis + hyper + prior; decode = synthesis + hyper synthesis + prior. With an adaptive\n"
    "post-filter decode includes it, and encode the synthesis and the choice of its coefficients."
)
COUNTED_SIDE = 256  # pixels of the picture that is counted: whole windows, whole hyper-latents of every row


def multiply_adds(module: nn.Module, *inputs: Tensor) -> int:
    """Multiply-adds of all convolutions and matrix products in one call of `module`, inputs of any shape; without GDN.

    Also where inference mode is on: layers would take their fast ways there, whose products go uncounted.
    """
    counter = FlopCounterMode(display=False)
    with torch.inference_mode(False), torch.no_grad(), sdpa_kernel(SDPBackend.MATH), counter:
        module(*inputs)
    root, counts = type(module).__name__, counter.get_flop_counts()
    norms = [f"{root}.{name}" for name, part in module.named_modules() if isinstance(part, Normalisation)]
    left_out = sum(sum(counts[name].values()) for name in norms)
    return int(counter.get_total_flops() - left_out) // 2


@dataclass(frozen=True)
class Cost:
    """What a part of a model costs: parameters, and multiply-adds for each pixel of the picture."""

    parameters: int
    mac_per_pixel: float

    def __add__(self, other: Cost) -> Cost:
        return Cost(self.parameters + other.parameters, self.mac_per_pixel + other.mac_per_pixel)


@dataclass(frozen=True)
class Counts:
    """The costs of a model's parts. `prior` is the context model and the density of the hyper-latent.

    `filter` is the adaptive post-filter, `choice` the encoder's choice of its coefficients, which needs the synthesis
    too.
    """

    analysis: Cost
    synthesis: Cost
    hyper_analysis: Cost
    hyper_synthesis: Cost
    prior: Cost
    filter: Cost = Cost(0, 0)
    choice: Cost = Cost(0, 0)

    @property
    def hyper(self) -> Cost:
        """Hyper analysis and hyper synthesis."""
        return self.hyper_analysis + self.hyper_synthesis

    @property
    def parameters(self) -> int:
        """Of all parts."""
        return (self.analysis + self.synthesis + self.hyper + self.prior).parameters

    @property
    def encode(self) -> float:
        """Multiply-adds for each pixel when encoding."""
        decoded = self.synthesis.mac_per_pixel if self.choice.mac_per_pixel else 0
        return (self.analysis + self.hyper + self.prior + self.choice).mac_per_pixel + decoded

    @property
    def decode(self) -> float:
        """Multiply-adds for each pixel when decoding."""
        return (self.synthesis + self.hyper_synthesis + self.prior + self.filter).mac_per_pixel


def _parameters(module: nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


def _transform(module: nn.Module, channels: int, side: int) -> Cost:
    """The cost of a network called with (tensor, rate_level); on the meta device, so nothing is computed."""
    x, rate_level = torch.zeros(1, channels, side, side, device="meta"), torch.zeros(1, device="meta")
    made = multiply_adds(copy.deepcopy(module).to("meta"), x, rate_level)
    return Cost(_parameters(module), made / COUNTED_SIDE**2)


class _NoCoder:
    """A coder that costs nothing, so that what is counted is the prediction."""

    sequential = False

    def code(self, parameters: AnyEntropyParameters, y: Tensor | None, group: int = 0) -> Tensor:
        return torch.zeros_like(parameters.mean)

    def quantize(self, y: Tensor) -> Tensor:
        return y


class _Walk(nn.Module):
    """A context model's walk as a module of one call."""

    def __init__(self, context: ContextModel) -> None:
        super().__init__()
        self.context = context

    def forward(self, features: Tensor, rate_level: Tensor, y: Tensor) -> None:
        walk_latents(self.context, _NoCoder(), features, rate_level, y=y)


def count(config: ModelConfig) -> Counts:
    """Build the model and count its parts at 256 x 256 pixels."""
    model = config.build()
    latents, features, hyper_latents = config.transform.latents, config.features, config.hyper.hyper_latents
    side, hyper_side = COUNTED_SIDE // model.stride, COUNTED_SIDE // model.hyper_stride
    walk = multiply_adds(
        _Walk(model.prior.context),
        torch.zeros(1, features, side, side),
        torch.zeros(1),
        torch.zeros(1, latents, side, side),
    )
    prior = _parameters(model.prior) - _parameters(model.prior.synthesis)
    return Counts(
        analysis=_transform(model.analysis, 3, COUNTED_SIDE),
        synthesis=_transform(model.synthesis, latents, side),
        hyper_analysis=_transform(model.hyper_analysis, latents, side),
        hyper_synthesis=_transform(model.prior.synthesis, hyper_latents, hyper_side),
        prior=Cost(prior, walk / COUNTED_SIDE**2),
        **_own_filter(model.post_filter),
    )


def _own_filter(principal: PostFilter | None) -> dict[str, Cost]:
    """What filtering costs, and choosing coefficients, whose filter is tried. Filters count as no parameters."""
    if principal is None:
        return {}
    x, side = torch.zeros(1, 3, COUNTED_SIDE, COUNTED_SIDE), principal.side
    filtering = Cost(0, multiply_adds(nn.Conv2d(3, 3, side, padding=side // 2), x) / COUNTED_SIDE**2)
    seen = 3 * side**2  # products with errors at each pixel, and with one another, and 1, where they are compared
    choosing = Cost(0, 3 * seen + ((seen + 1) / spacing(COUNTED_SIDE**2)) ** 2)
    return {"filter": filtering, "choice": choosing + filtering}
