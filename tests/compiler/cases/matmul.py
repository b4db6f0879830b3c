"""Products of many matrices, and the transposes before them."""

from __future__ import annotations

from .case import OpCase, Shape

PAIRS: tuple[tuple[Shape, Shape], ...] = (
    ((3, 5, 7), (3, 7, 9)),
    ((2, 3, 17, 12), (2, 3, 12, 37)),  # two leading dimensions, columns that fill no vector
    ((2, 1, 4, 6), (3, 6, 5)),  # leading dimensions that broadcast against each other
    ((1, 1, 6, 8), (2, 2, 8, 3)),
    ((5, 8), (4, 8, 6)),  # one left side for all
    ((4, 5, 8), (8, 6)),  # one right side for all
    ((4, 5, 8), (1, 1, 8, 6)),
    ((3, 1, 20), (3, 20, 33)),
    ((7, 40, 1), (7, 1, 20)),
    ((1, 130, 30), (1, 30, 70)),
)


TURNS = ((False, False), (True, False), (False, True), (True, True))


def _turned(shape: Shape, is_turned: bool) -> Shape:
    return (*shape[:-2], shape[-1], shape[-2]) if is_turned else shape


CASES: tuple[OpCase, ...] = (
    *(
        OpCase("matmul", (_turned(a, ta), _turned(b, tb)), {"transpose_a": ta, "transpose_b": tb})
        for number, (a, b) in enumerate(PAIRS)
        for ta, tb in (TURNS if number < 2 else TURNS[number % 2 :: 2])
    ),
    OpCase("matmul", ((9, 64, 50), (9, 50, 40)), weights=1),  # shared out to threads, matrices as blocks of rows
    OpCase("matmul", ((4, 197, 20), (20, 30)), weights=1),
    # what turns operands of products: the last dimension moves, in tiles with a rest
    OpCase("transpose", ((2, 19, 3, 33),), {"permutation": (0, 2, 3, 1)}),
    OpCase("transpose", ((17, 2, 20),), {"permutation": (2, 1, 0)}),
    OpCase("transpose", ((40, 5, 48, 7),), {"permutation": (2, 1, 3, 0)}),
)
