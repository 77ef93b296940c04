"""Generalised divisive normalisation (GDN), its subtractive kind (GSDN), and their approximate inverses.

beta and gamma must not be negative: their square roots are stored, so that any optimiser may train them. Off-diagonal
roots start a little beside zero, because the square has no gradient at zero.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lichen.lab.transforms.convolutions import channels_last, chunks, coding

BETA_MIN = 1e-6
NORMALISATION_CHUNK = 2**17  # values at a time when coding: 512 kB
_GAMMA_START = 0.1
_ROOT_START = 2.0**-9  # of off-diagonal entries, whose square should be about zero


class Normalisation(nn.Module):
    """Parameters of a divisive normalisation over C channels: beta (C,) and gamma (C, C), not negative.

    `subtractive` adds a shift nu (C,) and tau (C, C), of any sign, which start at zero (Qian 2021).
    """

    def __init__(self, channels: int, subtractive: bool = False) -> None:
        super().__init__()
        self.root_beta = nn.Parameter(torch.ones(channels))
        start = torch.full((channels, channels), _ROOT_START)
        self.root_gamma = nn.Parameter(start.fill_diagonal_(_GAMMA_START**0.5))
        if subtractive:
            self.nu = nn.Parameter(torch.zeros(channels))
            self.tau = nn.Parameter(torch.zeros(channels, channels))

    def energy(self, u: Tensor) -> Tensor:
        """beta + gamma u^2: (B, C, h, w) -> (B, C, h, w)."""
        return F.conv2d(u * u, (self.root_gamma**2)[:, :, None, None], self.root_beta**2 + BETA_MIN)

    def scaled(self, u: Tensor, root: Callable[[Tensor], Tensor]) -> Tensor:
        """u root(beta + gamma u^2): (B, C, h, w) -> (B, C, h, w). When coding, a chunk of pixels at a time."""
        if not coding(u):
            return u * root(self.energy(u))
        gamma, beta = (self.root_gamma**2).t().contiguous(), self.root_beta**2 + BETA_MIN
        out = channels_last(u)
        for part, made in chunks(max(NORMALISATION_CHUNK // u.shape[1], 1), u, out):
            torch.mul(part, root(torch.addmm(beta, part * part, gamma)), out=made)
        return out

    def shift(self, u: Tensor) -> Tensor:
        """nu + tau u of a subtractive normalisation: (B, C, h, w) -> (B, C, h, w)."""
        return F.conv2d(u, self.tau[:, :, None, None], self.nu)


class GDN(Normalisation):
    """Generalised divisive normalisation, u / sqrt(beta + gamma u^2): (B, C, h, w) -> (B, C, h, w) (Balle 2016)."""

    def forward(self, u: Tensor) -> Tensor:
        return self.scaled(u, torch.rsqrt)


class IGDN(Normalisation):
    """Its approximate inverse, u sqrt(beta + gamma u^2): (B, C, h, w) -> (B, C, h, w) (Balle 2017)."""

    def forward(self, u: Tensor) -> Tensor:
        return self.scaled(u, torch.sqrt)


class GSDN(Normalisation):
    """Subtractive and divisive normalisation, (u - (nu + tau u)) / sqrt(beta + gamma u^2) (Qian 2021, eq. 5).

    (B, C, h, w) -> (B, C, h, w).
    """

    def __init__(self, channels: int) -> None:
        super().__init__(channels, subtractive=True)

    def forward(self, u: Tensor) -> Tensor:
        return (u - self.shift(u)) * torch.rsqrt(self.energy(u))


class IGSDN(Normalisation):
    """Its approximate inverse, u sqrt(beta + gamma u^2) + (nu + tau u) (Qian 2021, eq. 6).

    (B, C, h, w) -> (B, C, h, w).
    """

    def __init__(self, channels: int) -> None:
        super().__init__(channels, subtractive=True)

    def forward(self, u: Tensor) -> Tensor:
        return self.scaled(u, torch.sqrt) + self.shift(u)
