"""The training loop, the same for every model: on CPUs or GPUs, in one process or several."""

from __future__ import annotations

import copy
import dataclasses
import math
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor

import torch
from torch import Tensor

from lichen.errors import UsageError
from lichen.lab.losses.correlation import Correlation, correlation_map, off_centre
from lichen.lab.losses.distortion import psnr_db
from lichen.lab.losses.objective import LossTerms
from lichen.lab.models.model import Model
from lichen.lab.prior.latents import Coded
from lichen.lab.prior.noise import Noise
from lichen.lab.training.data import Crops
from lichen.lab.training.health import GradientGuard
from lichen.lab.training.log import StepMetrics
from lichen.lab.training.processes import DistributedProcesses, SingleProcess
from lichen.lab.training.recipe import Quantiser, Recipe

_BLOCKS = ("analysis.linear.weight", "synthesis.linear.weight")  # the default model's block transform


class Trainer:
    """A training and its state: model, moving average of its weights (EMA), optimiser, step.

    Crops, noise and rate levels are pure functions of (seed, step, index in the batch): a resumed run repeats the same
    steps as an uninterrupted one, and several processes train as one with the joint batch. Another thread may save the
    state while it holds `whole`: no step is half done then. Raises `UsageError` for a batch that processes cannot
    share, or parts that the model lacks.
    """

    def __init__(self, recipe: Recipe, crops: Crops, processes: SingleProcess | DistributedProcesses) -> None:
        self.recipe, self.crops, self.processes = recipe, crops, processes
        self.device = processes.device
        torch.manual_seed(recipe.seed)
        self.config = recipe.model_config()
        built = self.config.build()
        self.model: Model = built.to(self.device).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.ema: Model = copy.deepcopy(self.model).requires_grad_(False)
        self._parameters, self._averaged = list(self.model.parameters()), list(self.ema.parameters())
        self._freeze(recipe.only)
        self.bfloat16 = recipe.bfloat16.used_on(self.device)
        self.objective = recipe.objective()
        self.optimiser = self._optimiser()
        self.health, self.whole = GradientGuard(), threading.Lock()
        self.step, self.seconds, self.lineage = 0, 0.0, "a fresh start"
        share = recipe.shared_by(processes.count)
        self.mine = range(processes.index * share, (processes.index + 1) * share)
        self._parallel = processes.wrap(self.model)
        self._ahead = ThreadPoolExecutor(1)
        self._next: tuple[int, Future[Tensor]] | None = None

    def _freeze(self, learning: tuple[str, ...]) -> None:
        """Let only these parts of the model learn; all if none is named. Raises `UsageError` for one that it lacks."""
        parts = {name for name, _ in self.model.named_modules() if name}
        unknown = [name for name in learning if name not in parts]
        if unknown:
            whole = ", ".join(name for name, _ in self.model.named_children())
            raise UsageError(f"only = {unknown[0]!r}: the model has {whole}, and their parts; mend the recipe")
        for name, parameter in self.model.named_parameters():
            parameter.requires_grad_(not learning or name.startswith(tuple(f"{part}." for part in learning)))

    def _optimiser(self) -> torch.optim.Adam:
        named = [(name, p) for name, p in self.model.named_parameters() if p.requires_grad]
        blocks = [p for name, p in named if name in _BLOCKS]
        others = [p for name, p in named if name not in _BLOCKS]
        groups = [{"params": others, "scale": 1.0}, {"params": blocks, "scale": self.recipe.block_rate}]
        filled = [group for group in groups if group["params"]]
        return torch.optim.Adam(filled, lr=self.recipe.learning_rate, fused=True)

    def digest(self) -> Tensor:
        """The step and a sum over the bits of all weights, (2,) int64: the same in processes that train together."""
        bits = sum(p.detach().view(torch.int32).sum(dtype=torch.int64) for p in self._parameters)
        return torch.stack([torch.tensor(self.step, device=self.device), torch.as_tensor(bits, device=self.device)])

    def run(
        self, until: int, max_minutes: float, report: Callable[[StepMetrics], None], stop: threading.Event | None = None
    ) -> None:
        """Train to step `until`, for so many minutes, or until `stop`; `report` gets the metrics of each step."""
        start, late = time.monotonic(), False
        while self.step < until and not late:
            began = time.perf_counter()
            late = time.monotonic() - start >= 60 * max_minutes or (stop is not None and stop.is_set())
            shared = self._gradients(late)
            with self.whole:
                metrics, late = self._update(*shared)
                seconds = time.perf_counter() - began
                self.seconds += seconds
                report(dataclasses.replace(metrics, images_per_s=self.recipe.batch / seconds))

    def _gradients(self, late: bool) -> list[float]:
        """Compute the gradients of a step; returns what `_shared` does. `late`: this process would stop."""
        x, rate_level, noise = self._inputs()
        for group in self.optimiser.param_groups:
            group["lr"] = group["scale"] * self.recipe.rate_at(self.step)
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.bfloat16):
            coded: Coded = self._parallel(x, rate_level, noise)
        terms = self.objective(coded, x, rate_level, self.step, noise=noise)
        terms.loss.backward()
        norm = torch.nn.utils.clip_grad_norm_(self._parameters, self.recipe.clip)
        return self._shared(terms, coded, late, norm)

    def _update(
        self, loss: float, bpp: float, psnr: float, correlation: float, stop: float, norm: float
    ) -> tuple[StepMetrics, bool]:
        """The rest of the step; returns its metrics, and whether any process would stop."""
        if self.health.accepts(loss, norm):
            self.optimiser.step()
            self._average()
        self.optimiser.zero_grad(set_to_none=True)
        self.step += 1
        return StepMetrics(
            self.step, loss, bpp, psnr, correlation=correlation, skipped=self.health.skipped, images_per_s=0.0
        ), stop > 0

    def _inputs(self) -> tuple[Tensor, Tensor, Noise]:
        """This process's part of the step's batch: crops (b, 3, s, s), rate levels (b,) and noise."""
        recipe, step = self.recipe, self.step
        if self._next is None or self._next[0] != step:
            self._next = step, self._crops_ahead(step)
        x = self._next[1].result()
        self._next = step + 1, self._crops_ahead(step + 1)
        generator = torch.Generator().manual_seed(self._seed(recipe.batch))
        strata = (
            torch.randperm(recipe.batch, generator=generator) + torch.rand(recipe.batch, generator=generator)
        ) / recipe.batch
        rate_level = (strata * (self.config.rates.count - 1))[self.mine.start : self.mine.stop].to(self.device)
        seeds, how = [self._seed(i) for i in self.mine], recipe.quantiser
        noise = Noise(seeds, self.device, how is Quantiser.NOISE, how is Quantiser.ROUNDED_SCALES)
        return x.contiguous(memory_format=torch.channels_last), rate_level, noise

    def _crops_ahead(self, step: int) -> Future[Tensor]:
        side = self.recipe.crop_at(step)
        return self._ahead.submit(self.crops.batch, self.recipe.seed, step, self.mine, side)

    def _seed(self, index: int) -> int:
        """The seed of a picture of this step's batch; the index after the last is that of the batch."""
        return ((self.recipe.seed * 1_000_003 + self.step) * 1_000_003 + index) % 2**63

    @torch.no_grad()
    def _shared(self, terms: LossTerms, coded: Coded, late: bool, norm: Tensor) -> list[float]:
        """Loss, bpp, PSNR in dB, correlation, whether to stop, norm: over all processes."""
        how = Correlation()
        if coded.latents is None:
            correlation = torch.full((how.window, how.window), math.nan, device=self.device)
        else:
            correlation = correlation_map(coded.latents, how)
        means = [terms.loss, terms.estimated_bpp.mean(), psnr_db(terms.mse).mean()]
        flags = torch.tensor([float(late)], device=self.device)
        joined = self.processes.mean(torch.cat([torch.stack(means), flags, norm[None], correlation.flatten()]))
        loss, bpp, psnr, stop, norm_ = joined[:5].tolist()
        return [loss, bpp, psnr, float(off_centre(joined[5:].view_as(correlation))), stop, norm_]

    @torch.no_grad()
    def _average(self) -> None:
        """Update the EMA; its memory is shorter at the start, so that the first weights are soon forgotten."""
        decay = min(self.recipe.ema, (1 + self.step) / (10 + self.step))
        torch._foreach_lerp_(self._averaged, self._parameters, 1 - decay)
