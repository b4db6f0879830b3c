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

from .modules import Pair, Small, X, refusal  # noqa: E402

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")


def test_a_module_gives_its_numbers() -> None:
    module = Small().eval()
    graph = netc.from_torch(module, X)
    assert graph.name == "small"
    scores, total = evaluate(graph, [X.numpy()])
    wanted = module(X)
    np.testing.assert_allclose(scores, wanted["scores"].detach().numpy(), rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(total, wanted["total"].numpy(), rtol=1e-5)


def test_example_inputs_may_be_one_tensor() -> None:
    x, y = np.ones(3, np.float32), np.full(3, 5, np.float32)
    same = torch.zeros(3)
    (result,) = evaluate(netc.from_torch(Pair(torch.sub).eval(), [same, same]), [x, y])
    np.testing.assert_array_equal(result, x - y)


def test_a_result_that_is_given_twice_is_two_outputs() -> None:
    class Twice(nn.Module):
        def forward(self, x: Any) -> Any:
            y = torch.relu(x)
            return y, x, y

    x = torch.arange(-3, 3, dtype=torch.float32)
    results = evaluate(netc.from_torch(Twice().eval(), x), [x.numpy()])
    for result, wanted in zip(results, Twice()(x), strict=True):
        np.testing.assert_array_equal(result, wanted.numpy())


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
    error = refusal(lambda x: x.add_(1) * 2, match="it changes x")
    assert error.diagnostics[0].hint == "change a clone() of it"
    refusal(lambda x: torch.rand(3) + x[0, 0, 0, 0], match="draws random numbers")
    refusal(lambda x: (x * 2, 3), match="no tensor, but 3")
    with pytest.raises(NetcError, match=r"takes a torch\.nn\.Module, not int"):
        netc.from_torch(3, X)


class Counts(nn.Module):
    """Has a state that is no buffer."""

    def __init__(self) -> None:
        super().__init__()
        self.count = torch.zeros(8)

    def forward(self, x: Any) -> Any:
        self.count = self.count + 1
        return x + self.count


def test_a_state_outside_of_the_buffers_is_told() -> None:
    with pytest.warns(Note, match="calling it changes count, outside of its buffers"):
        netc.from_torch(Counts().eval(), X)


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
