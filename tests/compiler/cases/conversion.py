"""Casts, one-hot vectors, random numbers, and how they are differentiated."""

from __future__ import annotations

from netc.compiler.graph.builder import GraphBuilder
from netc.compiler.graph.ir import Graph
from netc.compiler.types import DType, Quantization, TensorType

from .case import OpCase


def doubled_gradient() -> Graph:
    """A gradient for a function of one vector: twice the cotangent of its result."""
    b = GraphBuilder("doubled")
    vector = TensorType(DType.F32, (5,))
    _, _, dy = (b.input(name, vector) for name in ("y", "x", "dy"))
    return b.finish([b.emit("add", dy, dy)])


CASES: tuple[OpCase, ...] = (
    *(OpCase(op, ((3, 20),), {"rate": 0.5}) for op in ("dropout", "alpha_dropout")),
    OpCase("random_uniform", ((),), {"shape": (3, 5, 37), "seed": 1}, dtypes={0: DType.I64}, below={0: 9}, tolerance=0),
    OpCase("random_uniform", ((),), {"shape": (), "stream": 3}, dtypes={0: DType.I64}, below={0: 9}, tolerance=0),
    *(
        OpCase("quantize_even", ((3, 37),), {"dtype": goal, "y": Quantization.of(0.0625, 3)}, dtypes={0: source})
        for goal, source in (("i8", DType.F32), ("u8", DType.F64), ("i16", DType.F32))
    ),
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
    OpCase("stop_gradient", ((3, 20),)),
    OpCase("custom_gradient", ((5,), (5,)), {"gradient": doubled_gradient()}),
)
