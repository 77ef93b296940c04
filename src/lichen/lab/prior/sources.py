"""The papers' sources: the networks that predict a coding step."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from lichen.lab.fixed_point.functions import FixedPointHalfTanh
from lichen.lab.prior.context import Hidden, Source
from lichen.lab.prior.masked import MaskedConv
from lichen.lab.prior.schedules import Cell
from lichen.lab.transforms.blocks import Pointwise


def stack(widths: Sequence[int], slope: float) -> nn.Sequential:
    """1 x 1 convolutions of these widths with rectifiers between (slope 0: ReLU)."""
    layers: list[nn.Module] = []
    for before, after in itertools.pairwise(widths):
        layers += [Pointwise(before, after), nn.LeakyReLU(slope)]
    return nn.Sequential(*layers[:-1])


def convolutions(widths: Sequence[int], kernels: Sequence[int], slope: float) -> nn.Sequential:
    """Convolutions of these widths and kernel sizes with rectifiers between (slope 0: ReLU)."""
    layers: list[nn.Module] = []
    for before, after, kernel in zip(widths[:-1], widths[1:], kernels, strict=True):
        layers += [nn.Conv2d(before, after, kernel, padding=kernel // 2), nn.LeakyReLU(slope)]
    return nn.Sequential(*layers[:-1])


def at_points(network: nn.Module, x: Tensor) -> Tensor:
    """A network of 1 x 1 layers on points: (B, n, Cin) -> (B, n, Cout)."""
    out: Tensor = network(x.permute(0, 2, 1)[..., None])
    return out[..., 0].permute(0, 2, 1)


class Direct(Source):
    """The features (B, 2M, h, w) are the parameters: mean, then raw scale (mean-scale hyperprior, Minnen 2018).

    With `zero_mean` they are the M raw scales alone (scale hyperprior, Balle 2018).
    """

    def __init__(self, zero_mean: bool = False) -> None:
        super().__init__()
        self.zero_mean = zero_mean

    def forward(self, features: Tensor, known: Tensor, before: Hidden | None) -> Hidden:
        return (features,)

    def at(self, hidden: Hidden, cell: Cell) -> tuple[Tensor, Tensor]:
        out = cell.at(hidden[0])
        mean, raw_scale = (torch.zeros_like(out), out) if self.zero_mean else out.chunk(2, dim=2)
        return mean[:, :, cell.channels], raw_scale[:, :, cell.channels]

    def fixed_point(self) -> Direct:
        """Nothing is computed: it is its own fixed-point module."""
        return self


class Neighbourhood(Source):
    """Hyper-latent, earlier groups of channels and decoded neighbours, joined by 1 x 1 convolutions.

    features (B, F, h, w) and y_hat (B, M, h, w), zero where unknown. The neighbours, of the own channels, come through
    one masked k x k convolution `gather`: causal for serial models (Minnen 2018), a checkerboard for two passes, the
    first of which sees zeros (He 2021; correlation-loss paper eq. 8; ELIC's g_sp). `channels` (ELIC's g_ch) maps the
    first `earlier` channels, once for both passes. The input of `aggregate` is: neighbours, earlier groups, features.
    """

    def __init__(
        self,
        gather: MaskedConv,
        aggregate: nn.Sequential,
        passes: int,
        earlier: int = 0,
        channels: nn.Sequential | None = None,
    ) -> None:
        super().__init__()
        self.gather, self.aggregate, self.channels = gather, aggregate, channels
        self.passes, self.earlier, self.width = passes, earlier, gather.out_channels

    def forward(self, features: Tensor, known: Tensor, before: Hidden | None) -> Hidden:
        if before is not None:
            return before[0], known
        common = features
        if self.channels is not None:
            common = torch.cat([self.channels(known[:, : self.earlier]), features], dim=1)
        return (common, known) if self.passes == 1 else (common,)

    def at(self, hidden: Hidden, cell: Cell) -> tuple[Tensor, Tensor]:
        common = cell.at(hidden[0])
        if len(hidden) == 1:
            local = common.new_zeros(*common.shape[:2], self.width)
        else:
            local = self.gather(hidden[1][:, cell.channels], cell.positions)
        return self.join(local, common)

    def join(self, local: Tensor, common: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and raw scale from neighbours and what all passes see, at the same n points: (B, n, c) each."""
        mean, raw_scale = at_points(self.aggregate, torch.cat([local, common], dim=2)).chunk(2, dim=2)
        return mean, raw_scale


class HalfTanh(nn.Module):
    """tanh(x) / 2, elementwise: the most that a latent residual prediction may change."""

    def forward(self, x: Tensor) -> Tensor:
        return 0.5 * torch.tanh(x)

    def fixed_point(self) -> FixedPointHalfTanh:
        """The fixed-point module."""
        return FixedPointHalfTanh()


class Slice(Source):
    """A slice of channels from the hyper-latent and earlier slices, with latent residual prediction (Minnen 2020).

    Features (B, 2M, h, w) are M for means, then M for scales. Means and scales have networks of their own, and
    `residual` adds 0.5 tanh of a third one to what was decoded. At most `support` earlier slices are seen.
    """

    local = False  # what is decoded around a latent changes it

    def __init__(self, latents: int, own: slice, support: int, widths: Sequence[int], kernels: Sequence[int]) -> None:
        super().__init__()
        channels = own.stop - own.start
        self.latents, self.seen_channels = latents, slice(0, min(own.start, support * channels))
        ways = latents + self.seen_channels.stop
        self.mean = convolutions([ways, *widths, channels], kernels, 0.0)
        self.raw_scale = convolutions([ways, *widths, channels], kernels, 0.0)
        self.residual = nn.Sequential(*convolutions([ways + channels, *widths, channels], kernels, 0.0), HalfTanh())

    def forward(self, features: Tensor, known: Tensor, before: Hidden | None) -> Hidden:
        earlier = known[:, self.seen_channels]
        means = torch.cat([features[:, : self.latents], earlier], dim=1)
        scales = torch.cat([features[:, self.latents :], earlier], dim=1)
        return means, self.mean(means), self.raw_scale(scales)

    def at(self, hidden: Hidden, cell: Cell) -> tuple[Tensor, Tensor]:
        return cell.at(hidden[1]), cell.at(hidden[2])

    def with_residual(self, hidden: Hidden, decoded: Tensor) -> Tensor:
        means = hidden[0]
        plane = decoded.permute(0, 2, 1).unflatten(2, means.shape[2:])
        change: Tensor = self.residual(torch.cat([means, plane], dim=1))
        return decoded + change.permute(0, 2, 3, 1).flatten(1, 2)
