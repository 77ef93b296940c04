"""Divisive normalisation against its formula, written as loops."""

from __future__ import annotations

import pytest
import torch

from lichen.lab.transforms.gdn import BETA_MIN, GDN, GSDN, IGDN, IGSDN


def lively(norm):
    torch.manual_seed(0)
    for parameter in norm.parameters():
        torch.nn.init.normal_(parameter)
    return norm.double()


def energy_of(norm, u, i):
    """beta_i + sum_j gamma_ij u_j^2 at one position."""
    gamma = norm.root_gamma[i] ** 2
    return norm.root_beta[i] ** 2 + BETA_MIN + sum(gamma[j] * u[j] ** 2 for j in range(len(u)))


@pytest.mark.parametrize("kind", [GDN, IGDN, GSDN, IGSDN])
@torch.no_grad()
def test_formula(kind):
    norm, u = lively(kind(3)), torch.randn(2, 3, 4, 5, dtype=torch.float64)
    out = norm(u)
    for i in range(3):
        at = u[1, :, 2, 3]
        energy = energy_of(norm, at, i)
        shift = norm.nu[i] + norm.tau[i] @ at if kind in (GSDN, IGSDN) else 0
        wanted = {
            GDN: at[i] / energy**0.5,
            IGDN: at[i] * energy**0.5,
            GSDN: (at[i] - shift) / energy**0.5,  # Qian 2021, eq. 5
            IGSDN: at[i] * energy**0.5 + shift,  # eq. 6
        }[kind]
        assert float(out[1, i, 2, 3]) == pytest.approx(float(wanted), rel=1e-12)


def test_starts_nearly_diagonal_and_trains_off_the_diagonal():
    norm = GDN(4)
    assert float((norm.root_gamma**2).detach().diagonal().mean()) == pytest.approx(0.1)
    norm(torch.randn(1, 4, 3, 3)).square().sum().backward()
    assert bool((norm.root_gamma.grad != 0).all())


def test_any_parameters_stay_non_negative():
    norm = lively(GDN(3))
    assert bool(torch.isfinite(norm(torch.full((1, 3, 1, 1), -1e3, dtype=torch.float64))).all())
    assert bool((norm.energy(torch.zeros(1, 3, 1, 1, dtype=torch.float64)) >= BETA_MIN).all())


def test_subtractive_kind_starts_as_the_plain_one():
    torch.manual_seed(0)
    u = torch.randn(1, 5, 3, 3)
    assert torch.equal(GSDN(5)(u), GDN(5)(u)) and torch.equal(IGSDN(5)(u), IGDN(5)(u))
