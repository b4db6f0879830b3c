"""Layers that cut, join, turn, pick and scatter: as NumPy and PyTorch have them, with gradients, compiled and not."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import netc
from netc.compiler.errors import NetcError
from netc.compiler.graph import Graph, GraphBuilder, evaluate
from netc.compiler.passes import differentiate
from netc.compiler.types import DType, TensorType
from netc.frontend import load_text

RNG = np.random.default_rng(5)
X = RNG.standard_normal((2, 4, 6, 8)).astype(np.float32)


def of(body: str, inputs: str = "x: f32[2, 4, 6, 8]") -> Graph:
    """A net with this result."""
    return load_text(f"net n({inputs}) {{ return {body} }}", "n.net")


def results(graph: Graph, *arrays: Any) -> list[Any]:
    """What the graph means, which compiled code gives, too."""
    meant = evaluate(graph, list(arrays))
    compiled = netc.compile(graph)(*arrays)
    for one, other in zip(meant, compiled if isinstance(compiled, tuple) else (compiled,), strict=True):
        np.testing.assert_array_equal(other, one)
    return list(meant)


NUMPY: dict[str, Callable[[Any], Any]] = {
    "split(x, 3, axis = 2)": lambda x: np.split(x, 3, axis=2),
    "split(x, [1, -1, 3])": lambda x: np.split(x, [1, 5], axis=-1),
    "chunk(x, 4, axis = 2)": lambda x: np.split(x, [2, 4], axis=2),
    "chunk(x, 9, axis = 1)": lambda x: np.split(x, 4, axis=1),
    "unstack(x, axis = -2)": lambda x: [x[:, :, i] for i in range(6)],
    "stack(x, x, x, axis = 1)": lambda x: np.stack([x] * 3, 1),
    "stack(unstack(x, 1), axis = -1)": lambda x: np.moveaxis(x, 1, -1),
    "strided_slice(x, [0, 1, -3], [2, -1, none], [1, 2])": lambda x: x[0:2, 1:-1:2, -3:],
    "strided_slice(x, [none, -1], [none, none], [none, -2])": lambda x: x[:, -1::-2],
    "strided_slice(x, [5], [9])": lambda x: x[5:9],
    "repeat(x, 3, axis = 1)": lambda x: np.repeat(x, 3, 1),
    "repeat(x, 2)": lambda x: np.repeat(x, 2, -1),
    "tile(x, [1, 2, 1, 3])": lambda x: np.tile(x, (1, 2, 1, 3)),
    "squeeze(unsqueeze(x, [0, -1]), -1)": lambda x: x[None],
    "squeeze(expand_dims(x, 2))": lambda x: x,
    "swap_axes(x, 1, -1)": lambda x: np.swapaxes(x, 1, -1),
    "move_axis(x, 0, 2)": lambda x: np.moveaxis(x, 0, 2),
    "flip(x, [1, -1])": lambda x: np.flip(x, (1, -1)),
    "roll(x, [3, -1], [2, 3])": lambda x: np.roll(x, (3, -1), (2, 3)),
    "roll(x, 8, -1)": lambda x: x,
    "pad(x, [[0, 0], [1, 2], [0, 0], [0, 3]], 1.5)": lambda x: np.pad(
        x, ((0, 0), (1, 2), (0, 0), (0, 3)), constant_values=1.5
    ),
    **{
        f'pad(x, [[0, 0], [3, 2], [0, 5], [1, 0]], mode = "{mode}")': lambda x, m=theirs: np.pad(
            x, ((0, 0), (3, 2), (0, 5), (1, 0)), mode=m
        )
        for mode, theirs in (("reflect", "reflect"), ("symmetric", "symmetric"), ("edge", "edge"), ("circular", "wrap"))
    },
    **{
        f'pad(x, [[0, 0], {list(sides)}, [0, 0], [0, 1]], mode = "circular")': lambda x, s=sides: np.pad(
            x, ((0, 0), s, (0, 0), (0, 1)), mode="wrap"
        )
        for sides in ((9, 2), (0, 13), (8, 8), (5, 0))
    },
    "tril(x)": np.tril,
    "triu(x, 2)": lambda x: np.triu(x, 2),
    "tril(x, -1)": lambda x: np.tril(x, -1),
    'x * arange(8, dtype = "f32")': lambda x: x * np.arange(8, dtype=np.float32),
    'x + cast(arange(10, 2, -1), "f32")': lambda x: x + np.arange(10, 2, -1, dtype=np.float32),
    "x * linspace(-1, 1, 8)": lambda x: x * np.linspace(-1, 1, 8, dtype=np.float32),
    "x + full([6, 1], 2.5) + zeros([4, 1, 1]) + ones([8]) + zeros_like(x) + ones_like(x)": lambda x: x + 2.5 + 1 + 1,
    "meshgrid(arange(3), arange(2, 4))": lambda x: np.meshgrid(np.arange(3), np.arange(2, 4), indexing="ij"),
}


@pytest.mark.parametrize("body", NUMPY)
def test_numpy_has_the_same(body: str) -> None:
    got = results(of(body), X)
    wanted = NUMPY[body](X)
    if not isinstance(wanted, list | tuple):
        wanted = [wanted]
    for one, other in zip(wanted, got, strict=True):
        np.testing.assert_array_equal(other, one)


IDS = np.array([[3, 0, 3], [1, -1, 3]], np.int64)
PLACES = RNG.integers(-6, 6, (2, 4, 3, 8))
"""Along axis 2 of x."""

TORCH: dict[str, Callable[[Any, Any], Any]] = {
    "pixel_shuffle(x, 2)": lambda t, x: t.nn.functional.pixel_shuffle(x.movedim(-1, 1), 2).movedim(1, -1),
    "pixel_unshuffle(x, 2)": lambda t, x: t.nn.functional.pixel_unshuffle(x.movedim(-1, 1), 2).movedim(1, -1),
    'depth_to_space(x, 2, mode = "CRD")': lambda t, x: t.nn.functional.pixel_shuffle(x.movedim(-1, 1), 2).movedim(
        1, -1
    ),
    "channel_shuffle(x, 4)": lambda t, x: t.nn.functional.channel_shuffle(x.movedim(-1, 1), 4).movedim(1, -1),
    "roll(x, 3, 2)": lambda t, x: t.roll(x, 3, 2),
    "flip(x, [1, 2])": lambda t, x: t.flip(x, (1, 2)),
    "tril(x, 1)": lambda t, x: t.tril(x, 1),
    'pad(x, [[0, 0], [0, 0], [3, 2], [0, 5]], mode = "reflect")': lambda t, x: t.nn.functional.pad(
        x, (0, 5, 3, 2), mode="reflect"
    ),
    'pad(x, [[0, 0], [0, 0], [3, 2], [0, 5]], mode = "circular")': lambda t, x: t.nn.functional.pad(
        x, (0, 5, 3, 2), mode="circular"
    ),
    'pad(x, [[0, 0], [0, 0], [3, 2], [0, 5]], mode = "edge")': lambda t, x: t.nn.functional.pad(
        x, (0, 5, 3, 2), mode="replicate"
    ),
    "tile(x, [2, 1, 3, 1])": lambda t, x: t.tile(x, (2, 1, 3, 1)),
    "repeat(x, 3, 2)": lambda t, x: t.repeat_interleave(x, 3, 2),
}
WITH_PLACES: dict[str, Callable[[Any, Any, Any], Any]] = {
    "take_along_axis(x, i, axis = 2)": lambda t, x, i: t.gather(x, 2, i),
    "scatter_add(x, i, 3 * take_along_axis(x, i, axis = 2), axis = 2)": lambda t, x, i: t.scatter_add(
        x, 2, i, 3 * t.gather(x, 2, i)
    ),
    "gather(x, i, axis = 2)": lambda t, x, i: x[:, :, i],
}


def gradients_agree(graph: Graph, arrays: list[Any], wanted: Any, x: Any) -> None:
    """Hold the result, and the gradient of its weighted sum, against PyTorch's."""
    torch = pytest.importorskip("torch")
    (got,) = results(graph, *arrays)
    np.testing.assert_allclose(got, wanted.detach().numpy(), rtol=1e-6)
    weight = RNG.standard_normal(got.shape).astype(np.float32)
    b = GraphBuilder("loss")
    inputs = [b.input(v.name or "", v.type) for v in graph.inputs]
    (y,) = b.inline(graph, inputs)
    loss = b.emit("reduce_sum", b.emit("mul", y, b.constant(weight)), axes=tuple(range(got.ndim)))
    both = differentiate(b.finish([loss]), 0, ["x"])
    (ours,) = torch.autograd.grad((wanted * torch.from_numpy(weight)).sum(), [x])
    for run in (evaluate, lambda g, a: netc.compile(g)(*a)):
        np.testing.assert_allclose(run(both, arrays)[1], ours.numpy(), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("body", TORCH)
def test_pytorch_has_the_same(body: str) -> None:
    torch = pytest.importorskip("torch")
    x = torch.tensor(X, requires_grad=True)
    gradients_agree(of(body), [X], TORCH[body](torch, x), x)


@pytest.mark.parametrize("body", WITH_PLACES)
def test_pytorch_picks_the_same(body: str) -> None:
    torch = pytest.importorskip("torch")
    x = torch.tensor(X, requires_grad=True)
    graph = of(body, "x: f32[2, 4, 6, 8], i: i64[2, 4, 3, 8]")
    if body.startswith("gather"):
        graph = of(body, "x: f32[2, 4, 6, 8], i: i64[2, 3]")
        gradients_agree(graph, [X, IDS], WITH_PLACES[body](torch, x, torch.from_numpy(IDS)), x)
        return
    front = torch.from_numpy(np.where(PLACES < 0, PLACES + 6, PLACES))  # PyTorch refuses negative ones here
    gradients_agree(graph, [X, PLACES], WITH_PLACES[body](torch, x, front), x)


def test_scatter_replaces_and_the_last_update_counts() -> None:
    graph = of("scatter(x, i, u, axis = 1)", "x: f32[2, 4], i: i32[2, 3], u: f32[2, 3]")
    x, u = np.zeros((2, 4), np.float32), np.arange(1, 7, dtype=np.float32).reshape(2, 3)
    (got,) = results(graph, x, np.array([[3, 0, 3], [-1, 1, 2]], np.int32), u)
    np.testing.assert_array_equal(got, [[2, 0, 0, 3], [0, 5, 6, 4]])
    loss = of("reduce_sum(scatter(x, i, u, axis = 1), axes = [0, 1])", "x: f32[2, 4], i: i32[2, 3], u: f32[2, 3]")
    _, dx, du = results(differentiate(loss, 0, ["x", "u"]), x, np.array([[3, 0, 3], [-1, 1, 2]], np.int32), u)
    np.testing.assert_array_equal(dx, [[0, 1, 1, 0], [1, 0, 0, 0]])
    np.testing.assert_array_equal(du, [[0, 1, 1], [1, 1, 1]])


def test_slices_are_replaced_and_added_to() -> None:
    inputs = "x: f32[3, 2, 20], i: i32[2, 1], u: f32[2, 2, 20]"
    x, u = (RNG.standard_normal(shape).astype(np.float32) for shape in ((3, 2, 20), (2, 2, 20)))
    i = np.array([[2], [-3]], np.int32)
    (replaced,) = results(of("scatter_nd_update(x, i, u)", inputs), x, i, u)
    np.testing.assert_array_equal(replaced, np.stack([u[1], x[1], u[0]]))
    (added,) = results(of("scatter_nd_add(x, i, u)", inputs), x, i, u)
    np.testing.assert_array_equal(added, np.stack([x[0] + u[1], x[1], x[2] + u[0]]))


@pytest.mark.parametrize("features", [1, 20, 200])
def test_embedding_learns_as_in_pytorch_at_any_number_of_threads(features: int) -> None:
    torch = pytest.importorskip("torch")
    ids = RNG.integers(0, 50, (30, 40)).astype(np.int32)
    table = RNG.standard_normal((50, features)).astype(np.float32)
    graph = load_text(
        f"net n(ids: i32[30, 40]) {{ y = embedding@word(ids, 50, {features})\n return reduce_sum(y * y * y) }}", "n.net"
    )
    assert [p.result.name for p in graph.parameters] == ["word.weight"]
    both = differentiate(graph, 0, ["word.weight"])
    gradients = [netc.compile(both, weights={"word.weight": table}, threads=n)(ids)[1] for n in (1, 2, 3)]
    assert all(np.array_equal(gradients[0], other) for other in gradients[1:])
    weight = torch.tensor(table, requires_grad=True)
    (torch.nn.functional.embedding(torch.from_numpy(ids), weight) ** 3).sum().backward()
    np.testing.assert_allclose(gradients[0], weight.grad.numpy(), rtol=1e-4, atol=1e-4)


INDEXED = {
    "gather": (((4, 20), (3,)), {"axis": 0}),
    "gather_nd": (((4, 20), (3, 1)), {}),
    "take_along_axis": (((4, 20), (3, 20)), {"axis": 0}),
}


@pytest.mark.parametrize("name", INDEXED)
def test_indices_outside_are_an_error_or_the_border(name: str) -> None:
    shapes, attributes = INDEXED[name]
    b = GraphBuilder("net")
    x, i = (b.input(n, TensorType(t, s)) for n, t, s in zip("xi", (DType.F32, DType.I64), shapes, strict=True))
    graph = b.finish([b.emit(name, x, i, **attributes)])
    table = RNG.standard_normal((4, 20)).astype(np.float32)
    far = np.full(shapes[1], 1 << 62)
    far[0], far[-1] = -5, -(1 << 62)
    with pytest.raises(NetcError, match=f"{name}: an index lies outside"):
        evaluate(graph, [table, far])
    np.testing.assert_array_equal(netc.compile(graph)(table, far), table[[0, 3, 0]])


def test_updates_outside_are_an_error_or_go_to_the_border() -> None:
    b = GraphBuilder("net")
    i, u = b.input("i", TensorType(DType.I64, (3, 1))), b.input("u", TensorType(DType.F32, (3, 20)))
    graph = b.finish([b.emit("scatter_nd", i, u, shape=(4, 20))])
    far, ones = np.array([[-5], [1 << 62], [-(1 << 62)]]), np.ones((3, 20), np.float32)
    with pytest.raises(NetcError, match="scatter_nd: an index lies outside"):
        evaluate(graph, [far, ones])
    assert netc.compile(graph)(far, ones)[:, 0].tolist() == [2, 0, 0, 1]


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("split(x, 4, axis = 2)", "split: 4 equal parts don't make up dimension 2 of f32"),
        ("split(x, [3, 4], axis = 2)", "split: parts of [3, 4] don't make up dimension 2"),
        ("chunk(x, 0)", "chunk can't make 0 parts"),
        ("squeeze(x, 1)", "squeeze: dimension 1 of f32[2,4,6,8] isn't 1"),
        ("flip(x, [1, 1])", "flip: an axis stands twice"),
        ("flip(x, 4)", "flip: there is no axis 4 in a tensor of rank 4"),
        ("strided_slice(x, [0], [1], [0])", "strided_slice: a stride can't be 0"),
        ("strided_slice(x, [0, 1], [1])", "strided_slice: begin 2, end 1 and strides 0 numbers don't fit"),
        ('pad(x, [[0, 0], [4, 0], [0, 0], [0, 0]], mode = "reflect")', "4 elements can't be mirrored to 4 by reflect"),
        ('pad(x, [[0, 0], [4, 0], [0, 0], [0, 0]], mode = "wrap")', 'the mode can\'t be "wrap"'),
        ("pixel_shuffle(x, 3)", "pixel_shuffle: 3 * 3 places don't divide the channels of f32[2,4,6,8]"),
        ("space_to_depth(x, 4)", "space_to_depth: blocks of 4 don't divide f32[2,4,6,8]"),
        ("embedding(x, 3, 4)", "gather takes whole numbers as indices, not f32[2,4,6,8]"),
        ("stack(x, unsqueeze(x, 0))", "stack can't join f32[2,4,6,8] and f32[1,2,4,6,8]"),
        ('x + full([8], 300, dtype = "i8")', "full: elements of type i8 can't be 300"),
        ("x + arange(0, 10, 0)", "arange: the step can't be 0"),
        ('one_hot(cast(x, "i32"), depth = 3, on = 0.5, dtype = "i8")', "one_hot: elements of type i8 can't be 0.5"),
    ],
)
def test_misuse(body: str, message: str) -> None:
    with pytest.raises(NetcError) as caught:
        of(body)
    assert message in str(caught.value)
