"""Generalised divisive normalisation, its subtractive kind, and their inverses.

Non-negative parameters are squares of what is stored, so that any optimiser may train them like the
rest. Stored off-diagonal entries start a little beside zero, where a square has a gradient.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lichen.lab.transforms.convolutions import channels_last, chunks, coding

BETA_MIN = 1e-6
NORMALISATION_CHUNK = 2**17  # numbers at a time when coding: 512 kB
_GAMMA_START = 0.1
_ASIDE = 2.0**-9  # where stored entries start whose square should be zero


class Normalisation(nn.Module):
    """Parameters of a divisive normalisation over C channels: beta (C,) and gamma (C, C), non-negative."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.root_beta = nn.Parameter(torch.ones(channels))
        start = torch.full((channels, channels), _ASIDE)
        self.root_gamma = nn.Parameter(start.fill_diagonal_(_GAMMA_START**0.5))

    def energy(self, u: Tensor) -> Tensor:
        """beta + gamma u^2: (B, C, h, w) -> (B, C, h, w)."""
        return F.conv2d(u * u, (self.root_gamma**2)[:, :, None, None], self.root_beta**2 + BETA_MIN)

    def scaled(self, u: Tensor, root: Callable[[Tensor], Tensor]) -> Tensor:
        """u root(beta + gamma u^2); when coding some pixels at a time, so that what passes stays in the cache."""
        if not coding(u):
            return u * root(self.energy(u))
        gamma, beta = (self.root_gamma**2).t().contiguous(), self.root_beta**2 + BETA_MIN
        out = channels_last(u)
        for part, made in chunks(max(NORMALISATION_CHUNK // u.shape[1], 1), u, out):
            torch.mul(part, root(torch.addmm(beta, part * part, gamma)), out=made)
        return out


class GDN(Normalisation):
    """u / sqrt(beta + gamma u^2): (B, C, h, w) -> (B, C, h, w) (Balle 2016)."""

    def forward(self, u: Tensor) -> Tensor:
        return self.scaled(u, torch.rsqrt)


class IGDN(Normalisation):
    """u sqrt(beta + gamma u^2), the approximate inverse: (B, C, h, w) -> (B, C, h, w)."""

    def forward(self, u: Tensor) -> Tensor:
        return self.scaled(u, torch.sqrt)


class _Shifted(Normalisation):
    """Adds a shift nu + tau u, free in sign, that starts at zero."""

    def __init__(self, channels: int) -> None:
        super().__init__(channels)
        self.nu = nn.Parameter(torch.zeros(channels))
        self.tau = nn.Parameter(torch.zeros(channels, channels))

    def shift(self, u: Tensor) -> Tensor:
        return F.conv2d(u, self.tau[:, :, None, None], self.nu)


class GSDN(_Shifted):
    """(u - (nu + tau u)) / sqrt(beta + gamma u^2): (B, C, h, w) -> (B, C, h, w) (Qian 2021, eq. 5)."""

    def forward(self, u: Tensor) -> Tensor:
        return (u - self.shift(u)) * torch.rsqrt(self.energy(u))


class IGSDN(_Shifted):
    """u sqrt(beta + gamma u^2) + (nu + tau u): (B, C, h, w) -> (B, C, h, w) (Qian 2021, eq. 6)."""

    def forward(self, u: Tensor) -> Tensor:
        return self.scaled(u, torch.sqrt) + self.shift(u)
