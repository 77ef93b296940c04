"""PyTorch's default type and device while an engine works: its own, whatever the program that calls has set."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator

import torch

_CPU = torch.device("cpu")


class _Float32:
    """The default type is one for all threads: the first to come changes it, the last to leave gives it back."""

    def __init__(self) -> None:
        self._lock, self._inside, self._before = threading.Lock(), 0, torch.float32

    def __enter__(self) -> None:
        with self._lock:
            if self._inside == 0:
                self._before = torch.get_default_dtype()
                if self._before != torch.float32:
                    torch.set_default_dtype(torch.float32)
            self._inside += 1

    def __exit__(self, *_: object) -> None:
        with self._lock:
            self._inside -= 1
            if self._inside == 0 and self._before != torch.float32:
                torch.set_default_dtype(self._before)


_float32 = _Float32()


@contextlib.contextmanager
def own_defaults() -> Iterator[None]:
    """float32 and the CPU for tensors that state no other; the caller's defaults again at the end."""
    device = contextlib.nullcontext() if torch.get_default_device() == _CPU else _CPU
    with _float32, device:
        yield
