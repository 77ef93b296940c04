"""Inputs and outputs of a job: which file each input becomes, and what became of it."""

from __future__ import annotations

import dataclasses
import stat
import sys
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePath
from typing import TypeVar

from lichen.errors import BadInput, LichenError, OutputError, UsageError
from lichen.image.files import refuse_existing
from lichen.image.formats import is_apple_double, readable_endings

P = TypeVar("P", bound=PurePath)
STANDARD = Path("-")
LIC = ".lic"


@dataclass(frozen=True)
class Task:
    """One input and where its result goes; `STANDARD` is standard input or output. `refusal`: why it cannot be."""

    source: Path
    target: Path
    refusal: UsageError | None = None


@dataclass(frozen=True)
class Done:
    """What became of a task: sizes in bytes and pixels, or the error; `notices` of what was changed or lost.

    `psnr_db` where it was asked for; `seconds` of the work on it, waiting left out.
    """

    task: Task
    size_in_bytes: int = 0
    size_out_bytes: int = 0
    width: int = 0
    height: int = 0
    error: LichenError | None = None
    notices: tuple[str, ...] = ()
    skipped: bool = False
    psnr_db: float | None = None
    seconds: float = 0.0


@dataclass(frozen=True)
class Naming:
    """Which files of a folder are taken, by their endings (None: all that can be read), and what results are called.

    `ending` takes the place of an input's own, or with `keep_ending` follows it; `only_ending`: no other is allowed.
    """

    ending: str
    accepted: frozenset[str] | None
    keep_ending: bool = False
    only_ending: bool = False

    @staticmethod
    def to_encode(keep_ending: bool = False) -> Naming:
        """Pictures become `.lic` files."""
        return Naming(LIC, None, keep_ending, only_ending=True)

    @staticmethod
    def to_decode(ending: str) -> Naming:
        """`.lic` files become pictures with this ending, such as `.png`."""
        return Naming(ending, frozenset({LIC}))

    def of(self, source: P) -> P:
        """The result of an input, beside it."""
        return source.with_name(source.name + self.ending) if self.keep_ending else source.with_suffix(self.ending)


@dataclass
class Plan:
    """The tasks of a job, and how many files of its folders were left out, by their endings."""

    tasks: list[Task] = field(default_factory=list)
    left_out: Counter[str] = field(default_factory=Counter)

    def remainder(self) -> str:
        """`2 .heic, 1 without an ending`: what was left out; empty for nothing."""
        named = (f"{count} {ending or 'without an ending'}" for ending, count in sorted(self.left_out.items()))
        return ", ".join(named)


def plan(inputs: Iterable[Path], output: Path | None, naming: Naming, recursive: bool = False) -> Plan:
    """The tasks for these files and folders.

    One input file: `output` names the result, or the folder for it. Several, or a folder: `output` is a
    folder, in which folders keep their tree. Without `output` results lie beside their inputs. Inputs that would
    become one file, or be overwritten, have a refusal in their task; the others go on. Raises `UsageError` for an
    `output` that cannot be meant, `BadInput` when there is nothing to do.
    """
    try:
        return _plan(list(inputs), output, naming, recursive)
    except OSError as error:  # names too long, folders without access
        raise BadInput(f"{error.filename}: {error.strerror}; check the names") from error
    except RuntimeError as error:  # Python's, until 3.12, for links that go round in circles
        raise BadInput(f"{error}; check the names") from error


def _plan(given: list[Path], output: Path | None, naming: Naming, recursive: bool) -> Plan:
    if output == STANDARD and (len(given) > 1 or given[0].is_dir()):
        raise UsageError("standard output takes one picture; give a folder")
    single = len(given) == 1 and not given[0].is_dir()
    found = Plan()
    for source in given:
        if source == STANDARD:
            found.tasks.append(Task(source, output if single and output else STANDARD))
        elif source.is_dir():
            base = output or source
            for member in _members(source, naming, recursive, found.left_out):
                found.tasks.append(Task(member, naming.of(base / member.relative_to(source))))
        else:
            found.tasks.append(Task(source, _target(source, output, naming, single)))
    if len(found.tasks) > 1 and any(task.target == STANDARD for task in found.tasks):
        raise UsageError("standard input and output take one picture at a time")
    found.tasks = _refused(found.tasks, naming)
    return found


def _target(source: Path, output: Path | None, naming: Naming, single: bool) -> Path:
    if output is None:
        return naming.of(source)
    if output == STANDARD or (single and is_stream(output)):
        return output
    if not single or output.is_dir():
        return output / naming.of(source).name
    check_ending(output, naming)
    return output


def check_ending(output: PurePath, naming: Naming) -> None:
    """Raises `UsageError` for an output that may be a folder which is not there, or that has another ending."""
    if not output.suffix:  # perhaps a folder's name: several pictures in turn would become one file
        raise UsageError(f"{output} has no ending like {naming.ending}; give it one, or make that folder first")
    if naming.only_ending and output.suffix.lower() != naming.ending:
        raise UsageError(f"{output} would be no {output.suffix} file: give it the ending {naming.ending}")


def _members(folder: Path, naming: Naming, recursive: bool, left_out: Counter[str]) -> list[Path]:
    """The files of a folder that are taken; others but hidden ones, and files of ours, count as left out."""
    taken, others = [], Counter[str]()
    accepted = readable_endings() if naming.accepted is None else naming.accepted  # loads all of Pillow
    for path in sorted(folder.rglob("*") if recursive else folder.glob("*")):
        ending = path.suffix.lower()
        lost = path.is_symlink() and not path.exists()  # taken, so that it is named as what cannot be read
        if not (path.is_file() or lost) or is_apple_double(path):
            continue
        if ending in accepted:
            taken.append(path)
        elif ending != naming.ending and not path.name.startswith("."):
            others[ending] += 1
    if not taken:
        raise nothing_in(str(folder), others, recursive)
    left_out += others
    return taken


def nothing_in(folder: str, others: Counter[str], recursive: bool) -> BadInput:
    """The error of a folder from which nothing is taken, and these are left out."""
    seen = f" ({Plan(left_out=others).remainder()} left out)" if others else ""
    hint = "" if recursive else "; `recursive` looks in its folders too"
    return BadInput(f"{folder}: nothing in it to work on{seen}{hint}")


def _refused(tasks: list[Task], naming: Naming) -> list[Task]:
    """The tasks, with a refusal in those that would overwrite an input or become one file with another."""

    def place(path: Path) -> str | None:
        return None if path == STANDARD else str(path.resolve())

    ends = [Ends(str(task.source), str(task.target), place(task.source), place(task.target)) for task in tasks]
    pairs = zip(tasks, refusals(ends, naming), strict=True)
    return [dataclasses.replace(task, refusal=refusal) for task, refusal in pairs]


@dataclass(frozen=True)
class Ends:
    """The names of an input and of its result, and where these are; None for standard input or output."""

    source: str
    target: str
    source_place: str | None
    target_place: str | None


def refusals(ends: Sequence[Ends], naming: Naming) -> list[UsageError | None]:
    """Why a result cannot be: it would overwrite an input, or two would become one file. None for what can."""
    sources = {end.source_place for end in ends if end.source_place is not None}
    targets: dict[str | None, list[Ends]] = {}
    for end in ends:
        targets.setdefault(end.target_place, []).append(end)

    def refusal(end: Ends) -> UsageError | None:
        source, same = PurePath(end.source), targets[end.target_place]
        if naming.only_ending and source.suffix.lower() == naming.ending:
            return UsageError(f"{end.source} is a {naming.ending} file already; decode makes a picture of it")
        if end.target_place is None:
            return None
        if end.target_place in sources:
            return UsageError(f"{end.target} is an input and would be overwritten; give another `output`")
        if len(same) == 1:
            return None
        pair = " and ".join(other.source for other in same[:2])
        alike = len({PurePath(other.source).suffix for other in same}) < len(same)
        remedy = "work on them apart" if alike or naming.keep_ending else f"`keep_ending` names it {source.name}{LIC}"
        return UsageError(f"{pair} would both become {end.target}; {remedy}")

    return [refusal(end) for end in ends]


def is_stream(path: Path) -> bool:
    """Whether a pipe or a device is there, such as /dev/fd/63: what is written to it replaces nothing."""
    try:
        mode = path.stat().st_mode
    except OSError:
        return False
    return stat.S_ISFIFO(mode) or stat.S_ISCHR(mode)


def check_ends(task: Task, force: bool) -> None:
    """What is known of a task before anything is read or loaded.

    Raises its refusal, `UsageError` for a terminal as output, `BadInput` for an input that is not there,
    `OutputError` for an output that is a folder, `OutputExists` for one that must not be overwritten.
    """
    if task.refusal is not None:
        raise task.refusal
    try:
        if task.source != STANDARD:
            task.source.stat()
    except OSError as error:
        raise BadInput(f"{task.source}: cannot be read ({error.strerror})") from error
    if task.target == STANDARD and not force and sys.stdout is not None and sys.stdout.isatty():
        raise UsageError("standard output is a terminal, and a picture is no text: give an `output`, or `force`")
    if task.target == STANDARD or is_stream(task.target):
        return
    if task.target.is_dir():
        raise OutputError(f"{task.target} is a folder; give a file name")
    refuse_existing(task.target, force)
