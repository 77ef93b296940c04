"""Statistics by channel, drawn with matplotlib: magnitudes, histograms of latents, energies, rates, correlations."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from lichen.lab.inspection.drawing import saved, sheet
from lichen.lab.inspection.inspect import Inspection
from lichen.lab.inspection.latent_statistics import LATENT_REACH, LATENT_STEP, neighbours_mean

_ACROSS = 4  # magnitude maps in a row


def draw_channels(inspections: Sequence[Inspection]) -> bytes:
    """A PNG with a row for each model. Raises `UsageError` without the `eval` extra (matplotlib).

    From the left: magnitude maps of the channels of highest energy (ELIC supplement, eq. 1), histograms of the latents
    of the channels of highest entropy (Qian 2021, Figure 11), energies and rates of all channels (ELIC's Figure 3), and
    each channel's correlation with its neighbours beside its rate.
    """
    figure, axes = sheet(len(inspections), 4, (6.0, 3.8))
    reach = max(_reach(i) for i in inspections)
    for places, inspection in zip(axes, inspections, strict=True):
        _magnitudes(places[0], inspection)
        _latents(places[1], inspection, reach)
        _energy(places[2], inspection)
        _rho(places[3], inspection)
    return saved(figure, "png")


def _magnitudes(axes: Any, inspection: Inspection) -> None:
    """The maps side by side in one picture, in grey from 0 to 1 as the paper has them."""
    found = inspection.magnitudes
    count, height, width = found.maps.shape
    rows = -(-count // _ACROSS)
    canvas = torch.full((rows * (height + 1) - 1, _ACROSS * (width + 1) - 1), torch.nan)
    for number, plane in enumerate(found.maps):
        row, column = divmod(number, _ACROSS)
        top, left = row * (height + 1), column * (width + 1)
        canvas[top : top + height, left : left + width] = plane
        label = f"{found.channels[number]}: {found.energy[number]:.3g}"
        paper = {"facecolor": "black", "edgecolor": "none", "alpha": 0.6, "pad": 0.8}
        axes.text(left, top, label, color="#ffd60a", fontsize=7, va="top", ha="left", bbox=paper)
    axes.imshow(canvas.numpy(), cmap="gray", vmin=0, vmax=1, interpolation="nearest")
    axes.set_axis_off()
    axes.set_title(f"{inspection.name}\nabs(ŷ) / max abs(ŷ); channel: energy", fontsize=8)


def _edges() -> np.ndarray:
    return np.arange(-LATENT_REACH, LATENT_REACH, LATENT_STEP)


def _reach(inspection: Inspection) -> float:
    """How far from zero the shown channels' latents lie, all but 1 in 1000 on either side."""
    counts = inspection.latent_histograms[inspection.most_bits].sum(dim=0).numpy()
    share = np.cumsum(counts) / max(counts.sum(), 1)
    inside = _edges()[(share > 0.001) & (share < 0.999)]
    return float(np.abs(inside).max()) + 1 if len(inside) else 1.0


def _latents(axes: Any, inspection: Inspection, reach: float) -> None:
    """Densities of y, its means in the legend: a channel whose mean is not zero has shifted."""
    for channel in inspection.most_bits:
        counts = inspection.latent_histograms[channel].numpy()
        density = counts / max(counts.sum() * LATENT_STEP, 1)
        label = f"channel {channel}, mean {inspection.channel_mean[channel]:+.2f}"
        axes.step(_edges(), density, where="post", linewidth=1, label=label)
    axes.axvline(0, color="#888888", linewidth=0.8, linestyle=":")
    axes.set_xlim(-reach, reach)
    axes.legend(fontsize=7)
    axes.set_title("histograms of y in steps, the four channels of highest entropy", fontsize=8)


def _energy(axes: Any, inspection: Inspection) -> None:
    energy = inspection.energy.sort(descending=True).values.numpy()
    axes.plot(energy, label="energy (mean ŷ²)")
    if energy.max() > 0:  # else all is zero: weights that know nothing yet
        axes.set_yscale("log")
        axes.set_ylim(bottom=max(float(energy.max()) * 1e-8, 1e-8))
    axes.set_title("log energy of channels, sorted, and their rates", fontsize=8)
    rate = axes.twinx()
    rate.plot(inspection.channel_bpp[inspection.energy.argsort(descending=True)].numpy(), "C1", lw=0.8, label="bpp")
    axes.legend(loc="upper center", fontsize=7)
    rate.legend(loc="upper right", fontsize=7)


def _rho(axes: Any, inspection: Inspection) -> None:
    """One dot a channel: its rate, and its correlations with the neighbours to the right and below."""
    rates, rho = inspection.channel_bpp.numpy(), inspection.channel_rho
    for (row, column), label in (((2, 3), "right"), ((3, 2), "below")):
        axes.scatter(rates, rho[:, row, column].numpy(), s=7, alpha=0.7, label=f"with the latent {label}")
    axes.scatter(rates, neighbours_mean(rho).numpy(), s=7, alpha=0.7, color="#444444", label="mean abs of all eight")
    axes.axhline(0, color="#888888", linewidth=0.8, linestyle=":")
    if (rates > 0).any():
        axes.set_xscale("log")
        axes.set_xlim(left=max(rates.max() * 1e-5, rates[rates > 0].min() / 2))
    axes.set(xlabel="rate of the channel, bpp")
    axes.legend(fontsize=7)
    title = f"C/C(0) of each channel; weighed by rate {inspection.weighted_rho:.4f}"
    axes.set_title(f"{title}, of all channels at once {inspection.rho_off_centre:.4f}", fontsize=8)
