"""The house rules: imports go one way, files and functions stay small, the default model its budget."""

from __future__ import annotations

import ast
import subprocess
from pathlib import Path

import pytest

from lichen.lab.evaluation.counts import count
from lichen.lab.models.zoo import ZOO, row

ROOT = Path(__file__).parents[1]
SOURCES = sorted((ROOT / "src/lichen").rglob("*.py"))

# room -> rooms (or modules) of lichen it may import, itself and `errors`, `latents` aside
ALLOWED = {
    "transforms": set(),
    "prior": {"transforms"},
    "bitstream": set(),
    "coding": {"prior.density"},
    "filtering": {"prior.density", "prior.context", "transforms.blocks"},
    "losses": {"models.config", "prior.density"},
    "models": {"transforms", "prior", "filtering.filters", "coding.coders", "coding.noise", "picture", "files"},
}
FORBIDDEN = {
    "transforms": {"constriction", "safetensors", "PIL"},
    "prior": {"constriction", "safetensors", "PIL"},
    "bitstream": {"torch", "numpy", "constriction", "PIL"},
}


def imports_of(path: Path) -> set[str]:
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0 and node.module, f"{path.name}: a relative import"
            found |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    return found


def test_imports_are_seen_in_whatever_form(tmp_path):
    (tmp_path / "a.py").write_text(
        "import numpy\nfrom lichen import cli, codec\nfrom lichen.lab.prior.schedules import Part\n"
    )
    found = imports_of(tmp_path / "a.py")
    assert found == {
        "numpy",
        "lichen",
        "lichen.cli",
        "lichen.codec",
        "lichen.lab.prior.schedules",
        "lichen.lab.prior.schedules.Part",
    }
    (tmp_path / "a.py").write_text("from ..codec import Codec\n")
    with pytest.raises(AssertionError, match="relative"):
        imports_of(tmp_path / "a.py")


@pytest.mark.parametrize("room", sorted(ALLOWED))
def test_imports_go_one_way(room):
    for path in (ROOT / "src/lichen" / room).rglob("*.py"):
        for name in imports_of(path):
            if name.startswith("lichen."):
                inside = name.removeprefix("lichen.")
                fine = ALLOWED[room] | {room, "errors", "latents"}
                assert any(inside == f or inside.startswith(f + ".") for f in fine), f"{path.name} imports {name}"
            assert name.split(".")[0] not in FORBIDDEN.get(room, set()), f"{path.name} imports {name}"


def test_only_the_range_coder_imports_constriction():
    users = [p.name for p in SOURCES if any(n.split(".")[0] == "constriction" for n in imports_of(p))]
    assert users == ["rangecoder.py"]


def test_nothing_imports_the_command_line():
    outside = [p for p in SOURCES if p.parent.name != "cli"]
    users = [p.name for p in outside if any(n.startswith("lichen.cli") for n in imports_of(p))]
    assert users == ["__main__.py"]


@pytest.mark.parametrize("path", [*SOURCES, *sorted((ROOT / "tests").rglob("*.py"))], ids=lambda p: p.name)
def test_files_and_functions_are_small(path):
    text = path.read_text()
    assert text.count("\n") <= 400
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef) and not path.name.startswith("test_"):
            body = node.end_lineno - node.lineno + 1
            assert body <= 40, f"{path.name}: {node.name} has {body} lines"


def test_ids_and_names_of_the_zoo_are_unique():
    assert len({r.id for r in ZOO}) == len({r.name for r in ZOO}) == len(ZOO)
    assert {r.name: r.id for r in ZOO}["lichen"] == 1


def test_the_default_model_keeps_its_budget():
    """At most 20 kMAC/pixel to decode and 40 to encode, hyper and prior included."""
    counts = count(row("lichen").config)
    assert counts.decode <= 20_000
    assert counts.encode <= 40_000
    assert counts.hyper_synthesis.mac_per_pixel + counts.prior.mac_per_pixel <= 2_000  # runs in fixed point


def test_nothing_large_is_tracked():
    """A training's state of half a gigabyte was once committed with `git add -A`."""
    if not (ROOT / ".git").exists():
        pytest.skip("not a git checkout")
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=True, text=True).stdout
    tracked = [path for path in map(ROOT.joinpath, listed.split("\0")[:-1]) if path.is_file()]
    assert len(tracked) > 100
    weights = {path for path in tracked if path.parent == ROOT / "src/lichen/weights"}
    assert {path for path in tracked if path.stat().st_size > 1_000_000} <= weights
    assert sum(path.stat().st_size for path in weights) < 31_000_000  # two sets of about 7 and 8 million parameters
