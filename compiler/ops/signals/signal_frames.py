"""Signal processing of TensorFlow Lite for Microcontrollers: what cuts sound into frames, joins and delays them.

Source: tflite-micro's signal/src and signal/micro/kernels. Samples that one run leaves for the next are state. Where a
result isn't valid yet, it is 0 here; the kernels leave what the memory held.
"""

from __future__ import annotations

import math

import numpy as np

from ...errors import NetcError
from ...graph.ir import Value
from ...types import DType
from ..custom import CustomCall, custom_operator
from ..expressions import Formula
from .signal import SHORT, TYPES, integer_option, operand_types

LARGEST = 1 << 24
"""Most samples that are kept."""
MOST_FRAMES = 1 << 9


def _rows(call: CustomCall) -> Formula:
    """The operand as rows [R, N]."""
    x = call.formula(0)
    if not x.shape or not math.prod(x.shape):
        raise NetcError(f"its form for {call.operands[0].type} is not supported")
    return x.reshape(-1, x.shape[-1])


def _behind(call: CustomCall, x: Formula, count: int) -> Formula:
    """Rows behind the last `count` samples of the runs before, zeros at first; the next run finds the last of both."""
    if count == 0:
        return x
    rows, width = x.shape
    if rows * (count + width) > LARGEST:
        raise NetcError(f"{rows} times {count} samples are too many")
    dtype = x.value.type.dtype
    before = Formula(x.b, call.state(np.zeros((rows, count), dtype.numpy)))
    joined = before.emit("concat", x, axis=1)
    after = joined.emit("slice", begin=(0, width), size=(rows, count))
    call.keep(before.value, after.value)
    return joined


def _number(call: CustomCall, initial: int) -> Formula:
    return Formula(call.builder, call.state(np.array(initial, np.int32)))


@custom_operator("SignalDelay")
def delay(call: CustomCall) -> Value:
    """Samples i16 [..., N] as they were `delay_length` samples before."""
    operand_types(call, DType.I16)
    x = _rows(call)
    joined = _behind(call, x, integer_option(call, "delay_length", 0, LARGEST))
    return joined.emit("slice", begin=(0, 0), size=x.shape).reshape(*call.formula(0).shape).value


@custom_operator("SignalFramer")
def framer(call: CustomCall) -> tuple[Value, ...]:
    """Frames i16 [..., F, size] of samples i16 [..., F * step], behind those of earlier runs; and if all are valid."""
    operand_types(call, DType.I16, results=2)
    x = _rows(call)
    size, step = (integer_option(call, name, 1, LARGEST) for name in ("frame_size", "frame_step"))
    filled = bool(call.options.get("prefill", False))
    _, width = x.shape
    if width % step or (filled and size < step):
        raise NetcError(f"steps of {step} don't divide {call.operands[0].type} into frames of {size}")
    count = width // step
    whole = size if filled else -(-size // step) * step
    joined = _behind(call, x, whole - step)
    places = np.arange(count)[:, None] * step + np.arange(size)
    frames = joined.emit("gather", Formula(x.b, x.b.emit("constant", value=places.astype(np.int32))), axis=1)
    first = 0 if filled else whole // step - 1  # the frame that is the first valid one
    valid = Formula(x.b, x.b.emit("constant", value=np.array(True)))
    if first:
        seen = _number(call, 0)
        numbers = seen + seen.constant(np.arange(count)).reshape(count, 1)
        frames = frames.where(numbers.emit("greater_equal", first).value, 0)
        valid = seen.emit("greater_equal", first)
        call.keep(seen.value, (seen + count).minimum(first).value)
    lead = call.formula(0).shape[:-1]
    return frames.reshape(*lead, count, size).value, valid.value


@custom_operator("SignalOverlapAdd")
def overlap_add(call: CustomCall) -> Value:
    """Samples [..., F * step] of frames [..., F, size] that overlap, i16 or f32, added up from run to run."""
    dtype = TYPES.get(integer_option(call, "T", 0, 100))
    if dtype is None or dtype is DType.I32:
        raise NetcError(f"elements of type {call.number('T'):g} are not supported")
    operand_types(call, dtype)
    x, step = call.formula(0), integer_option(call, "frame_step", 1, LARGEST)
    if len(x.shape) < 2 or not math.prod(x.shape) or step > x.shape[-1] or x.shape[-2] > MOST_FRAMES:
        raise NetcError(f"steps of {step} don't fit {call.operands[0].type}")
    *lead, frames, size = x.shape
    x = x.reshape(-1, frames, size)
    rows = x.shape[0]
    buffer = Formula(x.b, call.state(np.zeros((rows, size), dtype.numpy)))
    kept, parts = buffer, []
    for frame in range(frames):
        one = x.emit("slice", begin=(0, frame, 0), size=(rows, 1, size)).reshape(rows, size)
        total = kept + one if dtype is DType.F32 else _saturated(kept, one)
        parts.append(total.emit("slice", begin=(0, 0), size=(rows, step)))
        rest = total.emit("pad", padding=((0, 0), (0, step)))
        kept = rest.emit("slice", begin=(0, step), size=(rows, size))
    call.keep(buffer.value, kept.value)
    result = parts[0].emit("concat", *parts[1:], axis=1) if frames > 1 else parts[0]
    return result.reshape(*lead, frames * step).value


def _saturated(a: Formula, b: Formula) -> Formula:
    return (a.cast("i32") + b.cast("i32")).maximum(-SHORT - 1).minimum(SHORT).cast("i16")


@custom_operator("SignalStacker")
def stacker(call: CustomCall) -> tuple[Value, ...]:
    """Features i16 [C] between those of the runs before and after, [(left + 1 + right) * C]; and if they are valid.

    Features of the first run stand for those before it. A result is valid once in `stacker_step` runs.
    """
    operand_types(call, DType.I16, results=2)
    x = _rows(call)
    names = ("num_channels", "stacker_left_context", "stacker_right_context", "stacker_step")
    channels, left, right, step = (integer_option(call, name, 0, LARGEST) for name in names)
    frames = left + 1 + right
    if len(call.formula(0).shape) != 1 or x.shape[1] != channels or not 1 <= step <= frames:
        raise NetcError(f"{frames} frames of {channels} numbers in steps of {step} don't fit {call.operands[0].type}")
    there = _number(call, -1)
    is_first = there.emit("less", 0)
    count = (there + 1).where(is_first.emit("logical_not").value, left + 1)
    if frames > 1:
        before = Formula(x.b, call.state(np.zeros((1, channels * (frames - 1)), np.int16)))
        again = x.emit("tile", multiples=(1, frames - 1)) if frames > 2 else x
        joined = again.where(is_first.value, before).emit("concat", x, axis=1)
        rest = joined.emit("slice", begin=(0, channels), size=(1, channels * (frames - 1)))
        call.keep(before.value, rest.value)
    else:
        joined = x
    valid = count.emit("greater_equal", frames)
    call.keep(there.value, (count - step).where(valid.value, count).value)
    return joined.where(valid.value, 0).reshape(channels * frames).value, valid.value
