"""RANDOM_UNIFORM, RANDOM_STANDARD_NORMAL and MULTINOMIAL: LiteRT's numbers for given seeds, run after run."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import netc
from netc.compiler.errors import NetcError
from netc.compiler.graph.builder import GraphBuilder
from netc.compiler.tflite import to_tflite
from netc.compiler.types import DType, TensorType

from .calls import check, read
from .small_models import Model

F32, I32 = np.float32, np.int32
SEEDS = ((1, 0), (123456789012345, -5))


def drawn(name: str, seeds: tuple[int, int], shape: tuple[int, ...] = (3, 7)) -> bytes:
    """X plus random numbers."""
    m = Model()
    x, drawn, y = (m.tensor(n, shape, F32) for n in ("x", "drawn", "y"))
    options = ("RandomOptions", {"Seed": seeds[0], "Seed2": seeds[1]})
    m.operator(name, (m.constant("shape", np.array(shape, I32)),), (drawn,), options)
    m.operator("ADD", (x, drawn), (y,), ("AddOptions", {}))
    return m.data((x,), (y,))


def chosen(seeds: tuple[int, int], rows: int, dtype: Any) -> bytes:
    m = Model()
    x, y = m.tensor("x", (rows, 6), F32), m.tensor("y", (rows, 5), dtype)
    options = ("RandomOptions", {"Seed": seeds[0], "Seed2": seeds[1]})
    m.operator("MULTINOMIAL", (x, m.constant("count", np.array(5, I32))), (y,), options)
    return m.data((x,), (y,))


@pytest.mark.parametrize("seeds", SEEDS)
def test_even_numbers(seeds: tuple[int, int]) -> None:
    graph = check(drawn("RANDOM_UNIFORM", seeds), [[np.zeros((3, 7), F32)]] * 3)
    assert "seeded_numbers" in str(graph)


def test_normal_numbers() -> None:
    check(drawn("RANDOM_STANDARD_NORMAL", SEEDS[1], (3, 4)), [[np.zeros((3, 4), F32)]] * 3, 1e-6)


@pytest.mark.parametrize("dtype", [np.int32, np.int64])
def test_choices(dtype: Any) -> None:
    logits = np.random.default_rng(1).standard_normal((3, 6), F32) * 2
    logits[0, 1], logits[0, 3], logits[1] = -np.inf, np.nan, -np.inf
    check(chosen(SEEDS[0], 3, dtype), [[logits]] * 3)


def test_a_file_counts_for_one_operator_alone() -> None:
    graph = read(drawn("RANDOM_UNIFORM", SEEDS[0]))
    again = read(to_tflite(graph))
    assert [op.name for op in again.operations] == [op.name for op in graph.operations]
    b = GraphBuilder("case")
    counter = b.input("counter", TensorType(DType.I64, ()))
    with pytest.raises(NetcError, match="counts from 0 on, 1 in each run"):
        to_tflite(b.finish([b.emit("seeded_numbers", counter, shape=(2,), normal=False, seed=1, seed2=0)]))


@pytest.mark.parametrize("seeds", [(0, 0), (1 << 32, 0)])
def test_without_seeds(seeds: tuple[int, int]) -> None:
    with pytest.raises(NetcError, match="other ones in each run of LiteRT"):
        netc.compile(read(drawn("RANDOM_UNIFORM", seeds)))
