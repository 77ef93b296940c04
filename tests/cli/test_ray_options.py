"""The options of jobs on clusters, as far as they need no cluster."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from lichen.cli import with_address
from tests.command import errors_of, run


@pytest.mark.parametrize(
    ("given", "taken"),
    [
        (["encode", "a", "--ray"], ["encode", "a", "--ray=local"]),
        (["encode", "--ray", "a"], ["encode", "--ray=local", "a"]),
        (["encode", "a", "--ray", "auto"], ["encode", "a", "--ray", "auto"]),
        (["encode", "a", "--ray", "head.of.it:6379", "-r"], ["encode", "a", "--ray", "head.of.it:6379", "-r"]),
        (["encode", "--ray", "-r", "a"], ["encode", "--ray=local", "-r", "a"]),
        (["encode", "--ray=10.0.0.1:6379", "a"], ["encode", "--ray=10.0.0.1:6379", "a"]),
        (["encode", "--", "--ray"], ["encode", "--", "--ray"]),
        ([], []),
    ],
)
def test_ray_without_an_address_is_this_machine(given, taken):
    assert with_address(given) == taken


def test_what_cannot_be_meant_is_refused(folder, capsys):
    for arguments, said in (
        (["s3://bucket/a", "-o", "out"], "s3://bucket/a: files in storage are worked on by Ray; add --ray"),
        (["in", "-r", "-o", "s3://bucket/a"], "s3://bucket/a: files in storage"),
        (["s3://bucket//a", "--ray"], "single slashes"),
    ):
        assert run("encode", *arguments) == 2 and said in errors_of(capsys)
    assert not Path("s3:").exists()
    pytest.importorskip("ray", reason="Ray is not installed: pip install '.[ray]'")
    for arguments, said in (
        (["in", "--ray=nowhere"], "no cluster's address"),
        (["-", "--ray"], "by name"),
        (["in", "--ray", "--device", "cuda"], "--device"),
    ):
        assert run("encode", *arguments) == 2 and said in errors_of(capsys)


def test_a_dry_run_of_a_cluster_needs_none(folder, capsys):
    pytest.importorskip("ray", reason="Ray is not installed: pip install '.[ray]'")
    assert run("encode", "in", "-r", "-o", "out", "--ray", "--dry-run", "--manifest", "rows.jsonl") == 0
    assert "in/deep/b.jpg -> out/deep/b.lic" in errors_of(capsys)
    assert not Path("out").exists() and not Path("rows.jsonl").exists()


def test_without_ray_nothing_of_it_is_loaded(folder):
    code = (
        "import sys; from lichen import cli; sys.argv = ['lichen', 'encode', 'in', '-r', '-o', 'out', '--manifest',"
        " 'rows.jsonl', '--quiet']; cli.main.__call__()"
    )
    check = "; loaded = {'ray', 'pyarrow', 'fsspec'} & set(sys.modules); assert not loaded, loaded"
    script = f"import contextlib\nwith contextlib.suppress(SystemExit):\n    {code}\nimport sys{check}"
    subprocess.run([sys.executable, "-c", script], check=True, timeout=120)
    assert Path("out/deep/b.lic").exists() and Path("rows.jsonl").exists()
