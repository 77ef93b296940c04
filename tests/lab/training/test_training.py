"""The trainer: it learns, can be stopped and resumed, and names what is wrong with its input."""

from __future__ import annotations

import csv
import dataclasses
from pathlib import Path

import pytest
import torch
from rich.console import Console

from lichen.codec import Codec
from lichen.errors import BadCheckpoint, BadData, OutputExists, TrainingDiverged, UsageError
from lichen.lab.losses.objective import Decorrelation
from lichen.lab.models import zoo
from lichen.lab.models.checkpoint import load_checkpoint, save_checkpoint
from lichen.lab.prior.families import Gaussian
from lichen.lab.training import health, recipe, session
from lichen.lab.training.data import Crops
from lichen.lab.training.health import GradientGuard
from lichen.lab.training.log import NAMES, Log, NullSink, StepMetrics
from lichen.lab.training.loop import Trainer
from lichen.lab.training.processes import SingleProcess
from lichen.lab.training.recipe import Bfloat16, Quantiser, Recipe
from lichen.lab.training.session import Run, train_session
from lichen.lab.training.state import facts, resume_run, save_run, start_from
from tests.small import learned, scene, small

RECIPE = Recipe(model="lichen", steps=12, crop=(64,), batch=2, learning_rate=1e-3, warmup=2)


@pytest.fixture(autouse=True)
def small_rows(monkeypatch):
    """Small models: the same loop at a hundredth of the cost."""
    rows = tuple(dataclasses.replace(r, config=small(r.config)) for r in zoo.ZOO[:3])
    monkeypatch.setattr(zoo, "ZOO", rows)


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "data").mkdir()
    for i in range(3):
        scene(100 + 10 * i, 90, i).save(tmp_path / f"data/{i}.png")
    (tmp_path / "data/broken.jpg").write_bytes(b"no picture")
    return tmp_path / "data"


def losses(trainer: Trainer, until: int) -> list[float]:
    seen: list[float] = []
    trainer.run(until, 1e9, lambda f: seen.append(f.loss))
    return seen


def trainer_on(folder: Path, **changes: object) -> Trainer:
    recipe = dataclasses.replace(RECIPE, **changes)
    return Trainer(recipe, Crops.of_folder(folder), SingleProcess(torch.device("cpu")))


def log_in(folder: Path, every: int = 4) -> Log:
    return Log(folder, every, NullSink())


def test_resumed_training_repeats_the_same_steps(folder, tmp_path):
    whole = losses(trainer_on(folder), 8)
    first = trainer_on(folder)
    begin = losses(first, 3)
    save_run(first, log_in(tmp_path), tmp_path / "run")
    second = trainer_on(folder)
    assert resume_run(second, log_in(tmp_path), tmp_path / "run") and second.step == 3
    assert begin + losses(second, 8) == whole
    assert not resume_run(trainer_on(folder), log_in(tmp_path), tmp_path / "nowhere")


def test_the_digest_is_of_step_and_weights(folder):
    trainer = trainer_on(folder)
    before = trainer.digest()
    assert torch.equal(before, trainer_on(folder).digest())
    losses(trainer, 1)
    assert (trainer.digest() != before).all()


def test_a_resumed_run_follows_the_recipe_as_it_is_now(folder, tmp_path):
    first = trainer_on(folder)
    losses(first, 1)
    save_run(first, log_in(tmp_path), tmp_path / "run")
    second = trainer_on(folder, block_rate=0.5)
    assert resume_run(second, log_in(tmp_path), tmp_path / "run")
    assert [group["scale"] for group in second.optimiser.param_groups] == [1.0, 0.5]


def test_steps_in_bfloat16(folder):
    """Only transforms run in bfloat16: losses agree to the precision of a coarser analysis."""
    whole, half = (losses(trainer_on(folder, bfloat16=coarse), 2) for coarse in (Bfloat16.OFF, Bfloat16.ON))
    assert half == pytest.approx(whole, rel=0.1)


def test_it_learns_a_picture(folder):
    seen = losses(trainer_on(folder, steps=30, learning_rate=3e-3), 30)
    assert sum(seen[-5:]) < 0.9 * sum(seen[:5])


def test_the_correlation_loss_lowers_the_correlation(folder):
    """The same training, the same pictures in the same order, with a large alpha and without."""
    last = []
    for term in (None, Decorrelation(100.0)):
        trainer = trainer_on(folder, correlation=term, learning_rate=3e-3)
        seen: list[StepMetrics] = []
        trainer.run(24, 1e9, seen.append)
        last.append(sum(f.correlation for f in seen[12:]))
    assert last[1] < 0.9 * last[0]


def test_crops_and_quantisers_differ(folder):
    first = {losses(trainer_on(folder, quantiser=q), 1)[0] for q in Quantiser}
    assert len(first) == len(Quantiser)
    varying = trainer_on(folder, crop=(64, 128))
    assert [varying._inputs()[0].shape[2], losses(varying, 1) and varying._inputs()[0].shape[2]] == [64, 128]


def test_the_session_writes_weights_that_code(folder, tmp_path, capsys):
    recipe = tmp_path / "recipe.toml"
    recipe.write_text('model = "lichen"\nsteps = 3\ncrop = 64\nbatch = 2\n')
    console = Console(width=200)
    run = Run(recipe, folder, tmp_path / "run", valid=folder, max_minutes=10, log_steps=2)
    train_session(run, console)
    out = capsys.readouterr().out
    assert "3 pictures, 1 unreadable" in out and "valid (files): q15" in out
    codec = Codec(weights=tmp_path / "run/lichen.safetensors")
    assert codec.decode(codec.encode(scene(30, 20))).size == (30, 20)
    assert codec.checkpoint.facts["steps"] == 3
    train_session(dataclasses.replace(run, valid=None, steps=6), console)
    assert "resumed at step 3" in capsys.readouterr().out
    lines = list(csv.DictReader((tmp_path / "run/log.csv").read_text().splitlines()))
    assert [line["step"] for line in lines] == ["1", "2", "4", "6"] and tuple(lines[0]) == NAMES


@pytest.mark.parametrize("valid", [True, False])
def test_long_trainings_are_validated_and_saved_now_and_then(valid, folder, tmp_path, monkeypatch):
    """Soon after the start, and then not at each step, with --valid or without."""
    saved: list[int] = []
    save = session.save_run
    monkeypatch.setattr(session, "VALID_SECONDS", 0)
    monkeypatch.setattr(session, "LOG_SECONDS", 0)
    monkeypatch.setattr(session, "save_run", lambda trainer, *rest: saved.append(trainer.step) or save(trainer, *rest))
    recipe = tmp_path / "recipe.toml"
    recipe.write_text('model = "lichen"\nsteps = 3\ncrop = 64\nbatch = 1\n')
    run = Run(recipe, folder, tmp_path / "run", valid=folder if valid else None, device="cpu")
    train_session(run, Console(width=200, quiet=True))
    assert saved == ([1, 2, 3, 3] if valid else [1, 3])


def test_scores_follow_the_density_not_the_start(folder, tmp_path):
    """The score table of an adaptation belongs to a family of densities: that of other weights is not taken over."""
    trainer = trainer_on(folder)
    own = trainer.model.prior.context.adaptation.scores.table.clone()
    context = dataclasses.replace(trainer.config.context, family=Gaussian())
    other = dataclasses.replace(trainer.config, context=context)
    model = other.build()
    assert not torch.equal(model.prior.context.adaptation.scores.table, own)
    save_checkpoint(tmp_path / "other.safetensors", "lichen", other, model.state_dict(), {})
    start_from(trainer, tmp_path / "other.safetensors")
    assert torch.equal(trainer.model.prior.context.adaptation.scores.table, own)


def test_filters_are_not_taken_over(folder, tmp_path):
    """Filters were learned for what other networks decode."""
    trainer = trainer_on(folder)
    model = trainer.config.build()
    learned(model.post_filter)
    save_checkpoint(tmp_path / "other.safetensors", "lichen", trainer.config, model.state_dict(), {})
    start_from(trainer, tmp_path / "other.safetensors")
    assert not trainer.model.post_filter.learned and not trainer.ema.state_dict()["post_filter.filters"].any()


def test_only_the_parts_that_are_named_learn(folder):
    """Parts may be at any depth; one that the model lacks is an error."""
    part = "prior.context.adaptation"
    trainer = trainer_on(folder, only=(part,), steps=3)
    before = {name: value.clone() for name, value in trainer.model.state_dict().items()}
    losses(trainer, 3)
    changed = {name for name, value in trainer.model.state_dict().items() if not torch.equal(value, before[name])}
    assert changed and all(name.startswith(f"{part}.") for name in changed)
    assert any(".own." in name for name in changed) and any(".mixed." in name for name in changed)
    with pytest.raises(UsageError, match="only = "):
        trainer_on(folder, only=("prior.contex",))


@pytest.mark.parametrize("native", [True, False])
@pytest.mark.parametrize("asked", ["true", "false", '"auto"'])
def test_bfloat16_by_the_processor(native, asked, folder, tmp_path, capsys, monkeypatch):
    """true always uses it, with a line where it is only emulated; auto uses it where the processor has it."""
    for module in (session, recipe):
        monkeypatch.setattr(module, "native_bfloat16", lambda: native)
    path = tmp_path / "recipe.toml"
    path.write_text(f'model = "lichen"\nsteps = 1\ncrop = 64\nbatch = 1\nbfloat16 = {asked}\n')
    run = Run(path, folder, tmp_path / "run", device="cpu")
    train_session(run, Console(width=200))
    out = capsys.readouterr().out
    assert ("only emulates bfloat16" in out) == (asked == "true" and not native)
    assert ("transforms train in" in out) == (asked == '"auto"')
    used = run.chosen().bfloat16.used_on(torch.device("cpu"))
    assert used == (asked == "true" or (asked == '"auto"' and native))
    if asked == '"auto"':
        assert f"train in {'bfloat16' if native else 'float32'}" in out


def test_tensorboard(folder, tmp_path):
    pytest.importorskip("tensorboard")
    recipe = tmp_path / "recipe.toml"
    recipe.write_text('model = "lichen"\nsteps = 2\ncrop = 64\nbatch = 2\n')
    run = Run(recipe, folder, tmp_path / "run", log_steps=1, tensorboard=True)
    train_session(run, Console(quiet=True))
    (events,) = (tmp_path / "run/tensorboard").iterdir()
    assert b"train/correlation" in events.read_bytes()


def test_one_rate_is_trained_by_its_lambda(folder, tmp_path):
    recipe = tmp_path / "recipe.toml"
    recipe.write_text('model = "lichen"\nsteps = 2\ncrop = 64\nbatch = 2\nlambdas = [0.001, 0.01]\n')
    train_session(Run(recipe, folder, tmp_path / "run", valid=folder, lam=0.01), Console(quiet=True))
    assert load_checkpoint(tmp_path / "run/lichen.safetensors").config.rates.value == 0.01
    with pytest.raises(BadCheckpoint, match="another --output"):
        train_session(Run(recipe, folder, tmp_path / "run", lam=0.001), Console(quiet=True))


def test_warm_start(folder, tmp_path):
    """From weights with a new optimiser; what they lack starts afresh, what the model lacks is refused."""
    first = trainer_on(folder)
    losses(first, 3)
    state, path = first.ema.state_dict(), tmp_path / "a.safetensors"
    save_checkpoint(path, "lichen", first.config, state, {})
    second = trainer_on(folder, seed=2)
    assert start_from(second, path) == []
    assert facts(second)["lineage"] == f"weights {load_checkpoint(path).hash.hex()} (a.safetensors)"
    assert facts(first)["lineage"] == "a fresh start"
    key = next(name for name in state if name.startswith("prior.") and name.endswith("bias"))  # kept in float32
    assert second.step == 0 and not second.optimiser.state
    for model in (second.model, second.ema):
        assert torch.equal(model.state_dict()[key], state[key])
    with pytest.raises(BadCheckpoint, match=r"another order \(Quadtree, not AllAtOnce\)"):
        start_from(trainer_on(folder, model="lichen-hp"), path)
    with pytest.raises(BadCheckpoint, match="of another model"):
        start_from(trainer_on(folder, config={"transform": {"decoder_depth": [0, 0]}}), path)
    with pytest.raises(BadCheckpoint, match="other sizes"):
        start_from(trainer_on(folder, config={"transform": {"latents": 16}}), path)
    part = trainer_on(folder, model="lichen-hp", start_with=("analysis", "prior.synthesis"))
    begun = {name: value.clone() for name, value in part.model.state_dict().items()}
    fresh, stored = start_from(part, path), load_checkpoint(path).model.state_dict()
    assert {name.split(".")[0] for name in fresh} == {"synthesis", "hyper_analysis", "gains", "prior"}
    for name, value in part.model.state_dict().items():
        assert torch.equal(value, (begun if name in fresh else stored)[name])
    with pytest.raises(BadCheckpoint, match="nothing called 'analyses'"):
        start_from(trainer_on(folder, start_with=("analyses",)), path)
    (tmp_path / "recipe.toml").write_text('model = "lichen"\nsteps = 2\nstart_with = ["analysis"]\n')
    with pytest.raises(UsageError, match="--start"):
        train_session(Run(tmp_path / "recipe.toml", folder, tmp_path / "run"), Console(quiet=True))


def test_time_box(folder):
    trainer = trainer_on(folder)
    trainer.run(10**9, 0.02 / 60, lambda f: None)
    assert 1 <= trainer.step < 100


def test_steps_that_are_not_finite_are_skipped_then_stop(folder, monkeypatch):
    monkeypatch.setattr(health, "BAD_STEPS_MAX", 3)
    trainer = trainer_on(folder)
    before = {k: v.clone() for k, v in trainer.model.state_dict().items()}
    objective = trainer.objective

    def broken(*inputs, **said):
        terms = objective(*inputs, **said)
        return dataclasses.replace(terms, loss=terms.loss * torch.nan)

    monkeypatch.setattr(trainer, "objective", broken)
    seen: list[StepMetrics] = []
    with pytest.raises(TrainingDiverged, match=r"not finite .*learning_rate"):
        trainer.run(100, 1, seen.append)
    assert seen[-1].skipped == 3
    assert all(torch.equal(v, before[k]) for k, v in trainer.model.state_dict().items())


def test_exploding_steps_are_skipped_and_counted():
    guard = GradientGuard()
    assert all(guard.accepts(1.0, 2.0) for _ in range(100))
    assert not guard.accepts(1.0, 500.0) and guard.accepts(1.0, 20.0)
    other = GradientGuard()
    other.restore(guard.state())
    assert other.state() == guard.state() and other.skipped == 1
    with pytest.raises(TrainingDiverged, match="exploded"):
        for _ in range(51):
            other.accepts(1.0, 1e6)
    assert GradientGuard().accepts(1.0, 1e6)  # nothing is usual yet


def test_runs_of_other_models_and_damaged_runs_are_refused(folder, tmp_path):
    save_run(trainer_on(folder), log_in(tmp_path), tmp_path / "run")
    for changes in ({"model": "lichen-hp"}, {"config": {"transform": {"latents": 16}}}):
        with pytest.raises(BadCheckpoint, match=r"another model.*another --output"):
            resume_run(trainer_on(folder, **changes), log_in(tmp_path), tmp_path / "run")
    whole = (tmp_path / "run/state.pt").read_bytes()
    for damaged in (b"", whole[: len(whole) // 2], b"no state"):
        (tmp_path / "run/state.pt").write_bytes(damaged)
        with pytest.raises(BadCheckpoint, match="damaged"):
            resume_run(trainer_on(folder), log_in(tmp_path), tmp_path / "run")


def test_the_log_of_a_resumed_run_has_the_same_lines(tmp_path):
    """Lines after the state are dropped, and the sums since the last line are kept."""
    metrics = [StepMetrics(i + 1, float(i * i), 1.0, 30.0, 0.1, 0, 8.0) for i in range(10)]
    whole = log_in(tmp_path)
    for m in metrics[:6]:
        whole.add(m)
    state, lines = whole.state(), [*whole.lines]
    for m in metrics[6:]:
        whole.add(m)
    unwritten = log_in(tmp_path)
    unwritten.restore(state, 6, lines)
    whole.save()
    written = log_in(tmp_path)
    written.restore(state, 6, [])
    for again in (unwritten, written):
        assert [line.split(",")[0] for line in again.lines] == ["1", "3", "4"]
        for m in metrics[6:]:
            again.add(m)
        assert again.lines == whole.lines and whole.lines[-1].startswith("8,31.5,")


def test_bad_data_and_batches(folder, tmp_path):
    (tmp_path / "empty").mkdir()
    recipe = tmp_path / "recipe.toml"
    recipe.write_text('model = "lichen"\nsteps = 3\n')
    with pytest.raises(BadData, match="no pictures"):
        train_session(Run(recipe, tmp_path / "empty", tmp_path / "run"), Console(quiet=True))
    assert not (tmp_path / "run").exists()
    with pytest.raises(UsageError, match="3 processes; change batch"):
        RECIPE.shared_by(3)


def test_weights_that_are_not_finite_are_not_saved(folder, tmp_path):
    trainer, log = trainer_on(folder), log_in(tmp_path)
    save_run(trainer, log, tmp_path)
    before = (tmp_path / "lichen.safetensors").read_bytes()
    next(trainer.model.parameters()).data.fill_(torch.nan)
    with pytest.raises(TrainingDiverged, match="not saved"):
        save_run(trainer, log, tmp_path)
    assert (tmp_path / "lichen.safetensors").read_bytes() == before
    state = torch.load(tmp_path / "state.pt", weights_only=True)
    next(iter(state["model"].values())).fill_(torch.nan)
    torch.save(state, tmp_path / "state.pt")
    with pytest.raises(BadCheckpoint, match="not finite"):
        resume_run(trainer_on(folder), log, tmp_path)


@pytest.mark.parametrize("name", ["lichen.safetensors", "log.csv"])
def test_files_of_others_are_not_written_over(folder, tmp_path, name):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / name).write_bytes(b"mine")
    (tmp_path / "r.toml").write_text('model = "lichen"\nsteps = 1\ncrop = 64\nbatch = 1')
    with pytest.raises(OutputExists, match=r"without the state\.pt"):
        train_session(Run(tmp_path / "r.toml", folder, tmp_path / "run"), Console(quiet=True))
    assert (tmp_path / "run" / name).read_bytes() == b"mine"
