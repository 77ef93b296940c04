"""Capture: latents of models of other libraries, with a stand-in and with CompressAI."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from benchmarks.compressai_worker import Finder
from lichen.errors import UsageError
from lichen.lab.losses.capture import capture
from lichen.lab.losses.correlation import CorrelationLoss, correlation_loss


class GaussianConditional(nn.Module):
    """A stand-in with CompressAI's signature and lower bound."""

    def forward(self, inputs: Tensor, scales: Tensor, means: Tensor | None = None, training: bool = False) -> Tensor:
        return inputs if means is None else inputs - means

    def lower_bound_scale(self, scales: Tensor) -> Tensor:
        return scales.clamp(min=0.5)


class MyGaussian(GaussianConditional):
    """A descendant under another name."""


class Slices(nn.Module):
    """Two Gaussians, of 2 and 4 channels; the second with keywords, the first without a mean."""

    def __init__(self) -> None:
        super().__init__()
        self.analysis = nn.Conv2d(3, 6, 1)
        self.first, self.second = GaussianConditional(), MyGaussian()

    def forward(self, x: Tensor) -> Tensor:
        y = self.analysis(x)
        a = self.first(y[:, :2], y[:, :2].abs())
        return a.sum() + self.second(y[:, 2:], means=y[:, 2:] / 2, scales=y[:, 2:].abs()).sum()


def hooks(model: nn.Module) -> int:
    return sum(len(m._forward_hooks) + len(m._forward_pre_hooks) for m in model.modules())


def test_calls_are_merged_by_channels_with_their_gradients():
    model, x = Slices(), torch.rand(2, 3, 8, 8)
    y = model.analysis(x)
    criterion = CorrelationLoss(alpha=0.1)
    with capture(model) as latents:
        model(x)
    loss = criterion(latents)
    assert torch.equal(latents.y, y)
    assert not latents.mean[:, :2].any() and torch.equal(latents.mean[:, 2:], y[:, 2:] / 2)
    assert torch.equal(latents.scale, y.abs().clamp(min=0.5))
    assert torch.equal(loss, 0.1 * correlation_loss(latents))
    loss.backward()
    assert model.analysis.weight.grad is not None and model.analysis.weight.grad.any()


def test_nothing_of_the_model_is_changed_by_blocks_nested_or_broken():
    model, x = Slices(), torch.rand(1, 3, 8, 8)
    before, wanted = {k: v.clone() for k, v in model.state_dict().items()}, model(x)
    with capture(model) as outer:
        with pytest.raises(ZeroDivisionError), capture(model) as inner:
            model(x)
            raise ZeroDivisionError
        assert hooks(model) == 2
        assert torch.equal(model(x), wanted)
    assert hooks(model) == 0
    assert [c.y.shape[1] for c in inner.calls] == [2, 4] and len(outer.calls) == 4
    model(x)
    assert len(outer.calls) == 4
    assert all(torch.equal(v, before[k]) for k, v in model.state_dict().items())


def test_what_cannot_be_captured_is_said():
    with pytest.raises(UsageError, match="no module named GaussianConditional"), capture(nn.Linear(2, 2)):
        pass
    with capture(Slices()) as latents:
        pass
    with pytest.raises(UsageError, match="inside the with-block"):
        _ = latents.y
    model = Slices()
    with capture(model) as latents:
        model(torch.rand(1, 3, 8, 8))
        model(torch.rand(1, 3, 8, 4))
    with pytest.raises(UsageError, match="one pass at a time"):
        _ = latents.scale


def test_a_gaussian_without_scales_is_said():
    class GaussianConditional(nn.Module):
        def forward(self, inputs: Tensor) -> Tensor:
            return inputs

    model = GaussianConditional()
    with pytest.raises(UsageError, match="no scales"), capture(model):
        model(torch.rand(1, 1, 4, 4))
    assert hooks(model) == 0


def test_a_mixture_is_refused():
    class GaussianConditional(nn.Module):
        def forward(self, inputs: Tensor, scales: Tensor) -> Tensor:
            return inputs

    model, y = GaussianConditional(), torch.rand(1, 2, 4, 4)
    with pytest.raises(UsageError, match="a mixture"), capture(model):
        model(y, torch.cat([y, y, y], dim=1))


def test_a_compiled_model_is_seen_in_every_block():
    model, x = Slices(), torch.rand(1, 3, 8, 8)
    compiled = torch.compile(model, backend="eager")
    for _ in range(3):
        with capture(model) as latents:
            compiled(x)
        assert len(latents.calls) == 2
    compiled(x)  # outside of a block: from here on there are no hooks
    with capture(model) as latents:
        compiled(x)
    with pytest.raises(UsageError, match="compiled"):
        _ = latents.y


@pytest.fixture
def zoo(monkeypatch):
    """CompressAI's models; what it imports for data and point clouds alone may be absent."""
    monkeypatch.setattr(sys, "meta_path", [*sys.meta_path, Finder()])
    return pytest.importorskip("compressai.models", reason="CompressAI is not installed")


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    ("name", "arguments", "channels"),
    [
        ("ScaleHyperprior", {"N": 8, "M": 12}, 12),
        ("MeanScaleHyperprior", {"N": 8, "M": 12}, 12),
        ("JointAutoregressiveHierarchicalPriors", {"N": 8, "M": 12}, 12),
        ("Cheng2020Anchor", {"N": 8}, 8),
        ("Cheng2020AnchorCheckerboard", {"N": 8}, 8),
        ("Elic2022Official", {"N": 8, "M": 24, "groups": [2, 2, 4, 4, 12]}, 24),
    ],
)
def test_on_compressai(zoo, name, arguments, channels):
    model, x = getattr(zoo, name)(**arguments).train(), torch.rand(2, 3, 128, 128)
    with capture(model) as latents:
        out = model(x)
    assert latents.y.shape == (2, channels, 8, 8)
    assert float(latents.scale.min()) >= 0.11 * 0.999
    assert out["likelihoods"]["y"].shape == latents.y.shape
    CorrelationLoss(alpha=1.0)(latents).backward()
    grads = [p.grad for p in model.g_a.parameters()]
    assert all(grad is not None and grad.isfinite().all() for grad in grads) and any(grad.any() for grad in grads)
    model.eval()
    with torch.no_grad(), capture(model) as rounded:
        likelihoods = model(x)["likelihoods"]["y"]
    distance, normal = (rounded.y - rounded.mean).round().abs(), torch.distributions.Normal(0, 1)
    wanted = normal.cdf((0.5 - distance) / rounded.scale) - normal.cdf((-0.5 - distance) / rounded.scale)
    assert torch.allclose(likelihoods, wanted.clamp(min=1e-9), atol=1e-5)  # its own bits follow from what was captured


LIBRARY = "compressai==1.2.8"  # asks for numpy before 2, so it has an environment of its own
NEEDED = ("numpy<2", "einops", "requests", "tomli", "tqdm", "pandas")


@pytest.mark.slow
def test_on_compressai_in_an_environment_of_its_own(tmp_path):
    """The tests above, by the library itself beside this environment's PyTorch."""
    subprocess.run([sys.executable, "-m", "venv", str(tmp_path / "env")], check=True)
    python = tmp_path / "env/bin/python"
    for packages in (("--no-deps", LIBRARY), NEEDED):
        command = [str(python), "-m", "pip", "install", "-q", "--only-binary", ":all:", *packages]
        done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=900)
        if done.returncode:
            pytest.skip(f"CompressAI cannot be installed: {(done.stderr.strip().splitlines() or ['?'])[-1]}")
    (own,) = (tmp_path / "env").glob("lib/python*/site-packages")
    (own / "zz-others.pth").write_text(f"{Path(torch.__file__).parents[1]}\n")  # after its own: numpy stays before 2
    command = [str(python), "-m", "pytest", "-p", "no:cacheprovider", "-q", __file__, "-k", "test_on_compressai"]
    paths = os.pathsep.join(path for path in sys.path if path.endswith("src"))
    environment = {**os.environ, "PYTHONPATH": paths}
    done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=900, env=environment)
    assert done.returncode == 0 and "6 passed" in done.stdout, done.stdout
