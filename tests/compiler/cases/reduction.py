"""Reductions, softmax and its relatives, statistics."""

from __future__ import annotations

from netc.compiler.types import DType

from .case import OpCase

TOP_K = ("top_k_values", "top_k_indices")

CASES: tuple[OpCase, ...] = (
    *(
        OpCase(op, ((2, 5, 6, 21),), {"axes": axes, "keepdims": keepdims})
        for op in ("reduce_sum", "reduce_mean", "reduce_max", "reduce_min")
        for axes in ((1, 2), (3,), None)
        for keepdims in (False, True)
    ),
    OpCase("softmax", ((3, 1001),)),
    OpCase("softmax", ((2, 5, 7),), {"axis": 1}),
    OpCase("batch_norm", ((2, 5, 6, 20), (20,), (20,), (20,), (20,)), {"eps": 1e-3}, weights=1, positive=True),
    OpCase("channel_variance", ((3, 5, 7, 37), (37,))),
    OpCase("channel_variance", ((40, 1), (1,))),
    OpCase("argmax", ((5, 1001),)),
    OpCase("argmax", ((3, 7, 20),), {"axis": 1}, below={0: 4}),
    *(OpCase("reduce_prod", ((2, 5, 3, 7),), {"axes": axes}) for axes in ((1, 2), (3,), (-1, 0))),
    OpCase("reduce_prod", ((3, 4),), {"axes": (1,), "keepdims": True}, below={0: 2}),
    OpCase("reduce_prod", ((3, 0, 2),), {"axes": (1,)}),
    *(
        OpCase(op, shapes, {"axes": axes, "keepdims": keepdims}, dtypes={0: DType.BOOL})
        for op in ("reduce_any", "reduce_all")
        for shapes in (((2, 3, 21),), ((3, 0, 2),))
        for axes, keepdims in (((1,), False), ((1, 2), True), (None, False))
    ),
    OpCase("argmax", ((3, 7, 20),), {"axis": 1, "last": True}, below={0: 4}),
    OpCase("argmin", ((5, 101),)),
    OpCase("argmin", ((3, 7, 20),), {"axis": 1, "last": True}, below={0: 4}),
    *(OpCase(op, ((4, 37),), {"descending": down}) for op in ("sort", "argsort") for down in (False, True)),
    *(OpCase(op, ((3, 7, 5),), {"axis": 1, "descending": True}, below={0: 4}) for op in ("sort", "argsort")),
    *(OpCase(op, ((3, 0),)) for op in ("sort", "argsort")),
    *(OpCase(op, ((3, 17),), {"k": 4, "largest": up}) for op in TOP_K for up in (False, True)),
    *(OpCase(op, ((6, 3),), {"k": 6, "axis": 0}, dtypes={0: DType.I8}, below={0: 4}) for op in TOP_K),
    OpCase("sort_order", ((3, 9), (9,)), dtypes={1: DType.I32}, below={0: 5, 1: 1}),
    *(
        OpCase(op, ((3, 130),), {"descending": down}, below={0: 40})
        for op in ("sort", "argsort")
        for down in (False, True)
    ),
    *(
        OpCase(op, ((2, 110, 3),), {"axis": 1, "k": 7, "largest": up}, below={0: 9})
        for op in TOP_K
        for up in (False, True)
    ),
    *(
        OpCase("radix_order", ((3, 40),), {"count": count, "descending": down}, below={0: 9}, dtypes={0: dtype})
        for count, down in ((40, False), (26, True), (4, True), (0, False))
        for dtype in (DType.F32, DType.I8)
    ),
    *(
        OpCase("radix_order", ((2, 25),), {"count": 25}, dtypes={0: dtype})
        for dtype in (DType.F32, DType.U8, DType.I64)
    ),
    OpCase("log_softmax", ((3, 1001),)),
    OpCase("log_softmax", ((2, 5, 7),), {"axis": 1}),
    OpCase("logsumexp", ((3, 101),)),
    OpCase("logsumexp", ((2, 5, 7),), {"axis": -2}),
)
