"""`lichen view`: a server of its own machine alone, and what it says where it cannot."""

from __future__ import annotations

import http.client
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from lichen.viewer import site as site_module
from lichen.viewer.models import Models
from lichen.viewer.server import serve
from lichen.viewer.site import Site
from tests.command import errors_of, run
from tests.web.helpers import GOLDEN, serving

PICTURE = GOLDEN / "v1-lichen-single/grey.lic"


@pytest.fixture
def stub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A page of one file, for tests that open no browser."""
    (tmp_path / "page/ort").mkdir(parents=True)
    (tmp_path / "page/index.html").write_text("<p>a page</p>")
    (tmp_path / "page/ort/a.wasm").write_bytes(b"\0asm")
    monkeypatch.setattr(site_module, "PAGE", tmp_path / "page")
    return tmp_path


def answer(address: str, path: str, host: str | None = None) -> tuple[int, dict[str, str], bytes]:
    name = address.removeprefix("http://").rstrip("/")
    connection = http.client.HTTPConnection(name, timeout=20)
    connection.request("GET", path, headers={} if host is None else {"Host": host})
    response = connection.getresponse()
    found = response.status, dict(response.getheaders()), response.read()
    connection.close()
    return found


def test_the_server(stub):
    site = Site.with_models(Models(b"{}", {}), [PICTURE])
    with serving(serve(site, 0)) as address:
        status, headers, body = answer(address, "/?local")
        assert status == 200 and body == b"<p>a page</p>" and headers["Content-Type"].startswith("text/html")
        assert headers["Cross-Origin-Opener-Policy"] == "same-origin" and headers["Cache-Control"] == "no-cache"
        assert answer(address, "/ort/a.wasm")[1]["Content-Type"] == "application/wasm"
        assert answer(address, "/models.json")[2] == b"{}"
        assert answer(address, "/pictures/0/grey.lic")[2] == PICTURE.read_bytes()
        for path in ("/pictures/0/../../../../etc/passwd", "/pictures/0/rgb.lic", "//etc/passwd", "/%2e%2e/page"):
            assert answer(address, path)[0] == 404, path
        assert answer(address, "/", host="evil.example")[0] == 403
        assert answer(address, "/", host="localhost:80")[0] == 200


def test_a_page_is_served_beside_the_decoder(stub, capsys):
    shown = stub / "photo-compare.html"
    shown.write_text("<p>a comparison</p>")
    site = Site.with_models(Models(b"{}", {}), [shown])
    with serving(serve(site, 0)) as address:
        assert answer(address, f"/{site.start()}")[2] == shown.read_bytes()
        assert answer(address, "/")[2] == b"<p>a page</p>"
    assert run("view", str(shown), str(PICTURE)) == 2
    assert "alone" in errors_of(capsys)


def test_a_picture_that_is_gone_is_said(stub):
    path = stub / "a.lic"
    path.write_bytes(PICTURE.read_bytes())
    with serving(serve(Site.with_models(Models(b"{}", {}), [path]), 0)) as address:
        path.unlink()
        status, _, body = answer(address, "/pictures/0/a.lic")
        assert status == 500 and b"cannot be read" in body


@pytest.mark.skipif(os.name != "posix", reason="signals of POSIX")
def test_the_command_serves_until_ctrl_c(stub):
    code = (
        "import sys; from pathlib import Path; from lichen.viewer import site;"
        f"site.PAGE = Path({str(stub / 'page')!r}); from lichen import cli;"
        f"sys.argv = ['lichen', 'view', '--no-browser', {str(PICTURE)!r}]; cli.main()"
    )
    with subprocess.Popen([sys.executable, "-c", code], stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        said = process.stderr.readline()
        address = said.split()[4]
        assert answer(address.partition("?")[0], "/pictures/0/grey.lic")[2] == PICTURE.read_bytes()
        process.send_signal(signal.SIGINT)
        assert process.wait(30) == 0 and process.stderr.read() == ""


def test_where_the_page_was_not_built_it_says_what_to_do(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(site_module, "PAGE", tmp_path)
    assert run("view", str(PICTURE)) == 2
    assert "scripts/web" in errors_of(capsys)


def test_a_file_that_is_not_there(stub, capsys):
    assert run("view", str(stub / "no.lic")) == 3
    assert "no.lic: cannot be read" in errors_of(capsys)


def test_a_port_that_is_taken(stub, capsys):
    with serving(serve(Site.with_models(Models(b"{}", {})), 0)) as address:
        port = address.rstrip("/").rpartition(":")[2]
        assert run("view", "--no-browser", "--port", port) == 2
    assert f"port {port}" in errors_of(capsys)
