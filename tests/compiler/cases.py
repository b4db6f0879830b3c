"""One table of operator uses, odd shapes included, that drives the tests of every stage."""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

import netc.compiler.ops  # noqa: F401 (fills the registry)
from netc.compiler.graph.builder import GraphBuilder
from netc.compiler.graph.ir import Graph
from netc.compiler.graph.types import DType, TensorType

Shape = tuple[int, ...]


@dataclass(frozen=True)
class OpCase:
    """One use of an operator. Operands from number `weights` on become parameters."""

    op: str
    shapes: tuple[Shape, ...]
    attributes: Mapping[str, Any] = field(default_factory=dict)
    weights: int = 1_000
    positive: bool = False
    tolerance: float = 2e-6
    """Largest error allowed, relative to the largest result."""

    @property
    def id(self) -> str:
        attributes = ",".join(f"{k}={v}" for k, v in self.attributes.items())
        return f"{self.op}-{'-'.join('x'.join(map(str, s)) for s in self.shapes)}-{attributes}".replace(" ", "")

    def operands(self) -> list[np.ndarray[Any, np.dtype[np.float32]]]:
        """Random operands, the same on every run."""
        rng = np.random.default_rng(zlib.crc32(self.id.encode()))
        arrays = [rng.standard_normal(s, dtype=np.float32) for s in self.shapes]
        return [np.asarray(np.abs(a) + np.float32(0.1)) for a in arrays] if self.positive else arrays

    def graph(self, *, with_params: bool = True) -> Graph:
        """A graph with this one operation; weights are parameters, or inputs too."""
        b = GraphBuilder("case")
        values = []
        for i, shape in enumerate(self.shapes):
            if with_params and i >= self.weights:
                values.append(b.emit("param", shape=shape, name=f"w{i}"))
            else:
                values.append(b.input(f"x{i}", TensorType(DType.F32, shape)))
        return b.finish([b.emit(self.op, *values, **self.attributes)])


def conv(
    x: Shape,
    filters: int,
    kernel: Shape,
    strides: Shape,
    padding: Any,
    *,
    dilations: Shape | None = None,
    groups: int = 1,
    bias: bool = True,
) -> OpCase:
    spatial = len(kernel)
    shapes: tuple[Shape, ...] = (x, (*kernel, x[-1] // groups, filters), (filters,))
    attributes = {
        "strides": strides,
        "padding": padding,
        "dilations": dilations or (1,) * spatial,
        "groups": groups,
    }
    return OpCase(f"conv{spatial}d", shapes if bias else shapes[:2], attributes, weights=1, tolerance=5e-6)


def pool(op: str, x: Shape, size: Shape, strides: Shape, padding: Any) -> OpCase:
    return OpCase(op, (x,), {"size": size, "strides": strides, "padding": padding})


BINARY_SHAPES: tuple[tuple[Shape, Shape], ...] = (
    ((2, 3, 5, 7), (2, 3, 5, 7)),
    ((1, 4, 4, 33), (33,)),
    ((2, 5, 1, 16), (1, 5, 3, 1)),
    ((3, 17), ()),
    ((), ()),
)

CASES: tuple[OpCase, ...] = (
    *(OpCase(op, shapes) for op in ("add", "sub", "mul", "maximum", "minimum") for shapes in BINARY_SHAPES),
    *(OpCase("div", shapes, positive=True) for shapes in BINARY_SHAPES),
    *(
        OpCase(op, ((2, 3, 37),))
        for op in ("relu", "relu6", "neg", "abs", "exp", "tanh", "sigmoid", "hard_sigmoid", "leaky_relu", "identity")
    ),
    OpCase("clamp", ((5, 19),), {"low": -0.5, "high": 0.25}),
    OpCase("sqrt", ((5, 19),), positive=True),
    OpCase("log", ((5, 19),), positive=True),
    # dense: matrix-vector, odd sizes, more rows than registers, leading dimensions
    OpCase("dense", ((1, 7), (7, 10), (10,)), weights=1),
    OpCase("dense", ((1, 300), (300, 1001), (1001,)), weights=1, tolerance=5e-6),
    OpCase("dense", ((5, 33), (33, 65)), weights=1),
    OpCase("dense", ((67, 40), (40, 130), (130,)), weights=1),
    OpCase("dense", ((2, 3, 12), (12, 9), (9,)), weights=1),
    OpCase("dense", ((12,), (12, 9), (9,)), weights=1),
    # conv2d: sizes that no tile divides, strides, dilation, asymmetric and absent padding, groups
    conv((1, 9, 9, 3), 8, (3, 3), (1, 1), "same"),
    conv((2, 10, 7, 5), 33, (3, 3), (2, 2), "same"),
    conv((1, 11, 13, 16), 48, (3, 3), (1, 1), ((1, 1), (1, 1))),
    conv((1, 14, 14, 24), 40, (1, 1), (1, 1), "valid"),
    conv((2, 7, 7, 32), 20, (1, 1), (2, 2), "valid"),
    conv((1, 15, 15, 3), 17, (7, 7), (2, 2), ((3, 3), (3, 3))),
    conv((1, 12, 12, 4), 6, (3, 3), (1, 1), "same", dilations=(2, 2)),
    conv((1, 8, 9, 4), 6, (2, 4), (1, 2), ((0, 1), (2, 0)), bias=False),
    conv((1, 3, 3, 4), 5, (3, 3), (1, 1), "valid"),
    conv((1, 32, 32, 64), 64, (3, 3), (1, 1), "same"),
    conv((1, 9, 9, 12), 8, (3, 3), (1, 1), "same", groups=4),
    conv((1, 6, 6, 512), 32, (1, 1), (1, 1), "valid"),
    conv((3, 9, 9, 20), 20, (3, 3), (1, 1), "same", groups=20),
    conv((1, 13, 13, 37), 37, (5, 5), (2, 2), "same", groups=37, bias=False),
    conv((1, 6, 6, 8), 16, (3, 3), (1, 1), "same", groups=8),
    conv((2, 19, 6), 11, (5,), (2,), "same"),
    conv((1, 4, 5, 6, 3), 7, (2, 3, 3), (1, 2, 1), "same"),
    *(
        pool(op, x, size, strides, padding)
        for op in ("max_pool", "avg_pool")
        for x, size, strides, padding in (
            ((1, 8, 8, 19), (2, 2), (2, 2), "valid"),
            ((2, 9, 7, 5), (3, 3), (2, 2), ((1, 1), (1, 1))),
            ((1, 10, 10, 32), (3, 3), (2, 2), "same"),
            ((1, 12, 3), (4,), (3,), "same"),
        )
    ),
    *(
        OpCase(op, ((2, 5, 6, 21),), {"axes": axes, "keepdims": keepdims})
        for op in ("reduce_sum", "reduce_mean", "reduce_max")
        for axes in ((1, 2), (3,), None)
        for keepdims in (False, True)
    ),
    OpCase("softmax", ((3, 1001),)),
    OpCase("softmax", ((2, 5, 7),), {"axis": 1}),
    OpCase("reshape", ((2, 3, 4, 5),), {"shape": (2, -1)}),
    OpCase("reshape", ((2, 30),), {"shape": (4, 3, 5)}),
    OpCase("transpose", ((2, 3, 4, 17),), {"permutation": (0, 3, 1, 2)}),
    OpCase("transpose", ((2, 3, 4, 17),), {"permutation": (2, 0, 1, 3)}),
    OpCase("pad", ((2, 3, 5),), {"padding": ((0, 1), (2, 0), (1, 1)), "value": 1.5}),
    OpCase("concat", ((2, 3, 5), (2, 3, 16), (2, 3, 1))),
    OpCase("concat", ((2, 3, 20), (2, 1, 20)), {"axis": 1}),
    OpCase("slice", ((4, 6, 20),), {"begin": (1, 0, 3), "size": (2, 6, 17)}),
    OpCase("batch_norm", ((2, 5, 6, 20), (20,), (20,), (20,), (20,)), {"eps": 1e-3}, weights=1, positive=True),
    OpCase("dropout", ((3, 20),), {"rate": 0.5}),
    OpCase("relayout", ((2, 3, 20),)),
)
