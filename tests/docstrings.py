"""Public functions and classes of the package, and what their docstrings say: shapes, errors."""

from __future__ import annotations

import ast
import functools
import re
from collections.abc import Iterator
from dataclasses import dataclass

from lichen import errors
from tests.imports import modules, part_of

Node = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef

_ARRAYS = re.compile(r"\b(Tensor|NDArray|ndarray)\b")
_PARENTHESIS = re.compile(r"\(([^()]*)\)")
_ITEM = re.compile(r"\.\.\.|\*?[\w']+(\[[^\]]*\])?((?: ?[-+*/^] ?| )[\w']+)*")
_SIZES = {"side", "levels", "latents", "channels", "positions", "taps", "height", "width"}
_WORDS = re.compile(r"\b(scalar|elementwise|any shape|same shape)\b")
_CALLED = {"__init__", "__call__", "__post_init__"}  # documented by their class
_ERRORS = {name: kind for name, kind in vars(errors).items() if isinstance(kind, type) and issubclass(kind, Exception)}


def gives_shape(doc: str) -> bool:
    """Whether a docstring has a shape: (B, C, H, W), (n,), (), or says scalar or any shape."""
    for found in _PARENTHESIS.finditer(doc):
        items = [item.strip() for item in found[1].split(",")]
        if items[-1] == "" and len(items) > 1:
            items.pop()
        elif len(items) == 1 and items != [""]:
            continue
        if items == [""] and doc[found.start() - 1 : found.start()].isidentifier():
            continue  # a call
        sizes = [item for item in items if item == "" or _ITEM.fullmatch(item)]
        if len(sizes) == len(items) and any(len(item) <= 2 or item in {"...", *_SIZES} for item in items):
            return True
    return _WORDS.search(doc) is not None


@dataclass(frozen=True)
class Documented:
    """A public function, class or method; `doc` is its docstring, with its class's behind it."""

    module: str
    name: str
    node: Node
    doc: str
    own: bool  # has it a docstring itself, or is it one that needs none

    @property
    def part(self) -> str:
        return part_of(self.module)

    @property
    def place(self) -> str:
        return f"{self.module}.{self.name} (line {self.node.lineno})"

    @property
    def has_arrays(self) -> bool:
        """Whether it takes or gives tensors or arrays; a class, in public fields or methods."""
        return _has_arrays(self.node)

    @property
    def unnamed_errors(self) -> set[str]:
        """Errors of ours that it raises itself, and that neither by their name nor by a wider one are in `doc`."""
        if isinstance(self.node, ast.ClassDef):
            return set()
        wider = {name: [k.__name__ for k in _ERRORS[name].__mro__ if k.__name__ in _ERRORS] for name in _ERRORS}
        return {name for name in _raised(self.node) if not any(kind in self.doc for kind in wider[name])}


def _has_arrays(node: Node) -> bool:
    if isinstance(node, ast.ClassDef):
        fields = [ast.unparse(n.annotation) for n in node.body if isinstance(n, ast.AnnAssign) and _is_public(n.target)]
        own = [n for n in node.body if isinstance(n, ast.FunctionDef) and (n.name in _CALLED or n.name[0] != "_")]
        return any(map(_ARRAYS.search, fields)) or any(map(_has_arrays, own))
    arguments = [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs, node.args.vararg]
    hints = [ast.unparse(a.annotation) for a in arguments if a is not None and a.annotation is not None]
    return any(map(_ARRAYS.search, [*hints, ast.unparse(node.returns) if node.returns else ""]))


def _is_public(target: ast.expr) -> bool:
    return isinstance(target, ast.Name) and not target.id.startswith("_")


def _raised(node: ast.AST) -> set[str]:
    found: set[str] = set()
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.FunctionDef | ast.ClassDef | ast.Lambda):
            continue
        if isinstance(child, ast.Raise) and child.exc is not None:
            kind = child.exc.func if isinstance(child.exc, ast.Call) else child.exc
            found |= {kind.id} & _ERRORS.keys() if isinstance(kind, ast.Name) else set()
        found |= _raised(child)
    return found


def _doc(node: Node) -> str:
    return ast.get_docstring(node) or ""


@functools.cache
def _classes() -> dict[str, ast.ClassDef]:
    trees = [ast.parse(path.read_text()) for path in modules().values()]
    return {node.name: node for tree in trees for node in ast.walk(tree) if isinstance(node, ast.ClassDef)}


def _bases(owner: ast.ClassDef) -> list[str]:
    return [ast.unparse(base).split("[")[0] for base in owner.bases]


@functools.cache
def _declared() -> dict[str, str]:
    """Methods that protocols declare, and what these say of them: classes that have them need not say it again."""
    found: dict[str, str] = {}
    for node in _classes().values():
        if {"Protocol", "ABC"} & {*_bases(node)}:
            for method in node.body:
                if isinstance(method, ast.FunctionDef):
                    found[method.name] = f"{found.get(method.name, '')} {_doc(method)}".strip()
    return found


def _inherited(owner: ast.ClassDef, name: str, of_module: str) -> str:
    """What protocols, classes of ours above a class, and a module that shows the call, say of its method."""
    said = [_declared().get(name, ""), of_module if f"`{name}(" in of_module else ""]
    for base in (_classes()[base] for base in _bases(owner) if base in _classes()):
        said += [_doc(n) for n in base.body if isinstance(n, ast.FunctionDef) and n.name == name]
        said.append(_inherited(base, name, of_module))
    return " ".join(filter(None, said))


def _of(module: str, tree: ast.Module | ast.ClassDef, of_module: str) -> Iterator[Documented]:
    owner = tree if isinstance(tree, ast.ClassDef) else None
    of_class, prefix = (_doc(owner), f"{owner.name}.") if owner is not None else ("", "")
    for node in tree.body:
        if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
            methods = [n for n in node.body if (isinstance(n, ast.FunctionDef) and n.name[0] != "_") or _is_called(n)]
            below = " ".join(_doc(n) for n in methods if isinstance(n, ast.FunctionDef))
            below += " " + " ".join(
                _inherited(node, n.name, of_module) for n in methods if isinstance(n, ast.FunctionDef)
            )
            yield Documented(module, prefix + node.name, node, f"{_doc(node)} {below}", bool(_doc(node)))
            yield from _of(module, node, of_module)
        elif isinstance(node, ast.FunctionDef) and (not node.name.startswith("_") or (owner and _is_called(node))):
            said = _inherited(owner, node.name, of_module) if owner is not None else ""
            fine = bool(_doc(node) or said) or node.name in {*_CALLED, "forward"}
            yield Documented(module, prefix + node.name, node, f"{_doc(node)} {of_class} {said}", fine)


def _is_called(node: ast.stmt) -> bool:
    return isinstance(node, ast.FunctionDef) and node.name in _CALLED


@functools.cache
def documented() -> tuple[Documented, ...]:
    """Everything public of the package."""
    trees = {module: ast.parse(path.read_text()) for module, path in modules().items()}
    return tuple(found for module, tree in trees.items() for found in _of(module, tree, ast.get_docstring(tree) or ""))
