"""How far the networks of a built model see: the halos that tiles need, found by probing."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from lichen.lab.models.model import Model
from lichen.lab.prior.context import ParallelModel
from lichen.runtime.tiles import ALIGNMENT, PriorHalos, TransformHalos

HALO_MAX = 12  # hyper-latents; a network that sees farther is not run in tiles


@torch.inference_mode(False)  # by the plain layers: the fast ones let a NaN spread farther than values
@torch.no_grad()
def transform_halos(model: Model) -> TransformHalos | None:
    """The true halos of a built model's transforms; None if one of them looks everywhere."""
    pixels, unit, rate_level = model.hyper_stride, model.hyper_stride // model.stride, _zero(model)
    latents, own = model.prior.context.latents, model.post_filter

    def synthesis_of(y: Tensor) -> Tensor:
        x_hat: Tensor = model.synthesis(y, rate_level)
        return x_hat if own is None else own(x_hat, own.offsets.new_zeros(len(own.offsets)))

    analysis = _reach(lambda x: model.analysis(x, rate_level), 3, pixels, unit, device=rate_level.device)
    hyper_analysis = _reach(lambda y: model.hyper_analysis(y, rate_level), latents, unit, 1, device=rate_level.device)
    synthesis = _reach(synthesis_of, latents, unit, pixels, device=rate_level.device)
    if analysis is None or hyper_analysis is None or synthesis is None:
        return None
    return TransformHalos(analysis, hyper_analysis, synthesis)


@torch.inference_mode()
def prior_halos(model: Model) -> PriorHalos | None:
    """The true halos of a built model's prior.

    None if it looks everywhere, its schedule is not periodic, or its context cannot do with a tile.
    """
    context, unit, rate_level = model.prior.context, model.hyper_stride // model.stride, _zero(model)
    if not isinstance(context, ParallelModel) or not context.local or not _is_periodic(model, unit):
        return None
    hyper_latents = model.prior.hyper_prior.channels
    features = model.prior.synthesis(rate_level.new_zeros(1, hyper_latents, 1, 1), rate_level).shape[1]

    def context_of(x: Tensor) -> Tensor:
        return context.everywhere(x[:, :features], x[:, features:])

    synthesis = _reach(lambda z: model.prior.synthesis(z, rate_level), hyper_latents, 1, unit, device=rate_level.device)
    around = _reach(context_of, features + context.latents, unit, unit, device=rate_level.device)
    return None if synthesis is None or around is None else PriorHalos(synthesis, around)


def _zero(model: Model) -> Tensor:
    """The lowest quality, on the model's device."""
    return torch.zeros(1, device=next(model.parameters()).device)


def _is_periodic(model: Model, unit: int) -> bool:
    """Whether the schedule of a hyper-latent's positions is the same wherever it lies."""
    schedule, device = model.prior.context.schedule, torch.device("cpu")

    def steps_of(cells: int) -> Tensor:
        order = torch.full((1, cells * unit, cells * unit, model.prior.context.latents), -1).permute(0, 3, 1, 2)
        for place, step in enumerate(schedule.steps(cells * unit, cells * unit, device)):
            step.put_(order, torch.full_like(step.gather(order), place))
        return order

    return torch.equal(steps_of(2), steps_of(1).repeat(1, 1, 2, 2))


def _reach(
    network: Callable[[Tensor], Tensor], channels: int, unit_in: int, unit_out: int, device: torch.device
) -> int | None:
    """How many hyper-latents away an input is still felt, found by letting a NaN spread through the network.

    A NaN passes every layer whatever its weights. If what it reaches depends on where it stood (networks
    that work on a grid of their own), the reach is rounded up to the probes' period. None: too far.
    """
    for radius in (HALO_MAX // 2, HALO_MAX):
        spreads = [
            _spread(network, channels, unit_in, unit_out, radius=radius, phase=phase, device=device) for phase in (0, 1)
        ]
        alike = all(torch.equal(a, b) for a, b in zip(*spreads, strict=True))
        if not alike:
            phases = range(2, ALIGNMENT)
            spreads += [
                _spread(network, channels, unit_in, unit_out, radius=radius, phase=phase, device=device)
                for phase in phases
            ]
        reach = max((int(strip.abs().max()) for strips in spreads for strip in strips if len(strip)), default=0)
        if reach < radius:
            return reach if alike else -(-reach // ALIGNMENT) * ALIGNMENT
    return None


def _spread(
    network: Callable[[Tensor], Tensor],
    channels: int,
    unit_in: int,
    unit_out: int,
    radius: int,
    phase: int,
    device: torch.device,
) -> tuple[Tensor, Tensor]:
    """Where a NaN is felt, as offsets in hyper-latents, down and across: in strips, as a whole map would be dear."""
    at, side = radius + phase, 2 * radius + ALIGNMENT
    strips = []
    for down in (True, False):
        rows, columns = (side, 2) if down else (2, side)
        x = torch.zeros(1, channels, rows * unit_in, columns * unit_in, device=device)
        x.narrow(2 if down else 3, at * unit_in, unit_in).fill_(torch.nan)
        felt = network(x).isnan().any(dim=1)[0].any(dim=1 if down else 0)
        strips.append(felt.unflatten(0, (side, unit_out)).any(dim=1).nonzero() - at)
    return strips[0], strips[1]
