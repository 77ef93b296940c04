"""What `import torch` can put off where pictures are only coded (docs/decisions/0012-start-up-time.md)."""

from __future__ import annotations

import importlib.machinery
import sys
import types
from collections.abc import Sequence
from importlib.abc import Loader
from importlib.machinery import ModuleSpec

# Shapes of PyTorch's operators in Python, and what they import: a fifth of its import.
_FOR_TRACING = "torch._meta_registrations"


def without_tracing(device: str, refine_steps: int = 0) -> None:
    """Let the first `import torch` leave out what tracing, the meta device, generators and optimisers need.

    Only for a process that runs networks on a CPU and refines nothing: nothing else of PyTorch may be used there. The
    module runs later if something asks for a name of it, but PyTorch itself mostly trusts that it has run.
    """
    if device == "cpu" and refine_steps == 0 and "torch" not in sys.modules:
        sys.meta_path.insert(0, _Later())


class _Later(Loader):
    """Finds the modules that are put off, and runs them when something of theirs is asked for."""

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: types.ModuleType | None = None
    ) -> ModuleSpec | None:
        found = importlib.machinery.PathFinder.find_spec(name, path, target) if name == _FOR_TRACING else None
        if found is None or found.loader is None:
            return None
        self.loader, found.loader = found.loader, self
        return found

    def create_module(self, spec: ModuleSpec) -> types.ModuleType:
        return _PutOff(spec.name)

    def exec_module(self, module: types.ModuleType) -> None:
        """Nothing yet."""


class _PutOff(types.ModuleType):
    """A module that runs when it is first asked for a name of its own."""

    def __getattr__(self, name: str) -> object:
        spec = self.__spec__
        if name.startswith("__") or spec is None or not isinstance(spec.loader, _Later):
            raise AttributeError(f"module {self.__name__!r} has no attribute {name!r}")
        spec.loader = spec.loader.loader  # first, as the module asks for its own names while it runs
        spec.loader.exec_module(self)
        return getattr(self, name)
