"""What operators that choose among boxes share: their operands, corners in any order, overlaps, TFLite's results."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ...errors import ShapeError
from ...graph.ir import Array, Attributes, Operation, Operator
from ...loops.compute import Procedure
from ...loops.ir import Const, Expr, maximum, minimum
from ...types import DType, TensorType


def check_boxes(operator: Operator, operands: tuple[TensorType, ...], attributes: Attributes) -> None:
    """Raise `ShapeError` unless there are boxes [N, 4], scores [N] and a count."""
    boxes, scores = operands
    if boxes.rank != 2 or boxes.shape[1] != 4 or scores.shape != boxes.shape[:1] or attributes["count"] < 0:
        raise ShapeError(
            f"{operator.name} takes boxes [N, 4], scores [N] and a count, "
            f"not {boxes}, {scores} and {attributes['count']}"
        )


def in_order(boxes: Array) -> Array:
    """Boxes [N, 4] by their lower corner, then the upper one."""
    ends = boxes[:, :2], boxes[:, 2:]
    return np.concatenate([np.minimum(*ends), np.maximum(*ends)], axis=1)


def side_in_order(p: Procedure, box: Expr, d: int) -> Expr:
    """A coordinate of a box of the first operand: those of the lower corner first."""
    given, other = (p.load(0, (box, Const(place))) for place in (d, (d + 2) % 4))
    return (minimum if d < 2 else maximum)(given, other)


def area_of(corners: Sequence[Expr]) -> Expr:
    """The area of a box."""
    return (corners[2] - corners[0]) * (corners[3] - corners[1])


def shared_area(a: Sequence[Expr], b: Sequence[Expr]) -> Expr:
    """The area that two boxes have in common."""
    ends = [(maximum(a[d], b[d]), minimum(a[d + 2], b[d + 2])) for d in (0, 1)]
    height, width = (maximum(stop - start, 0.0) for start, stop in ends)
    return height * width


def write_chosen(c: Any, op: Operation, chosen: int, number: int, result: int) -> None:
    """TFLite's numbers of boxes, which end with zeros, with -1 in place of these."""
    count, place = op.attributes["count"], c.names[op.result]
    is_there = c.intermediate(TensorType(DType.BOOL, (count,)), f"{place}/is_there")
    c.node("LESS", [c.vector(range(count)), number], [is_there], "LessOptions")
    rest = c.constant(np.full(count, -1, np.int32), f"{op.name}/none")
    c.node("SELECT_V2", [is_there, chosen, rest], [result], "SelectV2Options")
