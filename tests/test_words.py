"""Words: identifiers and texts have the field's; and the project speaks of itself alone."""

from __future__ import annotations

import ast
import io
import re
import tokenize
from pathlib import Path

import pytest

from tests.imports import ROOT

# Words within identifiers, and the field's terms for them.
OLD_WORDS = {
    "belief": "entropy parameters",
    "beliefs": "entropy parameters",
    "believed": "entropy parameters",
    "tally": "scale statistics",
    "snap": "round_to_grid",
    "snapped": "rounded",
    "twin": "fixed-point module",
    "twins": "fixed-point modules",
    "foresee": "quantize, estimate",
    "foreseen": "estimated",
    "levelless": "rate-independent",
    "contestant": "codec under test",
    "competitor": "measured curve",
    "league": "leaderboard",
    "doubt": "prior strength",
    "raws": "raw scales",
    "looked": "sample tiles",
}
# Whole identifiers, where their parts are also good words.
OLD_NAMES = {
    "freeze": "to_fixed_point",
    "Address": "TableIndex",
    "Needs": "MemoryEstimate",
    "Room": "MemoryBudget",
    "Listed": "WeightsInfo",
    "shelf": "available_weights",
    "Side": "HyperPrior",
    "Part": "Step",
    "Window": "Tile",
    "Look": "sample tiles",
    "summed": "conv_by_taps",
    "pace": "choose_workers",
    "PictureFilter": "PostFilter",
    "picture_filter": "post_filter",
}
# Fields of classes: the same words are good names of variables.
OLD_FIELDS = {"inside", "raw", "gaussian", "single", "ordered", "into", "amounts", "evidence", "moves", "taken"}
OF_LIBRARIES = {("gc", "freeze")}

# In texts: the work on the project is no part of it.
OTHER_TALK = {
    r"\b(issue|session|reading|review|round) #?\d": "session 12",
    r"\b(this|that|last|next|earlier|later|previous|another) sessions?\b": "an earlier session",
    r"\bsessions of (the|this) project\b": "sessions of this project",
    r"\b(cold|fresh|outside) read(er|ing)s?\b": "a cold reading",
    r"\bshared/": "see shared/notes",
    r"\b(design|spec|brief)\.md\b|\b(spec|design) section \d": "design.md",
    r"\bwhoever (found|wrote|measured|asked)\b": "whoever measured it",
    r"\b(found|noticed|seen|asked for) (by|in) (a|an|another) (session|issue|review|reader)\b": "found by a reader",
}
FOLDERS = ("src", "tests", "docs", "recipes", "scripts", "benchmarks", "web/src")
ENDINGS = {".py", ".md", ".toml", ".js", ".mjs", ".ts", ".html", ".css", ".yml", ".tsv", ""}
# The words themselves; where data of others lie.
NOT_READ = {Path(__file__), ROOT / "tests/helpers.py"}


def python_files() -> list[Path]:
    return [p for folder in ("src", "tests", "benchmarks", "scripts") for p in sorted((ROOT / folder).rglob("*.py"))]


def words_of(identifier: str) -> list[str]:
    """ScaleStatistics, scale_statistics -> scale, statistics."""
    return [word.lower() for word in re.findall(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])", identifier)]


def old_identifiers(text: str) -> set[str]:
    """Identifiers of a source of old words, with what stands for them."""
    found, before = set(), ("", "")
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type == tokenize.NAME and (before[0], token.string) not in OF_LIBRARIES:
            for word in OLD_WORDS.keys() & {*words_of(token.string)}:
                found.add(f"{token.string}: {OLD_WORDS[word]}")
            if token.string in OLD_NAMES:
                found.add(f"{token.string}: {OLD_NAMES[token.string]}")
        if token.type in {tokenize.NAME, tokenize.OP}:
            before = (before[1], token.string)
    return found


def old_fields(text: str) -> set[str]:
    """Old words among annotated fields of classes and what is set on self."""
    names = set()
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.ClassDef):
            names |= {n.target.id for n in node.body if isinstance(n, ast.AnnAssign) and isinstance(n.target, ast.Name)}
        if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store):
            names |= {node.attr} if isinstance(node.value, ast.Name) and node.value.id == "self" else set()
    return names & OLD_FIELDS


@pytest.mark.parametrize("path", python_files(), ids=lambda path: str(path.relative_to(ROOT)))
def test_identifiers_are_the_fields_words(path):
    if path not in NOT_READ:
        assert old_identifiers(path.read_text()) == set()
    if ROOT / "src" in path.parents:
        assert old_fields(path.read_text()) == set()


@pytest.mark.parametrize(
    ("text", "count"),
    [
        ("def f(belief): pass", 1),
        ("class AnyBelief: pass", 1),
        ("made = freeze(prior)\nself.twins = made", 2),
        ("class A:\n    inside: bool\n    scale: float", 1),
        ("class A:\n    def __init__(self):\n        self.raw = 1", 1),
        ("import gc\ngc.freeze()\ninside = raw = 1\nraw_scale = 'a belief'", 0),
    ],
)
def test_old_words_are_found(text, count):
    assert len(old_identifiers(text)) + len(old_fields(text)) == count


def other_talk(text: str) -> list[str]:
    """What of a text speaks of the work on the project."""
    return [match[0] for pattern in OTHER_TALK for match in re.finditer(pattern, text, re.IGNORECASE)]


def texts() -> list[Path]:
    found = [p for folder in FOLDERS for p in (ROOT / folder).rglob("*") if p.is_file() and p.suffix in ENDINGS]
    return sorted({*found, *ROOT.glob("*.md"), *ROOT.glob("*.toml"), *ROOT.glob("*.yml")} - NOT_READ)


@pytest.mark.parametrize("path", texts(), ids=lambda path: str(path.relative_to(ROOT)))
def test_the_project_speaks_of_itself_alone(path):
    if "__pycache__" not in path.parts:
        assert other_talk(path.read_text()) == []


@pytest.mark.parametrize("path", texts(), ids=lambda path: str(path.relative_to(ROOT)))
def test_texts_are_in_the_fields_words_too(path):
    """Comments, docstrings and pages, where a word that names nothing else."""
    if "__pycache__" not in path.parts:
        found = re.findall(
            r"\b(beliefs?|believed|twins?|tally|snapped|levelless|contestants?)\b", path.read_text(), re.I
        )
        assert found == []


@pytest.mark.parametrize("example", OTHER_TALK.values())
def test_other_talk_is_found(example):
    assert other_talk(f"It was so, {example}.")


@pytest.mark.parametrize(
    "text",
    ["onnxruntime.InferenceSession(graph)", "A session of ONNX Runtime holds its graph", "table 12", "issues"],
)
def test_plain_talk_is_not(text):
    assert other_talk(text) == []


def test_helpers_are_imported_from_no_test_module():
    """They lie in tests/helpers.py, tests/small.py, tests/laws and modules beside those that use them."""
    for path in python_files():
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("tests"):
                last = (node.module or "").split(".")[-1]
                assert not last.startswith("test_") and last != "conftest", f"{path} imports {node.module}"


def test_no_merge_is_half_done():
    marks = re.compile(r"^\s*(<{7}|>{7})( |$)", re.MULTILINE)
    assert [p for p in texts() if marks.search(p.read_text())] == []
