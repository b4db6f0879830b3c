"""Random operators on integers, of fixed seeds, against LiteRT; `benchmarks/random_integers.py` draws more."""

from __future__ import annotations

from collections import Counter
from random import Random
from typing import Any

import numpy as np
import pytest

import netc
from netc.compiler.errors import NetcError
from netc.compiler.graph import parse_graph
from netc.compiler.tflite import to_tflite
from netc.compiler.tflite.reading import read_model
from netc.frontend.tflite import graph_of

from . import random_bounds
from .agreement import compare, described
from .extremes import FAR
from .litert import LiteRT
from .random_operators import MAKERS, random_operator
from .small_models import Model

DRAWS = 3
BOUNDED = 80


@pytest.mark.parametrize("name", sorted(MAKERS))
def test_random_operator_equals_litert(name: str, litert: LiteRT) -> None:
    for seed in range(DRAWS):
        _, data = random_operator(Random(f"{name} {seed}"), name)
        found = compare(litert, data, seed, compiles=seed == 0)
        assert found.outcome != "differs", f"{described(data)}: {found.detail}"


@pytest.mark.parametrize("name", sorted(random_bounds.MAKERS))
def test_bounds_equal_litert(name: str, litert: LiteRT) -> None:
    outcomes = Counter[str]()
    for seed in range(BOUNDED):
        data = random_bounds.random_bounds(name, seed)
        found = compare(litert, data, seed, compiles=False)
        assert found.outcome != "differs", f"{described(data)}: {found.detail}"
        outcomes[found.outcome] += 1
    assert outcomes["equal"] > 0.8 * BOUNDED


@pytest.mark.parametrize("name", ["bounds alone", "bounds fused"])
def test_activations_keep_their_names(name: str) -> None:
    for seed in range(BOUNDED):
        data = random_bounds.random_bounds(name, seed)
        wanted = random_bounds.activation_of(data)
        found = random_bounds.activation_of(to_tflite(graph_of(read_model(data), "case")))
        # LiteRT has no RELU_N1_TO_1 of 16 bits.
        lacking = wanted == "RELU_N1_TO_1" and read_model(data).tensors[0].element == "INT16"
        assert found == wanted or (lacking and found is None), described(data)


def test_bounds_without_a_name_become_an_activation_that_has_them() -> None:
    data = unary("RELU6", (0.1, -100), (0.1, -100)).data((0,), (1,))
    named = str(graph_of(read_model(data), "case"))
    assert 'clamp(%a) {low = -100, high = -40, activation = "relu6"}' in named
    bare = parse_graph(named.replace(', activation = "relu6"', ""))
    assert to_tflite(bare) == to_tflite(parse_graph(named))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('clamp(%x) {low = -100, high = -30, activation = "relu6"} : i8[4]<0.1:-100>', "leaves -100 to -40, not -100"),
        ('clamp(%x) {low = -100, high = -40, activation = "tanh"} : i8[4]<0.1:-100>', "not one of relu, "),
        ('clamp(%y) {low = 0.0, high = 6.0, activation = "relu6"} : f32[4]', "bounds of quantized integers"),
        ('q_avg_pool(%z) {size = [1,1], strides = [1,1], padding = "valid", low = 0, activation = "relu"}'
         " : i8[1,1,1,1]<0.1:3>", "relu leaves 3 to 127, not 0 to 127"),
    ],
)  # fmt: skip
def test_names_that_do_not_fit_the_bounds_are_refused(text: str, message: str) -> None:
    head = "graph @f(%x: i8[4]<0.1:-100>, %y: f32[4], %z: i8[1,1,1,1]<0.1:3>) -> "
    with pytest.raises(NetcError, match=message):
        parse_graph(f"{head}({text.rpartition(' : ')[2]}) {{\n  %0 = {text}\n  return %0\n}}\n")


def unary(name: str, x: tuple[float, int], y: tuple[float, int], dtype: Any = np.int8) -> Model:
    m = Model()
    a, b = (m.tensor(n, (4,), dtype, scale=s[0], zero=s[1]) for n, s in (("a", x), ("b", y)))
    m.operator(name, (a,), (b,))
    return m


def binary(name: str, *scales: float) -> Model:
    m = Model()
    a, b = (m.tensor(n, (4,), scale=s) for n, s in zip("ab", scales[:2], strict=True))
    y = m.tensor("y", (4,), scale=scales[2]) if len(scales) > 2 else m.tensor("y", (4,), np.bool_)
    m.operator(name, (a, b), (y,))
    return m


UNDEFINED = {
    "hard swish": (unary("HARD_SWISH", (0.1, 0), (1e-45, 0)), r".*too (large|small)"),
    "hard swish, less absurd": (unary("HARD_SWISH", (2.0, 0), (1e-3, 0)), r".*too small"),
    "exp": (unary("EXP", (1.0, 0), (0.1, 0)), r".*beyond 32-bit integers"),
    "rsqrt": (unary("RSQRT", (1000.0, -128), (1000.0, 0)), r".*too large"),
    "relu6": (unary("RELU6", (0.1, 0), (1e-12, 0)), r".*too small for relu6"),
    "quantize": (unary("QUANTIZE", (1000.0, 0), (1e-8, 0)), r"a factor of 1e\+11 .* too large"),
    "softmax": (unary("SOFTMAX", (1e-9, 0), (1 / 256, -128)), r".* too small"),
    "softmax onto another scale": (unary("SOFTMAX", (0.1, 0), (0.1, -128)), r".* gives i8 quantized as"),
    "log softmax onto another scale": (unary("LOG_SOFTMAX", (0.1, 0), (0.1, 127)), r".* quantized as"),
    "l2 norm onto another scale": (unary("L2_NORMALIZATION", (0.1, 0), (0.1, 0)), r".* quantized as"),
    "add": (binary("ADD", 1.0, 1.0, FAR), r".* too large: the kernel takes factors below 1"),
    "sub": (binary("SUB", 1.0, 1.0, FAR), r".* too large: the kernel takes factors below 1"),
    "mul": (binary("MUL", 1e5, 1e5, 0.1), r"a factor of 1e\+11 .* too large"),
    "prelu": (binary("PRELU", 1e5, 1e5, 0.1), r"a factor of 1e\+11 .* too large"),
    "squared difference": (binary("SQUARED_DIFFERENCE", 9.0, 9.0, 1e-4), r".* factors below 1"),
    "less": (binary("LESS", 1.0, 1.0), r".* scales below 1"),
}
"""Operators whose kernels abort, or have no defined result."""


@pytest.mark.parametrize("name", UNDEFINED)
def test_what_kernels_do_not_define_is_not_run(name: str) -> None:
    model, message = UNDEFINED[name]
    inputs = (0,) if len(model.tensors) == 2 else (0, 1)
    check_opaque(model.data(inputs, (len(model.tensors) - 1,)), message)


def test_dense_layers_whose_sums_need_more_than_32_bits_are_not_run() -> None:
    m = Model()
    x, y = m.tensor("x", (1, 3), scale=680.0), m.tensor("y", (1, 1), scale=3.8e-6)
    w = m.constant("w", np.full((1, 3), 100, np.int8), scale=4.0)
    m.operator("FULLY_CONNECTED", (x, w, -1), (y,), ("FullyConnectedOptions", {}))
    check_opaque(m.data((x,), (y,)), "too large for its sums")


def check_opaque(data: bytes, message: str) -> None:
    graph = graph_of(read_model(data), "case")
    assert [op.name for op in graph.operations if op.name != "constant"] == ["opaque"]
    with pytest.raises(NetcError, match=rf"can't run the operator \w+ .*{message}") as caught:
        netc.compile(graph)
    assert len(caught.value.diagnostics) == 1
