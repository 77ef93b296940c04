"""Trainings in processes of their own: killed at any step and resumed, and several that train as one."""

from __future__ import annotations

import csv
import dataclasses
import os
import random
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from rich.console import Console

from lichen.lab.models.checkpoint import load_checkpoint
from lichen.lab.training.session import Run, train_session
from tests.helpers import RECIPE, RECIPE_STEPS
from tests.small import scene


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder with pictures and the recipe; one thread, as in the processes that are started."""
    place = tmp_path_factory.mktemp("processes")
    (place / "data").mkdir()
    for i in range(3):
        scene(140, 130, i).save(place / f"data/{i}.png")
    (place / "recipe.toml").write_text(RECIPE)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield place
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def whole(place):
    """A run from start to end in one process."""
    run = run_in(place, "whole")
    train_session(run, Console(quiet=True))
    assert len(curve(run)) == RECIPE_STEPS
    return run


def run_in(place: Path, name: str) -> Run:
    return Run(place / "recipe.toml", place / "data", place / name, save_minutes=0, log_steps=1)


def arguments(run: Run) -> list[str]:
    return ["lichen", "train", str(run.recipe), "--data", str(run.data), "-o", str(run.output),
            "--save-minutes", "0", "--log-steps", "1", "--threads", "1"]  # fmt: skip


def curve(run: Run) -> list[tuple[str, ...]]:
    """The lines of the log without the speed."""
    lines = csv.DictReader((run.output / "log.csv").read_text().splitlines())
    return [tuple(value for name, value in line.items() if name != "images_per_s") for line in lines]


def killed_at(run: Run, step: int, delay: float) -> int:
    """Start a training and kill it when it has logged `step` and some time has passed; its exit status."""
    process = subprocess.Popen([sys.executable, "-m", *arguments(run)], stderr=subprocess.DEVNULL)
    while process.poll() is None and not ((run.output / "log.csv").exists() and len(curve(run)) >= step):
        time.sleep(0.01)
    time.sleep(delay)
    process.send_signal(signal.SIGKILL)
    return process.wait(60)


def same_weights(a: Run, b: Run) -> bool:
    first, second = (load_checkpoint(r.output / "lichen-hp.safetensors").model.state_dict() for r in (a, b))
    return all(torch.equal(first[key], second[key]) for key in first)


def test_killed_and_resumed_it_draws_the_same_curve(place, whole):
    broken = run_in(place, "broken")
    assert killed_at(broken, 3, 0.0) == -signal.SIGKILL
    train_session(broken, Console(quiet=True))
    assert curve(broken) == curve(whole) and same_weights(whole, broken)


def test_interrupted_and_resumed_it_draws_the_same_curve(place, whole):
    """Ctrl-C saves whole steps at any time; checkpoints are rare in this run, so the resumed state is that one."""
    stopped = run_in(place, "stopped")
    command = [sys.executable, "-m", *arguments(stopped)]
    command[command.index("--save-minutes") + 1] = "100"
    process = subprocess.Popen(command, stderr=subprocess.PIPE)
    assert process.stderr is not None
    while b"step 2: " not in process.stderr.readline():
        assert process.poll() is None
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 130
    assert b"stopped: saved at step " in errors and b"Traceback" not in errors
    assert 2 <= len(curve(stopped)) < RECIPE_STEPS
    train_session(stopped, Console(quiet=True))
    assert curve(stopped) == curve(whole) and same_weights(whole, stopped)


@pytest.mark.slow
def test_killed_again_and_again(place, whole):
    broken = run_in(place, "broken-often")
    delays = random.Random(1)
    for step in (1, 2, 4, 6, 8):
        assert killed_at(broken, step, delays.uniform(0, 0.3)) == -signal.SIGKILL
    train_session(broken, Console(quiet=True))
    assert curve(broken) == curve(whole) and same_weights(whole, broken)


def launch(*arguments: str) -> bytes:
    """Run two processes on this machine to their end; returns what they wrote to standard error."""
    with socket.socket() as free:  # --multi_gpu means several processes: with --device cpu they train on CPUs, by gloo
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = ["accelerate.commands.launch", "--multi_gpu", "--num_processes", "2", "--num_machines", "1",
              "--mixed_precision", "no", "--dynamo_backend", "no", "--main_process_port", str(port)]  # fmt: skip
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    ended = subprocess.run([sys.executable, "-m", *command, *arguments], check=True, env=environment, timeout=300,
                           capture_output=True)  # fmt: skip
    return ended.stderr


def test_two_processes_train_like_one_with_the_joint_batch(place, whole):
    """Also when they go on with what one process left."""
    pytest.importorskip("accelerate")
    together = run_in(place, "together")
    train_session(dataclasses.replace(together, max_minutes=0), Console(quiet=True))
    assert b"resumed at step 1" in launch("-m", *arguments(together))
    first, second = curve(whole), curve(together)
    assert len(first) == len(second) == RECIPE_STEPS
    for one, two in zip(first, second, strict=True):
        assert [float(v) for v in two] == pytest.approx([float(v) for v in one], rel=1e-4)
    assert load_checkpoint(together.output / "lichen-hp.safetensors").facts["processes"] == 2


def test_processes_notice_that_they_differ(tmp_path):
    pytest.importorskip("accelerate")
    (tmp_path / "ask.py").write_text(
        "import torch\n"
        "from lichen.lab.training.processes import find_processes\n"
        "processes = find_processes('cpu')\n"
        "assert processes.count == 2 and processes.agree(torch.tensor([7, 2**60]))\n"
        "assert not processes.agree(torch.tensor([7, 2**60 + processes.index]))\n"
        "processes.finish()\n"
    )
    launch(str(tmp_path / "ask.py"))
