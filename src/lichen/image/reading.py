"""The one place where what Pillow and numpy raise on pictures becomes errors of ours, and its warnings are silenced."""

from __future__ import annotations

import contextlib
import threading
import warnings
from collections.abc import Iterator

from PIL import Image, UnidentifiedImageError

from lichen.errors import BadPicture, LichenError, PictureTooLarge

_PILLOWS = r"PIL\b"  # modules whose warnings are meant


class _Quiet:
    """Pillow's warnings ignored while any thread reads.

    `warnings.catch_warnings` is not safe in threads that overlap: the filters are changed by the first to come and
    restored by the last to go.
    """

    def __init__(self) -> None:
        self._lock, self._readers = threading.Lock(), 0
        self._filters = warnings.catch_warnings()

    def __enter__(self) -> None:
        with self._lock:
            self._readers += 1
            if self._readers == 1:
                self._filters = warnings.catch_warnings()
                self._filters.__enter__()
                warnings.filterwarnings("ignore", module=_PILLOWS)

    def __exit__(self, *error: object) -> None:
        with self._lock:
            self._readers -= 1
            if self._readers == 0:
                self._filters.__exit__(None, None, None)


_quiet = _Quiet()


@contextlib.contextmanager
def reading(name: str) -> Iterator[None]:
    """Whatever goes wrong in reading a picture becomes `BadPicture` or `PictureTooLarge`, which begin with its name.

    Other errors of ours and `MemoryError` pass. Pillow's warnings of odd files are not shown.
    """
    try:
        with _quiet:
            yield
    except Image.DecompressionBombError as error:
        raise PictureTooLarge(f"{name}: {error}; split it") from error
    except UnidentifiedImageError as error:
        raise BadPicture(f"{name}: not a picture that Pillow can read; check the file, or convert it to PNG") from error
    except (BadPicture, PictureTooLarge) as error:
        raise type(error)(f"{name}: {error}") from error
    except (LichenError, MemoryError):
        raise
    except Exception as error:  # Pillow's plugins raise many kinds on damaged files
        raise BadPicture(f"{name}: {_reason(error)}") from error


def _reason(error: Exception) -> str:
    said = getattr(error, "strerror", None) or str(error) or type(error).__name__
    if "MAX_TEXT" in said:
        return f"has a profile or a text beyond Pillow's limit ({said}); strip it first"
    return f"cannot be read as a picture ({said}); check the path, or get the file anew"
