"""Conversion between element types. Floats out of an integer type's range, which LLVM leaves undefined, saturate."""

from __future__ import annotations

import math

import numpy as np

from ....loops.interval import Interval
from ....loops.ir import Cast, Expr
from ....types import DType
from .emission import Emission
from .narrowing import can_narrow_words, has_packs, narrowed
from .text import LLVMType, Value, constant, conversion, llvm_type, mask

_TRUNCATING: dict[int, tuple[str, tuple[tuple[str, str], ...]]] = {
    16: (
        "llvm.x86.avx512.mask.cvttps2dq.512",
        (("<16 x i32>", "zeroinitializer"), ("i16", "-1"), ("i32", "4")),
    ),
    8: ("llvm.x86.avx.cvtt.ps2dq.256", ()),
}
"""x86: what makes i32 of a vector of so many f32, and its other operands; numbers out of range become the smallest."""


def convert(emitter: Emission, x: Value, dtype: DType) -> Value:
    """The node `Cast`."""
    source, goal = x.type, llvm_type(dtype, x.type.lanes)
    if goal is source:
        return x
    if _by_lanes(emitter, source, goal):
        return _each_lane(emitter, x, goal)
    if goal.dtype is DType.BOOL:
        compare = "fcmp une" if source.dtype.is_float else "icmp ne"
        return Value(goal, emitter.out.emit(f"{compare} {x}, {constant(0, source)}"))
    if _needs_single(source.dtype, dtype):
        return convert(emitter, convert(emitter, x, DType.F32), dtype)
    if source.dtype.is_float and not dtype.is_float:
        return _saturated(emitter, x, goal)
    operation = conversion(source, goal)
    result = Value(goal, emitter.out.emit(f"{operation} {x} to {goal.text}") if operation else x.name)
    if dtype.is_float:
        bounds = emitter.reach.of(x.name) if source.dtype.is_float else all_of(source.dtype)
        emitter.reach.record(result.name, bounds, dtype)
    return result


def _by_lanes(emitter: Emission, source: LLVMType, goal: LLVMType) -> bool:
    """True where no vector holds doubles, but scalars do: LLVM would convert by way of 64-bit integers."""
    return source.lanes > 1 and DType.F64 in (source.dtype, goal.dtype) and not emitter.target.has_double_vectors


def _each_lane(emitter: Emission, x: Value, goal: LLVMType) -> Value:
    whole, lane = "poison", llvm_type(x.type.dtype, 1)
    for i in range(goal.lanes):
        element = Value(lane, emitter.out.emit(f"extractelement {x}, i32 {i}"))
        emitter.reach.record(element.name, emitter.reach.of(x.name), lane.dtype)
        whole = emitter.out.emit(f"insertelement {goal.text} {whole}, {convert(emitter, element, goal.dtype)}, i32 {i}")
    return Value(goal, whole)


def convert_index(emitter: Emission, x: Value, bounds: Interval, dtype: DType) -> Value:
    """The node `Cast` of an index, which lies within bounds."""
    if dtype.is_float and _is_narrow(emitter, x.type, bounds):
        narrow = llvm_type(DType.I32)
        x = Value(narrow, emitter.out.emit(f"trunc {x} to {narrow.text}"))
    result = convert(emitter, x, dtype)
    if dtype.is_float and math.isfinite(bounds[1] - bounds[0]):
        emitter.reach.record(result.name, bounds, dtype)
    return result


def _is_narrow(emitter: Emission, wide: LLVMType, bounds: Interval | None) -> bool:
    """True where 64 bits aren't needed, and 32-bit machines would call functions to convert them."""
    low, high = all_of(DType.I32)
    if bounds is None or emitter.target.pointer_bits != 32 or wide.dtype is not DType.I64:
        return False
    return low <= bounds[0] and bounds[1] <= high


def all_of(dtype: DType) -> Interval:
    """What integers of a type can be."""
    info = np.iinfo(str(dtype.numpy)) if dtype is not DType.BOOL else None
    return (int(info.min), int(info.max)) if info else (0, 1)


def narrowest(expr: Expr) -> DType:
    """The integer type that holds an expression: where a narrower one was only widened, that one."""
    dtype = expr.type.dtype
    if isinstance(expr, Cast) and _widens(expr.value.type.dtype, dtype):
        return narrowest(expr.value)
    return dtype


def _widens(source: DType, goal: DType) -> bool:
    """True if all integers of a type are those of another one, too."""
    if source.is_float or goal.is_float or DType.BOOL in (source, goal):
        return False
    (low, high), (lowest, highest) = all_of(source), all_of(goal)
    return lowest <= low and high <= highest


def _needs_single(source: DType, goal: DType) -> bool:
    """Half precision is converted through single: few machines do it in one step, and it would round otherwise."""
    if goal is DType.F16:
        return source is not DType.F32
    return source is DType.F16 and not goal.is_float


def _saturated(emitter: Emission, x: Value, goal: LLVMType) -> Value:
    """Single or double precision to integers: toward zero, out of range to the nearest, NaN to the largest."""
    info = np.iinfo(str(goal.dtype.numpy))
    if emitter.reach.is_within(x.name, info.min, info.max):
        return Value(goal, _truncated(emitter, x, goal))
    if (x.type.dtype, info.bits) == (DType.F32, 8) and _narrows(emitter, x):
        return narrowed(emitter, _whole_words(emitter, x, info.min, info.max), goal.dtype, info.min, info.max)
    if info.bits > (31 if x.type.dtype is DType.F64 else 23):
        return _saturated_after(emitter, x, goal)
    limited = emitter.pick("fcmp olt", x, constant(float(info.max), x.type))
    if emitter.reach.unless_nan(x.name)[0] < info.min:
        limited = emitter.pick("fcmp ogt", limited, constant(float(info.min), x.type))
    return Value(goal, _truncated(emitter, limited, goal))


def _narrows(emitter: Emission, x: Value) -> bool:
    """True where instructions saturate 32-bit numbers to bytes."""
    return can_narrow_words(emitter.target, x.type.lanes) or has_packs(emitter.target, x.type.lanes)


def _whole_words(emitter: Emission, x: Value, smallest: int, largest: int) -> Value:
    """Single precision to i32, for bytes: what is too small for i32 becomes the smallest number, and so may NaN."""
    words = llvm_type(DType.I32, x.type.lanes)
    if emitter.reach.is_within(x.name, *all_of(DType.I32)):
        return Value(words, emitter.out.emit(f"fptosi {x} to {words.text}"))
    end, lanes = constant(float(largest), x.type), emitter.target.vector_lanes
    limited, bare = emitter.pick("fcmp olt", x, end), emitter.reach.before_lift(x.name, smallest)
    if bare is not None:  # NaN should become the smallest byte, which the instruction does
        limited = emitter.pick("fcmp olt", Value(x.type, end), bare)
    part, whole = llvm_type(DType.I32, lanes), list[Value]()
    name, given = _TRUNCATING[lanes]
    for start in range(0, words.lanes, lanes):
        floats = emitter.out.emit(f"shufflevector {limited}, {x.type.text} poison, {mask(range(start, start + lanes))}")
        whole.append(Value(part, emitter.out.call(part.text, name, (f"<{lanes} x float>", floats), *given)))
    while len(whole) > 1:
        double = llvm_type(DType.I32, 2 * whole[0].type.lanes)
        pairs = zip(whole[::2], whole[1::2], strict=True)
        every = mask(range(double.lanes))
        whole = [Value(double, emitter.out.emit(f"shufflevector {a}, {b}, {every}")) for a, b in pairs]
    return whole[0]


def _saturated_after(emitter: Emission, x: Value, goal: LLVMType) -> Value:
    """Where the float type doesn't hold the largest integer, but one more: what is too large is replaced afterwards."""
    largest = int(np.iinfo(str(goal.dtype.numpy)).max)
    fits = emitter.out.emit(f"fcmp olt {x}, {constant(float(largest + 1), x.type)}")
    whole = _truncated(emitter, emitter.pick("fcmp ogt", x, constant(float(-largest - 1), x.type)), goal)
    mask, end = llvm_type(DType.BOOL, goal.lanes).text, f"{goal.text} {constant(largest, goal)}"
    return Value(goal, emitter.out.emit(f"select {mask} {fits}, {goal.text} {whole}, {end}"))


def _truncated(emitter: Emission, x: Value, goal: LLVMType) -> str:
    """Machines give 32 or 64 bits."""
    narrow = goal.dtype.itemsize < 4 or _is_narrow(emitter, goal, emitter.reach.of(x.name))
    wide = llvm_type(DType.I32, goal.lanes) if narrow else goal
    whole = emitter.out.emit(f"fptosi {x} to {wide.text}")
    if wide is goal:
        return whole
    return emitter.out.emit(f"{conversion(wide, goal)} {wide.text} {whole} to {goal.text}")
