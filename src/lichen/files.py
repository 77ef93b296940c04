"""Writing files so that nothing is lost: beside the target, flushed, then renamed."""

from __future__ import annotations

import contextlib
import os
import secrets
from pathlib import Path

from lichen.errors import OutputError, OutputExists


def write_atomically(path: Path, data: bytes, overwrite: bool) -> None:
    """Write `data` under a temporary name in the same folder and rename it to `path`.

    A half-written file never appears under the final name. Raises `OutputError` if it exists and
    `overwrite` is false, or cannot be written.
    """
    try:
        path = path.resolve()  # a link's target is replaced, not the link
        if path.exists() and not path.is_file():
            raise OutputError(f"{path} is not a regular file; give another output")
        if not overwrite and path.exists():
            raise OutputExists(f"{path} exists; use --force to overwrite it")
    except OSError as error:
        raise OutputError(f"{path} cannot be written: {error.strerror}") from error
    temporary = path.with_name(f".{secrets.token_hex(8)}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with temporary.open("xb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        if overwrite:
            temporary.replace(path)
        else:
            _publish(temporary, path)
    except OSError as error:
        raise OutputError(f"{path} cannot be written: {error.strerror}") from error
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)


def _publish(temporary: Path, path: Path) -> None:
    """Give the file its name unless another took it meanwhile (a link refuses, a rename does not)."""
    try:
        path.hardlink_to(temporary)
    except FileExistsError as error:
        raise OutputExists(f"{path} exists; use --force to overwrite it") from error
    except OSError:  # a file system without links
        temporary.replace(path)
