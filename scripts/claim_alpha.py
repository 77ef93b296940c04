"""How the correlation loss is weighed in recipes/claim: by a plain training under way, RUN with its `state.pt`.

    scripts/claim_alpha.py RUN --data photos/ --alphas 1 10 100 --steps 300

1. The pilot: RUN is gone on with for some steps with each alpha, in memory; printed is the mean off-centre correlation
   of the last hundred. Arm B takes the alpha at which it is a quarter of the plain one's.
2. The norms: of the gradients of R + lambda D and of each term, alpha 1, on the analysis at RUN's weights, over some
   batches. Arm C's alpha is B's times the ratio of their norms; the placebo has C's.
"""

import argparse
import dataclasses
import json
from pathlib import Path

import torch

from lichen.lab.losses.correlation import Correlation, correlation_loss
from lichen.lab.losses.objective import Decorrelation
from lichen.lab.training.data import Crops
from lichen.lab.training.log import Log, NullSink, StepMetrics
from lichen.lab.training.loop import Trainer
from lichen.lab.training.processes import SingleProcess
from lichen.lab.training.recipe import Recipe, load_recipe
from lichen.lab.training.state import resume_run
from lichen.runtime.allocator import keep_freed_memory

TERMS = {
    "pooled": Correlation(),
    "pooled, detached": Correlation(detach=True),
    "per channel": Correlation(per_channel=True),
    "placebo": Correlation(per_channel=True, across_pictures=True),
}
LAST = 100  # steps of a pilot that are averaged


def resumed(recipe: Recipe, run: Path, crops: Crops) -> Trainer:
    """The training in RUN, in memory. Exits where there is none."""
    trainer = Trainer(recipe, crops, SingleProcess(torch.device("cpu")))
    if not resume_run(trainer, Log(run, 100, NullSink()), run):
        raise SystemExit(f"{run} has no state.pt")
    return trainer


def pilot(recipe: Recipe, run: Path, crops: Crops, alpha: float, steps: int) -> dict[str, float]:
    """Mean figures of the last steps with this alpha."""
    trainer = resumed(dataclasses.replace(recipe, correlation=Decorrelation(alpha)), run, crops)
    seen: list[StepMetrics] = []
    trainer.run(trainer.step + steps, 1e9, seen.append)
    last = seen[-LAST:]
    names = ("correlation", "loss", "estimated_bpp", "psnr_db")
    return {"alpha": alpha} | {name: sum(getattr(f, name) for f in last) / len(last) for name in names}


def norms(recipe: Recipe, run: Path, crops: Crops, batches: int) -> dict[str, float]:
    """Mean norms of gradients on the analysis, by term."""
    trainer = resumed(recipe, run, crops)
    analysis = list(trainer.model.analysis.parameters())
    total: dict[str, float] = {}
    for _ in range(batches):
        x, rate_level, noise = trainer._inputs()
        with torch.autocast("cpu", torch.bfloat16, enabled=trainer.bfloat16):
            coded = trainer.model(x, rate_level, noise)
        losses = {"R + lambda D": trainer.objective(coded, x, rate_level).loss}
        losses |= {name: correlation_loss(coded.latents, how) for name, how in TERMS.items()}
        for name, loss in losses.items():
            grads = torch.autograd.grad(loss, analysis, retain_graph=True, allow_unused=True)
            norm = torch.stack([g.norm() for g in grads if g is not None]).norm()
            total[name] = total.get(name, 0.0) + float(norm) / batches
            total[f"value: {name}"] = total.get(f"value: {name}", 0.0) + float(loss.detach()) / batches
        trainer.step += 1
    return total


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--alphas", type=float, nargs="*", default=[0.0, 1.0, 10.0, 100.0])
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--batches", type=int, default=16)
    options = parser.parse_args()
    torch.set_num_threads(1)
    torch.set_flush_denormal(True)
    keep_freed_memory()
    recipe, crops = load_recipe(options.run / "recipe.toml"), Crops.of_folder(options.data)
    print(json.dumps({"norms": norms(recipe, options.run, crops, options.batches)}, indent=1), flush=True)
    for alpha in options.alphas:
        print(json.dumps(pilot(recipe, options.run, crops, alpha, steps=options.steps)), flush=True)


if __name__ == "__main__":
    main()
