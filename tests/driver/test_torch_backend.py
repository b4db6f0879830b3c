"""`torch.compile(backend="netc")`: what netc computes, and what stays with PyTorch."""

from __future__ import annotations

import tomllib
import warnings
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

from netc.pipeline import compile_graph

torch = pytest.importorskip("torch")
pytest.importorskip("onnxscript")

from torch import nn  # noqa: E402

from netc import torch_backend  # noqa: E402
from netc.compiler.errors import NetcError  # noqa: E402
from netc.torch_backend import EagerWarning, backend  # noqa: E402
from netc.torch_graphs import exportable  # noqa: E402

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")
ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(autouse=True)
def _apart() -> Iterator[None]:
    torch._dynamo.reset()
    torch.manual_seed(1)
    yield
    torch._dynamo.reset()


def small() -> nn.Module:
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(64, 5)).eval()


X = torch.randn(2, 3, 6, 6, generator=torch.Generator().manual_seed(1))


def compiled(module: Any, **options: Any) -> Any:
    return torch.compile(module, backend=backend, **options)


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """A list that gets an item for each program that is compiled."""
    programs: list[int] = []

    def counted(graph: Any, **named: Any) -> Any:
        programs.append(named["threads"])
        return original(graph, **named)

    original = compile_graph
    monkeypatch.setattr(torch_backend, "compile_graph", counted)
    return programs


def agree(run: Any, module: Any, *inputs: Any) -> None:
    torch.testing.assert_close(run(*inputs), module(*inputs), rtol=1e-4, atol=1e-5)


def test_the_entry_point_names_the_backend() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    home, _, name = project["entry-points"]["torch_dynamo_backends"]["netc"].partition(":")
    assert getattr(import_module(home), name) is backend


@torch.no_grad()
def test_a_module_is_compiled_once_and_again_when_its_weights_change(made: list[int]) -> None:
    module = small()
    run = compiled(module, options={"threads": 1})
    agree(run, module, X)
    agree(run, module, X + 1)
    assert made == [1]
    module.load_state_dict(small().state_dict())
    agree(run, module, X)
    module[4].bias.add_(1.0)
    agree(run, module, X)
    module[4].weight.data = torch.randn(5, 64)
    module[1].running_mean.data.add_(0.5)  # PyTorch doesn't count this
    agree(run, module, X)
    assert made == [1, 1, 1, 1]


@torch.no_grad()
def test_calls_like_an_earlier_one_take_its_program_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    module = small()
    run = compiled(module)
    agree(run, module, X)
    with monkeypatch.context() as patched:
        patched.setattr(torch_backend.CapturedGraph, "_found", None)  # the way that takes longer
        agree(run, module, X + 1)
    state = small().state_dict()
    with torch.inference_mode():
        module.load_state_dict({name: x.clone() for name, x in state.items()}, assign=True)
    with pytest.warns(EagerWarning, match="weights made in inference mode"), torch.inference_mode():
        agree(run, module, X)


@torch.no_grad()
def test_weights_that_change_all_the_time(made: list[int], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch_backend, "MAX_CHANGES", 1)
    module = nn.Linear(3, 2).eval()
    run, x = compiled(module), torch.randn(4, 3)

    def change() -> None:
        agree(run, module, x)
        module.weight.mul_(2.0)

    change()
    change()
    with pytest.warns(EagerWarning, match="weights have changed more than 1 times"):
        change()
    assert len(made) == 2


@torch.inference_mode()
def test_shapes_up_to_a_limit(made: list[int], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch_backend, "MAX_SHAPES", 2)

    def function(x: Any) -> Any:
        return x * x.shape[0] + 1, x.shape[0] + 5

    run = compiled(function, dynamic=True)
    agree(run, function, torch.randn(2, 3))
    agree(run, function, torch.randn(3, 3))
    with pytest.warns(EagerWarning, match="for 2 combinations of shapes"):
        agree(run, function, torch.randn(4, 3))
    agree(run, function, torch.randn(2, 3))
    assert len(made) == 2


@torch.inference_mode()
def test_several_graphs_of_a_function(made: list[int]) -> None:
    def function(x: Any) -> Any:
        y = x * 2
        return y + 1 if y.sum() > 0 else y - 3

    run = compiled(function)
    agree(run, function, torch.ones(3))
    agree(run, function, -torch.ones(3))
    assert len(made) == 3


@torch.inference_mode()
def test_layouts_and_types_of_inputs(made: list[int]) -> None:
    def function(x: Any, y: Any) -> Any:
        return x @ y.t(), x.to(torch.float64) * 2, x > 0

    run = compiled(function)
    for x in (torch.randn(3, 4).t(), torch.randn(1, 3).expand(4, 3)):
        agree(run, function, x, torch.randn(5, 3))
    assert made


def said(function: Any, *inputs: Any) -> str:
    """Why a function runs in PyTorch; it gives PyTorch's numbers, and says so once."""
    run, wanted = compiled(function), function(*inputs)
    with pytest.warns(EagerWarning) as caught:
        torch.testing.assert_close([run(*inputs), run(*inputs)], [wanted, wanted])
    (message,) = [str(w.message) for w in caught if w.category is EagerWarning]
    return message


def test_gradients_are_left_to_pytorch(made: list[int]) -> None:
    module = nn.Linear(3, 2)
    run = compiled(module)
    with pytest.warns(EagerWarning, match="gradients are wanted"):
        run(torch.ones(1, 3)).sum().backward()
    assert module.bias.grad is not None
    assert not made
    with torch.no_grad():
        agree(run, module, torch.ones(1, 3))
    assert made


@torch.inference_mode()
def test_what_pytorch_computes() -> None:
    x = torch.randn(3, 3)
    assert "view" in said(lambda x: x.t(), x)
    assert "BFLOAT16" in said(lambda x: x.bfloat16() * 2, x)
    assert "linalg_eig" in said(torch.linalg.eigvalsh, x)
    assert "complex" in said(lambda x: x * 2, x + 1j)
    assert "made in inference mode" in said(nn.Linear(3, 2), x)
    with torch.autocast("cpu"):
        assert "autocast" in said(lambda x: x @ x, x)


@torch.no_grad()
def test_what_changes_or_draws_stays_with_pytorch(made: list[int]) -> None:
    module = small().train()
    with pytest.warns(EagerWarning, match="it changes"):
        compiled(module)(X)
    assert module[1].num_batches_tracked == 1
    with pytest.warns(EagerWarning, match="draws random numbers"):
        first, second = (compiled(nn.functional.dropout)(torch.ones(1000)) for _ in range(2))
    assert (first != second).any()
    x = torch.ones(3)
    with pytest.warns(EagerWarning, match="runs in PyTorch"):
        compiled(lambda x: x.add_(1) * 2)(x)
    assert x.tolist() == [2.0, 2.0, 2.0]
    assert not made


def test_options_are_checked() -> None:
    module = torch.fx.symbolic_trace(nn.Linear(3, 2))
    with pytest.raises(NetcError, match="no option `thread`"):
        backend(module, [], options={"thread": 1})
    with pytest.raises(NetcError, match="no mode 'max-autotune'"):
        backend(module, [], mode="max-autotune")


def test_nothing_is_said_where_netc_computes(made: list[int]) -> None:
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("error", EagerWarning)
        agree(compiled(torch.relu), torch.relu, X)
    assert made


@torch.no_grad()
def test_numbers_that_come_as_tensors(made: list[int]) -> None:
    """With dynamic shapes the momentum of batch normalisation is a tensor of which `item()` is read."""
    module = nn.BatchNorm1d(3).eval()
    with warnings.catch_warnings():
        warnings.simplefilter("error", EagerWarning)
        agree(compiled(module, dynamic=True), module, torch.randn(4, 3))
    assert made


@torch.no_grad()
@pytest.mark.parametrize("norm_first", [False, True])
@pytest.mark.parametrize("mask_type", [None, 0, 1, 2])
def test_layers_of_an_encoder(norm_first: bool, mask_type: int | None) -> None:
    """In inference PyTorch has one operator for a whole layer, which no exporter takes: it is spelt out."""
    layer = nn.TransformerEncoderLayer(8, 2, 12, batch_first=True, norm_first=norm_first)
    attention = layer.self_attn
    shapes = {0: (5, 5), 1: (2, 5), 2: (2, 2, 5, 5)}
    mask = None if mask_type is None else torch.rand(shapes[mask_type]) > 0.5
    if mask is not None:
        mask[..., 0] = False
    weights = (attention.in_proj_weight, attention.in_proj_bias, attention.out_proj.weight, attention.out_proj.bias)
    norms = (layer.norm1.weight, layer.norm1.bias, layer.norm2.weight, layer.norm2.bias)
    dense = (layer.linear1.weight, layer.linear1.bias, layer.linear2.weight, layer.linear2.bias)
    graph = torch.fx.Graph()
    x = graph.placeholder("x")
    given = (*weights, True, norm_first, 1e-5, *norms, *dense, mask, mask_type)
    holders = {i: graph.placeholder(f"p{i}") for i, v in enumerate(given) if isinstance(v, torch.Tensor)}
    arguments = (holders.get(i, v) for i, v in enumerate(given))
    graph.output((graph.call_function(torch._transformer_encoder_layer_fwd, (x, 8, 2, *arguments)),))
    module = torch.fx.GraphModule(nn.Module(), graph)
    found = exportable(torch, module, {})
    assert not any(node.target is torch._transformer_encoder_layer_fwd for node in found.graph.nodes)
    inputs = (torch.randn(2, 5, 8), *(v for v in given if isinstance(v, torch.Tensor)))
    agree(found, module, *inputs)
