"""Inputs and outputs of a job: which file each input becomes, and what became of it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from lichen.errors import BadInput, LichenError, UsageError

STANDARD = Path("-")
LIC = ".lic"


@dataclass(frozen=True)
class Task:
    """One input and where its result goes; `STANDARD` is standard input or output."""

    source: Path
    target: Path


@dataclass(frozen=True)
class Done:
    """What became of a task: sizes in bytes and pixels, or the error; `notices` of what was changed or lost."""

    task: Task
    size_in_bytes: int = 0
    size_out_bytes: int = 0
    width: int = 0
    height: int = 0
    error: LichenError | None = None
    notices: tuple[str, ...] = ()
    skipped: bool = False


def picture_endings() -> set[str]:
    """Endings of the files that Pillow opens, `.lic` aside."""
    Image.init()
    return {e for e, name in Image.registered_extensions().items() if name in Image.OPEN} - {LIC}


def plan(inputs: Iterable[Path], output: Path | None, ending: str, accepted: set[str], recursive: bool) -> list[Task]:
    """The tasks for these files and folders, of which files with the `accepted` endings are taken.

    One input file: `output` names the result, or the folder for it. Several, or a folder: `output` is a
    folder, in which folders keep their tree. Without `output` results lie beside their inputs, with this `ending`.
    Raises `UsageError` when two inputs would become one file, `BadInput` when there is nothing to do.
    """
    try:
        return _plan(list(inputs), output, ending, accepted, recursive)
    except OSError as error:  # names too long, folders without access
        raise BadInput(f"{error.filename}: {error.strerror}; check the names") from error
    except RuntimeError as error:  # Python's, until 3.12, for links that go round in circles
        raise BadInput(f"{error}; check the names") from error


def _plan(given: list[Path], output: Path | None, ending: str, accepted: set[str], recursive: bool) -> list[Task]:
    if output == STANDARD and (len(given) > 1 or given[0].is_dir()):
        raise UsageError("standard output takes one picture; give a folder")
    single = len(given) == 1 and not given[0].is_dir()
    tasks: list[Task] = []
    for source in given:
        if source == STANDARD:
            tasks.append(Task(source, output if single and output else STANDARD))
        elif source.is_dir():
            base = output or source
            members = _members(source, accepted, recursive)
            tasks += [Task(m, (base / m.relative_to(source)).with_suffix(ending)) for m in members]
        else:
            tasks.append(Task(source, _target(source, output, ending, single)))
    _refuse_collisions(tasks)
    return tasks


def _target(source: Path, output: Path | None, ending: str, single: bool) -> Path:
    name = source.with_suffix(ending)
    if output is None:
        return name
    if output == STANDARD:
        return STANDARD
    if not single or output.is_dir():
        return output / name.name
    if not output.suffix:  # perhaps a folder's name: several pictures in turn would become one file
        raise UsageError(f"{output} has no ending like {ending}; give it one, or make that folder first")
    return output


def _members(folder: Path, endings: set[str], recursive: bool) -> list[Path]:
    entries = folder.rglob("*") if recursive else folder.glob("*")
    found = sorted(p for p in entries if p.suffix.lower() in endings and p.is_file())
    if not found:
        hint = "" if recursive else "; --recursive looks in its folders too"
        raise BadInput(f"{folder}: nothing in it to work on{hint}")
    return found


def _refuse_collisions(tasks: list[Task]) -> None:
    taken: dict[Path, Path] = {}
    sources = {task.source.resolve() for task in tasks if task.source != STANDARD}
    for task in tasks:
        if task.target == STANDARD:
            continue
        target = task.target.resolve()
        if target in sources:
            raise UsageError(f"{task.target} is an input and would be overwritten; give another --output")
        if target in taken:
            raise UsageError(f"{taken[target]} and {task.source} would both become {task.target}; work on them apart")
        taken[target] = task.source
    if len(tasks) > 1 and any(task.target == STANDARD for task in tasks):
        raise UsageError("standard input and output take one picture at a time")
