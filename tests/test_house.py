"""The structure: who may import whom, what is loaded when, and how large files, functions and classes may be."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections import defaultdict
from importlib.util import find_spec
from pathlib import Path

import pytest

from tests.imports import PACKAGE, ROOT, When, all_imports, circle_in, imports_of, modules, part_of

# Part of the package (a folder, or a module at its top) -> parts that it may import, besides itself and these four.
FREE = {"errors", "extras", "progress", "version"}
PARTS = {
    "bitstream": "",
    "image": "bitstream",
    "coding": "",
    "runtime": "bitstream coding image.files options",
    "batch": "bitstream codec image metrics options runtime.memory runtime.threads",
    "viewer": "coding image.files runtime",
    "cli": "batch codec image inputs metrics options runtime viewer lab",
    "lab.transforms": "",
    "lab.fixed_point": "runtime.fixed_point lab.transforms",
    "lab.prior": "coding lab.transforms lab.fixed_point",
    "lab.post_filter": "lab.tensors coding.scales runtime.filter_choice runtime.filter_sums lab.transforms lab.prior",
    "lab.models": "coding.scales image.files options runtime.level runtime.migration runtime.weights"
    " runtime.weights_file lab.transforms lab.fixed_point lab.prior lab.post_filter lab.tensors",
    "lab.losses": "coding.scales lab.models.config lab.prior.families lab.prior.latents",
    "lab.engine": "options runtime lab.models lab.prior lab.post_filter lab.losses.distortion lab.tensors",
    "lab.export": "image.files runtime lab.engine lab.fixed_point lab.models lab.prior lab.transforms",
    "lab.training": "codec metrics batch.runner image runtime lab.models lab.losses lab.engine lab.prior"
    " lab.post_filter lab.tensors",
    "lab.evaluation": "options codec coding.scales metrics image runtime lab.engine lab.models lab.prior"
    " lab.post_filter lab.transforms lab.tensors lab.training.data",
    "lab.inspection": "image runtime.level lab.models lab.prior lab.losses lab.tensors",
    "lab.reporting": "codec metrics image lab.evaluation lab.models.zoo lab.training.data",
    "lab.papers": "codec metrics image runtime lab",
    "lab.tensors": "",
    "codec": "bitstream image runtime inputs metrics options rate_control",
    "inputs": "image",
    "metrics": "",
    "options": "",
    "rate_control": "",
    "pillow": "bitstream image inputs options codec",
    "errors": "",
    "extras": "",
    "progress": "",
    "version": "",
    "__main__": "cli",
    "": "codec inputs options",  # `import lichen`
    "lab": "",
}

# Part -> packages that it may import when it is loaded, besides Python's own. What is heavy and rare waits for a call.
LOADED = {
    "image": "numpy PIL",
    "coding": "numpy constriction",
    "runtime": "numpy",
    "batch": "PIL",
    "cli": "typer rich",
    "codec": "numpy PIL",
    "inputs": "numpy PIL",
    "metrics": "numpy",
    "pillow": "PIL",
    "lab.models": "torch safetensors",
    "lab.export": "torch onnx onnxscript",
    "lab.training": "torch numpy PIL rich",
    "lab.evaluation": "torch numpy PIL scipy bjontegaard",
    "lab.reporting": "numpy PIL matplotlib",
    **dict.fromkeys(["lab.transforms", "lab.fixed_point", "lab.prior", "lab.post_filter"], "torch numpy"),
    **dict.fromkeys(["lab.losses", "lab.engine", "lab.inspection", "lab.papers", "lab.tensors"], "torch numpy"),
}

ENTRY = "lichen.runtime.engines"  # where the codec loads the lab's engine, when it is called

# Modules outside the lab, besides the entry, that import PyTorch within a function, and what for.
STILL_TORCH = {
    "lichen.codec": "tensors for callers who ask for tensors",
    "lichen.metrics": "MS-SSIM by pytorch-msssim",
}


def in_the_lab(module: str) -> bool:
    return module.split(".")[:2] == ["lichen", "lab"]


def package_of(name: str) -> str:
    return name.partition(".")[0]


def test_imports_are_seen_in_whatever_form(tmp_path):
    (tmp_path / "a.py").write_text(
        "import numpy\nfrom lichen import cli, encode\nif TYPE_CHECKING:\n    import torch\n"
        "def f():\n    from lichen.lab.prior.schedules import Step\n    return lab('lichen.lab.models.zoo')\n"
    )
    assert [(i.name, i.when) for i in imports_of(tmp_path / "a.py")] == [
        ("numpy", When.LOADED),
        ("lichen.cli", When.LOADED),
        ("lichen", When.LOADED),
        ("torch", When.TYPES),
        ("lichen.lab.prior.schedules", When.CALLED),
        ("lichen.lab.models.zoo", When.CALLED),
    ]
    (tmp_path / "a.py").write_text("from ..codec import Codec\n")
    with pytest.raises(AssertionError, match="relative"):
        imports_of(tmp_path / "a.py")


def test_every_part_is_in_the_table():
    assert {part_of(module) for module in modules()} == set(PARTS)


@pytest.mark.parametrize("part", sorted(PARTS))
def test_a_part_imports_what_it_may(part):
    """For annotations alone, the codec may name classes of the lab."""
    allowed = {part, *FREE, *PARTS[part].split()}
    for found in all_imports():
        if part_of(found.importer) != part or package_of(found.name) != "lichen":
            continue
        named = found.name.removeprefix("lichen").removeprefix(".")
        fine = any(named == name or (name and named.startswith(name + ".")) for name in allowed)
        lazy = in_the_lab(found.name) and (
            found.when is When.TYPES or (found.importer == ENTRY and found.when is When.CALLED)
        )
        whole = named == "" and part == "pillow"  # asks for the package's default codec
        assert fine or lazy or whole, f"{found.importer} imports {found.name} {found.when.value}"


@pytest.mark.parametrize("part", sorted(PARTS))
def test_a_part_loads_what_it_may(part):
    allowed = {"lichen", "__future__", *sys.stdlib_module_names, *LOADED.get(part, "").split()}
    for found in all_imports():
        if part_of(found.importer) == part and found.when is When.LOADED:
            assert package_of(found.name) in allowed, f"{found.importer} imports {found.name}"


def test_no_circle_of_rooms():
    """The entry's imports of the lab, which happen when it is called, and those for types do not count."""
    edges: dict[str, set[str]] = defaultdict(set)
    for found in all_imports():
        ends = part_of(found.importer), part_of(found.name)
        lazy = found.importer == ENTRY and found.when is When.CALLED
        if package_of(found.name) == "lichen" and ends[0] != ends[1] and found.when is not When.TYPES and not lazy:
            edges[ends[0]].add(ends[1])
    assert len(edges) > 15
    assert circle_in(edges) == []


def test_a_circle_is_found():
    assert circle_in({"a": {"b", "c"}, "b": {"c"}, "c": set()}) == []
    assert circle_in({"a": {"b"}, "b": {"c"}, "c": {"b"}}) == ["b", "c", "b"]


def test_the_codec_wing_asks_for_the_lab_at_its_entry_and_in_commands():
    for found in all_imports():
        if in_the_lab(found.name) and not in_the_lab(found.importer) and found.when is not When.TYPES:
            assert found.importer == ENTRY or found.importer.startswith("lichen.cli."), found
            assert found.when is When.CALLED, found


def test_the_codec_wing_imports_no_pytorch():
    """What still does is listed, and no longer than it does."""
    users = {
        found.importer
        for found in all_imports()
        if package_of(found.name) in {"torch", "pytorch_msssim"} and found.when is not When.TYPES
    }
    assert {module for module in users if not in_the_lab(module)} == {ENTRY, *STILL_TORCH}


LOADING = """
import importlib, sys
for name in sys.argv[1:]:
    importlib.import_module(name)
    loaded = {"torch", "lichen.lab", "safetensors"} & set(sys.modules)
    assert not loaded, f"import {name} loads {loaded}"
"""


def test_the_codec_wing_starts_without_pytorch():
    """In a fresh interpreter: every module of it, the command line's too."""
    left_out = {"lichen.__main__", *([] if find_spec("constriction") else ["lichen.coding.backend_constriction"])}
    names = [name for name in modules() if not in_the_lab(name) and name not in left_out]
    assert {"lichen", "lichen.pillow", "lichen.cli.coding", "lichen.batch.tasks", "lichen.image.picture"} <= set(names)
    command = [sys.executable, "-c", LOADING, *names]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert ended.returncode == 0, ended.stderr.splitlines()[-1]


def test_one_backend_of_the_range_coder_imports_constriction():
    users = {found.importer for found in all_imports() if package_of(found.name) == "constriction"}
    assert users == {"lichen.coding.backend_constriction"}


@pytest.mark.parametrize("part", sorted({part for part in PARTS if (PACKAGE / part.replace(".", "/")).is_dir()} - {""}))
def test_a_part_says_what_it_is_and_what_it_may_import(part):
    said = ast.get_docstring(ast.parse((PACKAGE / part.replace(".", "/") / "__init__.py").read_text()))
    assert said, f"{part}/__init__.py has no docstring"
    assert sum(map(bool, said.splitlines())) <= 3 and "may import" in said.lower(), part


def python_files() -> list[Path]:
    return [path for folder in ("src", "tests", "benchmarks", "scripts") for path in (ROOT / folder).rglob("*.py")]


@pytest.mark.parametrize("path", sorted(python_files()), ids=lambda path: str(path.relative_to(ROOT)))
def test_files_and_functions_are_small(path):
    """A test's own function may be longer."""
    text = path.read_text()
    assert text.count("\n") <= 400
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and not path.name.startswith("test_"):
            lines = (node.end_lineno or node.lineno) - node.lineno + 1
            assert lines <= 40, f"{path.name}: {node.name} has {lines} lines"


def trees() -> list[tuple[str, ast.Module]]:
    return [(module, ast.parse(path.read_text())) for module, path in modules().items()]


def test_classes_are_at_most_two_deep():
    """A class of the package has at most one other above it; errors are caught by kind, and have kinds of kinds."""
    above: dict[str, set[str]] = {}
    for module, tree in trees():
        for node in ast.walk(tree):
            if isinstance(node, ast.ClassDef) and module != "lichen.errors":
                bases = {b.id if isinstance(b, ast.Name) else getattr(b, "attr", "") for b in node.bases}
                above.setdefault(node.name, set()).update(bases)

    def depth(name: str) -> int:
        return 1 + max((depth(base) for base in above[name] if base in above), default=0)

    assert {name for name in above if depth(name) > 2} == set()


def test_keywords_are_not_passed_through():
    """A function that takes any keywords and hands them on hides what it takes."""
    for module, tree in trees():
        for node in ast.walk(tree):
            if isinstance(node, ast.FunctionDef) and node.args.kwarg is not None:
                name = node.args.kwarg.arg
                calls = [call for call in ast.walk(node) if isinstance(call, ast.Call)]
                passed = [k for c in calls for k in c.keywords if k.arg is None and ast.unparse(k.value) == name]
                assert not passed, f"{module}: {node.name} hands **{name} on"


def test_calls_name_what_comes_after_the_fourth():
    """Of functions and classes of ours that take so many; a starred argument counts as one.

    Not of those whose name tensors have for a method too.
    """
    files = [path for folder in ("src", "benchmarks", "scripts") for path in (ROOT / folder).rglob("*.py")]
    parsed = {path: list(ast.walk(ast.parse(path.read_text()))) for path in files}
    defined = [node for nodes in parsed.values() for node in nodes]
    ours = {node.name for node in defined if isinstance(node, ast.FunctionDef | ast.ClassDef)}
    ours -= {node.name for node in defined if isinstance(node, ast.FunctionDef) and node.args.vararg is not None}
    for path, nodes in parsed.items():
        for call in nodes:
            if isinstance(call, ast.Call) and len(call.args) > 4:
                name = getattr(call.func, "attr", getattr(call.func, "id", ""))
                assert name not in ours - {"view"}, f"{path.relative_to(ROOT)}:{call.lineno}: {ast.unparse(call)}"


def test_a_mode_is_an_enumeration():
    """A parameter or field that chooses among ways has a type that lists them."""
    for module, tree in trees():
        for node in ast.walk(tree):
            named = node.arg if isinstance(node, ast.arg) else getattr(getattr(node, "target", None), "id", "")
            if isinstance(node, ast.arg | ast.AnnAssign) and node.annotation is not None and named == "mode":
                assert ast.unparse(node.annotation) != "str", f"{module}: {named}: str"


def test_nothing_large_is_tracked():
    """Weights are, and nothing else."""
    if not (ROOT / ".git").exists():
        pytest.skip("not a git checkout")
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=True, text=True).stdout
    tracked = [path for path in map(ROOT.joinpath, listed.split("\0")[:-1]) if path.is_file()]
    assert len(tracked) > 100
    weights = {path for path in tracked if path.parent == ROOT / "src/lichen/weights"}
    assert {path for path in tracked if path.stat().st_size > 1_000_000} <= weights
    assert sum(path.stat().st_size for path in weights) < 31_000_000  # two sets of about 7 and 8 million parameters
