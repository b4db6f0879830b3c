"""Random operators on integers, of fixed seeds, against LiteRT; `benchmarks/random_integers.py` draws more."""

from __future__ import annotations

from collections.abc import Iterator
from random import Random
from typing import Any

import numpy as np
import pytest

import netc
from netc.compiler.errors import NetcError
from netc.compiler.tflite.reading import read_model
from netc.frontend.tflite import graph_of

from .agreement import compare, described
from .extremes import FAR
from .litert import LiteRT
from .random_operators import MAKERS, random_operator
from .small_models import Model

DRAWS = 3
CLIPPING = ("RELU", "RELU6", "RELU_N1_TO_1", "MAXIMUM", "MINIMUM")
CLIPPED = 40


@pytest.fixture(scope="module")
def litert() -> Iterator[LiteRT]:
    pytest.importorskip("ai_edge_litert.interpreter", reason="LiteRT is not installed")
    with LiteRT() as process:
        yield process


@pytest.mark.parametrize("name", sorted(MAKERS))
def test_random_operator_equals_litert(name: str, litert: LiteRT) -> None:
    for seed in range(DRAWS):
        _, data = random_operator(Random(f"{name} {seed}"), name)
        found = compare(litert, data, seed, compiles=seed == 0)
        assert found.outcome != "differs", f"{described(data)}: {found.detail}"


@pytest.mark.parametrize("name", CLIPPING)
def test_bounds_equal_litert(name: str, litert: LiteRT) -> None:
    outcomes = set()
    for seed in range(CLIPPED):
        _, data = random_operator(Random(f"bounds of {name} {seed}"), name)
        found = compare(litert, data, seed, compiles=False)
        assert found.outcome != "differs", f"{described(data)}: {found.detail}"
        outcomes.add(found.outcome)
    assert "equal" in outcomes


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
