"""Dot products of 8-bit integers: the machine's own instruction, or widening multiplications."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..graph.types import DType
from .target import DotProduct
from .text import LLVMType, Value, conversion, llvm_type

if TYPE_CHECKING:
    from .expressions import ExpressionEmitter

_INTRINSICS: dict[tuple[DotProduct, bool, bool, int], str] = {
    (DotProduct.VNNI, True, False, 16): "llvm.x86.avx512.vpdpbusd.512",
    (DotProduct.VNNI, True, False, 8): "llvm.x86.avx512.vpdpbusd.256",
    (DotProduct.VNNI, True, False, 4): "llvm.x86.avx512.vpdpbusd.128",
    (DotProduct.NEON, False, False, 4): "llvm.aarch64.neon.sdot.v4i32.v16i8",
}
"""By instruction set, whether the left and the right side are unsigned, and the number of sums."""


def dot4(emitter: ExpressionEmitter, a: Value, b: Value, c: Value) -> Value:
    """c[i] + the sum over j < 4 of a[j] * b[4 * i + j]."""
    out, sums = emitter.out, c.type
    key = (emitter.target.dot_product, a.type.is_unsigned, b.type.is_unsigned, sums.lanes)
    if key in _INTRINSICS:
        four = Value(llvm_type(DType.I32), out.emit(f"bitcast {a} to i32"))
        every = out.emit(f"bitcast {emitter.splat(four, sums.lanes)} to {b.type.text}")
        arguments = ((sums.text, c.name), (b.type.text, every), (b.type.text, b.name))
        return Value(sums, out.call(sums.text, _INTRINSICS[key], *arguments))
    total = c.name
    for j in range(4):
        total = emitter.arithmetic("add", sums, total, _product(emitter, a, b, sums, j))
    return Value(sums, total)


def _product(emitter: ExpressionEmitter, a: Value, b: Value, sums: LLVMType, j: int) -> str:
    """Element j of a times element j of each four of b, as i32."""
    out = emitter.out
    narrow = llvm_type(b.type.dtype, sums.lanes)
    if sums.lanes == 1:
        every = out.emit(f"extractelement {b}, i64 {j}")
    else:
        places = ", ".join(f"i32 {4 * i + j}" for i in range(sums.lanes))
        every = out.emit(f"shufflevector {b}, {b.type.text} poison, <{sums.lanes} x i32> <{places}>")
    right = out.emit(f"{conversion(narrow, sums)} {narrow.text} {every} to {sums.text}")
    one, wide = llvm_type(a.type.dtype), llvm_type(DType.I32)
    element = out.emit(f"extractelement {a}, i64 {j}")
    left = Value(wide, out.emit(f"{conversion(one, wide)} {one.text} {element} to i32"))
    return emitter.arithmetic("mul", sums, emitter.splat(left, sums.lanes).name, right)
