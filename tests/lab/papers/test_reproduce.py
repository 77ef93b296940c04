"""`lichen reproduce`: recipes that the trainer reads, smoke runs on small models, and what papers print."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest

from lichen.errors import OutputExists, UsageError
from lichen.lab.evaluation.curves import Points
from lichen.lab.models import zoo
from lichen.lab.models.config import Distortion
from lichen.lab.papers import correlation_2023, global_reference_2021
from lichen.lab.papers.beside_print import psnr_at, reprint_line
from lichen.lab.papers.experiments import EXPERIMENTS, SCALES, experiment, scale
from lichen.lab.papers.markdown import as_text
from lichen.lab.papers.protocol import MS_SSIM_LAMBDAS, Reprint
from lichen.lab.papers.training_plan import plan, train_missing, write_recipes
from lichen.lab.reporting.report import GAINS, read_gains
from lichen.lab.training.recipe import Quantiser, Recipe, load_recipe
from tests.command import run
from tests.small import scene, small

ROOT = Path(__file__).parents[3]


@pytest.fixture
def folders(tmp_path, monkeypatch) -> Path:
    """Small rows, two pictures to train on and two to measure on, large enough for MS-SSIM."""
    rows = tuple(dataclasses.replace(r, config=small(r.config)) for r in zoo.ZOO)
    monkeypatch.setattr(zoo, "ZOO", rows)
    for name, side in (("train", 80), ("test", 176)):
        (tmp_path / name).mkdir()
        for i in range(2):
            scene(side, side, i).save(tmp_path / name / f"{i}.png")
    return tmp_path


def smoke(folders: Path, name: str) -> dict:
    """The facts of a smoke run by the command."""
    arguments = ["--data", str(folders / "train"), "--test", str(folders / "test"), "-o", str(folders / "out")]
    assert run("reproduce", name, *arguments) == 0
    return json.loads((folders / f"out/{name}.json").read_text())


@pytest.mark.parametrize("how", SCALES, ids=lambda s: s.name)
@pytest.mark.parametrize("what", EXPERIMENTS, ids=lambda e: e.name)
def test_every_recipe_is_one_that_the_trainer_reads(what, how, tmp_path):
    how = what.at(how)
    trainings = plan(what, how, tmp_path)
    assert len({training.folder for training in trainings}) == len(trainings)
    for variant in what.variants:
        lambdas = tuple(training.lam for training in trainings if training.variant is variant)
        assert lambdas == what.lambdas(variant, how)
        first, *others = (training for training in trainings if training.variant is variant)
        (tmp_path / "recipe.toml").write_text(first.recipe)
        recipe = load_recipe(tmp_path / "recipe.toml")
        assert (recipe.model, recipe.steps, recipe.lambdas) == (variant.model, how.steps, (first.lam,))
        assert (recipe.quantiser, recipe.distortion) == (variant.quantiser, variant.distortion)
        assert (recipe.correlation is None) == (variant.decorrelated is None)
        for other in others:
            assert other.recipe == first.recipe.replace(f"lambdas = [{first.lam}]", f"lambdas = [{other.lam}]")


def test_lambdas_are_those_of_the_papers():
    high, similar = experiment("elic-fig1-2"), experiment("elic-fig4")
    assert high.lambdas(high.variants[0], scale("paper")) == (0.0009, 0.0018, 0.0035, 0.0067, 0.013, 0.025, 0.08, 0.16)
    assert max(high.lambdas(high.variants[0], scale("small"))) == 0.0067
    assert similar.lambdas(similar.variants[0], scale("smoke")) == MS_SSIM_LAMBDAS == (3, 12, 40, 120)
    full, for_ms_ssim = experiment("global-reference-fig6").variants
    assert full.distortion is Distortion.MSE and for_ms_ssim.distortion is Distortion.MS_SSIM


def test_quantisers_are_those_of_the_papers():
    """The correlation paper trains with noise (section 3.1), Global Reference mixed, but for its Figure 13."""
    for what in correlation_2023.EXPERIMENTS:
        assert {variant.quantiser for variant in what.variants} == {Quantiser.NOISE}, what.name
    noisy = [v.name for e in global_reference_2021.EXPERIMENTS for v in e.variants if v.quantiser is Quantiser.NOISE]
    assert noisy == ["context + hyperprior, noise"]


@pytest.mark.parametrize(
    ("what", "variant", "file"),
    [
        ("table1", "Cheng HP", "correlation-2023/cheng-hp"),
        ("elic-table3", "ELIC", "elic-2022/elic"),
        ("global-reference-fig7", "full model with GSDN", "global-reference-2021/mse"),
    ],
)
def test_the_paper_scale_trains_as_the_recipes_do(what, variant, file, tmp_path):
    how = experiment(what).at(scale("paper"))
    training = next(training for training in plan(experiment(what), how, tmp_path) if training.variant.name == variant)
    (tmp_path / "recipe.toml").write_text(training.recipe)
    ours, theirs = load_recipe(tmp_path / "recipe.toml"), load_recipe(ROOT / f"recipes/{file}.toml")
    chosen = {"lambdas", "cooldown"}  # one of them is trained; where the rate is halved nothing cools down
    for name in {field.name for field in dataclasses.fields(Recipe)} - chosen:
        assert getattr(ours, name) == getattr(theirs, name), name
    assert ours.halving or ours.cooldown == theirs.cooldown
    assert set(ours.lambdas) <= set(theirs.lambdas)


def test_elic_is_recomputed_by_ms_ssim_too():
    """Its points by MS-SSIM are in another file, of the same models: the paper prints -12.73 for those of MSE."""
    line = next(r for r in experiment("elic-table3").reprints if r.name == "ELIC")
    found = reprint_line(line, 1.0)
    assert (found["percent"], found["ms_ssim_percent"]) == (
        pytest.approx(-7.15, abs=0.01),
        pytest.approx(-12.88, abs=0.01),
    )
    assert "ms_ssim_percent_refused" not in found


def test_global_reference_has_a_protocol_of_its_own():
    figure = experiment("global-reference-fig7")
    recipe = figure.at(scale("paper"))
    assert (recipe.steps, recipe.crop, recipe.batch) == (408_000, 512, 8)
    assert figure.at(scale("small")) is scale("small")
    assert experiment("table1").at(scale("paper")) is scale("paper")


def test_the_paper_scale_is_the_paper_s_protocol():
    recipe = scale("paper")
    assert (recipe.steps, recipe.crop, recipe.batch, recipe.learning_rate) == (1_500_000, 256, 16, 1e-4)
    assert recipe.lambdas == (0.0009, 0.0018, 0.0035, 0.0067, 0.0130, 0.0250)


def test_smoke_of_a_pair(folders):
    facts = smoke(folders, "fig10")
    plain, better = facts["variants"]
    assert facts["meaningless"] and facts["budget"]["trainings"] == 8
    assert better["over"] == plain["name"] and better["paper_percent"] == -6.84
    assert (better["percent"] is None) == ("percent_refused" in better)
    bits = {(rate["variant"], rate["lambda"]): rate for rate in facts["rates"]}
    assert len(bits) == 8 and all(0 < rate["z_bpp"] < rate["y_bpp"] < rate["bpp"] for rate in bits.values())
    text = (folders / "out/fig10.md").read_text()
    assert "meaningless" in text and "| -6.84 |" in text and "10.37 and 16.5 %, whose difference is 6.13." in text
    table = (folders / "out/results/table.tsv").read_text()
    assert len(table.splitlines()) == 1 + 8  # one picture of the two
    assert (
        not list((folders / "out/runs").rglob("state.pt"))
        and len([*(folders / "out/runs").rglob("*.safetensors")]) == 8
    )
    assert smoke(folders, "fig10") == facts  # nothing is trained or measured again
    assert (folders / "out/results/table.tsv").read_text() == table


def test_the_loss_s_rates_are_over_the_plain_model():
    """As ours beside them: the paper's 6.13 and 3.3 % are differences of gains over a third model."""
    variants = {v.name: v for e in EXPERIMENTS for v in e.variants if v.decorrelated and v.over != "Cheng HP"}
    paper = {v.model: v.paper_percent for v in variants.values() if v.derived}
    assert paper == {"cheng-checkerboard": -6.84, "cheng-charm": -3.87, "elic": -2.12}
    assert experiment("table1").variants[3].paper_percent == -16.5


def test_a_wrong_folder_is_said_before_training(folders, capsys):
    arguments = ["--data", str(folders / "train"), "--test", str(folders / "none"), "-o", str(folders / "out")]
    assert run("reproduce", "fig10", "--scale", "small", *arguments) == 3
    assert "no such folder" in capsys.readouterr().err
    assert not (folders / "out").exists()


@pytest.mark.slow
def test_smoke_of_slices(folders):
    assert smoke(folders, "fig11")["variants"][1]["seconds"] > 0


@pytest.mark.slow
def test_smoke_of_elic_with_published_lines(folders):
    facts = smoke(folders, "elic-table3")
    assert {line["over"] for line in facts["variants"]} == {"vtm"}
    minnen = next(line for line in facts["published"] if line["curve"] == "paper-mbt2018")
    assert minnen["percent"] == pytest.approx(14.92, abs=0.01)


@pytest.mark.slow
def test_smoke_of_the_correlation_maps(folders):
    facts = smoke(folders, "supplement-maps")
    assert len(facts["correlation"]) == 16
    first = facts["correlation"][0]
    assert len(first["map"]) == len(first["map"][0]) == 5
    off = [abs(v) for i, row in enumerate(first["map"]) for j, v in enumerate(row) if (i, j) != (2, 2)]
    assert first["off_centre"] == pytest.approx(sum(off) / 24, abs=1e-4)
    assert first["normalised_off_centre"] == pytest.approx(sum(off) / 24 / first["map"][2][2], rel=1e-2)
    rate = next(r for r in facts["rates"] if (r["variant"], r["lambda"]) == (first["variant"], first["lambda"]))
    assert (
        f"{rate['bpp']:.4f} | {rate['y_bpp']:.4f} | {rate['z_bpp']:.4f} |"
        in (folders / "out/supplement-maps.md").read_text()
    )
    assert all((folders / f"out/maps.{ending}").stat().st_size > 5000 for ending in ("png", "svg"))
    assert (folders / "out/report/index.html").is_file()
    assert {g["name"] for g in read_gains(folders / "out/results" / GAINS)} == {"Cheng HP", "Cheng checkerboard"}


@pytest.mark.slow
def test_smoke_of_global_reference_s_figure(folders):
    facts = smoke(folders, "global-reference-fig7")
    assert len(facts["variants"]) == 7 and {line["over"] for line in facts["variants"]} == {"bpg_444_x265_ycbcr"}
    assert [line["paper_percent"] for line in facts["comparisons"]] == [-21.0, -5.3, -2.0, -6.1]
    text = (folders / "out/global-reference-fig7.md").read_text()
    assert "-5.3 at the low bit rates" in text and "meaningless" in text


@pytest.mark.slow
def test_smoke_of_stages_without_a_reference(folders):
    facts = smoke(folders, "global-reference-fig13")
    names = [line["name"] for line in facts["variants"]]
    assert names[:3] == [f"context + hyperprior, {how}" for how in ("noise", "mixed quantisation", "in stages")]
    assert all(rate["y_bpp"] > 0 for rate in facts["rates"])
    assert {line["over"] for line in facts["variants"]} == {"bpg_444_x265_ycbcr"}


@pytest.mark.slow
def test_smoke_of_models_for_ms_ssim(folders):
    facts = smoke(folders, "elic-fig4")
    assert [rate["lambda"] for rate in facts["rates"]] == [*MS_SSIM_LAMBDAS] * 2 and facts["budget"]["crop"] == "192"
    (said,) = facts["comparisons"]
    assert said["by_ms_ssim"] and "ms_ssim_percent" in said
    assert "| ELIC | vtm | MS-SSIM |" in (folders / "out/elic-fig4.md").read_text()


@pytest.mark.slow
def test_smoke_on_clic(folders):
    """Its published curves stand beside ours, though the pictures that were measured are others here."""
    smoke(folders, "elic-fig3")
    page = (folders / "out/report/index.html").read_text()
    assert "clic2020-professional/vtm" in page and '"compressai-mbt2018_mse_cuda"' not in page


@pytest.mark.parametrize("name", ["global-reference-table2", "global-reference-table3"])
def test_tables_of_costs_need_no_pictures(folders, name, capsys):
    assert run("reproduce", name, "-o", str(folders / "out")) == 0
    facts = json.loads((folders / f"out/{name}.json").read_text())
    assert "the paper's" in capsys.readouterr().out
    costs = {(c["system"], c["part"]): c for c in facts["costs"]}
    assert all(c["gflops"] > 0 for c in facts["costs"])
    if name.endswith("2"):
        assert costs["Global Reference", "reference model"]["seconds"] > 0
        assert costs["Minnen 2018, 384 latents", "parameter networks"]["paper_gflops"] == 8.15
    else:
        assert [c["seconds"] is None for c in facts["costs"]] == [False] * 4 + [True] * 3
        assert costs["Global Reference", "4k"]["share_percent"] > costs["Global Reference", "240p"]["share_percent"]
    assert run("reproduce", name, "--recipes") == 2


@pytest.mark.slow
def test_smoke_of_table_1(folders):
    facts = smoke(folders, "table1")
    assert [line["paper_seconds"] for line in facts["variants"]] == [4.66, 4.66, 5.33, 5.33, 8.14, 8.14, 251.65]


@pytest.mark.parametrize(
    ("curve", "percent", "within"),
    [
        ("paper-mbt2018", 14.92, 0.01),
        ("paper-bmshj2018-hyperprior", 40.85, 0.01),
        ("paper-minnen2020-cc10_mse", 1.11, 0.1),
        ("paper-cheng2020-checkerboard-6M_mse", 3.89, 0.05),
    ],
)
def test_lines_of_elic_s_table_come_out_of_published_points(curve, percent, within):
    table = experiment("elic-table3")
    line = next(r for r in table.reprints if r.curve == curve)
    assert isinstance(line, Reprint) and line.paper_percent == percent
    found = reprint_line(line, table.bpp_max)
    assert found["percent"] == pytest.approx(percent, abs=within)


def test_gains_are_read_at_equal_rate():
    points = Points("x", (0.1, 0.4), (30.0, 34.0))
    assert psnr_at(points, 0.2) == pytest.approx(32)
    assert psnr_at(points, 0.05) != psnr_at(points, 0.05)  # nan: outside


def test_a_refusal_is_in_the_text():
    budget = {"trainings": 1, "steps_each": 1, "batch": 1, "crop": 64, "hours": 0}
    budget |= {"training_pictures": 1, "device": ["cpu"]}
    line = {"name": "a", "over": "b", "percent": None, "percent_refused": "a and b have nothing in common"}
    facts = {"meaningless": False, "scale": "small", "budget": budget, "variants": [line]}
    facts |= {"published": [], "comparisons": [], "correlation": [], "rates": []}
    text = as_text("Figure 10", facts)
    assert "nothing in common" in text and "meaningless" not in text


def test_recipes_alone(tmp_path):
    assert run("reproduce", "table1", "--scale", "paper", "--recipes", "-o", str(tmp_path)) == 0
    assert len(list(tmp_path.glob("runs/*/*/recipe.toml"))) == 42


def test_a_folder_of_another_training_is_refused(tmp_path):
    trainings = plan(experiment("table1"), scale("smoke"), tmp_path)
    write_recipes(trainings)
    trainings[0].folder.joinpath("recipe.toml").write_text(trainings[0].recipe.replace("batch = ", "batch = 1"))
    with pytest.raises(OutputExists, match="another recipe"):
        train_missing(trainings, scale("smoke"), tmp_path, lambda *arguments: None, print)


def test_wrong_calls(capsys, tmp_path):
    assert (
        run("reproduce", "table1")
        == run(
            "reproduce",
        )
        == 2
    )
    assert run("reproduce", "table9", "--recipes", "-o", str(tmp_path)) == 2
    assert "fig13" in capsys.readouterr().err
    with pytest.raises(UsageError, match="smoke"):
        scale("large")
