"""The notebook of the correlation loss: its code in a few steps, its outputs, all of it where Jupyter is installed."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from PIL import Image

NOTEBOOK = Path(__file__).parents[1] / "docs/correlation-loss.ipynb"
STEPS = "LAMBDA, STEPS, CROP, BATCH = 0.0067, 600, 128, 4"


def code_cells() -> list[dict]:
    return [cell for cell in json.loads(NOTEBOOK.read_text())["cells"] if cell["cell_type"] == "code"]


def printed(cell: dict) -> str:
    """What a cell printed, which may have come in pieces."""
    return "".join("".join(output["text"]) for output in cell["outputs"] if output["output_type"] == "stream")


def figures(text: str) -> dict[str, tuple[float, ...]]:
    """The lines of the printed table: bpp, PSNR, correlation of the one map and by channel, of each training."""
    lines = [line for line in text.splitlines()[1:] if line.strip()]
    return {line[:30].strip(): tuple(map(float, line[30:].split())) for line in lines}


def test_its_code_runs_in_a_few_steps(capsys):
    names: dict[str, object] = {"__name__": "notebook"}
    whole = "\n".join("".join(cell["source"]) for cell in code_cells())
    body, _, last = whole.replace(STEPS, STEPS.replace("600", "2")).rpartition("\n")
    exec(compile(body, NOTEBOOK.name, "exec"), names)
    drawn = eval(last, names)
    assert isinstance(drawn, Image.Image) and drawn.width > drawn.height
    assert names["STEPS"] == 2 and list(figures(capsys.readouterr().out)) == list(names["terms"])


def test_its_outputs_are_those_of_its_table():
    """Kept beside the code: the losses lower the correlation that each looks at."""
    outputs = code_cells()[-1]["outputs"]
    assert "image/png" in outputs[-1]["data"]
    found = figures(printed(code_cells()[-1]))
    without, one_map, by_channel = found.values()
    assert one_map[2] < without[2] and by_channel[3] < without[3]


@pytest.mark.slow
def test_it_is_executed_as_it_stands(tmp_path, monkeypatch):
    nbclient = pytest.importorskip("nbclient", reason="nbclient is not installed: pip install nbclient ipykernel")
    nbformat = pytest.importorskip("nbformat")
    pytest.importorskip("ipykernel", reason="ipykernel is not installed")
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    before = figures(printed(code_cells()[-1]))
    nbclient.NotebookClient(notebook, timeout=1200).execute()
    after = figures(printed(notebook.cells[-1]))
    assert after.keys() == before.keys()
    for name, wanted in before.items():
        assert after[name] == pytest.approx(wanted, rel=0.2)
