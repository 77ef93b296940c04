"""What modules of the package import, read from their text: at module level, within functions, for types alone."""

from __future__ import annotations

import ast
import functools
from dataclasses import dataclass
from enum import Enum
from pathlib import Path

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "src/lichen"


class When(Enum):
    """When an import happens."""

    LOADED = "when the module is loaded"
    CALLED = "when a function is called"
    TYPES = "for annotations alone"


@dataclass(frozen=True)
class Import:
    """A module that imports another one, or a name of it."""

    importer: str
    name: str
    when: When


def module_of(path: Path) -> str:
    """src/lichen/a/b.py -> lichen.a.b; a package's `__init__` is the package."""
    parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


@functools.cache
def modules() -> dict[str, Path]:
    """All modules of the package, and their files."""
    return {module_of(path): path for path in sorted(PACKAGE.rglob("*.py"))}


def part_of(module: str) -> str:
    """Where a module belongs: `image`, `lab.prior`, or itself at the top, as `codec` or `lab.tensors`."""
    inside = module.split(".")[1:]
    return ".".join(inside[:2] if inside[:1] == ["lab"] else inside[:1])


def imports_of(path: Path, importer: str = "") -> list[Import]:
    """Every import of a file; of `from a import b` the module `a.b` where there is one in the package, else `a`."""
    found: list[Import] = []

    def search(node: ast.AST, when: When) -> None:
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.Import):
                found.extend(Import(importer, alias.name, when) for alias in child.names)
            elif isinstance(child, ast.ImportFrom):
                assert child.level == 0 and child.module, f"{path.name}: a relative import"
                longer = [f"{child.module}.{alias.name}" for alias in child.names]
                found.extend(Import(importer, n if n in modules() else child.module, when) for n in longer)
            elif isinstance(child, ast.Call) and (name := _by_name(child)):
                found.append(Import(importer, name, when))
            search(child, _when(child, when))

    search(ast.parse(path.read_text()), When.LOADED)
    return found


def _by_name(call: ast.Call) -> str | None:
    """The module that a call of `importlib.import_module` or of `engines.lab` names."""
    called = call.func.attr if isinstance(call.func, ast.Attribute) else getattr(call.func, "id", "")
    name = call.args[0] if call.args and called in {"import_module", "lab"} else None
    return name.value if isinstance(name, ast.Constant) and isinstance(name.value, str) else None


def _when(node: ast.AST, when: When) -> When:
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
        return When.CALLED
    if isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING":
        return When.TYPES
    return when


@functools.cache
def all_imports() -> tuple[Import, ...]:
    """Every import of every module of the package."""
    return tuple(found for module, path in modules().items() for found in imports_of(path, module))


def circle_in(edges: dict[str, set[str]]) -> list[str]:
    """The parts of a circle, the first of them again at the end; none where there is none."""
    done: set[str] = set()

    def search(part: str, way: list[str]) -> list[str]:
        if part in way:
            return [*way[way.index(part) :], part]
        if part in done:
            return []
        for other in sorted(edges.get(part, ())):
            if circle := search(other, [*way, part]):
                return circle
        done.add(part)
        return []

    return next((circle for part in sorted(edges) if (circle := search(part, []))), [])
