"""Layers that take tensors in place of parameters of their own, and tensors and parameters of any type."""

from __future__ import annotations

import numpy as np
import pytest

from netc.compiler.errors import NetcError
from netc.compiler.graph.interpreter import evaluate
from netc.frontend.loading import load_text


def value(text: str, *inputs: np.ndarray) -> np.ndarray:
    (result,) = evaluate(load_text(text), list(inputs))
    return result


def test_linear_is_a_product_of_matrices() -> None:
    rng = np.random.default_rng(0)
    x, w, b = (rng.standard_normal(shape).astype(np.float32) for shape in ((2, 3), (3, 4), (4,)))
    text = "net t(x: f32[2, 3], w: f32[3, 4], b: f32[4]) {{ return linear({}) }}"
    np.testing.assert_allclose(value(text.format("x, w"), x, w, b), x @ w, rtol=1e-6)
    np.testing.assert_allclose(value(text.format("x, w, b"), x, w, b), x @ w + b, rtol=1e-6)


def test_batch_normalize_and_parametric_relu() -> None:
    rng = np.random.default_rng(0)
    x, *four = (rng.random(shape).astype(np.float32) + 0.5 for shape in ((2, 3), (3,), (3,), (3,), (3,)))
    gamma, beta, mean, variance = four
    names = "x: f32[2, 3], g: f32[3], b: f32[3], m: f32[3], v: f32[3]"
    wanted = (x - mean) / np.sqrt(variance + 0.1) * gamma + beta
    text = f"net t({names}) {{ return batch_normalize(x, g, b, m, v, eps = 0.1) }}"
    np.testing.assert_allclose(value(text, x, gamma, beta, mean, variance), wanted, rtol=1e-5)
    text = "net t(x: f32[2, 3], s: f32[3]) { return parametric_relu(x - 1, s) }"
    np.testing.assert_allclose(value(text, x, gamma), np.where(x < 1, (x - 1) * gamma, x - 1), rtol=1e-5)


@pytest.mark.parametrize(
    ("call", "wanted"),
    [
        ("tensor([[1, 2], [3, 4.5]])", np.array([[1, 2], [3, 4.5]], np.float32)),
        ('tensor([1, -2], dtype = "i8")', np.array([1, -2], np.int8)),
        ('tensor([true, false], dtype = "i1")', np.array([True, False])),
        ('tensor(9007199254740993, dtype = "i64")', np.array(9007199254740993)),
        ("tensor([])", np.zeros(0, np.float32)),
    ],
)
def test_tensors_of_numbers(call: str, wanted: np.ndarray) -> None:
    found = value(f"net t(x: f32[1]) {{ return {call} }}", np.zeros(1, np.float32))
    assert found.dtype == wanted.dtype
    np.testing.assert_array_equal(found, wanted)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        ("tensor([[1, 2], [3]])", "different lengths"),
        ('tensor(["a"])', "takes numbers"),
        ("tensor([x])", "takes numbers"),
        ('tensor([300], dtype = "i8")', "can't be 300 to 300"),
        ('tensor([1.5], dtype = "i32")', "whole numbers"),
        ('tensor([1, 0], dtype = "i1")', "true or false"),
        ("tensor([true])", "not true or false"),
        ('tensor([1], dtype = "i9")', "no element type `i9`"),
        ('param("p", [2], dtype = "i9")', "no element type `i9`"),
    ],
)
def test_what_is_no_tensor(call: str, message: str) -> None:
    with pytest.raises(NetcError, match=message):
        load_text(f"net t(x: f32[1]) {{ return {call} }}")


def test_parameters_of_other_types() -> None:
    graph = load_text('net t(x: i64[2]) { return x + param("table", [2], dtype = "i64") }')
    assert str(graph.parameters[0].result.type) == "i64[2]"
