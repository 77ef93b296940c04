"""A model is its parts: a transform, a hyper transform and a prior. There is one class for all rows."""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn

from lichen.lab.fixed_point.convert import to_fixed_point
from lichen.lab.post_filter.filters import PostFilter
from lichen.lab.prior.entropy_parameters import LearnedEntropyParameters
from lichen.lab.prior.estimator import Estimator
from lichen.lab.prior.latents import Coded, Latents
from lichen.lab.prior.noise import Noise
from lichen.lab.prior.prior import Prior
from lichen.lab.prior.walk import Coder, Walked, merge
from lichen.lab.tensors import pad_to
from lichen.lab.transforms.blocks import LevelTable
from lichen.lab.transforms.fast import FastSynthesis


class Gains(nn.Module):
    """Per-channel gains before the quantiser and after it, by rate level, log-interpolated.

    Variable rate as in Cui 2021: `gain(y, rate_level)` multiplies by the gain (units of the quantisation
    step), `inverse_gain(y_hat, rate_level)` by its learned inverse.
    """

    def __init__(self, start: Tensor, channels: int) -> None:
        super().__init__()
        log_gain = torch.log(start)[:, None].expand(-1, channels)
        self.forward_log = LevelTable(log_gain)
        self.backward_log = LevelTable(-log_gain)

    def gain(self, y: Tensor, rate_level: Tensor) -> Tensor:
        """y (B, M, h, w) of the analysis -> y in quantisation steps of rate levels (B,)."""
        return y * torch.exp(self.forward_log(rate_level))

    def inverse_gain(self, y_hat: Tensor, rate_level: Tensor) -> Tensor:
        """The inverse for y_hat (B, M, h, w), learned for itself."""
        return y_hat * torch.exp(self.backward_log(rate_level))


class NoGains(nn.Module):
    """In place of `Gains` where one quality is trained: latents (B, M, h, w) are quantised as they are."""

    def gain(self, y: Tensor, rate_level: Tensor) -> Tensor:
        """y as it is."""
        return y

    def inverse_gain(self, y_hat: Tensor, rate_level: Tensor) -> Tensor:
        """y_hat as it is."""
        return y_hat


class Model(nn.Module):
    """Pixels -> latents -> pixels, with a prior that prices the latents.

    `analysis(x, rate_level)`, `synthesis(y, rate_level)` and `hyper_analysis(y, rate_level)` are free to differ
    between machines; `prior` is not, and codes files through its fixed-point module (`fixed_point_prior`).
    `thumbnail(y_hat)`, where there is one, makes small pictures of the first channels.
    `post_filter(x_hat, coefficients)`, where there is one, is the adaptive post-filter (`lab.post_filter`).
    """

    def __init__(
        self,
        analysis: nn.Module,
        synthesis: nn.Module,
        hyper_analysis: nn.Module,
        prior: Prior,
        gains: Gains | NoGains,
        stride: int,
        hyper_stride: int,
        thumbnail: nn.Module | None = None,
        post_filter: PostFilter | None = None,
    ) -> None:
        super().__init__()
        self.analysis, self.synthesis = analysis, synthesis
        self.hyper_analysis, self.prior, self.gains = hyper_analysis, prior, gains
        self.thumbnail, self.post_filter = thumbnail, post_filter
        self.stride = stride  # pixels for each latent
        self.hyper_stride = hyper_stride  # pixels for each hyper-latent

    def analyse(self, x: Tensor, rate_level: Tensor) -> Tensor:
        """x (B, 3, H, W) in [0, 1], any size -> y (B, M, h, w) in quantisation steps, float32.

        The picture is extended by its edge pixels to whole hyper-latents.
        """
        return self.gained(self.ungained(x, rate_level), rate_level)

    def ungained(self, x: Tensor, rate_level: Tensor) -> Tensor:
        """`analyse` without its gain."""
        y: Tensor = self.analysis(pad_to(x, self.hyper_stride), rate_level)
        return y.float()

    def gained(self, y: Tensor, rate_level: Tensor) -> Tensor:
        """y of the analysis -> y in quantisation steps of this rate level."""
        return self.gains.gain(y, rate_level)

    def hyper_analyse(self, y: Tensor, rate_level: Tensor) -> Tensor:
        """y (B, M, h, w) -> z (B, Z, h', w'), float32."""
        z: Tensor = self.hyper_analysis(y, rate_level)
        return z.float()

    def walk(self, coder: Coder, y: Tensor, rate_level: Tensor) -> Walked:
        """Code y (B, M, h, w) and its hyper-latents."""
        z = self.hyper_analyse(y, rate_level)
        return self.prior.walk(coder, rate_level, (z.shape[2], z.shape[3]), y, z=z)

    def synthesise(self, y_hat: Tensor, rate_level: Tensor, height: int, width: int) -> Tensor:
        """y_hat (B, M, h, w) -> x_hat (B, 3, height, width), unclamped float32."""
        x_hat: Tensor = self.synthesis(self.gains.inverse_gain(y_hat, rate_level), rate_level)
        return x_hat.float()[..., :height, :width]

    @property
    def linear_branch(self) -> tuple[Tensor, Tensor] | None:
        """The synthesis' linear branch (3 s^2, M), and the logarithm of the gains before it (levels, M); or None."""
        if not isinstance(self.synthesis, FastSynthesis) or not isinstance(self.gains, Gains):
            return None
        return self.synthesis.linear.weight[:, :, 0, 0], self.gains.backward_log.table

    def preview(self, y_hat: Tensor, rate_level: Tensor, height: int, width: int) -> Tensor | None:
        """y_hat (B, M, h, w) -> a small picture (B, 3, H / s, W / s), sizes rounded up; None without a `thumbnail`."""
        if self.thumbnail is None:
            return None
        small: Tensor = self.thumbnail(self.gains.inverse_gain(y_hat, rate_level)).float()
        shrink = self.stride * y_hat.shape[2] // small.shape[2]
        return small[..., : -(-height // shrink), : -(-width // shrink)]

    def forward(self, x: Tensor, rate_level: Tensor, noise: Noise | None = None) -> Coded:
        """One estimating pass: x (B, 3, H, W) in [0, 1], rate_level (B,) -> `Coded`.

        `noise` is for training; without it the estimate is that of a file.
        """
        estimator = Estimator(noise)
        y = self.analyse(x, rate_level)
        walked = self.walk(estimator, y, rate_level)
        x_hat = self.synthesise(walked.y_hat, rate_level, x.shape[2], x.shape[3])
        bits_z, *bits_y = estimator.bits
        in_total = torch.stack(bits_y).sum(dim=0)
        stages = tuple(stage for call in estimator.stages for stage in (*call, in_total))
        small = self.preview(walked.y_hat, rate_level, x.shape[2], x.shape[3])
        return Coded(x_hat, in_total, bits_z, _latents(y, walked), bits_y_stages=stages, thumbnail=small)

    def fixed_point_prior(self) -> Prior:
        """The prior in fixed point, for writing and reading files; a copy."""
        return to_fixed_point(copy.deepcopy(self.prior).cpu())


def _latents(y: Tensor, walked: Walked) -> Latents | None:
    """y and its Gaussian; None where it has none."""
    if isinstance(walked.predicted[0][1], LearnedEntropyParameters):
        return None
    parameters = merge(walked.predicted, y)
    return Latents(y, parameters.mean, parameters.scale)
