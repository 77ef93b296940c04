"""Rows of other packages: announced by entry points, trained, written to files and read like those of the table."""

from __future__ import annotations

import numpy as np
import pytest

from lichen.codec import Codec
from lichen.errors import UsageError
from lichen.lab.models import outside
from lichen.lab.models.checkpoint import save_checkpoint
from lichen.lab.models.zoo import ZOO, name_of, row
from tests.command import run
from tests.small import scene

MODULE = """
from dataclasses import dataclass
from lichen.lab.models.config import ModelConfig, Rates
from lichen.lab.models.prior_configs import Context
from lichen.lab.models.transform_configs import FastHyper, FastTransform
from lichen.lab.models.zoo import Row
from lichen.lab.prior.schedules import Cell, Step

@dataclass(frozen=True)
class TwoSlices:
    first: int = 8
    count = 2

    def steps(self, height, width, device):
        first, others = Cell(slice(0, self.first)), Cell(slice(self.first, None))
        return [Step(0, (first,)), Step(1, (others,))]

transform = FastTransform(latents=24, fine=8, coarse=8, encoder_depth=(1, 1), decoder_depth=(1, 1))
config = ModelConfig(transform, FastHyper(6, 12, 16), Context(TwoSlices()), Rates(count=3))
row = Row("{name}", {id}, config, "two slices of channels")
"""


@pytest.fixture
def announce(tmp_path, monkeypatch):
    """Installs a package that announces a row; nothing of it is left afterwards."""

    def install(name: str, number: int, package: str = "outsider", text: str = MODULE) -> None:
        (tmp_path / f"{package}.py").write_text(text.replace("{name}", name).replace("{id}", str(number)))
        facts = tmp_path / f"{package}-1.0.dist-info"
        facts.mkdir()
        (facts / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: 1.0\n")
        (facts / "entry_points.txt").write_text(f"[lichen.models]\nslices = {package}:row\n")
        forget()

    def forget() -> None:
        outside.announced.cache_clear()
        outside.announced_kinds.cache_clear()

    monkeypatch.syspath_prepend(str(tmp_path))
    yield install
    monkeypatch.undo()
    forget()


def test_a_row_of_another_package_codes_files(announce, tmp_path, capsys):
    announce("two-slices", 1500, "slices_package")
    config = row("two-slices").config
    path = tmp_path / "two-slices.safetensors"
    save_checkpoint(path, "two-slices", config, config.build().state_dict(), {})
    codec = Codec("two-slices", weights=tmp_path)
    assert codec.checkpoint.config == config and name_of(1500) == "two-slices"
    data, picture = codec.encode(scene(70, 50)), scene(70, 50)
    assert Codec(weights=path).decode(data).size == picture.size
    assert np.array_equal(codec.decode_latents(data), Codec(weights=path).decode_latents(data))
    assert run("models") == 0 and "1500  two-slices" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("name", "number", "said"),
    [("mine", 17, "needs an id of 1024 or more, not 17"), ("lichen", 2000, "which is a row of Lichen's")],
)
def test_taken_names_and_ids_are_refused(announce, name, number, said):
    announce(name, number, f"taken_{number}")
    with pytest.raises(UsageError, match=said):
        row("no such model")
    assert row("lichen") is ZOO[0]  # what needs no other package is not disturbed


def test_two_packages_with_one_row(announce):
    announce("same", 3000, "one_package")
    announce("same", 3001, "two_package")
    with pytest.raises(UsageError, match=r"two_package.*'same' or the id 3001 is another row's"):
        row("same")


def test_a_package_that_cannot_be_loaded_is_named(announce):
    announce("broken", 4000, "broken_package", "import no_such_module")
    with pytest.raises(UsageError, match=r"broken_package.*cannot be loaded.*no_such_module"):
        row("broken")
