"""Custom operators of MediaPipe's face mesh with attention, which looks at parts of a map around some landmarks.

Source: mediapipe/util/tflite/operations, in version 2 of the operators. Points and places are (x, y).
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ...errors import NetcError
from ...graph.ir import Value
from ..custom import CustomCall, custom_operator
from ..expressions import Formula, stacked

LARGEST_SIDE = 1 << 12
"""Of a map that is made."""


def _check_version(call: CustomCall) -> None:
    if call.version != 2:
        raise NetcError(f"its version {call.version} is not supported, only version 2")


def _rows(call: CustomCall, place: int) -> list[list[Formula]]:
    """The elements of the first two rows of a matrix f32 [1, 4, 4], as scalars."""
    matrix = call.formula(place)
    if matrix.shape != (1, 4, 4):
        raise NetcError(f"a matrix should be [1, 4, 4], not {list(matrix.shape)}")
    flat = matrix.reshape(16)
    cells = [flat.emit("slice", begin=(n,), size=(1,)).reshape() for n in range(8)]
    return [cells[:4], cells[4:]]


@custom_operator("Landmarks2TransformMatrix")
def transform_matrix(call: CustomCall) -> Value:
    """The matrix [1, 4, 4] from pixels of a picture to a box around some of the landmarks [1, N, 3], which it turns.

    The line between two landmarks is brought to an angle.
    """
    _check_version(call)
    call.check(3)
    count = call.operands[0].type.shape[1]
    if call.operands[0].type.shape != (1, count, 3):
        raise NetcError(f"landmarks should be [1, N, 3], not {call.operands[0].type}")
    ends = [int(call.number(f"{side}_rotation_idx")) for side in ("left", "right")]
    scales = [call.number(f"scale_{axis}") for axis in "xy"]
    sizes = [call.number(f"output_{side}") for side in ("width", "height")]
    target = call.number("target_rotation_radians")
    chosen = _chosen(call.options.get("subset_idxs"))
    if any(not 0 <= n < count for n in (*ends, *chosen)) or min(*scales, *sizes) <= 0:
        raise NetcError("its landmarks, scales or sizes lie outside their range")
    points = call.formula(0).reshape(count, 3)
    (left_x, left_y), (right_x, right_y) = (_point(points, n) for n in ends)
    line = Formula(call.builder, call.emit("atan2", (right_y - left_y).value, (right_x - left_x).value))
    turn = target - line
    cos, sin = turn.emit("cos"), turn.emit("sin")
    places = call.builder.constant(np.array(chosen, np.int32))
    picked = Formula(call.builder, call.emit("gather", points.value, places, axis=0))
    x, y = picked.column(0), picked.column(1)
    turned = (x * cos - y * sin, x * sin + y * cos)
    low, high = ([t.emit(f"reduce_{end}", axes=(0,)) for t in turned] for end in ("min", "max"))
    middle = [(a + b) / 2.0 for a, b in zip(low, high, strict=True)]
    center = (middle[0] * cos + middle[1] * sin, middle[1] * cos - middle[0] * sin)
    steps = [(b - a) * scale / size for a, b, scale, size in zip(low, high, scales, sizes, strict=True)]
    halves = [steps[i] * (sizes[i] / -2.0) for i in range(2)]
    zero, one = turn.constant(0.0), turn.constant(1.0)
    first = [cos * steps[0], sin * steps[1], zero, cos * halves[0] + sin * halves[1] + center[0]]
    second = [zero - sin * steps[0], cos * steps[1], zero, cos * halves[1] - sin * halves[0] + center[1]]
    rest = [zero, zero, one, zero, zero, zero, zero, one]
    return stacked([*first, *second, *rest]).reshape(1, 4, 4).value


def _chosen(given: Any) -> list[int]:
    """A list of numbers of landmarks."""
    if not isinstance(given, list) or not given or not all(isinstance(n, int) for n in given):
        raise NetcError("its option `subset_idxs` is no list of numbers")
    return given


def _point(points: Formula, number: int) -> tuple[Formula, Formula]:
    """One of points [N, 3 or more], as scalars."""
    x, y = (points.emit("slice", begin=(number, axis), size=(1, 1)).reshape() for axis in range(2))
    return x, y


@custom_operator("TransformLandmarks")
def transform_landmarks(call: CustomCall) -> Value:
    """Landmarks [1, N, 2 or 3] after a matrix [1, 4, 4]; a third coordinate stays."""
    _check_version(call)
    call.check(3, 3)
    points = call.formula(0)
    if points.shape[0] != 1 or points.shape[2] not in (2, 3):
        raise NetcError(f"landmarks should be [1, N, 2] or [1, N, 3], not {list(points.shape)}")
    x, y = points.column(0), points.column(1)
    moved = [x * row[0] + y * row[1] + row[3] for row in _rows(call, 1)]
    return stacked([*moved, *([points.column(2)] if points.shape[2] == 3 else [])], axis=-1).value


@custom_operator("TransformTensorBilinear")
def transform_tensor(call: CustomCall) -> Value:
    """A map [1, H, W, C] seen through a matrix [1, 4, 4] from places of the result; zeros outside the map."""
    _check_version(call)
    call.check(4, 3)
    (batch, height, width, channels) = call.operands[0].type.shape
    size = tuple(int(call.number(f"output_{side}")) for side in ("height", "width"))
    if batch != 1 or not all(0 < n <= LARGEST_SIDE for n in size):
        raise NetcError(f"its form for {call.operands[0].type} is not supported")
    b = call.builder
    grid = np.mgrid[: size[0], : size[1]].reshape(2, -1).astype(np.float32)
    down, right = (Formula(b, b.constant(side)) for side in grid)
    # places lie in the middles of pixels, in both maps
    x, y = (right * r[0] + down * r[1] + (r[0] * 0.5 + r[1] * 0.5 - 0.5 + r[3]) for r in _rows(call, 1))
    inside = b.emit("logical_and", x.between(0, width - 1), y.between(0, height - 1))
    zero = x.constant(0.0)
    x, y = x.where(inside, zero), y.where(inside, zero)
    left, top = x.floor(), y.floor()
    columns = ((left, 1.0 - (x - left)), (left + 1.0, x - left))
    rows = ((top, 1.0 - (y - top)), (top + 1.0, y - top))
    places, weights = [], []
    for row, row_share in rows:
        for column, share in columns:
            near = (row.minimum(height - 1) * float(width) + column.minimum(width - 1)).cast("i32")
            places.append(near)
            weights.append((row_share * share).where(inside, zero))
    flat = call.formula(0).reshape(height * width, channels)
    picked = flat.emit("weighted_gather", stacked(places), stacked(weights))
    return picked.reshape(1, *size, channels).value
