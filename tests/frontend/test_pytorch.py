"""`netc.from_torch`: modules with their weights, and what is refused."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("onnxscript")

from torch import nn  # noqa: E402

import netc  # noqa: E402
from netc.compiler.errors import NetcError, Note  # noqa: E402
from netc.compiler.graph.interpreter import evaluate  # noqa: E402

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")

X = torch.randn(2, 3, 8, 8, generator=torch.Generator().manual_seed(1))


class Small(nn.Module):
    """Convolution, batch normalisation with statistics of its own, a flattened picture, two outputs."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.conv = nn.Conv2d(3, 8, 3)
        self.bn = nn.BatchNorm2d(8)
        self.drop = nn.Dropout(0.5)
        self.fc = nn.Linear(8 * 6 * 6, 5)
        nn.init.normal_(self.bn.running_mean)
        nn.init.uniform_(self.bn.running_var, 0.5, 1.5)

    def forward(self, x: Any, scale: Any = None) -> Any:
        y = self.bn(self.conv(x)).relu().flatten(1)
        y = self.fc(self.drop(y))
        return {"scores": y if scale is None else y * scale, "total": x.sum()}


class Does(nn.Module):
    """A function as a module."""

    def __init__(self, function: Any) -> None:
        super().__init__()
        self.function = function

    def forward(self, x: Any) -> Any:
        return self.function(x)


@pytest.mark.parametrize("include_self", [True, False])
@pytest.mark.parametrize("dtype", [torch.float32, torch.int64])
def test_scattered_means(dtype: Any, include_self: bool) -> None:
    """PyTorch's exporter makes a scatter of them that keeps the last element."""
    places = torch.tensor([[0, 2, 2, 0, 2], [1, 1, 1, 1, 0]])

    def means(x: Any) -> Any:
        return x[:, :4].scatter_reduce(1, places, x, "mean", include_self=include_self)

    def in_place(x: Any) -> Any:
        y = x[:, :4].clone()
        return y.scatter_reduce_(1, places, x, "mean", include_self=include_self)

    x = (torch.arange(10).reshape(2, 5) ** 2 - 20).to(dtype)
    for function in (means, in_place):
        (result,) = evaluate(netc.from_torch(Does(function).eval(), x), [x.numpy()])
        np.testing.assert_allclose(result, function(x).numpy(), 1e-6)


@pytest.mark.parametrize(
    "function",
    [
        lambda x: nn.functional.avg_pool2d(x, 3, 2, 1, divisor_override=5),
        lambda x: nn.functional.avg_pool2d(x, (2, 3), padding=1, ceil_mode=True, divisor_override=2),
        lambda x: nn.functional.avg_pool3d(x, 2, ceil_mode=True, count_include_pad=False, divisor_override=3),
        lambda x: nn.functional.interpolate(x, scale_factor=2.4, mode="bilinear", align_corners=True),
        lambda x: nn.functional.interpolate(x, scale_factor=(0.7, 1.3), mode="bicubic", align_corners=True),
        lambda x: nn.functional.interpolate(x, scale_factor=1.7, mode="bilinear"),
        lambda x: nn.functional.interpolate(x[:, :, :3, :4], scale_factor=1.3, mode="bilinear"),
        lambda x: nn.functional.interpolate(x[:, :, :3, :4], scale_factor=1.3, mode="bicubic"),
        lambda x: nn.functional.interpolate(x[:, :, :3, :4], scale_factor=(1.2, 0.6), mode="nearest"),
        lambda x: nn.functional.interpolate(x[:, :, 0, :3], scale_factor=1.3, mode="linear"),
        lambda x: nn.functional.interpolate(x[:, :, 0, :3], scale_factor=1.3, mode="nearest"),
        lambda x: nn.functional.interpolate(x[:, None, :3, :4, :5], scale_factor=1.3, mode="trilinear"),
        lambda x: (x * 9).to(torch.int64).mean((1, 2), dtype=torch.float32),
    ],
)
def test_arguments_that_the_exporter_passes_over(function: Any) -> None:
    x = torch.randn(1, 3, 7, 9, generator=torch.Generator().manual_seed(2))
    (result,) = evaluate(netc.from_torch(Does(function).eval(), x), [x.numpy()])
    np.testing.assert_allclose(result, function(x).numpy(), 1e-4, 1e-5)


def test_antialiasing_by_scales_that_give_no_whole_sizes_is_refused() -> None:
    def smoothed(scale: float) -> Any:
        return lambda x: nn.functional.interpolate(x, scale_factor=scale, mode="bilinear", antialias=True)

    refusal(smoothed(0.8), match="takes antialiasing by such a scale_factor for another one")
    (result,) = evaluate(netc.from_torch(Does(smoothed(0.5)).eval(), X), [X.numpy()])
    np.testing.assert_allclose(result, smoothed(0.5)(X).numpy(), 1e-4, 1e-5)


def refusal(function: Any, *, match: str) -> NetcError:
    with pytest.raises(NetcError, match=match) as caught:
        netc.from_torch(Does(function).eval(), X)
    return caught.value


def test_a_module_gives_its_numbers() -> None:
    module = Small().eval()
    graph = netc.from_torch(module, X)
    assert graph.name == "small"
    scores, total = evaluate(graph, [X.numpy()])
    wanted = module(X)
    np.testing.assert_allclose(scores, wanted["scores"].detach().numpy(), rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(total, wanted["total"].numpy(), rtol=1e-5)


def test_inputs_by_name_and_exported_programs() -> None:
    module, scale = Small().eval(), torch.tensor([2.0])
    graph = netc.from_torch(module, {"x": X, "scale": scale}, name="scaled")
    again = netc.from_torch(torch.export.export(module, (X, scale)), ())
    assert [v.name for v in graph.inputs] == [v.name for v in again.inputs] == ["x", "scale"]
    assert graph.name == "scaled"
    wanted = module(X, scale)["scores"].detach().numpy()
    for made in (graph, again):
        np.testing.assert_allclose(evaluate(made, [X.numpy(), scale.numpy()])[0], wanted, rtol=1e-5, atol=1e-5)


def test_training_mode_is_refused() -> None:
    with pytest.raises(NetcError, match="training mode"):
        netc.from_torch(Small().train(), X)
    module = Small().eval()
    module.drop.train()
    with pytest.raises(NetcError, match="draws random numbers"):
        netc.from_torch(module, X)
    module = Small().eval()
    module.bn.train()
    with pytest.raises(NetcError, match=r"changes bn\.running_mean"):
        netc.from_torch(module, X)


def test_what_is_no_function_of_tensors_is_refused() -> None:
    refusal(lambda x: x.add_(1) * 2, match="it changes x")
    refusal(lambda x: torch.rand(3) + x[0, 0, 0, 0], match="draws random numbers")
    refusal(lambda x: (x * 2, 3), match="no tensor, but 3")
    with pytest.raises(NetcError, match=r"takes a torch\.nn\.Module, not int"):
        netc.from_torch(3, X)


def test_a_choice_by_numbers_is_never_frozen(capfd: pytest.CaptureFixture[str]) -> None:
    error = refusal(lambda x: x + 1 if x.sum() > 0 else x - 1, match="a decision or a size depends on the numbers")
    assert "may depend on the numbers" in error.diagnostics[1].message
    assert "torch.where" in (error.diagnostics[0].hint or "")
    for place in (d.location for d in error.diagnostics):  # of the function above, not of PyTorch
        assert place is not None
        assert place.file.endswith("test_pytorch.py")
    assert capfd.readouterr() == ("", "")  # PyTorch would print its graph


def test_what_fails_twice_is_told_once(capfd: pytest.CaptureFixture[str]) -> None:
    error = refusal(lambda x: x.view(7, -1), match=r"test_pytorch\.py:.*shape '\[7, -1\]' is invalid")
    assert len(error.diagnostics) == 1
    refusal(lambda x: torch.linalg.svd(x)[1], match="svd")
    assert capfd.readouterr() == ("", "")


def test_the_older_exporter_stands_in(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*arguments: Any, **named: Any) -> None:
        raise RuntimeError("not today")

    module = Small().eval()
    wanted = module(X)["scores"].detach().numpy()
    monkeypatch.setattr(torch.export, "export", broken)
    with pytest.warns(Note, match="older exporter.*not today"):
        graph = netc.from_torch(module, X)
    np.testing.assert_allclose(evaluate(graph, [X.numpy()])[0], wanted, rtol=1e-5, atol=1e-5)


def test_both_refusals_are_told() -> None:
    error = refusal(torch.linalg.inv, match="linalg_inv")
    assert [d.message.startswith("by PyTorch's older exporter") for d in error.diagnostics] == [False, True]


def test_without_torch_the_cure_is_named() -> None:
    code = (
        "import sys; sys.modules['torch'] = None\nimport netc\n"
        "try: netc.from_torch(None, None)\nexcept netc.NetcError as e: print(e)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "pip install -U 'netc[torch]'" in done.stdout


def test_import_netc_leaves_torch_alone() -> None:
    code = "import sys, netc, netc.torch_backend; netc.from_torch; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
