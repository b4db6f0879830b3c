"""Products that are summed over axes in any places."""

from __future__ import annotations

from .case import OpCase, Shape

SIZES = {"b": 2, "h": 3, "m": 13, "k": 9, "n": 21, "v": 1}
FORMS = (
    ("bmhk", "bhkn", "bmhn"),  # rows with the heads between them
    ("bkhm", "bkhn", "bmhn"),  # sums over what stands outside of the heads
    ("kn", "bkm", "bnm"),  # a dense layer along an axis in the middle
    ("bkhm", "kn", "bnhm"),  # several axes are columns
    ("bk", "bkn", "bn"),  # no rows
    ("mbk", "nhk", "mbnh"),  # columns stand last in neither operand
    ("mkb", "bkn", "nm"),  # two sums, in another order on both sides
    ("hmk", "kn", "mnh"),
    ("vm", "vn", "mn"),  # sums of one product
)


def _shape(labels: str) -> Shape:
    return tuple(SIZES[label] for label in labels)


CASES: tuple[OpCase, ...] = (
    *(OpCase("contract", (_shape(a), _shape(b)), {"a_axes": a, "b_axes": b, "axes": y}) for a, b, y in FORMS),
    OpCase("contract", ((2, 70, 40), (70, 50)), {"a_axes": "bkm", "b_axes": "kn", "axes": "bnm"}, weights=1),
)
