"""The command line in processes of its own: how they end, and what of PyTorch they load."""

from __future__ import annotations

import shlex
import subprocess
import sys

import pytest

from tests.command import run


def ended(program: str, pipe: str = "") -> int:
    """The exit code of a process whose command is this program, its output read by `pipe`."""
    lines = f"import atexit, sys\nfrom lichen import cli\ndef main():\n    {program}\ncli.main = main\ncli.run()"
    command = f"{sys.executable} -c {shlex.quote(lines)} {pipe}; exit ${{PIPESTATUS[0]}}"
    return subprocess.run(["bash", "-c", command], check=False, stderr=subprocess.DEVNULL).returncode


def test_a_process_ends_as_its_command_did(tmp_path):
    assert ended("pass") == 0 and ended("sys.exit(3)") == 3
    assert ended("sys.stdout.write('a')", f"> {tmp_path}/out") == 0 and (tmp_path / "out").read_text() == "a"
    assert ended("atexit.register(sys.stdout.write, 'late')", f"> {tmp_path}/out") == 0
    assert (tmp_path / "out").read_text() == "late"
    assert ended("__import__('time').sleep(0.3); sys.stdout.write('a')", "| true") != 0


def test_a_stopped_command_leaves_no_semaphores_behind():
    """Python would warn of those of processes that work for it."""
    program = (
        "import multiprocessing, sys\nfrom lichen import cli\nheld = multiprocessing.get_context('spawn').Lock()\n"
    )
    program += "cli.app = lambda _: sys.exit(130)\ncli.main()"
    done = subprocess.run([sys.executable, "-c", program], check=False, capture_output=True, timeout=120)
    assert (done.returncode, done.stdout, done.stderr) == (130, b"", b"")


def test_refinement_in_a_process_of_its_own(folder):
    """It needs what coding alone leaves out of PyTorch."""
    command = [sys.executable, "-m", "lichen", "encode", "in/a.png", "-o", "a.lic"]
    subprocess.run([*command, "--refine", "1"], check=True, capture_output=True)
    subprocess.run([*command, "--target-size", "900", "-f"], check=True, capture_output=True)
    assert run("decode", "a.lic", "-o", "a.png") == 0


@pytest.mark.parametrize("arguments", [["--version"], ["encode", "absent.png"], ["decode", "in/a.png", "--to", "doc"]])
def test_what_runs_no_network_loads_no_pytorch(folder, arguments):
    program = f"import sys\nfrom lichen import cli\nsys.argv[1:] = {arguments}\ntry:\n    cli.main()\n"
    program += "except SystemExit as end:\n    sys.exit(9 if 'torch' in sys.modules else end.code)"
    assert subprocess.run([sys.executable, "-c", program], check=False, capture_output=True).returncode in {0, 2, 3}
