"""Exponentials, logarithms, angles, hyperbolic functions, powers, rounding, remainders, bits, cumulative sums."""

from __future__ import annotations

from netc.compiler.types import DType

from .case import OpCase

WHOLE = {0: DType.I32, 1: DType.I32}
TRUTH = {0: DType.BOOL, 1: DType.BOOL}

CASES: tuple[OpCase, ...] = (
    *(OpCase(op, ((2, 3, 37),)) for op in ("expm1", "exp2", "sinh", "cosh", "asinh", "atan", "tan", "square")),
    *(OpCase(op, ((5, 19),), positive=True) for op in ("log1p", "log2", "log10", "reciprocal", "rsqrt")),
    *(OpCase(op, ((7, 1, 2),), scale=0.2) for op in ("asin", "acos", "atanh")),
    OpCase("acosh", ((5, 19),), positive=True, offset=1.0),
    *(OpCase("atan2", shapes) for shapes in (((2, 3, 37), (37,)), ((4, 1), (3,)), ((), ()))),
    *(OpCase("pow", shapes, positive=True) for shapes in (((2, 3, 37), (37,)), ((4, 1), (3,)), ((), ()))),
    OpCase("pow", ((3, 37), (37,)), dtypes=WHOLE, below={0: 9, 1: 11}),
    OpCase("pow", ((5,), (4, 1)), dtypes={0: DType.I64, 1: DType.I64}, below={0: 9, 1: 40}),
    *(OpCase("squared_difference", shapes) for shapes in (((2, 3, 37), (37,)), ((4, 1), (3,)))),
    OpCase("squared_difference", ((3, 37), (37,)), dtypes=WHOLE, below={0: 9, 1: 9}),
    *(OpCase(op, ((2, 3, 37),)) for op in ("floor", "ceil", "round", "trunc")),
    *(OpCase(op, ((3, 37), (37,)), positive=True) for op in ("floor_mod", "fmod")),
    *(OpCase(op, ((3, 37), (37,)), dtypes=WHOLE, below={0: 90, 1: 7}) for op in ("floor_mod", "fmod")),
    *(OpCase(op, ((3, 37), (37,)), dtypes=TRUTH) for op in ("logical_and", "logical_or", "bitwise_xor")),
    *(OpCase(op, ((3, 37),), dtypes={0: DType.BOOL}) for op in ("logical_not", "bitwise_not")),
    *(
        OpCase(op, ((3, 37), (37,)), dtypes=WHOLE, below={0: 90, 1: 40})
        for op in ("bitwise_and", "bitwise_or", "bitwise_xor", "left_shift", "right_shift")
    ),
    OpCase("bitwise_not", ((3, 37),), dtypes={0: DType.I16}, below={0: 90}),
    *(OpCase(op, ((3, 37),)) for op in ("isnan", "isinf", "isfinite")),
    OpCase("cumulative_sum", ((3, 7, 20),), {"axis": 1}),
    OpCase("cumulative_sum", ((5, 19),), {"exclusive": True}),
    OpCase("cumulative_sum", ((5, 19),), {"axis": 0, "reverse": True}),
    OpCase("cumulative_sum", ((1, 4, 1),), {"axis": -2, "exclusive": True, "reverse": True}),
    OpCase("cumulative_sum", ((4, 6),), dtypes={0: DType.I32}, below={0: 90}),
)
