"""The smaller or larger of two values. Of floats a NaN on either side is kept, which x86 does for one side only.

`maxps a, b` gives b unless a > b: a NaN in b is kept, one in a is lost. So the operand that may be NaN goes to b; where
both may, a comparison finds the NaNs of the other and puts them back.
"""

from __future__ import annotations

from ....targets.target import MinMax
from ....types import DType
from .emission import Emission
from .text import LLVMType, Value, llvm_type


def extremum(emitter: Emission, op: str, kind: LLVMType, a: str, b: str) -> str:
    """`op` (min or max) of two operands of one type."""
    if not kind.dtype.is_float:
        compare = f"icmp {'u' if kind.is_unsigned else 's'}{'lt' if op == 'min' else 'gt'}"
        return emitter.pick(compare, Value(kind, a), b).name
    if emitter.reach.of(a) is not None:
        a, b = b, a
    result = _of_floats(emitter, op, kind, a, b, emitter.reach.of(b) is not None)
    emitter.reach.combine(op, result, a, b, kind.dtype)
    return result


def _of_floats(emitter: Emission, op: str, kind: LLVMType, a: str, b: str, safe: bool) -> str:
    """`safe`: b is no NaN."""
    if emitter.target.min_max is MinMax.INTRINSIC:
        name = "llvm.minimum." if op == "min" else "llvm.maximum."
        return emitter.out.call(kind.text, name + kind.suffix, (kind.text, a), (kind.text, b))
    larger = emitter.pick(f"fcmp {'olt' if op == 'min' else 'ogt'}", Value(kind, b), a).name
    return larger if safe else _with_nans(emitter, kind, larger, b)


def _with_nans(emitter: Emission, kind: LLVMType, x: str, source: str) -> str:
    """X, but NaN where `source` is NaN."""
    mask = llvm_type(DType.BOOL, kind.lanes).text
    is_nan = emitter.out.emit(f"fcmp uno {kind.text} {source}, {source}")
    return emitter.out.emit(f"select {mask} {is_nan}, {kind.text} {source}, {kind.text} {x}")
