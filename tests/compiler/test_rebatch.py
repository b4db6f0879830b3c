"""A network for one sample as one for several: each result is that of its sample, or the network is refused."""

from __future__ import annotations

import numpy as np
import pytest

import netc
from netc.compiler.errors import NetcError
from netc.compiler.graph.interpreter import evaluate
from netc.compiler.graph.ir import Graph
from netc.compiler.passes.rebatch import rebatch
from netc.compiler.quantization import dynamic_range
from netc.frontend import load_text
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
)
JOINED = (
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


@pytest.mark.parametrize("body", JOINED)
def test_what_joins_samples_is_refused(body: str) -> None:
    with pytest.raises(NetcError, match=r"samples together|one sample of several|as many results"):
        rebatch(net(body), 3)


def test_inputs_that_count_no_samples_are_refused() -> None:
    with pytest.raises(NetcError, match="input `x` is f32\\[2,3\\], which isn't one sample"):
        rebatch(load_text("net n(x: f32[2, 3]) { return x |> dense@d(2) }"), 4)
