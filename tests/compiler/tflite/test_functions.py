"""Functions of one 8-bit number: all 256 results equal those of LiteRT's reference, for random scales."""

from __future__ import annotations

import zlib

import numpy as np
import pytest

from netc.compiler.errors import ShapeError
from netc.compiler.graph import Graph, GraphBuilder, evaluate
from netc.compiler.graph.registry import operators
from netc.compiler.ops.facets import TFLITE
from netc.compiler.ops.quantized.activation import ByteFunction, all_values
from netc.compiler.tflite.writer import to_tflite
from netc.compiler.types import DType, Quantization, TensorType

from ...frontend.tflite.litert import LiteRT, RefusedError

FUNCTIONS = [name for name, o in operators().items() if isinstance(o, ByteFunction) and TFLITE.of(o) is not None]
DEMANDED = (Quantization.of(1 / 256, -128), Quantization.of(1 / 128, 0))
"""Scales of results that kernels take alone."""
DRAWS = 12


def one(name: str, x: Quantization, y: Quantization, flag: bool) -> Graph:
    """A graph of one function, on all numbers of 8 bits; `flag` is the value of attributes that are flags."""
    b = GraphBuilder("function")
    value = b.input("x", TensorType(DType.I8, (256,), None, x))
    kinds = {key: spec.kind for key, spec in operators()[name].attributes.items() if key not in ("x", "y")}
    others = {key: flag if kind is bool else 0.3 for key, kind in kinds.items()}
    return b.finish([b.emit(name, value, x=x, y=y, **others)])


def quantization(rng: np.random.Generator) -> Quantization:
    return Quantization.of(float(np.float32(np.exp(rng.uniform(-8, 1)))), int(rng.integers(-128, 128)))


@pytest.mark.parametrize("name", FUNCTIONS)
def test_all_results_equal_litert(name: str, litert: LiteRT) -> None:
    rng = np.random.default_rng(zlib.crc32(name.encode()))
    compared = 0
    for draw in range(DRAWS):
        x = quantization(rng)
        everything = all_values(DType.I8).astype(np.int8)
        never_negative = np.maximum(everything, np.int8(x.zero_point))  # some kernels abort on other numbers
        for y in (quantization(rng), *DEMANDED):
            for values in (everything, never_negative):
                try:
                    graph = one(name, x, y, flag=draw % 2 == 0)
                    (answers,) = litert.first(to_tflite(graph), [[values]])
                except (ShapeError, RefusedError):
                    continue
                np.testing.assert_array_equal(evaluate(graph, [values])[0], answers[0], err_msg=f"{x} {y}")
                compared += 1
    assert compared >= DRAWS
