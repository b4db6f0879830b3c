"""skip-padding keeps the meaning for windows of all sizes, and saves what it is for."""

from __future__ import annotations

import random

import numpy as np
import pytest

from netc.compiler.graph import Graph, GraphBuilder, evaluate
from netc.compiler.passes import run, skip_padding
from netc.compiler.types import DType, TensorType

RNG = np.random.default_rng(5)


def convolution(size: tuple[int, ...], kernel: tuple[int, ...], groups: int = 1, **attributes: object) -> Graph:
    """x f64 [2, size..., 4] under constant weights and a bias."""
    b = GraphBuilder("net")
    x = b.input("x", TensorType(DType.F64, (2, *size, 4)))
    constants = (b.constant(RNG.standard_normal(shape)) for shape in ((*kernel, 4 // groups, 8), (8,)))
    return b.finish([b.emit(f"conv{len(size)}d", x, *constants, groups=groups, **attributes)])


def drawn(dice: random.Random) -> Graph:
    """A convolution whose windows reach far into the padding."""
    rank = dice.choice((1, 2, 2, 3))
    size = tuple(dice.randint(1, 14) for _ in range(rank))
    kernel, strides = (tuple(dice.randint(1, 3) for _ in range(rank)) for _ in range(2))
    dilations = tuple(dice.choice((1, 2, 5, 9, 15)) for _ in range(rank))
    extent = [(k - 1) * d + 1 for k, d in zip(kernel, dilations, strict=True)]
    least = [max(0, e - s) for e, s in zip(extent, size, strict=True)]
    padding = tuple((dice.randint(0, 12) + n, dice.randint(0, 12)) for n in least)
    groups = dice.choice((1, 1, 2, 4))
    return convolution(size, kernel, groups, strides=strides, dilations=dilations, padding=padding)


@pytest.mark.parametrize("seed", range(6))
def test_random_windows(seed: int) -> None:
    dice = random.Random(seed)
    changed = 0
    for _ in range(25):
        graph = drawn(dice)
        less = run(graph, "skip-padding")
        changed += less is not graph
        x = RNG.standard_normal(graph.inputs[0].type.shape)
        (before,), (after,) = evaluate(graph, (x,)), evaluate(less, (x,))
        np.testing.assert_allclose(after, before, rtol=1e-10, atol=1e-10)
        assert skip_padding(less) is less
    assert changed >= 5


def macs(graph: Graph) -> int:
    """Multiplications of all convolutions."""
    return sum(op.operator.macs(tuple(v.type for v in op.operands), (op.result.type,), op.attributes)
               for op in graph.operations if op.operator.contraction)  # fmt: skip


@pytest.mark.parametrize(
    ("places", "dilation", "part"),
    [(33, 12, 0.76), (33, 24, 0.27), (33, 36, 0.12), (14, 12, 0.43), (14, 11, 1.0), (33, 1, 1.0)],
)
def test_atrous_pyramids(places: int, dilation: int, part: float) -> None:
    """Strips of two rows pay on 14 places, too."""
    padding = ((dilation, dilation),) * 2
    graph = convolution((places, places), (3, 3), strides=(1, 1), dilations=(dilation, dilation), padding=padding)
    assert macs(skip_padding(graph)) <= part * macs(graph)


def test_one_place_needs_the_middle_only() -> None:
    graph = convolution((1, 1), (3, 3), strides=(1, 1), dilations=(1, 1), padding="same")
    assert macs(skip_padding(graph)) == macs(graph) // 9


def test_the_size_of_a_picture_takes_no_time() -> None:
    sizes = (10**9, 10**8)
    graph = convolution(sizes, (3, 3), strides=(2, 1), dilations=(1, 1), padding=((1, 1), (1, 1)))
    assert macs(skip_padding(graph)) == macs(graph)
