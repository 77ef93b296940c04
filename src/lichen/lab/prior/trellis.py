"""Trellis-coded latents in the lab: tensors to and from `coding.trellis`."""

from __future__ import annotations

import torch
from torch import Tensor

from lichen.coding import trellis
from lichen.coding.table_index import zero_mean_index
from lichen.lab.prior.entropy_parameters import AnyEntropyParameters, EntropyParameters


def rounded_as_coded(residual: Tensor, parameters: AnyEntropyParameters) -> Tensor:
    """The symbols of residuals (B, n, c), as a file has them: trellis latents by the search, picture by picture."""
    if not isinstance(parameters, EntropyParameters) or not parameters.trellis:
        return torch.round(residual)
    index, found = parameters.index().flatten(1).cpu().numpy(), []
    for own, scale_index in zip(residual.detach().flatten(1).cpu().numpy(), index, strict=True):
        place = zero_mean_index(scale_index, parameters.family.tables, parameters.family.skip, trellis_coded=True)
        found.append(torch.from_numpy(place.spread(place.quantized(place.of(own)), len(own))))
    return torch.stack(found).view(residual.shape).to(residual)


def dequantized(y_hat: Tensor, symbols: Tensor, parameters: EntropyParameters) -> Tensor:
    """y_hat (B, n, c) where those of large scales are what their symbols (B, n, c) stand for; in place."""
    index, mean = parameters.index().flatten(1).cpu().numpy(), parameters.mean.flatten(1)
    for picture, own in enumerate(symbols.detach().flatten(1).cpu().numpy()):
        where = trellis.taking_part(index[picture])
        away = trellis.values(own[where].astype("int64"), index[picture][where], parameters.family.tables)
        place = torch.from_numpy(where).to(y_hat.device)
        y_hat.view(len(y_hat), -1)[picture, place] = mean[picture, place] + torch.from_numpy(away).to(mean)
    return y_hat
