"""Picking, scattering, mirroring and rearranging elements, turned slices among them."""

from __future__ import annotations

from netc.compiler.types import DType

from .case import OpCase

CASES: tuple[OpCase, ...] = (
    *(
        OpCase("strided_slice", ((4, 6, 20),), {"begin": begin, "size": size, "strides": strides})
        for begin, size, strides in (
            ((1, 5, 3), (2, 3, 17), (2, -2, 1)),
            ((0, 0, 19), (4, 6, 20), (1, 1, -1)),
            ((3, 0, 1), (4, 6, 5), (-1, 1, 4)),
            ((0, 2, 0), (4, 0, 20), (1, 1, 1)),
        )
    ),
    OpCase("strided_slice", ((33,),), {"begin": (32,), "size": (17,), "strides": (-2,)}, dtypes={0: DType.I8}),
    OpCase("strided_slice", ((),), {"begin": (), "size": (), "strides": ()}),
    *(
        OpCase("strided_slice_gradient", (size,), {"shape": (4, 6, 20), "begin": begin, "strides": strides})
        for begin, size, strides in (
            ((1, 5, 3), (2, 3, 16), (2, -2, 1)),
            ((0, 0, 19), (4, 6, 20), (1, 1, -1)),
            ((3, 0, 1), (4, 6, 5), (-1, 1, 4)),
            ((0, 2, 0), (4, 0, 20), (1, 1, 1)),
        )
    ),
    OpCase("slice", ((4, 6),), {"begin": (1, 2), "size": (2, 0)}),
    *(
        OpCase("mirror_pad", ((2, 5, 37),), {"padding": padding, "mode": mode})
        for mode in ("reflect", "symmetric")
        for padding in (((0, 0), (4, 2), (0, 0)), ((1, 1), (0, 3), (2, 36)))
    ),
    OpCase("mirror_pad", ((1, 2),), {"padding": ((1, 1), (2, 2)), "mode": "symmetric"}, dtypes={0: DType.I32}),
    # blocks
    OpCase("space_to_depth", ((2, 4, 6, 5),), {"block_size": 2}),
    OpCase("space_to_depth", ((1, 3, 3, 16),), {"block_size": 3}, dtypes={0: DType.I16}),
    OpCase("depth_to_space", ((2, 2, 3, 20),), {"block_size": 2}),
    OpCase("depth_to_space", ((1, 1, 3, 16),), {"block_size": 4}),
    OpCase("space_to_batch_nd", ((2, 5, 6, 3),), {"block_shape": (2, 3), "padding": ((1, 0), (0, 3))}),
    OpCase("space_to_batch_nd", ((2, 6, 5),), {"block_shape": (2,), "padding": ((1, 1),), "value": 1.5}),
    OpCase("batch_to_space_nd", ((12, 3, 2, 3),), {"block_shape": (2, 3), "crops": ((1, 0), (0, 2))}),
    OpCase("batch_to_space_nd", ((4, 3, 17),), {"block_shape": (2,), "crops": ((0, 0),)}),
    # picking
    OpCase("tile", ((2, 1, 3),), {"multiples": (2, 4, 0)}),
    OpCase("tile", ((3, 20),), {"multiples": (1, 2)}, dtypes={0: DType.U8}, below={0: 9}),
    *(
        OpCase("gather", ((4, 5, 20), shape), {"axis": axis}, dtypes={1: dtype}, below={1: 4})
        for shape, axis, dtype in (
            ((7,), 0, DType.I32),
            ((2, 3), 1, DType.I64),
            ((), -2, DType.I8),
            ((2, 9), -1, DType.U8),
            ((0, 3), 0, DType.I32),
        )
    ),
    OpCase("gather", ((2, 3, 5, 4, 6), (2, 3, 7)), {"axis": 3, "batch_dims": 2}, dtypes={1: DType.I32}, below={1: 4}),
    OpCase("gather", ((2, 4, 20), (2,)), {"axis": 1, "batch_dims": 1}, dtypes={1: DType.I32}, below={1: 4}),
    OpCase("take_along_axis", ((4, 5, 20), (4, 5, 7)), {}, dtypes={1: DType.I32}, below={1: 20}),
    OpCase("take_along_axis", ((4, 5, 20), (6, 3, 20)), {"axis": 0}, dtypes={1: DType.I64}, below={1: 4}),
    OpCase("gather_nd", ((4, 5), (3, 0, 1)), dtypes={1: DType.I32}, below={1: 4}),
    *(
        OpCase(
            "next_nodes",
            ((3, 5), (rows, 17), (9, 2), (9,)),
            {"comparison": name},
            dtypes={1: dtype, 2: dtype},
            below={1: 9, 2: 5},
        )
        for name, rows, dtype in (
            ("less_equal", 1, DType.I32),
            ("less", 3, DType.I64),
            ("greater_equal", 3, DType.I32),
            ("greater", 1, DType.I64),
            ("equal", 3, DType.I32),
            ("not_equal", 3, DType.I32),
        )
    ),
    # scattering: places meet
    OpCase("scatter_nd", ((7, 1), (7, 20)), {"shape": (4, 20)}, dtypes={0: DType.I32}, below={0: 4}),
    OpCase("scatter_nd", ((30, 1), (30, 3, 37)), {"shape": (9, 3, 37)}, dtypes={0: DType.I16}, below={0: 9}),
    OpCase("scatter_nd", ((5, 6, 2), (5, 6)), {"shape": (4, 7)}, dtypes={0: DType.I64}, below={0: 4}),
    OpCase(
        "scatter_nd",
        ((9, 1), (9, 2)),
        {"shape": (4, 2)},
        dtypes={0: DType.I32, 1: DType.I32},
        below={0: 4, 1: 9},
        tolerance=0,
    ),
    OpCase("scatter_nd", ((0, 1), (0, 5)), {"shape": (4, 5)}, dtypes={0: DType.I32}, below={0: 4}),
    *(
        OpCase(
            "scatter_combine",
            (x, indices, (*indices[:-1], *x[indices[-1] :])),
            {"by": by},
            dtypes={1: DType.I32},
            below={1: 3},
            offset=offset,
        )
        for by, x, indices, offset in (
            ("mul", (4, 20), (9, 1), 1.0),
            ("mul", (3, 5), (2, 4, 2), 0.5),
            ("maximum", (9, 3, 37), (30, 1), 0.0),
            ("minimum", (5, 6), (7, 2), 0.0),
            ("maximum", (4, 5), (0, 1), 0.0),
        )
    ),
    OpCase("last_update", ((9, 2),), {"shape": (4, 5)}, dtypes={0: DType.I32}, below={0: 4}, tolerance=0),
    OpCase("last_update", ((3, 4, 1),), {"shape": (40,)}, dtypes={0: DType.I64}, below={0: 40}, tolerance=0),
    # classes
    *(
        OpCase(
            "one_hot", ((3, 4),), {"depth": 5, "axis": axis, "on": on, "off": off}, dtypes={0: DType.I32}, below={0: 7}
        )
        for axis, on, off in ((0, 1.0, 0.0), (1, 2.5, -1.0))
    ),
)
