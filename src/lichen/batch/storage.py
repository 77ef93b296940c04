"""Files on any filesystem that pyarrow or fsspec knows: found, named as folders' are, written whole or not at all."""

from __future__ import annotations

import secrets
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

from lichen.batch.tasks import Ends, Naming, check_ending, nothing_in, refusals
from lichen.errors import BadInput, LichenError, OutputError, UsageError
from lichen.image.files import READ_BYTES_MAX, too_large, write_atomically
from lichen.image.formats import APPLE_DOUBLE, readable_endings

if TYPE_CHECKING:
    from pyarrow.fs import FileSystem

OBJECT_STORES = {"s3", "s3a", "gs", "gcs", "abfs", "abfss", "az", "memory"}  # what is written appears when it is whole
_ABSENT = "cannot be read (No such file or directory)"  # as the system says it


@dataclass(frozen=True)
class Place:
    """A file or folder: `path` on a filesystem, and its name as it was given, such as `s3://bucket/photos`."""

    filesystem: FileSystem
    path: str
    shown: str

    @staticmethod
    def of(given: str) -> Place:
        """Of a path of this machine, or of an address with a scheme. Raises `UsageError` for one that is not known."""
        import pyarrow
        from pyarrow import fs

        scheme, separator, rest = given.partition("://")
        if not separator or scheme == "file":
            return Place(fs.LocalFileSystem(), str(Path(rest if separator else given).absolute()), given.rstrip("/"))
        root, _, inner = rest.strip("/").partition("/")
        try:
            query = "?allow_delayed_open=true" if scheme == "s3" else ""  # one request for a small object, not three
            filesystem, base = fs.FileSystem.from_uri(f"{scheme}://{root}{query}")
        except pyarrow.ArrowInvalid:
            return _by_fsspec(given)
        return Place(filesystem, f"{base.rstrip('/')}/{inner}".rstrip("/"), given.rstrip("/"))

    def within(self, inner: str) -> Place:
        """A file or folder beneath."""
        return Place(self.filesystem, f"{self.path}/{inner}", f"{self.shown}/{inner}")

    def beside(self, name: str) -> Place:
        """A file of this name in the same folder."""
        return Place(self.filesystem, _with_name(self.path, name), _with_name(self.shown, name))


def _by_fsspec(given: str) -> Place:
    import fsspec
    from pyarrow.fs import FSSpecHandler, PyFileSystem

    try:
        filesystem, path = fsspec.core.url_to_fs(given)
    except (ImportError, ValueError) as error:
        raise UsageError(f"{given}: this kind of storage is not known ({error})") from error
    return Place(PyFileSystem(FSSpecHandler(filesystem)), path.rstrip("/"), given.rstrip("/"))


@dataclass(frozen=True)
class Targets:
    """Which path each result has: of files that were named one by one, and of all within folders."""

    naming: Naming
    files: Mapping[str, str]
    folders: tuple[tuple[str, str], ...]

    def of(self, source: str) -> str:
        """The path of the result of a path. Raises `KeyError` for a path that is none of theirs."""
        found = self.by_folder(source)
        return self.files[source] if source in self.files or found is None else found

    def by_folder(self, source: str) -> str | None:
        """The path that it has by the first of the folders that it is in; None where it is in none."""
        for folder, target in self.folders:
            if source.startswith(f"{folder}/"):
                return _renamed(target + source[len(folder) :], self.naming)
        return None


@dataclass(frozen=True)
class StoredTask:
    """One input and its result, with their names as they are shown. `size_bytes`: of the input.

    `existing_bytes`: of what is where the result goes, or None. `refusal`: why it cannot be.
    """

    source: str
    target: str
    shown: tuple[str, str]
    size_bytes: int
    existing_bytes: int | None = None
    refusal: LichenError | None = None


@dataclass
class StoredPlan:
    """The tasks of a job on two filesystems, and how many files of its folders were left out, by their endings."""

    source: FileSystem
    target: FileSystem
    targets: Targets
    tasks: list[StoredTask] = field(default_factory=list)
    left_out: Counter[str] = field(default_factory=Counter)


def plan_stored(inputs: Sequence[str], output: str | None, naming: Naming, recursive: bool = False) -> StoredPlan:
    """The tasks for these files and folders, as `tasks.plan` makes them; all inputs are on one filesystem.

    Raises `UsageError` for inputs of several and for an `output` that cannot be meant, `BadInput` where there is
    nothing to do, or nothing can be listed.
    """
    places = [Place.of(given) for given in inputs]
    result = None if output is None else Place.of(output)
    if any(place.filesystem != places[0].filesystem for place in places):
        raise UsageError("the inputs are on different filesystems; work on them apart")
    try:
        return _plan(places, result, naming, recursive)
    except (OSError, ValueError) as error:  # of pyarrow too: no such bucket, no rights, no network
        raise BadInput(f"{', '.join(inputs)}: cannot be listed ({error}); check the names and your rights") from error


def _plan(places: list[Place], output: Place | None, naming: Naming, recursive: bool) -> StoredPlan:
    infos = [place.filesystem.get_file_info(place.path) for place in places]
    end = output or places[0]
    into_folder = len(places) > 1 or (output is not None and _is_folder(end.filesystem.get_file_info(end.path)))
    left_out, ends = Counter[str](), list[_Ends]()
    folders = dict[str, str]()
    for place, info in zip(places, infos, strict=True):
        if _is_folder(info):
            base = output or place
            folders[place.path] = base.path
            for inner, size in _members(place, naming, recursive, left_out):
                ends.append(_Ends(place.within(inner), base.within(_renamed(inner, naming)), size))
        else:
            ends.append(_Ends(place, _target(place, output, naming, into_folder), info.size if info.is_file else None))
    targets = _targets(ends, folders, naming)
    existing = _existing(end.filesystem, list(targets.files.values()), list(folders.values()), recursive)
    tasks = _tasks(ends, naming, existing)
    return StoredPlan(places[0].filesystem, end.filesystem, targets, tasks, left_out=left_out)


def _targets(ends: list[_Ends], folders: dict[str, str], naming: Naming) -> Targets:
    """The rule by folders, and those that it does not give: files named one by one, or in folders within folders."""
    rule, files, seen = Targets(naming, {}, tuple(folders.items())), dict[str, str](), set[str]()
    for end in ends:
        if end.source.path not in seen and rule.by_folder(end.source.path) != end.target.path:
            files[end.source.path] = end.target.path
        seen.add(end.source.path)
    return Targets(naming, files, rule.folders)


@dataclass(frozen=True)
class _Ends:
    """A picture's file and its result's; the size of the former, or None where it is not there."""

    source: Place
    target: Place
    size_bytes: int | None


def _is_folder(info: Any) -> bool:
    return bool(info.type.name == "Directory")


def _members(folder: Place, naming: Naming, recursive: bool, left_out: Counter[str]) -> list[tuple[str, int]]:
    """What of a folder is taken: names within it, and sizes. Others but hidden ones, and files of ours, are left out.

    Raises `BadInput` where that is nothing.
    """
    from pyarrow.fs import FileSelector

    accepted = readable_endings() if naming.accepted is None else naming.accepted
    found, others = [], Counter[str]()
    for info in folder.filesystem.get_file_info(FileSelector(folder.path, recursive=recursive)):
        ending, name = PurePosixPath(info.base_name).suffix.lower(), info.base_name
        if not info.is_file or (name.startswith("._") and _is_apple_double(folder.filesystem, info.path)):
            continue
        if ending in accepted:
            found.append((info.path.removeprefix(f"{folder.path}/"), info.size))
        elif ending != naming.ending and not name.startswith("."):
            others[ending] += 1
    if not found:
        raise nothing_in(folder.shown, others, recursive)
    left_out += others
    return sorted(found, key=lambda member: member[0].split("/"))


def _is_apple_double(filesystem: FileSystem, path: str) -> bool:
    with filesystem.open_input_file(path) as file:
        return bool(file.read(len(APPLE_DOUBLE)) == APPLE_DOUBLE)


def _target(source: Place, output: Place | None, naming: Naming, into_folder: bool) -> Place:
    name = _renamed(source.path.rpartition("/")[2], naming)
    if output is None:
        return source.beside(name)
    if into_folder:
        return output.within(name)
    check_ending(PurePosixPath(output.shown), naming)
    return output


def _existing(filesystem: FileSystem, files: list[str], folders: list[str], recursive: bool) -> dict[str, Any]:
    """What is there already of results, by their paths: folders by one listing, however many are in them."""
    from pyarrow.fs import FileSelector

    infos = list(filesystem.get_file_info(files)) if files else []
    for folder in dict.fromkeys(folders):
        infos += filesystem.get_file_info(FileSelector(folder, recursive=recursive, allow_not_found=True))
    return {info.path: info for info in infos if info.type.name != "NotFound"}


def _tasks(ends: list[_Ends], naming: Naming, existing: Mapping[str, Any]) -> list[StoredTask]:
    same = ends[0].source.filesystem == ends[0].target.filesystem
    elsewhere = "" if same else "other:"  # a path there is another file
    named = [Ends(e.source.shown, e.target.shown, e.source.path, elsewhere + e.target.path) for e in ends]
    tasks, seen = [], set[str]()
    for end, refused in zip(ends, refusals(named, naming), strict=True):
        refusal: LichenError | None = refused
        there = existing.get(end.target.path)
        if end.source.path in seen:
            refusal = UsageError(f"{end.source.shown} is named twice; name it once")
        elif refusal is None and end.size_bytes is None:
            refusal = BadInput(f"{end.source.shown}: {_ABSENT}")
        elif refusal is None and end.size_bytes is not None and end.size_bytes > READ_BYTES_MAX:
            refusal = too_large(end.source.shown)
        elif refusal is None and there is not None and _is_folder(there):
            refusal = OutputError(f"{end.target.shown} is a folder; give a file name")
        seen.add(end.source.path)
        shown = end.source.shown, end.target.shown
        size = None if there is None else there.size
        paths = end.source.path, end.target.path
        tasks.append(StoredTask(*paths, shown, end.size_bytes or 0, existing_bytes=size, refusal=refusal))
    return tasks


def save(filesystem: FileSystem, path: str, data: bytes, like: Path | None) -> None:
    """Write a file that appears when it is whole; on this machine with the permissions and times of the file `like`.

    What is there is replaced. Raises `OutputError`.
    """
    from pyarrow import fs

    if isinstance(filesystem, fs.LocalFileSystem):
        write_atomically(Path(path), data, overwrite=True, like=like)
        return
    try:
        if _appears_whole(filesystem):
            _put(filesystem, path, data)
            return
        filesystem.create_dir(path.rpartition("/")[0], recursive=True)
        temporary = _with_name(path, f".{secrets.token_hex(8)}.part")
        _put(filesystem, temporary, data)
        filesystem.move(temporary, path)
    except OSError as error:
        raise OutputError(f"{path} cannot be written: {error}") from error


def _put(filesystem: FileSystem, path: str, data: bytes) -> None:
    with filesystem.open_output_stream(path) as stream:
        stream.write(data)


def _appears_whole(filesystem: FileSystem) -> bool:
    """Whether a file appears when its writer closes it, as objects do."""
    inner = getattr(getattr(filesystem, "handler", None), "fs", None)
    protocol = filesystem.type_name if inner is None else inner.protocol
    return bool(OBJECT_STORES & ({protocol} if isinstance(protocol, str) else set(protocol)))


def _with_name(path: str, name: str) -> str:
    folder, separator, _ = path.rpartition("/")
    return f"{folder}{separator}{name}"


def _renamed(path: str, naming: Naming) -> str:
    return _with_name(path, naming.of(PurePosixPath(path.rpartition("/")[2])).name)
