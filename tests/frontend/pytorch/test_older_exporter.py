"""What PyTorch's newer exporter refuses, by the older one; what both refuse."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("onnxscript")

from torch import nn  # noqa: E402

import netc  # noqa: E402
from netc.compiler.errors import Note  # noqa: E402
from netc.compiler.graph.interpreter import evaluate  # noqa: E402

from .modules import Does, Small, X, refusal  # noqa: E402

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")


def test_the_older_exporter_stands_in(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*arguments: Any, **named: Any) -> None:
        raise RuntimeError("not today")

    module = Small().eval()
    wanted = module(X)["scores"].detach().numpy()
    monkeypatch.setattr(torch.export, "export", broken)
    with pytest.warns(Note, match="older exporter.*not today"):
        graph = netc.from_torch(module, X)
    np.testing.assert_allclose(evaluate(graph, [X.numpy()])[0], wanted, rtol=1e-5, atol=1e-5)


def test_the_older_exporter_takes_names_and_numbers() -> None:
    """Inputs are in the order in which `forward` has them; what is no tensor is no input."""

    class Named(nn.Module):
        def forward(self, a: Any, b: Any, k: int) -> Any:
            return (nn.functional.rrelu(a) @ b.T) * k

    generator = torch.Generator().manual_seed(3)
    a, b = (torch.randn(n, 3, generator=generator) for n in (4, 5))
    for example in ({"k": 3, "b": b, "a": a}, (a, b, 3)):
        with pytest.warns(Note, match="older exporter"):
            graph = netc.from_torch(Named().eval(), example)
        (result,) = evaluate(graph, [a.numpy(), b.numpy()])
        np.testing.assert_allclose(result, Named().eval()(a, b, 3).numpy(), 1e-4, 1e-4)


def test_modules_that_were_traced_before() -> None:
    traced = torch.jit.trace(nn.Conv2d(3, 4, 3).eval().requires_grad_(False), X)
    with pytest.warns(Note, match="older exporter"):
        graph = netc.from_torch(traced, X)
    np.testing.assert_allclose(evaluate(graph, [X.numpy()])[0], traced(X).numpy(), 1e-4, 1e-5)


def _changed_in_place(x: Any) -> Any:
    y = x.clone()
    y.transpose(1, 2).sub_(0.5)
    return y


def test_the_older_exporter_forgets_no_change_in_place(monkeypatch: pytest.MonkeyPatch) -> None:
    """RReLU isn't known to the newer one; where no program is captured, numbers that differ are refused."""
    with pytest.warns(Note, match="older exporter"):
        graph = netc.from_torch(Does(lambda x: _changed_in_place(x) + nn.functional.rrelu(x)).eval(), X)
    (result,) = evaluate(graph, [X.numpy()])
    np.testing.assert_allclose(result, (_changed_in_place(X) + nn.functional.rrelu(X)).numpy(), 1e-4, 1e-4)

    # It rounds quotients of integers toward zero.
    refusal(
        lambda x: (x.argmax(-1, keepdim=True) - 5) // 2 + nn.functional.rrelu(x), match="older exporter: its numbers"
    )

    def broken(*arguments: Any, **named: Any) -> None:
        raise RuntimeError("not today")

    monkeypatch.setattr(torch.export, "export", broken)
    refusal(_changed_in_place, match="its numbers are not those of the module")


def test_a_choice_by_numbers_is_never_frozen(capfd: pytest.CaptureFixture[str]) -> None:
    error = refusal(lambda x: x + 1 if x.sum() > 0 else x - 1, match="a decision or a size depends on the numbers")
    assert "may depend on the numbers" in error.diagnostics[1].message
    assert "torch.where" in (error.diagnostics[0].hint or "")
    for place in (d.location for d in error.diagnostics):  # of the function above, not of PyTorch
        assert place is not None
        assert place.file.endswith("test_older_exporter.py")
    assert capfd.readouterr() == ("", "")  # PyTorch would print its graph


def test_what_fails_twice_is_told_once(capfd: pytest.CaptureFixture[str]) -> None:
    error = refusal(lambda x: x.view(7, -1), match=r"test_older_exporter\.py:.*shape '\[7, -1\]' is invalid")
    assert len(error.diagnostics) == 1
    refusal(lambda x: torch.linalg.svd(x)[1], match="svd")
    assert capfd.readouterr() == ("", "")


def test_both_refusals_are_told() -> None:
    error = refusal(torch.linalg.eigvalsh, match="linalg_eig")
    assert [d.message.startswith("by PyTorch's older exporter") for d in error.diagnostics] == [False, True]
