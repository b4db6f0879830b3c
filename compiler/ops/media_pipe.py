"""Custom operators of MediaPipe's networks: transposed convolution with a bias, pooling with places, and its inverse.

Source: mediapipe/util/tflite/operations. Their options are C structs: padding (1: same, 2: valid), strides (width,
height), then the window (width, height) and an activation.
"""

from __future__ import annotations

from ..errors import NetcError
from ..graph.ir import Value
from .custom import CustomCall, custom_operator
from .functions.activations import ACTIVATIONS

PADDINGS = {1: "same", 2: "valid"}
FUSED = ("", "relu", "relu_n1_to_1", "relu6")
"""What numbers of the structs stand for."""
SHIFT = 0.1
"""MediaPipe adds it to the places of elements, which are floats, before it cuts their fractions off."""


def _padding(number: int) -> str:
    if number not in PADDINGS:
        raise NetcError(f"its padding {number} is not known")
    return PADDINGS[number]


def _positive(*numbers: int) -> tuple[int, ...]:
    if any(not 0 < n < 1 << 24 for n in numbers):
        raise NetcError(f"its strides or windows can't be {', '.join(map(str, numbers))}")
    return numbers


@custom_operator("Convolution2DTransposeBias")
def transpose_convolution(call: CustomCall) -> Value:
    """Transposed convolution: x [N, H, W, F], weight [C, KH, KW, F], bias [C].

    The result has stride * (size - 1) + kernel places; with "same" padding fewer by kernel - 1 - (size - 1) % stride.
    """
    call.check(4, 4, 1)
    x, weight, bias = call.operands
    padding, *strides = call.integers(3)
    is_same = _padding(padding) == "same"
    sizes, cuts = [], []
    steps = _positive(*reversed(strides))
    for extent, kernel, stride in zip(x.type.shape[1:3], weight.type.shape[1:3], steps, strict=True):
        cut = max(0, kernel - (extent - 1) % stride - 1) if is_same else 0
        sizes.append(stride * (extent - 1) + kernel - cut)
        cuts.append((cut // 2, cut - cut // 2))
    turned = call.emit("transpose", weight, permutation=(1, 2, 3, 0))
    return call.emit(
        "transpose_conv2d", x, turned, bias, size=tuple(sizes), strides=steps, padding=tuple(cuts)
    )  # fmt: skip


@custom_operator("MaxPoolingWithArgmax2D")
def pool_with_places(call: CustomCall) -> tuple[Value, ...]:
    """Largest elements of windows, and which of its window each is, as a float, row by row."""
    call.check(4, results=2)
    (x,) = call.operands
    padding, *sides, activation = call.integers(6)
    numbers = _positive(*sides)
    window = {"size": numbers[3:1:-1], "strides": numbers[1::-1], "padding": _padding(padding)}
    y = call.emit("max_pool", x, **window)
    index = call.emit("max_pool_index", x, y, **window)
    place = call.emit("add", index, call.builder.scalar(SHIFT, x.type.dtype))
    if not 0 <= activation < len(FUSED):
        raise NetcError(f"its activation {activation} is not supported")
    if activation:
        low, high = ACTIVATIONS[FUSED[activation]]
        y = call.emit("clamp", y, low=low, high=high)
    return y, place


@custom_operator("MaxUnpooling2D")
def unpool(call: CustomCall) -> Value:
    """Each element at its place in a window of zeros: x and places [N, H, W, C] to [N, H * KH, W * KW, C]."""
    call.check(4, 4)
    x, places = call.operands
    _padding(call.integers(1)[0])
    numbers = _positive(*call.integers(5)[1:])
    strides, kernel = numbers[1::-1], numbers[3:1:-1]
    if x.type.shape != places.type.shape:
        raise NetcError(f"places {places.type} don't belong to {x.type}")
    if strides != kernel:
        raise NetcError(f"windows {list(kernel)} with strides {list(strides)} are not supported")
    size = tuple(s * k for s, k in zip(x.type.shape[1:3], kernel, strict=True))
    index = call.formula(1).floor().value
    return call.emit(
        "max_pool_gradient", index, x, size=kernel, strides=strides, padding="valid", input_size=size
    )  # fmt: skip
