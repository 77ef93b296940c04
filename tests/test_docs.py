"""What the documentation shows is run, and what it names exists."""

from __future__ import annotations

import os
import re
import runpy
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import skimage
import torch
from PIL import Image
from torch import Tensor, nn

from lichen.lab.models.model import Model
from lichen.lab.models.transform_configs import FastHyper
from lichen.lab.models.zoo import ZOO
from lichen.lab.prior.estimator import Estimator
from lichen.lab.prior.file_coder import FileReader, FileWriter
from lichen.lab.prior.walk import merge, walk_latents
from lichen.options import Tune
from lichen.runtime.weights import PACKAGED
from tests.command import run
from tests.laws.laws import Given, leaks, mask_of, uses_context
from tests.small import scene

ROOT = Path(__file__).parents[1]
DOCS, PACKAGE = ROOT / "docs", ROOT / "src/lichen"
PAGES = (ROOT / "README.md", ROOT / "CHANGELOG.md", *sorted(DOCS.rglob("*.md")))
README_WORDS_MAX = 560
LINE_MAX = 100
FEATURES = FastHyper().features


def shown(page: Path, language: str = "") -> list[str]:
    """The code blocks of a page in a language."""
    return re.findall(rf"```{language}\n(.*?)```", page.read_text(), flags=re.S)


@pytest.fixture
def desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working folder that the pages speak of: `photo.jpg`, and `holidays/` with a folder in it."""
    photo = Image.open(Path(skimage.__file__).parent / "data" / "coffee.png").convert("RGB")
    photo.crop((100, 50, 400, 250)).save(tmp_path / "photo.jpg", quality=95)
    (tmp_path / "holidays/sea").mkdir(parents=True)
    photo.resize((120, 80)).save(tmp_path / "holidays/one.jpg")
    photo.resize((80, 120)).save(tmp_path / "holidays/sea/two.png")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def commands(page: Path, language: str = "") -> Iterator[str]:
    """The lines of a page's shell blocks that call `lichen`, comments left out."""
    for block in shown(page, language):
        for line in block.splitlines():
            if "lichen " in (line := line.partition("  #")[0].strip()):
                yield line


def call(command: str) -> None:
    """A line as a shell runs it: in this process, or in another where files and pipes are joined."""
    if "|" in command or ">" in command:
        script = f'lichen() {{ "{sys.executable}" -m lichen "$@"; }}; set -o pipefail; {command}'
        subprocess.run(["bash", "-c", script], check=True, timeout=120, capture_output=True)
    else:
        assert run(*command.split()[1:]) == 0, command


def test_the_commands_of_the_readme(desk: Path):
    for command in commands(ROOT / "README.md"):
        call(command)
    assert (desk / "photo.png").is_file() and (desk / "compressed/sea/two.lic").is_file()


def test_the_commands_of_the_quickstart(desk: Path):
    run_ones = list(commands(DOCS / "quickstart.md", "sh"))
    assert len(run_ones) > 15
    for command in run_ones:
        call(command)
    with Image.open("part.png") as part, Image.open("pictures/sea/two.jpg") as two:
        assert (part.size, two.size) == ((160, 120), (80, 120))
    assert (desk / "b.lic").stat().st_size <= 10_000 and (desk / "photo-compare.html").is_file()


@pytest.mark.parametrize("page", [ROOT / "README.md", DOCS / "python.md"], ids=lambda page: page.name)
def test_the_python_of_a_page(page: Path, desk: Path):
    names: dict[str, object] = {}
    for block in shown(page, "python"):
        exec(compile(block, page.name, "exec"), names)
    assert isinstance(names["picture"], Image.Image)


class GaussianConditional(nn.Module):
    """Known to `capture` by its name, as CompressAI's is."""

    def forward(self, inputs: Tensor, scales: Tensor, means: Tensor) -> Tensor:
        return inputs - means


class Stranger(nn.Module):
    """A model of another library."""

    def __init__(self) -> None:
        super().__init__()
        self.analysis, self.gaussian = nn.Conv2d(3, 8, 4, stride=4), GaussianConditional()

    def forward(self, x: Tensor) -> Tensor:
        y = self.analysis(x)
        decoded: Tensor = self.gaussian(y, torch.ones_like(y), means=torch.zeros_like(y))
        return decoded


def test_the_loss_that_its_page_plugs_in():
    (code,) = shown(DOCS / "correlation-loss.md", "python")
    model, x = Stranger(), torch.rand(1, 3, 32, 32)
    names: dict[str, object] = {"model": model, "x": x, "rate_distortion": lambda out, x: out.square().mean()}
    exec(compile(code, "training.md", "exec"), names)
    plain = names["rate_distortion"](model(x), x)  # type: ignore[operator]
    assert names["loss"] > plain  # type: ignore[operator]


@pytest.fixture
def added() -> Model:
    """The model that the page on the walk adds."""
    (code,) = shown(DOCS / "walk.md", "python")
    names: dict[str, Any] = {"__name__": __name__}
    exec(compile(code, "walk.md", "exec"), names)
    model: Model = names["model"].eval()
    return model


@pytest.mark.parametrize("size", [(1, 1), (4, 4), (5, 8)])
def test_the_added_schedule_holds_every_latent_once(added: Model, size: tuple[int, int]):
    steps = added.prior.context.schedule.steps(*size, torch.device("cpu"))
    assert (sum(mask_of(step, (24, *size)) for step in steps) == 1).all()


def test_the_added_model_does_not_see_ahead(added: Model):
    torch.manual_seed(1)
    context = added.prior.context
    for parameter in context.parameters():
        nn.init.normal_(parameter, std=0.1)
    features, y = torch.randn(1, FEATURES, 6, 8), torch.randn(1, 24, 6, 8, requires_grad=True)
    parameters = merge(walk_latents(context, Given(), features, torch.ones(1), y).predicted, y)
    assert leaks(parameters, context.schedule.steps(6, 8, y.device), y) == 0 and uses_context(parameters, y)


@torch.no_grad()
def test_the_added_model_writes_what_it_estimates_and_reads_what_it_wrote(added: Model):
    prior, rate_level = added.fixed_point_prior(), torch.tensor([1.5])
    y = added.analyse(torch.from_numpy(np.asarray(scene(384, 256)) / 255).permute(2, 0, 1)[None].float(), rate_level)
    z = added.hyper_analyse(y, rate_level)
    writer, estimator = FileWriter(), Estimator(None)
    y_hat = prior.walk(writer, rate_level.double(), z.shape[2:], y.double(), z.double()).y_hat
    payloads = writer.finish()
    assert torch.equal(prior.walk(FileReader(payloads), rate_level.double(), z.shape[2:]).y_hat, y_hat)
    added.prior.walk(estimator, rate_level, z.shape[2:], y, z)
    estimated, size = float(torch.stack(estimator.bits).sum()) / 8, sum(map(len, payloads))
    assert size > 1000 and abs(estimated - size) <= 0.01 * size + 64


def test_files_named_by_the_papers_page_exist():
    text = (DOCS / "papers.md").read_text()
    named = set(re.findall(r"`((?:[a-z_]+/)*[a-z_]+\.py)`", text))
    assert len(named) > 15
    found = {str(path) for path in (*PACKAGE.rglob("*.py"), *(ROOT / "tests").rglob("*.py"))}
    assert {name for name in named if not any(path.endswith(f"/{name}") for path in found)} == set()
    for name in (r.name for r in ZOO if not r.name.startswith("lichen")):
        assert f"`{name}`" in text, name


def test_files_that_pages_name_exist():
    roots = "benchmarks|docs|recipes|results|scripts|src|tests"
    for page in (*PAGES, *(PACKAGE / "weights").glob("*.md")):
        for name in re.findall(rf"`((?:{roots})/[\w./-]+)`", page.read_text()):
            assert (ROOT / name).exists(), f"{page.name}: {name}"
    for name in re.findall(r"\]\(([^)#]+)", (ROOT / "README.md").read_text()):
        assert (ROOT / name).exists(), name


def test_modules_that_pages_run_exist():
    for page in PAGES:
        for module in re.findall(r"python -m (benchmarks\.\w+)", page.read_text()):
            assert (ROOT / f"{module.replace('.', '/')}.py").is_file(), f"{page.name}: {module}"


@pytest.mark.parametrize("tune", Tune)
def test_a_model_card_is_what_its_script_gives(tune: Tune, tmp_path: Path):
    """But for the data, whose list is not in the repository."""
    script = runpy.run_path(str(ROOT / "scripts/model_card.py"))
    (tmp_path / "SOURCES.csv").write_text("from_repository,licence\n")
    weights = PACKAGED / f"{tune.weights('lichen')}.safetensors"
    made = script["card"](weights, tune, tmp_path / "SOURCES.csv")
    assert made.partition("## Data")[0] == weights.with_suffix(".md").read_text().partition("## Data")[0]


def test_the_readme_is_short():
    assert len((ROOT / "README.md").read_text().split()) <= README_WORDS_MAX


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_prose_is_wrapped(page: Path):
    prose = re.sub(r"```.*?```", "", page.read_text(), flags=re.S).splitlines()
    assert [line for line in prose if len(line) > LINE_MAX and not line.startswith(("|", "    "))] == []


def test_every_part_is_in_the_api_reference():
    named = set(
        re.findall(r"^::: lichen\.([\w.]+)", "".join(p.read_text() for p in (DOCS / "api").glob("*.md")), flags=re.M)
    )
    parts = {path.parent.relative_to(PACKAGE).as_posix().replace("/", ".") for path in PACKAGE.rglob("*/__init__.py")}
    assert parts - {".", "cli", "lab"} <= named


def test_the_documentation_builds_without_a_warning(tmp_path: Path):
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(tmp_path / "site")]
    done = subprocess.run(command, check=False, cwd=ROOT, capture_output=True, text=True, timeout=300, env=os.environ)
    assert done.returncode == 0, done.stderr
    assert "target_psnr_db" in (tmp_path / "site/api/codec.html").read_text()
