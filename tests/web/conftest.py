"""The browser's decoder, built once, with small weights beside the shipped ones; in Node and in Chromium."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from lichen.codec import Codec
from lichen.options import EngineName
from lichen.runtime import graphs
from lichen.runtime.graphs import PACKAGED, Bundle
from lichen.runtime.weights import PACKAGED as SHIPPED
from lichen.runtime.weights_file import read_weights
from lichen.viewer import site as site_module
from lichen.viewer.models import Models
from lichen.viewer.server import serve
from lichen.viewer.site import Site
from tests.web.helpers import (
    BROWSERS,
    GOLDEN,
    HERE,
    ROOT,
    SMALL_PIXELS,
    WITH_GRAPHS,
    InNode,
    golden_weights,
    graphs_for,
    serving,
)


@pytest.fixture(scope="session")
def node() -> str:
    """Node, or a skip that says how to get it."""
    found = shutil.which("node")
    if found is None or shutil.which("npm") is None:
        pytest.skip("no Node here: apt-get install nodejs npm")
    return found


@pytest.fixture(scope="session")
def page(node: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The built page, in the place of the package's own."""
    folder = tmp_path_factory.mktemp("page") / "page"
    built = subprocess.run([ROOT / "scripts/web", folder], capture_output=True, text=True, check=False)
    assert built.returncode == 0, built.stderr + built.stdout
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(site_module, "PAGE", folder)
        yield folder


@pytest.fixture(scope="session")
def models(tmp_path_factory: pytest.TempPathFactory) -> Models:
    """The shipped weights, and those golden ones for which there are graphs."""
    pairs = [(read_weights(path), Bundle.of_folder(PACKAGED / path.stem)) for path in SHIPPED.glob("*.safetensors")]
    for name, graphs_of in WITH_GRAPHS.items():
        weights = read_weights(golden_weights(name))
        folder = graphs_for(weights, HERE / "graphs" / graphs_of, tmp_path_factory.mktemp(name))
        pairs.append((weights, Bundle.of_folder(folder)))
    return Models.of(pairs)


@pytest.fixture(scope="session")
def site(page: Path, models: Models) -> Site:
    """All that a web server would have."""
    return Site.with_models(models)


@pytest.fixture(scope="session")
def small_codec() -> Codec:
    """Python's decoder, with the frozen weights that have a filter, in milliseconds."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(graphs, "PACKAGED", HERE / "graphs")
        graphs.packaged.cache_clear()
        codec = Codec(weights=golden_weights("v1-lichen-filtered"), engine=EngineName.ONNX, max_pixels=SMALL_PIXELS)
        assert codec.engine.name == "lichen"  # loaded while the graphs are in the box
    graphs.packaged.cache_clear()
    return codec


@pytest.fixture(scope="session")
def small_site(page: Path) -> Site:
    """A site with the weights of the small codec alone."""
    weights = read_weights(golden_weights("v1-lichen-filtered"))
    return Site.with_models(Models.of([(weights, Bundle.of_folder(HERE / "graphs/v1-lichen-filtered"))]))


@pytest.fixture(scope="session")
def folder(site: Site, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The site as files."""
    folder = tmp_path_factory.mktemp("site")
    site.write(folder, overwrite=True)
    return folder


@pytest.fixture(scope="session")
def in_node(node: str, folder: Path) -> InNode:
    """The decoder in Node."""
    return InNode(node, folder)


@pytest.fixture(scope="session")
def browser() -> Iterator[Any]:
    """Chromium, or a skip that says how to get it."""
    sync_api = pytest.importorskip("playwright.sync_api", reason="pip install playwright")
    found = next((path for name in BROWSERS if (path := shutil.which(name))), None)
    if found is None:
        pytest.skip("no Chromium here: apt-get install chromium")
    with sync_api.sync_playwright() as playwright:
        flags = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update"]
        opened = playwright.chromium.launch(executable_path=found, args=flags)
        yield opened
        opened.close()


@pytest.fixture(scope="session")
def served(site: Site, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A blank page of the site, which has all golden files, by a server of this machine."""
    blank = tmp_path_factory.mktemp("blank") / "blank.html"
    blank.write_text("<!doctype html><title>blank</title>")
    pictures = {f"golden/{path.relative_to(GOLDEN).as_posix()}": path for path in GOLDEN.rglob("*.lic")}
    with serving(serve(replace(site, files=site.files | pictures | {blank.name: blank}), 0)) as address:
        yield f"{address}{blank.name}"
