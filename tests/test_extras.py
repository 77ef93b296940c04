"""What an extra brings: asked for before work begins, by the command that works for this installation."""

from __future__ import annotations

import shlex
from pathlib import Path

import pytest

from lichen import extras
from lichen.errors import UsageError
from tests.command import errors_of, run
from tests.imports import ROOT


@pytest.mark.parametrize(
    ("facts", "wanted"),
    [
        ({}, f"{ROOT}[eval]"),  # beside its sources, whatever installed it
        ({"url": ROOT.as_uri(), "dir_info": {"editable": True}}, f"-e {ROOT}[eval]"),
        ({"url": ROOT.as_uri(), "dir_info": {}}, f"{ROOT}[eval]"),
        (
            {"url": "https://a.b/c.git", "vcs_info": {"vcs": "git", "commit_id": "12ab"}},
            "lichen[eval] @ git+https://a.b/c.git@12ab",
        ),
    ],
)
def test_the_command_is_for_where_it_was_installed_from(facts, wanted, monkeypatch):
    if "vcs_info" in facts:
        monkeypatch.setattr(extras, "__file__", "/elsewhere/site-packages/lichen/extras.py")
    assert shlex.split(extras._what("eval", facts)) in ([wanted], wanted.split(" ", 1))


def test_without_sources_it_is_the_index_s(monkeypatch):
    monkeypatch.setattr(extras, "__file__", "/elsewhere/site-packages/lichen/extras.py")
    assert shlex.split(extras._what("lab", {})) == ["lichen[lab]"]


def test_what_is_missing_is_said(monkeypatch):
    monkeypatch.setitem(extras.EXTRAS, "no_such_module", "eval")
    with pytest.raises(UsageError, match=r"needs no_such_module: pip install .*\[eval\]"):
        extras.require("sys", "no_such_module")


def test_a_report_asks_before_it_reads(monkeypatch, tmp_path, capsys):
    monkeypatch.chdir(tmp_path)
    installed = extras.is_installed
    monkeypatch.setattr(extras, "is_installed", lambda name: name != "scipy" and installed(name))
    assert run("report", "absent") == 2 and "this needs scipy: pip install" in errors_of(capsys)
    assert list(Path().iterdir()) == []
