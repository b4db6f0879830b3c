"""The layer conv_transpose against PyTorch's ConvTransposeNd: sizes, values, gradients, weights of its checkpoints."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save_file

import netc
from netc.compiler.errors import NetcError
from netc.compiler.graph.builder import GraphBuilder
from netc.compiler.graph.interpreter import evaluate
from netc.compiler.graph.ir import Graph
from netc.compiler.passes import differentiate
from netc.compiler.types import DType, TensorType
from netc.runtime.weights import read_weights

TRIALS = 40


def net(tmp_path: Path, shape: list[int], call: str) -> Any:
    file = tmp_path / "up.net"
    file.write_text(f"net up(x: f32[{', '.join(map(str, shape))}]) {{ return x |> conv_transpose@up({call}) }}\n")
    return netc.load(file)


def product_with(graph: Graph, shape: tuple[int, ...]) -> Graph:
    """The sum of the result times another input, whose gradients are those for this cotangent."""
    b = GraphBuilder("loss")
    x, dy = b.input("x", graph.inputs[0].type), b.input("dy", TensorType(DType.F32, shape))
    (y,) = b.inline(graph, [x])
    return b.finish([b.emit("reduce_sum", b.emit("mul", y, dy), axes=None)])


def drawn(rng: random.Random) -> tuple[int, dict[str, Any]]:
    """A number of dimensions, and arguments of PyTorch's module."""
    spatial = rng.randint(1, 3)
    each = {key: [rng.choice(of) for _ in range(spatial)] for key, of in (
        ("kernel_size", (1, 2, 3, 4)), ("stride", (1, 2, 3)), ("dilation", (1, 1, 2)),
    )}  # fmt: skip
    groups = rng.choice((1, 1, 2, 3))
    extents = [(k - 1) * d for k, d in zip(each["kernel_size"], each["dilation"], strict=True)]
    limits = [max(s, d) - 1 for s, d in zip(each["stride"], each["dilation"], strict=True)]
    return spatial, {
        **each,
        "in_channels": groups * rng.choice((1, 2, 4)),
        "out_channels": groups * rng.choice((1, 2, 5)),
        "groups": groups,
        "padding": [rng.randint(0, e) if e < 3 else 1 for e in extents],
        "output_padding": [rng.randint(0, limit) for limit in limits],
        "bias": rng.random() < 0.5,
    }


@pytest.mark.parametrize("seed", range(TRIALS))
def test_equals_pytorch(tmp_path: Path, seed: int) -> None:
    torch: Any = pytest.importorskip("torch")
    rng = random.Random(seed)
    spatial, given = drawn(rng)
    torch.manual_seed(seed)
    module = getattr(torch.nn, f"ConvTranspose{spatial}d")(**given).double()
    size = [rng.randint(2, 4) for _ in range(spatial)]
    x = torch.randn(2, given["in_channels"], *size, dtype=torch.float64, requires_grad=True)
    try:
        y = module(x)
    except RuntimeError:  # nothing is left of it
        pytest.skip("PyTorch refuses this size")
    dy = torch.randn_like(y)
    parameters = dict(module.named_parameters())
    wanted = torch.autograd.grad(y, [x, *parameters.values()], dy)

    call = "{out_channels}, {kernel_size}, stride = {stride}, pad = {padding}, output_pad = {output_padding}, "
    call += "dilation = {dilation}, groups = {groups}, bias = {bias}"
    text = call.format(**{**given, "bias": str(given["bias"]).lower()})
    graph = net(tmp_path, [2, *size, given["in_channels"]], text)
    save_file({f"up.{k}": v.detach().float().numpy() for k, v in parameters.items()}, tmp_path / "up.safetensors")
    weights = read_weights(tmp_path / "up.safetensors", graph)
    image = np.moveaxis(x.detach().float().numpy(), 1, -1)
    (meant,) = evaluate(graph, [image], weights)
    np.testing.assert_allclose(np.moveaxis(meant, -1, 1), y.detach().numpy(), atol=1e-4)
    if seed % 4 == 0:
        np.testing.assert_allclose(netc.compile(graph, weights=weights, threads=1)(image), meant, atol=1e-4)

    names = ["x", *(f"up.{name}" for name in parameters)]
    gradients = differentiate(product_with(graph, meant.shape), of=0, wrt=names)
    _, *found = evaluate(gradients, [image, np.moveaxis(dy.float().numpy(), 1, -1)], weights)
    assert len(found) == len(wanted)
    np.testing.assert_allclose(np.moveaxis(found[0], -1, 1), wanted[0].numpy(), atol=1e-4)
    filters = np.moveaxis(found[1], (-2, -1), (0, 1))
    np.testing.assert_allclose(filters, wanted[1].numpy(), atol=2e-4)
    if given["bias"]:
        np.testing.assert_allclose(found[2], wanted[2].numpy(), atol=2e-4)


REFUSED = {
    "8, 3, output_pad = 1": "smaller than the stride",
    "8, 3, stride = 2, output_pad = 1": "output_pad must be 0",
    "8, 3, pad = 9": "leaves nothing",
    "9, 3, groups = 2": "don't divide",
    "8, [3, 3, 3]": "2 spatial dimensions",
}


@pytest.mark.parametrize("call", REFUSED)
def test_refused(tmp_path: Path, call: str) -> None:
    with pytest.raises(NetcError, match=REFUSED[call]):
        net(tmp_path, [1, 4, 4, 4], call)


def test_same_multiplies_the_size(tmp_path: Path) -> None:
    (y,) = net(tmp_path, [1, 5, 7, 4], "8, [2, 5], stride = [3, 2]").outputs
    assert y.type.shape == (1, 15, 14, 8)
