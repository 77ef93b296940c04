"""Small priors of every context model, with random weights, and the laws applied to them."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from lichen.lab.fixed_point.convert import to_fixed_point
from lichen.lab.models import prior_configs as configs
from lichen.lab.prior.adaptation import Adaptation
from lichen.lab.prior.entropy_parameters import EntropyParameters
from lichen.lab.prior.estimator import Estimator
from lichen.lab.prior.families import Logistic
from lichen.lab.prior.file_coder import FileReader, FileWriter
from lichen.lab.prior.prior import Prior
from lichen.lab.prior.schedules import AllAtOnce, DualCheckerboard, Quadtree
from lichen.lab.prior.walk import merge
from lichen.lab.transforms.hyper import FastHyperSynthesis
from tests.laws import laws
from tests.laws.laws import Given, distance_from_grid
from tests.small import calm, calm_scales, randomise

M, Z, SIZE = 16, 5, (12, 8)
RATE_LEVEL = torch.zeros(1)

CONTEXTS: dict[str, configs.AnyContext] = {
    "ours-hp": configs.Context(AllAtOnce(), 8, 12),
    "ours-dual": configs.Context(DualCheckerboard(), 8, 12),
    "ours-quad": configs.Context(Quadtree(), 8, 12, Logistic(), centroids=True),
    # In fixed point in float32.
    "ours-float32": configs.Context(Quadtree(), 8, 12, Logistic(), centroids=True, adaptation=6),
    "ours-adaptive": configs.Context(DualCheckerboard(), 8, 12, adaptation=6),
    "factorized": configs.FactorizedContext(radius=63),
    "zero-mean": configs.DirectContext(zero_mean=True),
    "mean-scale": configs.DirectContext(),
    "checkerboard": configs.CheckerboardContext(),
    "causal": configs.CausalContext(),
    "slices": configs.SliceContext(4, 2, (12, 10)),
    "groups": configs.GroupContext((2, 2, 4, 8), (10, 8)),
    "reference": configs.ReferenceContext(hidden=20),
    "staged": configs.StagedContext(hidden=20),
    "causal-alone": configs.CausalContext(),
    "reference-alone": configs.ReferenceContext(hidden=20, confidence=False),
    "groups-official": configs.GroupContext((2, 2, 4, 8), (10, 8), least=20),
}
FLOAT32 = "ours-float32"
WITHOUT_HYPER = {"factorized", "causal-alone", "reference-alone"}
SEES_NOTHING = {"ours-hp", "factorized", "zero-mean", "mean-scale"}


class Upsample(nn.Module):
    """A small hyper synthesis: a transposed convolution, a rectifier, a convolution."""

    def __init__(self, features: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.ConvTranspose2d(Z, 12, 5, stride=4, padding=2, output_padding=3),
            nn.LeakyReLU(0.01),
            nn.Conv2d(12, features, 3, padding=1),
        )

    def forward(self, z_hat: Tensor, rate_level: Tensor) -> Tensor:
        out: Tensor = self.body(z_hat)
        return out


class Nothing(nn.Module):
    """The hyper synthesis of a model without hyper-latents."""

    def forward(self, z_hat: Tensor, rate_level: Tensor) -> Tensor:
        return z_hat

    def fixed_point(self) -> Nothing:
        return self


def features_of(name: str) -> int:
    return 0 if name in WITHOUT_HYPER else M if name == "zero-mean" else 2 * M


def small_prior(name: str, seed: int = 0) -> Prior:
    """A prior with random weights whose scales are about those of `latents`."""
    torch.manual_seed(seed)
    base = torch.zeros(1, M)
    context = CONTEXTS[name].build(base, features_of(name))
    if name == FLOAT32:
        prior = Prior(
            FastHyperSynthesis(Z, 12, features_of(name), 1),
            context,
            configs.LevelHyperPrior().build(Z, 1),
            float32=True,
        )
    elif name in WITHOUT_HYPER:
        prior = Prior(Nothing(), context, configs.LearnedHyperPrior(7).build(0, 1))
    else:
        prior = Prior(Upsample(features_of(name)), context, configs.LearnedHyperPrior(31).build(Z, 1))
    if name == "factorized":
        return prior.eval()
    randomise(prior.synthesis, prior.context)
    with torch.no_grad():
        widen(prior)
        if name == FLOAT32:
            prior.hyper_prior.raw_scale.table.fill_(2)  # the deviation of z in `latents`
    return prior.eval()


def widen(prior: Prior) -> None:
    """Scales of about 6, so that latents are rarely beyond the tables: escapes are not what is measured here."""
    if isinstance(prior.synthesis, Upsample):
        calm(prior.synthesis.body[-1], slice(-M, None), 5)
    calm_scales(prior.context, M)
    for module in prior.modules():
        if isinstance(module, Adaptation):
            for own, mixed in zip(module.own, module.mixed, strict=True):
                calm(own, slice(None), 0)
                calm(mixed[-1], slice(None), 0)


def latents(name: str, seed: int = 1) -> tuple[Tensor, Tensor]:
    """y (1, M, 12, 8) and z (1, Z, 3, 2); no z for a model without hyper-latents."""
    torch.manual_seed(seed)
    y = torch.randn(1, M, *SIZE) * torch.linspace(0.3, 6, M)[:, None, None]
    z = torch.randn(1, Z, 3, 2) * 4
    return y, (y[:, :0] if name in WITHOUT_HYPER else z)


def parameters_of(prior: Prior, name: str) -> tuple[EntropyParameters, Tensor]:
    """Those of all steps, (1, M, 12, 8), and y, of which they are made, with a gradient."""
    y, z = latents(name)
    y.requires_grad_()
    return merge(prior.walk(Given(), RATE_LEVEL, z.shape[2:], y, z).predicted, y), y


def leaks(prior: Prior, name: str) -> float:
    """`laws.leaks` of a prior: more than 0 where a step sees its own latents or later ones."""
    parameters, y = parameters_of(prior, name)
    return laws.leaks(parameters, prior.context.schedule.steps(*SIZE, y.device), y)


@torch.no_grad()
def sees_ahead(prior: Prior, name: str, position: int) -> bool:
    """Whether a change of the latents at `position` changes entropy parameters there or before, in raster order.

    For what gradients do not see: the choice of a reference.
    """
    y, z = latents(name)
    other = y.clone()
    other.flatten(2)[:, :, position] *= -3
    maps = [merge(prior.walk(Given(), RATE_LEVEL, z.shape[2:], x, z).predicted, x) for x in (y, other)]
    seen = [[m.flatten(2)[:, :, : position + 1] for m in (own.mean, own.raw_scale)] for own in maps]
    return not all(torch.equal(*pair) for pair in zip(*seen, strict=True))


def uses_context(prior: Prior, name: str) -> bool:
    """`laws.uses_context` of a prior: whether any entropy parameter depends on y."""
    return laws.uses_context(*parameters_of(prior, name))


def disagreement(prior: Prior, name: str) -> float:
    """The largest difference between the parameters in training and in coding, given the same y_hat."""
    y, z = latents(name)
    y = torch.round(y)
    rough = merge(prior.walk(Given(), RATE_LEVEL, z.shape[2:], y, z).predicted, y)
    exact_walk = to_fixed_point(prior).walk(Given(), RATE_LEVEL.double(), z.shape[2:], y.double(), z.double())
    exact = merge(exact_walk.predicted, y.double())
    return max(float((rough.mean - exact.mean).abs().max()), float((rough.raw_scale - exact.raw_scale).abs().max()))


def written(exact: Prior, name: str, seed: int = 1) -> tuple[tuple[bytes, ...], Tensor]:
    y, z = latents(name, seed)
    writer = FileWriter()
    y_hat = exact.walk(writer, RATE_LEVEL.double(), z.shape[2:], y.double(), z.double()).y_hat
    return writer.finish(), y_hat


def read(exact: Prior, name: str, payloads: tuple[bytes, ...]) -> Tensor:
    shape = SIZE if name in WITHOUT_HYPER else (3, 2)
    return exact.walk(FileReader(payloads), RATE_LEVEL.double(), shape).y_hat


def estimated_bytes(prior: Prior, name: str, seed: int = 1) -> float:
    y, z = latents(name, seed)
    estimator = Estimator(None)
    prior.walk(estimator, RATE_LEVEL, z.shape[2:], y, z)
    return float(torch.stack(estimator.bits).sum()) / 8


def off_the_grid(exact: Prior, name: str) -> float:
    """How far anything that a layer takes or gives, and the coder's parameters, lie from multiples of 2^-12 at most."""
    seen = [0.0]
    leaves = [module for module in exact.modules() if next(module.children(), None) is None]
    hooks = [
        leaf.register_forward_hook(lambda _, inputs, out: seen.append(distance_from_grid(*inputs, out)))
        for leaf in leaves
    ]
    y, z = latents(name)
    walked = exact.walk(Given(), RATE_LEVEL.double(), z.shape[2:], torch.round(y).double(), z.double().round())
    for hook in hooks:
        hook.remove()
    return max(*seen, *(distance_from_grid(own.mean, own.raw_scale) for _, own in walked.predicted))
