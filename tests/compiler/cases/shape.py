"""Moving elements: reshape, transpose, pad, concat, slice, tile, gather, resize."""

from __future__ import annotations

from netc.compiler.types import DType

from .case import OpCase

CASES: tuple[OpCase, ...] = (
    OpCase("reshape", ((2, 3, 4, 5),), {"shape": (2, -1)}),
    OpCase("reshape", ((3, 0, 4),), {"shape": (-1, 0)}),
    OpCase("reshape", ((2, 30),), {"shape": (4, 3, 5)}),
    OpCase("transpose", ((2, 3, 4, 17),), {"permutation": (0, 3, 1, 2)}),
    OpCase("transpose", ((2, 3, 4, 17),), {"permutation": (2, 0, 1, 3)}),
    OpCase("transpose", ((35, 50),), {"permutation": (1, 0)}),
    OpCase("transpose", ((20,),), {"permutation": (0,)}),
    OpCase("transpose", ((),), {"permutation": ()}),
    OpCase("transpose", ((2, 3, 16, 48),), {"permutation": (0, 1, 3, 2)}),
    OpCase("transpose", ((2, 5, 2, 29),), {"permutation": (0, 1, 3, 2)}),
    OpCase("transpose", ((4, 37),), {"permutation": (1, 0)}),
    OpCase("transpose", ((2, 3, 4, 5),), {"permutation": (1, 0, 3, 2)}),
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
    OpCase("concat", ((1, 2, 9),) * 11, {"axis": 0}),
    OpCase("concat", ((40, 30, 32), (40, 1, 32), (40, 2, 32)), {"axis": 1}),
    OpCase("concat", ((300, 64), (1, 64), (400, 64)), {"axis": 0}),
    OpCase("slice", ((4, 6, 20),), {"begin": (1, 0, 3), "size": (2, 6, 17)}),
    OpCase("slice", ((4, 6, 20),), {"begin": (0, 0, 0), "size": (4, 6, 3)}),
    OpCase("relayout", ((2, 3, 20),)),
    OpCase("broadcast_to", ((3, 1, 20),), {"shape": (2, 3, 4, 20)}),
    OpCase("broadcast_to", ((4, 1),), {"shape": (4, 33)}),
    OpCase("broadcast_to", ((),), {"shape": (3, 5)}),
    # picking, repeating, resizing
    OpCase("tile", ((2, 3, 20),), {"multiples": (1, 2, 3)}),
    OpCase("tile", ((1, 1, 37),), {"multiples": (2, 3, 1)}),
    OpCase("gather_nd", ((4, 5, 20), (7, 2)), dtypes={1: DType.I32}, below={1: 4}),
    OpCase("gather_nd", ((4, 4), (3, 5, 2)), dtypes={1: DType.I64}, below={1: 4}),
    *(
        OpCase(op, ((2, 5, 6, 20),), {"size": (11, 4), **options})
        for op in ("resize_bilinear", "resize_nearest")
        for options in ({}, {"align_corners": True}, {"half_pixel_centers": True})
    ),
)
