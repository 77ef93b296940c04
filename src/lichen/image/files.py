"""Files: read whole if they are not endless; written so that nothing is lost, beside the target, then renamed."""

from __future__ import annotations

import contextlib
import hashlib
import os
import secrets
import shutil
import stat
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from lichen.errors import BadInput, OutputError, OutputExists

try:
    import fcntl
except ImportError:  # Windows: there, temporary files of killed processes stay
    fcntl = None  # type: ignore[assignment]


READ_BYTES_MAX = 2**31  # of an input: a picture at the limit of pixels, with 16 bytes for each
_BLOCK = 2**20


def read_whole(path: Path) -> bytes:
    """The bytes of a file; `-` is standard input. Raises `BadInput`, also for one that is endless or too large."""
    try:
        if str(path) == "-":
            return _read_stream(sys.stdin.buffer, path)
        with path.open("rb") as file:
            about = os.fstat(file.fileno())
            if about.st_size > READ_BYTES_MAX:
                raise too_large(str(path))
            return file.read() if stat.S_ISREG(about.st_mode) else _read_stream(file, path)
    except AttributeError as error:
        raise BadInput("standard input is closed") from error
    except OSError as error:
        raise BadInput(f"{path}: cannot be read ({error.strerror})") from error


def _read_stream(file: BinaryIO, path: Path) -> bytes:
    data = bytearray()
    while block := file.read(_BLOCK):
        data += block
        if len(data) > READ_BYTES_MAX:
            raise too_large(str(path))
    return bytes(data)


def too_large(path: str) -> BadInput:
    """The error of a file with too many bytes; `-` is standard input."""
    name = "standard input" if path == "-" else path
    return BadInput(f"{name}: has more than {READ_BYTES_MAX} bytes, too many for a picture; give another")


def write_atomically(path: Path, data: bytes, overwrite: bool, like: Path | None = None) -> None:
    """Write `data` under a temporary name in the same folder and rename it to `path`.

    A half-written file never appears under the final name. What a killed process left is removed by the next
    that writes the same output. It gets the permissions and times of the file `like`, as far as can be; one that is
    overwritten keeps its permissions. Raises `OutputError` if it exists and `overwrite` is false, or cannot be written.
    """
    try:
        path = path.resolve()  # a link's target is replaced, not the link
        if path.exists() and not path.is_file():
            raise OutputError(f"{path} is not a regular file; give another output")
        refuse_existing(path, overwrite)
        path.parent.mkdir(parents=True, exist_ok=True)
        with _temporary(path) as temporary:
            with temporary.open("wb") as file:
                if like is not None:  # before what they protect is there
                    with contextlib.suppress(OSError):
                        temporary.chmod(like.stat().st_mode & 0o777)
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            if like is not None:
                with contextlib.suppress(OSError):
                    os.utime(temporary, ns=(like.stat().st_atime_ns, like.stat().st_mtime_ns))
            if overwrite:
                with contextlib.suppress(OSError):  # it is new, or its rights cannot be given
                    shutil.copymode(path, temporary)
                temporary.replace(path)
            else:
                _publish(temporary, path)
    except OSError as error:
        raise OutputError(f"{path} cannot be written: {error.strerror}") from error
    except RuntimeError as error:  # Python's, until 3.12, for links that go round in circles
        raise OutputError(f"{path} cannot be written: {error}") from error


def refuse_existing(path: Path, overwrite: bool) -> None:
    """Raises `OutputExists` if there is something and `overwrite` is false: before work that would be in vain."""
    if not overwrite and path.exists():
        raise OutputExists(f"{path} exists; use `force` to overwrite it")


def _publish(temporary: Path, path: Path) -> None:
    """Give the file its name unless another took it meanwhile (a link refuses, a rename does not)."""
    try:
        path.hardlink_to(temporary)
    except FileExistsError as error:
        raise OutputExists(f"{path} exists; use `force` to overwrite it") from error
    except OSError:  # a file system without links
        refuse_existing(path, False)
        temporary.replace(path)


@contextlib.contextmanager
def _temporary(path: Path) -> Iterator[Path]:
    """A file beside `path` to write to; what is still there at the end is removed.

    Its name is the same for an output each time, so that what a killed process left is found, and it is locked while
    in use, by a lock that ends with its process. Where another is at the same output, or nothing can be locked, it
    has a name of its own.
    """
    name = hashlib.sha256(os.fsencode(path.name)).hexdigest()[:16]  # short, however long the output's is
    usual = path.with_name(f".{name}.part")
    abandoned = _locked(usual, os.O_RDWR)
    if abandoned is not None:
        with contextlib.suppress(OSError):
            usual.unlink()
        os.close(abandoned)
    lock = _locked(usual, os.O_RDWR | os.O_CREAT | os.O_EXCL)
    temporary = usual if lock is not None else path.with_name(f".{name}-{secrets.token_hex(8)}.part")
    try:
        yield temporary
    finally:
        with contextlib.suppress(OSError):
            if lock is None or _is_at(lock, temporary):
                temporary.unlink(missing_ok=True)
        if lock is not None:
            os.close(lock)


def _locked(path: Path, flags: int) -> int | None:
    """A handle of the file at `path` that locks it until it is closed; None where that cannot be."""
    if fcntl is None:
        return None
    try:
        handle = os.open(path, flags | os.O_NOFOLLOW | os.O_NONBLOCK, 0o666)
    except OSError:
        return None
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if _is_at(handle, path):  # not removed between opening and locking
            return handle
    except BlockingIOError:
        pass
    except OSError:  # a file system without locks
        if flags & os.O_CREAT:
            path.unlink(missing_ok=True)
    os.close(handle)
    return None


def _is_at(handle: int, path: Path) -> bool:
    """Whether an open file still has this name."""
    try:
        return os.path.samestat(os.fstat(handle), path.lstat())
    except FileNotFoundError:
        return False
