"""A network for one sample as one for several: each result is that of its sample, or the network is refused."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np
import pytest

import netc
from netc.compiler.errors import NetcError
from netc.compiler.graph import Array, Graph, GraphBuilder, Value, evaluate
from netc.compiler.graph.registry import lookup
from netc.compiler.ops.sequences.sequence_lstm import GATES
from netc.compiler.passes.rebatch import rebatch
from netc.compiler.quantization import dynamic_range
from netc.compiler.types import DType, Quantization, TensorType
from netc.frontend import load_text
from netc.pipeline import compile_graph
from netc.quantization import frozen
from netc.runtime.weights import initial_weights

IMAGE = "x: f32[1, 4, 6, 3]"
BODIES = (
    "x |> conv@c(4, 3) |> batch_norm@b |> relu |> max_pool(2) |> flatten |> dense@d(5) |> softmax",
    "x |> depthwise_conv@c(3) |> conv_transpose@t(2, 2, stride = 2) |> resize(scale = 2) |> avg_pool(2)",
    "x |> transpose([0, 3, 1, 2]) |> reshape([1, 3, 24]) |> layer_norm@n |> dense@d(7) |> reduce_max(axes = [1])",
    "x |> reshape([24, 3]) |> dense@d(4) |> reshape([1, 4, 6, 4]) |> group_norm@g(2)",
    'reshape(x, [1, 24, 3]) |> concat(param("token", [1, 1, 3]), axis = 1) |> slice([0, 1, 0], [1, 9, 3])',
    "x |> reshape([24, 1, 3]) |> dense@d(4) |> transpose([1, 0, 2]) |> multi_head_attention@a(2)",
    "matmul(reshape(x, [1, 24, 3]), reshape(x, [1, 24, 3]), transpose_b = true) + full([24], 2)",
    "x |> pad([[0, 0], [1, 1], [0, 2], [0, 0]]) |> space_to_depth(2) |> prelu@p |> log_softmax(axis = 1)",
    "reshape(x, [4, 6, 3]) |> unsqueeze(0) |> broadcast_to([1, 4, 6, 3]) |> argmax(axis = 2) |> one_hot(depth = 8)",
    "x |> strided_slice([0, 1, 0, 0], [1, 4, 6, 3], [1, 2, 2, 1]) |> reduce_mean(axes = [1, 2], keepdims = true)",
    'einsum("nhwc,nhwd->hncd", x, x) |> transpose([1, 0, 2, 3])',
    'einsum("nhwc,cd->ndhw", x, param("w", [3, 5]))',
    'matmul(param("w", [5, 72]), reshape(x, [1, 72]), transpose_b = true) |> transpose([1, 0])',
    'matmul(reshape(x, [1, 72]) |> transpose([1, 0]), param("w", [72, 5]), transpose_a = true)',
    'contract(x, param("w", [3, 5]), a_axes = "nhwc", b_axes = "cd", axes = "hndw") |> transpose([1, 0, 2, 3])',
    'contract(x, x, a_axes = "nhwc", b_axes = "nhwd", axes = "ncdh")',
)
JOINED = (
    'einsum("nhwc,mhwc->nm", x, x)',
    'einsum("nhwc,nd->hwcd", x, param("w", [1, 5]))',
    'contract(x, x, a_axes = "nhwc", b_axes = "nhwd", axes = "cd")',
    "x |> reduce_mean(axes = [0], keepdims = true)",
    "x |> softmax(axis = 0)",
    "concat(x, x, axis = 0) |> slice([0, 0, 0, 0], [1, 4, 6, 3])",
    "x |> reshape([6, 4, 3, 1]) |> transpose([3, 1, 2, 0]) |> conv@c(2, 3) |> cumulative_sum(axis = 0)",
    "x |> transpose([1, 2, 3, 0])",
    "x |> transpose([1, 0, 2, 3]) |> conv@c(3, 3) |> transpose([1, 0, 2, 3])",
)


INTEGERS = (
    "x |> conv@c(4, 3) |> hard_swish |> reduce_mean(axes = [1, 2], keepdims = true) |> sigmoid",
    "x |> conv@c(4, 3) |> leaky_relu |> tanh |> abs",
    "x |> elu |> exp |> l2_normalize(axis = -1)",
    "x |> gelu |> log_softmax(axis = -1)",
)
"""Of which functions of one number are tables, and others count the last dimension."""


def net(body: str) -> Graph:
    return load_text(f"net n({IMAGE}) {{ return {body} }}")


@pytest.mark.parametrize("body", BODIES)
def test_each_sample_has_the_results_that_it_has_alone(body: str) -> None:
    one = net(body)
    weights = initial_weights(one, 3)
    x = np.random.default_rng(1).normal(size=(3, 4, 6, 3)).astype(np.float32)
    (found,) = evaluate(rebatch(one, 3), (x,), weights)
    alone = [evaluate(one, (x[i : i + 1],), weights)[0] for i in range(3)]
    np.testing.assert_allclose(found, np.concatenate(alone), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("body", INTEGERS)
def test_integers_of_each_sample_are_those_that_it_has_alone(body: str) -> None:
    rng = np.random.default_rng(2)
    samples = [rng.normal(1, 1, (1, 4, 6, 3)).astype(np.float32) for _ in range(2)]
    one = netc.quantize(net(body), calibration=samples, threads=1)
    x = rng.integers(-128, 127, (3, 4, 6, 3), np.int8, endpoint=True)
    (found,) = evaluate(rebatch(one, 3), (x,))
    alone = [evaluate(one, (x[i : i + 1],))[0] for i in range(3)]
    np.testing.assert_array_equal(found, np.concatenate(alone))


HYBRIDS = (
    "x |> conv@c(4, 3) |> depthwise_conv@d(3) |> relu",
    "x |> conv_transpose@t(5, 3, stride = 2) |> reduce_mean(axes = [1, 2]) |> dense@d(7)",
    'matmul(transpose(x, [0, 1, 3, 2]), param("w", [1, 1, 6, 5], init = "he_normal"))',
)
"""Of which activations are quantized while the network runs, with the scales of a sample or of a row."""


@pytest.mark.parametrize("body", HYBRIDS)
def test_each_sample_has_the_scales_that_it_has_alone(body: str) -> None:
    one = dynamic_range(frozen(net(body), None, seed=4), smallest=1)
    assert any(op.name.startswith("hybrid_") for op in one.operations)
    x = np.random.default_rng(2).normal(1, 1, (3, 4, 6, 3)).astype(np.float32) * np.float32([[[[1]]], [[[9]]], [[[0]]]])
    (found,) = evaluate(rebatch(one, 3), (x,))
    alone = np.concatenate([evaluate(one, (x[i : i + 1],))[0] for i in range(3)])
    np.testing.assert_array_equal(found, alone)
    with netc.compile(rebatch(one, 3), threads=1) as program:
        np.testing.assert_allclose(program(x), alone, rtol=1e-5, atol=1e-5)


def _quantized(b: GraphBuilder, name: str, *shape: int, zero: int = 3) -> Value:
    return b.input(name, TensorType(DType.I8, shape, None, Quantization.of(0.02, zero)))


def _constant(b: GraphBuilder, dtype: DType, *shape: int) -> Value:
    low, high = (-127, 127) if dtype is DType.I8 else (-3000, 3000)
    return b.constant(np.random.default_rng(sum(shape)).integers(low, high, shape, dtype.numpy))


def products_of_both(b: GraphBuilder) -> list[Value]:
    left, right = _quantized(b, "a", 1, 3, 5, 7), _quantized(b, "b", 1, 3, 4, 7, zero=-2)
    a, w = (v.type.quantization for v in (left, right))
    return [b.emit("q_matmul", left, right, transpose_b=True, a=a, b=w, y=Quantization.of(0.1, 1))]


def products_with_constants(b: GraphBuilder) -> list[Value]:
    left, given = _quantized(b, "a", 1, 5, 7), Quantization.of(0.01, 0)
    right = b.emit("reinterpret", _constant(b, DType.I8, 7, 6), y=given)
    return [b.emit("q_matmul", left, right, a=left.type.quantization, b=given, y=Quantization.of(0.1, 1))]


def products_of_elements(b: GraphBuilder) -> list[Value]:
    x = _quantized(b, "x", 1, 4, 3)
    return [b.emit("q_reduce_prod", x, axes=(-1,), x=x.type.quantization, y=Quantization.of(0.03, 2))]


def svdf(b: GraphBuilder, *, begins_alike: bool = False) -> list[Value]:
    x, units, rank, steps = _quantized(b, "x", 1, 6), 3, 2, 5
    memory = (1, units * rank * steps)
    kept = _constant(b, DType.I16, *memory) if begins_alike else b.input("m", TensorType(DType.I16, memory))
    weights = [_constant(b, DType.I8, 6, units * rank), _constant(b, DType.I16, units * rank, steps)]
    scales = {"x": x.type.quantization, "memory": Quantization.of(0.001), "y": Quantization.of(0.05, 4)}
    given = {**scales, "features_scale": 0.01, "time_scale": 0.0001, "rank": rank}
    op = b.operation(lookup("q_svdf"), (x, kept, *weights, _constant(b, DType.I32, units)), given)
    return list(op.results)


def lstm(b: GraphBuilder, *, begins_alike: bool = False) -> list[Value]:
    x, cells = _quantized(b, "x", 1, 4, 6), 5
    roles = [f"{gate}_{part}" for gate in GATES for part in ("weight", "recurrent", "bias")]
    shapes = {"weight": (6, cells), "recurrent": (cells, cells), "bias": (cells,)}
    weights = [
        _constant(b, DType.I32 if role.endswith("bias") else DType.I8, *shapes[role.split("_")[1]]) for role in roles
    ]
    roles += [f"{gate}_peephole" for gate in ("input", "forget", "output")]
    weights += [_constant(b, DType.I16, 1, cells) for _ in range(3)]
    types = DType.I8, DType.I16
    states = [
        _constant(b, dtype, 1, cells) if begins_alike else b.input(name, TensorType(dtype, (1, cells)))
        for name, dtype in zip("hc", types, strict=True)
    ]
    y = Quantization.of(0.008, 2)
    scales = tuple(0.0 if role.endswith("bias") else 0.005 for role in roles)
    kinds = {"x": x.type.quantization, "y": y, "hidden": y, "scales": scales, "cell_bits": -11, "roles": tuple(roles)}
    return list(b.operation(lookup("q_lstm"), (x, *states, *weights), kinds).results)


@pytest.mark.parametrize(
    "made",
    [
        products_of_both,
        products_with_constants,
        products_of_elements,
        svdf,
        partial(svdf, begins_alike=True),
        lstm,
        partial(lstm, begins_alike=True),
    ],
)
def test_operators_on_integers_keep_samples_apart(made: Callable[[GraphBuilder], list[Value]]) -> None:
    b = GraphBuilder("one")
    one = b.finish(made(b))
    rng, count = np.random.default_rng(3), 3
    inputs = [_bytes(rng, v.type, count) for v in one.inputs]
    many = rebatch(one, count)
    found = evaluate(many, inputs)
    alone = [evaluate(one, [x[i : i + 1] for x in inputs]) for i in range(count)]
    for got, *expected in zip(found, *alone, strict=True):
        assert len(np.unique(got)) > 3
        np.testing.assert_array_equal(got, np.concatenate(expected))
    with compile_graph(many, threads=2) as program:
        results = program(*inputs)
    for got, wanted in zip(results if isinstance(results, tuple) else (results,), found, strict=True):
        np.testing.assert_array_equal(got, wanted)


def _bytes(rng: np.random.Generator, type_: TensorType, count: int) -> Array:
    info = np.iinfo(str(type_.dtype.numpy))
    return rng.integers(info.min, info.max, (count, *type_.shape[1:]), type_.dtype.numpy, endpoint=True)


def test_a_product_of_samples_is_refused() -> None:
    b = GraphBuilder("joined")
    x = _quantized(b, "x", 1, 4)
    scales = {"x": x.type.quantization, "y": Quantization.of(0.03, 2)}
    joined = b.finish([b.emit("q_reduce_prod", x, axes=(0,), keepdims=True, **scales)])
    with pytest.raises(NetcError, match="q_reduce_prod may depend on the samples together"):
        rebatch(joined, 3)


@pytest.mark.parametrize("body", JOINED)
def test_what_joins_samples_is_refused(body: str) -> None:
    with pytest.raises(NetcError, match=r"samples together|one sample of several|as many results"):
        rebatch(net(body), 3)


def test_inputs_that_count_no_samples_are_refused() -> None:
    with pytest.raises(NetcError, match="input `x` is f32\\[2,3\\], which isn't one sample"):
        rebatch(load_text("net n(x: f32[2, 3]) { return x |> dense@d(2) }"), 4)
