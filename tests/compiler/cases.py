"""One table of operator uses, odd shapes included, that drives the tests of every stage."""

from __future__ import annotations

import math
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

import netc.compiler.ops  # noqa: F401 (fills the registry)
from netc.compiler.graph.builder import GraphBuilder
from netc.compiler.graph.ir import Graph
from netc.compiler.types import DType, TensorType

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
    dtypes: Mapping[int, DType] = field(default_factory=dict)
    """Element types of the operands that are not f32."""
    below: Mapping[int, int] = field(default_factory=dict)
    """Operands that are whole numbers, from 0 up to this."""

    @property
    def id(self) -> str:
        attributes = ",".join(f"{k}={v.name if isinstance(v, Graph) else v}" for k, v in self.attributes.items())
        types = "".join(f"-{self.dtypes[i]}" for i in self.dtypes)
        shapes = "-".join("x".join(map(str, s)) for s in self.shapes)
        return f"{self.op}-{shapes}{types}-{attributes}".replace(" ", "")

    def dtype(self, operand: int, float_type: DType = DType.F32) -> DType:
        """Element type of an operand; f32 may be computed in another type."""
        given = self.dtypes.get(operand, DType.F32)
        return float_type if given is DType.F32 else given

    def operands(self, float_type: DType = DType.F32) -> list[np.ndarray[Any, np.dtype[Any]]]:
        """Random operands, the same on every run."""
        rng = np.random.default_rng(zlib.crc32(self.id.encode()))
        arrays = []
        for i, shape in enumerate(self.shapes):
            array = rng.standard_normal(shape, dtype=np.float32)
            if self.positive:
                array = np.abs(array) + np.float32(0.1)
            if i in self.below:
                array = rng.integers(0, self.below[i], shape).astype(np.float32)
            dtype = self.dtype(i, float_type)
            arrays.append(np.asarray(array > 0 if dtype is DType.BOOL else np.asarray(array).astype(dtype.numpy)))
        return arrays

    def graph(self, float_type: DType = DType.F32, *, with_params: bool = True) -> Graph:
        """A graph with this one operation; without params, all operands are inputs."""
        b = GraphBuilder("case")
        values = []
        for i, shape in enumerate(self.shapes):
            dtype = self.dtype(i, float_type)
            if with_params and i >= self.weights:
                values.append(b.emit("param", shape=shape, dtype=str(dtype), name=f"w{i}"))
            else:
                values.append(b.input(f"x{i}", TensorType(dtype, shape)))
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


def conv_gradients(x: Shape, *arguments: Any, **options: Any) -> tuple[OpCase, OpCase]:
    """The derivatives of a convolution, given like the convolution."""
    case = conv(x, *arguments, **options, bias=False)
    weight = case.shapes[1]
    (y,) = (v.type.shape for v in case.graph().outputs)
    return (
        OpCase(
            f"{case.op}_input_gradient", (y, weight), {"size": x[1:-1], **case.attributes}, weights=1, tolerance=5e-6
        ),
        OpCase(f"{case.op}_weight_gradient", (x, y), {"kernel": weight[:-2], **case.attributes}, tolerance=5e-6),
    )


def pool_gradients(x: Shape, size: Shape, strides: Shape, padding: Any) -> tuple[OpCase, ...]:
    """What pooling is differentiated to, given like the pooling."""
    case = pool("max_pool", x, size, strides, padding)
    (y,) = (v.type.shape for v in case.graph().outputs)
    back = {"input_size": x[1:-1], **case.attributes}
    elements = math.prod(size)
    return (
        OpCase("avg_pool_gradient", (y,), back),
        OpCase("max_pool_index", (x, y), case.attributes, below={0: 3, 1: 3}),
        OpCase("max_pool_gradient", (y, y), back, below={0: elements}),
        OpCase("max_pool_gather", (x, y), case.attributes, below={1: elements}),
    )


def doubled_gradient() -> Graph:
    """A gradient for a function of one vector: twice the cotangent of its result."""
    b = GraphBuilder("doubled")
    vector = TensorType(DType.F32, (5,))
    _, _, dy = (b.input(name, vector) for name in ("y", "x", "dy"))
    return b.finish([b.emit("add", dy, dy)])


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
    replace(conv((1, 32, 32, 64), 64, (3, 3), (1, 1), "same"), tolerance=2e-5),  # Winograd's filtering rounds more
    conv((1, 9, 9, 12), 8, (3, 3), (1, 1), "same", groups=4),
    conv((1, 6, 6, 512), 32, (1, 1), (1, 1), "valid"),
    conv((3, 9, 9, 20), 20, (3, 3), (1, 1), "same", groups=20),
    conv((1, 13, 13, 37), 37, (5, 5), (2, 2), "same", groups=37, bias=False),
    conv((1, 6, 6, 8), 16, (3, 3), (1, 1), "same", groups=8),
    conv((2, 19, 6), 11, (5,), (2,), "same"),
    conv((1, 4, 5, 6, 3), 7, (2, 3, 3), (1, 2, 1), "same"),
    *(
        OpCase(
            "transpose_conv2d",
            (x, weight, weight[-1:])[: 2 + bias],
            {"size": size, "strides": strides, "padding": padding},
            weights=1,
            tolerance=5e-6,
        )
        for x, weight, size, strides, padding, bias in (
            ((1, 5, 6, 8), (3, 3, 8, 20), (5, 6), (1, 1), ((1, 1), (1, 1)), True),
            ((2, 7, 7, 16), (3, 3, 16, 33), (14, 14), (2, 2), ((1, 1), (1, 1)), False),
            ((1, 4, 5, 6), (1, 1, 6, 16), (8, 9), (2, 2), ((0, 0), (0, 0)), True),
            ((1, 6, 4, 5), (7, 2, 5, 9), (13, 9), (2, 3), ((3, 2), (0, 1)), False),
            ((1, 3, 3, 4), (2, 2, 4, 5), (9, 7), (2, 2), ((0, 0), (0, 0)), True),
        )
    ),
    OpCase("winograd_filter", ((3, 3, 4, 18),), {"flip": False}),
    OpCase("winograd_filter", ((2, 3, 3, 3, 5),), {"flip": True}),
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
        for op in ("reduce_sum", "reduce_mean", "reduce_max", "reduce_min")
        for axes in ((1, 2), (3,), None)
        for keepdims in (False, True)
    ),
    OpCase("softmax", ((3, 1001),)),
    OpCase("softmax", ((2, 5, 7),), {"axis": 1}),
    OpCase("reshape", ((2, 3, 4, 5),), {"shape": (2, -1)}),
    OpCase("reshape", ((3, 0, 4),), {"shape": (-1, 0)}),
    OpCase("reshape", ((2, 30),), {"shape": (4, 3, 5)}),
    OpCase("transpose", ((2, 3, 4, 17),), {"permutation": (0, 3, 1, 2)}),
    OpCase("transpose", ((2, 3, 4, 17),), {"permutation": (2, 0, 1, 3)}),
    OpCase("transpose", ((35, 50),), {"permutation": (1, 0)}),
    OpCase("transpose", ((20,),), {"permutation": (0,)}),
    OpCase("transpose", ((),), {"permutation": ()}),
    OpCase("transpose", ((2, 3, 16, 48),), {"permutation": (0, 1, 3, 2)}),
    OpCase("pad", ((2, 3, 5),), {"padding": ((0, 1), (2, 0), (1, 1)), "value": 1.5}),
    *(
        OpCase("pad", ((3, 5),), {"padding": ((0, 0), padding), "value": 2.0})
        for padding in ((0, 1), (0, 30), (4, 0), (33, 40))
    ),
    OpCase("pad", ((20,),), {"padding": ((0, 17),)}),
    OpCase("pad", ((2, 3, 5),), {"padding": ((0, 0), (0, 0), (0, 16))}, dtypes={0: DType.I8}, below={0: 9}),
    OpCase("concat", ((2, 3, 5), (2, 3, 16), (2, 3, 1))),
    OpCase("concat", ((33,), (1,), (40,)), {"axis": 0}),
    OpCase("concat", ((2, 3, 48), (2, 3, 32)), dtypes={0: DType.I32, 1: DType.I32}, below={0: 9, 1: 9}),
    OpCase("concat", ((2, 3, 20), (2, 1, 20)), {"axis": 1}),
    OpCase("slice", ((4, 6, 20),), {"begin": (1, 0, 3), "size": (2, 6, 17)}),
    OpCase("slice", ((4, 6, 20),), {"begin": (0, 0, 0), "size": (4, 6, 3)}),
    OpCase("batch_norm", ((2, 5, 6, 20), (20,), (20,), (20,), (20,)), {"eps": 1e-3}, weights=1, positive=True),
    OpCase("dropout", ((3, 20),), {"rate": 0.5}),
    OpCase("relayout", ((2, 3, 20),)),
    # comparison and choice
    *(
        OpCase(op, shapes, below={0: 3, 1: 3})
        for op in ("less", "less_equal", "greater", "greater_equal", "equal", "not_equal")
        for shapes in (((2, 3, 37), (2, 3, 37)), ((4, 33), (33,)), ((), ()))
    ),
    OpCase("equal", ((4, 33), (33,)), dtypes={0: DType.I32, 1: DType.I32}, below={0: 3, 1: 3}),
    *(
        OpCase("select", shapes, dtypes={0: DType.BOOL})
        for shapes in (((3, 37), (3, 37), (3, 37)), ((3, 1), (2, 3, 20), ()), ((17,), (), (4, 17)), ((), (), ()))
    ),
    *(OpCase(op, ((2, 3, 37),)) for op in ("sin", "cos", "softplus")),
    OpCase("erf", ((2, 3, 37),)),
    OpCase("elu", ((2, 3, 37),)),
    OpCase("hard_swish", ((2, 3, 37),)),
    OpCase("prelu", ((2, 3, 37), (37,)), weights=1),
    *(OpCase("gelu", ((2, 3, 37),), {"approximate": approximate}) for approximate in (False, True)),
    # statistics of channels, and random numbers that depend on a counter
    OpCase("channel_variance", ((3, 5, 7, 37), (37,))),
    OpCase("channel_variance", ((40, 1), (1,))),
    OpCase("random_uniform", ((),), {"shape": (3, 5, 37), "seed": 1}, dtypes={0: DType.I64}, below={0: 9}, tolerance=0),
    OpCase("random_uniform", ((),), {"shape": (), "stream": 3}, dtypes={0: DType.I64}, below={0: 9}, tolerance=0),
    OpCase("sign", ((2, 3, 37),)),
    OpCase("sign", ((40,),), below={0: 2}),
    OpCase("broadcast_to", ((3, 1, 20),), {"shape": (2, 3, 4, 20)}),
    OpCase("broadcast_to", ((4, 1),), {"shape": (4, 33)}),
    OpCase("broadcast_to", ((),), {"shape": (3, 5)}),
    # numbers and classes
    *(
        OpCase("cast", ((3, 37),), {"dtype": str(goal)}, dtypes={0: source})
        for source, goal in (
            (DType.F32, DType.F64),
            (DType.F64, DType.F32),
            (DType.F32, DType.I32),
            (DType.I32, DType.F32),
            (DType.I64, DType.I32),
            (DType.BOOL, DType.F32),
            (DType.F32, DType.BOOL),
        )
    ),
    OpCase("one_hot", ((7,),), {"depth": 10}, dtypes={0: DType.I32}, below={0: 13}),
    OpCase("one_hot", ((2, 3),), {"depth": 300}, dtypes={0: DType.U8}, below={0: 256}),
    # picking, repeating, resizing
    OpCase("tile", ((2, 3, 20),), {"multiples": (1, 2, 3)}),
    OpCase("tile", ((1, 1, 37),), {"multiples": (2, 3, 1)}),
    OpCase("gather_nd", ((4, 5, 20), (7, 2)), dtypes={1: DType.I32}, below={1: 4}),
    OpCase("gather_nd", ((4, 4), (3, 5, 2)), dtypes={1: DType.I64}, below={1: 4}),
    OpCase("floor_div", ((3, 37), (37,)), dtypes={0: DType.I32, 1: DType.I32}, below={0: 90, 1: 4}),
    OpCase("floor_div", ((3, 37), ()), positive=True, below={1: 2}),
    *(
        OpCase(op, ((2, 5, 6, 20),), {"size": (11, 4), **options})
        for op in ("resize_bilinear", "resize_nearest")
        for options in ({}, {"align_corners": True}, {"half_pixel_centers": True})
    ),
    OpCase("argmax", ((5, 1001),)),
    OpCase("argmax", ((3, 7, 20),), {"axis": 1}, below={0: 4}),
    OpCase("log_softmax", ((3, 1001),)),
    OpCase("log_softmax", ((2, 5, 7),), {"axis": 1}),
    OpCase("logsumexp", ((3, 101),)),
    OpCase("logsumexp", ((2, 5, 7),), {"axis": -2}),
    # rounding to what integers can stand for
    OpCase("fake_quantize", ((3, 5, 37), (), ()), weights=1, tolerance=0),
    OpCase("fake_quantize", ((40, 33), (33,), (33,)), {"lowest": -3, "highest": 4}, tolerance=0),
    OpCase("round_to_grid", ((3, 37), (), ()), positive=True, below={2: 4}, tolerance=0),
    OpCase("round_to_grid", ((2, 3, 20), (20,), (20,)), {"lowest": -127}, positive=True, below={2: 4}, tolerance=0),
    # differentiation
    OpCase("stop_gradient", ((3, 20),)),
    OpCase("custom_gradient", ((5,), (5,)), {"gradient": doubled_gradient()}),
    *(
        OpCase("matmul", (a[:: -1 if ta else 1], b[:: -1 if tb else 1]), {"transpose_a": ta, "transpose_b": tb})
        for a, b in (((5, 33), (33, 65)), ((1, 7), (7, 10)), ((70, 50), (50, 37)))
        for ta in (False, True)
        for tb in (False, True)
    ),
    *conv_gradients((2, 9, 9, 3), 8, (3, 3), (1, 1), "same"),
    *conv_gradients((3, 12, 12, 32), 40, (3, 3), (1, 1), "same"),
    *conv_gradients((1, 28, 28, 1), 32, (3, 3), (1, 1), "same"),
    *conv_gradients((2, 10, 7, 5), 20, (3, 3), (2, 2), "same"),
    *conv_gradients((1, 8, 9, 4), 6, (2, 4), (1, 3), ((0, 1), (2, 0))),
    *conv_gradients((1, 12, 12, 4), 6, (3, 3), (1, 1), "same", dilations=(2, 2)),
    *conv_gradients((1, 12, 11, 4), 6, (3, 2), (2, 3), "valid", dilations=(2, 3)),
    *conv_gradients((1, 9, 9, 12), 8, (3, 3), (1, 1), "same", groups=4),
    *conv_gradients((2, 9, 9, 20), 20, (3, 3), (2, 2), "same", groups=20),
    *conv_gradients((2, 14, 14, 48), 48, (3, 3), (1, 1), "same", groups=48),
    *conv_gradients((1, 13, 12, 37), 37, (5, 5), (2, 2), "same", groups=37),
    *conv_gradients((1, 9, 11, 24), 24, (7, 7), (1, 1), "same", groups=24),
    *conv_gradients((1, 11, 8, 16), 16, (2, 2), (3, 3), "valid", groups=16),
    *conv_gradients((1, 9, 9, 6), 6, (3, 3), (1, 1), "same", groups=6, dilations=(2, 2)),
    *conv_gradients((2, 7, 7, 32), 20, (1, 1), (2, 2), "valid"),
    *conv_gradients((2, 19, 6), 11, (5,), (2,), "same"),
    *conv_gradients((1, 4, 5, 6, 3), 7, (2, 3, 3), (1, 2, 1), "same"),
    *pool_gradients((1, 8, 8, 19), (2, 2), (2, 2), "valid"),
    *pool_gradients((2, 9, 7, 5), (3, 3), (2, 2), ((1, 1), (1, 1))),
    *pool_gradients((1, 10, 10, 32), (3, 3), (2, 2), "same"),
    *pool_gradients((1, 12, 3), (4,), (3,), "same"),
    *pool_gradients((1, 11, 3), (2,), (3,), "valid"),
)
