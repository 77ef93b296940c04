"""What the documentation shows is run."""

from __future__ import annotations

import re
from pathlib import Path

import torch

from lichen.coding.coders import Reader, Writer
from lichen.lab.models.zoo import ZOO

DOCS = Path(__file__).parents[1] / "docs"


def test_the_example_of_adding_a_model():
    (code,) = re.findall(r"```python\n(.*?)```", (DOCS / "walk.md").read_text(), flags=re.S)
    names: dict[str, object] = {"__name__": __name__}
    exec(compile(code, "walk.md", "exec"), names)
    model = names["model"].eval()
    prior, level = model.fixed_point_prior(), torch.tensor([1.5], dtype=torch.float64)
    with torch.no_grad():
        y = model.analyse(torch.rand(1, 3, 64, 128), level.float())
        z = model.hyper_analyse(y, level.float())
        writer = Writer()
        y_hat, _ = prior.walk(writer, level, (1, 2), y.double(), z.double())
        assert torch.equal(prior.walk(Reader(writer.finish()), level, (1, 2))[0], y_hat)


def test_files_named_by_the_papers_page_exist():
    text = (DOCS / "papers.md").read_text()
    named = set(re.findall(r"`((?:[a-z_]+/)*[a-z_]+\.py)`", text))
    assert len(named) > 15
    found = {str(path) for path in (DOCS.parent / "src/lichen").rglob("*.py")}
    found |= {str(path) for path in (DOCS.parent / "tests").rglob("*.py")}
    assert {name for name in named if not any(path.endswith(f"/{name}") for path in found)} == set()
    for name in (r.name for r in ZOO if not r.name.startswith("lichen")):
        assert f"`{name}`" in text, name
