"""A small picture from the first channels of the latents, for previews (ELIC supplement 5: thumbnail synthesiser)."""

from __future__ import annotations

from torch import Tensor, nn

from lichen.lab.transforms.blocks import SLOPE, conv, up, zero_


class ThumbnailSynthesis(nn.Module):
    """Thumbnail synthesis: the first `channels` of y_hat (B, M, h, w) -> (B, 3, 2^d h, 2^d w), unclamped.

    A 3 x 3 convolution to `width` channels, then d = `doublings` steps of twice the resolution (ELIC supplement,
    section 5). It starts as plain grey.
    """

    def __init__(self, channels: int, width: int, doublings: int) -> None:
        super().__init__()
        self.channels = channels
        layers: list[nn.Module] = [conv(channels, width, 3, 1)]
        for step in range(doublings):
            layers += [nn.LeakyReLU(SLOPE), up(width, width if step + 1 < doublings else 3)]
        self.body = nn.Sequential(*layers)
        last = zero_([layer for layer in self.body.modules() if isinstance(layer, nn.Conv2d)][-1])
        if last.bias is not None:
            nn.init.constant_(last.bias, 0.5)

    def forward(self, y_hat: Tensor) -> Tensor:
        out: Tensor = self.body(y_hat[:, : self.channels])
        return out
