"""What the correlation loss costs in training: time and peak memory of a Cheng HP step, with it and without.

    python -m benchmarks.correlation_cost [--device cuda] [--batch 16] [--crop 256] [--steps 5] [--threads 1]

Steps with and without alternate in one run; times are medians, of the clock on a GPU, of the process's own CPU
time on a CPU (so that others' work on the machine does not count). Memory is what PyTorch has allocated at the
highest point of a step. Bars: both ratios are at most 1.03. Inference is the same by construction: a test.
"""

from __future__ import annotations

import argparse
import dataclasses
import statistics
import time

import torch

from benchmarks.common import Bar, finish, show
from lichen.lab.engine.torch_engine import find_device
from lichen.lab.losses.correlation import Correlation
from lichen.lab.losses.objective import Decorrelation, Objective
from lichen.lab.models.model import Model
from lichen.lab.models.zoo import row
from lichen.lab.prior.noise import Noise

LIMIT = 1.03
MODEL = "cheng-hp"


class Steps:
    """Training steps of one model on one batch, the loss being given."""

    def __init__(self, batch: int, crop: int, device: torch.device) -> None:
        torch.manual_seed(0)
        self.device = device
        self.config = row(MODEL).config
        self.model: Model = self.config.build().to(device).to(memory_format=torch.channels_last)
        self.optimiser = torch.optim.Adam(self.model.parameters(), lr=1e-5)
        self.x = torch.rand(batch, 3, crop, crop, device=device).contiguous(memory_format=torch.channels_last)
        self.rate_level = torch.zeros(batch, device=device)

    def step(self, objective: Objective) -> None:
        noise = Noise(range(len(self.x)), self.device)
        coded = self.model(self.x, self.rate_level, noise)
        objective(coded, self.x, self.rate_level, 0, noise=noise).loss.backward()
        self.optimiser.step()
        self.optimiser.zero_grad(set_to_none=True)

    def seconds(self, objective: Objective) -> float:
        if self.device.type == "cpu":
            start = time.process_time()
            self.step(objective)
            return time.process_time() - start
        torch.cuda.synchronize()
        start = time.perf_counter()
        self.step(objective)
        torch.cuda.synchronize()
        return time.perf_counter() - start

    def peak_bytes(self, objective: Objective) -> int:
        """The most that is allocated during a step, above what is allocated before it."""
        if self.device.type == "cuda":
            torch.cuda.reset_peak_memory_stats()
            before = torch.cuda.memory_allocated()
            self.step(objective)
            return torch.cuda.max_memory_allocated() - before
        with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU], profile_memory=True) as profile:
            self.step(objective)
        results = profile.profiler.kineto_results  # type: ignore[union-attr]
        events = sorted((e.start_ns(), e.nbytes()) for e in results.events() if e.name() == "[memory]")
        held = peak = 0
        for _, size in events:
            held += size
            peak = max(peak, held)
        return peak


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--batch", type=int, default=2)
    parser.add_argument("--crop", type=int, default=256)
    parser.add_argument("--steps", type=int, default=5)
    parser.add_argument("--threads", type=int, default=0)
    args = parser.parse_args()
    if args.threads:
        torch.set_num_threads(args.threads)
    steps = Steps(args.batch, args.crop, find_device(args.device))
    without = Objective(steps.config.rates)
    ways = {"without": without}
    for window in (3, 7):
        term = Decorrelation(0.1, map=Correlation(window))
        ways[f"with, {window} x {window}"] = dataclasses.replace(without, correlation=term)
    steps.step(without)  # the first allocates the optimiser's state
    peaks = {name: steps.peak_bytes(objective) for name, objective in ways.items()}
    times: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(args.steps):
        for name, objective in ways.items():
            times[name].append(steps.seconds(objective))
    medians = {name: statistics.median(values) for name, values in times.items()}
    base_s, base_bytes = medians["without"], peaks["without"]
    rows = [(name, medians[name], medians[name] / base_s, peaks[name] / 1e6, peaks[name] / base_bytes) for name in ways]
    show(
        f"{MODEL}, a training step of {args.batch} x {args.crop} x {args.crop} on {args.device}",
        ("correlation loss", "s", "ratio", "peak MB", "ratio"),
        rows,
    )
    facts = {**vars(args), "seconds": times, "peak_bytes": peaks}
    chosen = "with, 3 x 3"
    finish(
        "correlation_cost",
        facts,
        [
            Bar("step time, with / without", medians[chosen] / base_s, LIMIT),
            Bar("peak memory, with / without", peaks[chosen] / base_bytes, LIMIT),
        ],
    )


if __name__ == "__main__":
    main()
