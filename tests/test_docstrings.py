"""Docstrings: what is public has one; with shapes where tensors or arrays pass, with the errors that are raised."""

from __future__ import annotations

import pytest

from tests.docstrings import documented, gives_shape
from tests.imports import modules, part_of

PARTS = sorted({part_of(module) for module in modules()})


@pytest.mark.parametrize("part", PARTS)
def test_what_is_public_has_a_docstring(part):
    assert [d.place for d in documented() if d.part == part and not d.own] == []


@pytest.mark.parametrize("part", PARTS)
def test_shapes_are_given(part):
    """Of every function of the codec, and of every class and function of the lab, that takes or gives arrays."""
    assert [d.place for d in documented() if d.part == part and d.has_arrays and not gives_shape(d.doc)] == []


@pytest.mark.parametrize("part", [part for part in PARTS if part != "cli"])
def test_errors_are_named(part):
    """By the function that raises them, or its class. What commands say of themselves is their help."""
    assert [f"{d.place}: {d.unnamed_errors}" for d in documented() if d.part == part and d.unnamed_errors] == []


@pytest.mark.parametrize(
    ("doc", "shape"),
    [
        ("x (B, C, H, W) to y.", True),
        ("Levels (n,) int.", True),
        ("A loss ().", True),
        ("(1, 3, h + side - 1, w)", True),
        ("(B, ..., C) each", True),
        ("A loss, a scalar.", True),
        ("of any shape", True),
        ("Nothing at all.", False),
        ("Calls f() and g().", False),
        ("Papers (Balle, Minnen) say so.", False),
        ("in words (here)", False),
    ],
)
def test_a_shape_is_seen(doc, shape):
    assert gives_shape(doc) == shape


def test_there_is_much_to_see():
    assert len(documented()) > 900 and sum(d.has_arrays for d in documented()) > 300
