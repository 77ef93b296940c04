"""The command line: parsing and printing only. May import typer, rich and every package; the lab when a command runs.

Exit codes: 0 all done, 2 wrong usage, 3 bad input or output (one line says what to do), 130 stopped.
"""

from __future__ import annotations

import atexit
import contextlib
import gc
import os
import sys
import threading

from lichen.batch.cluster import LOCAL, is_address
from lichen.cli import coding, evaluation, inspection, models, reporting, training, view
from lichen.cli.app import EXIT_INPUT, EXIT_STOPPED, EXIT_USAGE, app, say
from lichen.errors import LichenError, UsageError
from lichen.extras import EXTRAS, missing

__all__ = ["app", "coding", "evaluation", "inspection", "main", "models", "reporting", "run", "training", "view"]


def run() -> None:
    """`lichen` as a process: ends at once when all is done, instead of taking PyTorch down piece by piece."""
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")  # PyTorch's threads wait without spinning: others work too
    code: object = 0
    try:
        main()
    except SystemExit as end:
        code = end.code or 0
    if isinstance(code, int) and threading.active_count() == 1:
        atexit._run_exitfuncs()
        if _flushed():
            os._exit(code)
    sys.exit(code)  # type: ignore[arg-type]  # the usual end prints, waits for threads, says that a pipe is closed


def _flushed() -> bool:
    try:
        sys.stdout.flush()
        sys.stderr.flush()
    except (OSError, ValueError, AttributeError):
        return False
    return True


def main() -> None:
    """A command: typed errors become one line and an exit code."""
    gc.set_threshold(100_000)  # libraries make many objects when they are loaded, and hardly a cycle
    try:
        if "" in sys.argv[1:]:  # pathlib would take it for the current folder
            raise UsageError("an argument is empty; name a file or folder (is a variable of the shell unset?)")
        app(with_address(sys.argv[1:]))
    except LichenError as error:
        say(f"lichen: {error}")
        sys.exit(EXIT_USAGE if isinstance(error, UsageError) else EXIT_INPUT)
    except ModuleNotFoundError as error:
        if error.name not in EXTRAS:
            raise
        say(f"lichen: {missing(error.name)}")
        sys.exit(EXIT_USAGE)
    except OSError as error:  # of standard output, or where no file was expected
        with contextlib.suppress(OSError):
            say(f"lichen: {error}")
        sys.exit(EXIT_INPUT)
    except SystemExit as end:
        if end.code == EXIT_STOPPED:
            _end_now()
        raise
    finally:
        gc.freeze()  # the end needs no last search for cycles, a quarter of a second among a library's objects


def with_address(arguments: list[str]) -> list[str]:
    """`--ray` without an address becomes `--ray=local`: an option of Typer's always has a value, or never."""
    end = arguments.index("--") if "--" in arguments else len(arguments)
    pairs = zip(arguments[:end], [*arguments[1:end], ""], strict=False)
    completed = [f"--ray={LOCAL}" if a == "--ray" and not is_address(b) else a for a, b in pairs]
    return completed + arguments[end:]


def _end_now() -> None:
    """After Ctrl-C: end without waiting for threads, which may be deep in a library, or for processes.

    Nothing is lost by it: files appear whole or not at all.
    """
    import multiprocessing.util

    for process in multiprocessing.active_children():
        process.kill()
    multiprocessing.util._run_finalizers(0)  # type: ignore[attr-defined]  # semaphores: Python warns of what is left
    _flushed()
    os._exit(EXIT_STOPPED)
