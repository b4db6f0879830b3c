"""LLVM's spelling of types, constants and operations, as tables and small functions."""

from __future__ import annotations

import struct
from collections.abc import Iterable
from dataclasses import dataclass
from typing import NamedTuple

from ....loops.ir import VectorType
from ....types import DType

_SCALAR = {
    DType.F64: "double",
    DType.F32: "float",
    DType.F16: "half",
    DType.I64: "i64",
    DType.I32: "i32",
    DType.I16: "i16",
    DType.I8: "i8",
    DType.U8: "i8",
    DType.BOOL: "i1",
}


@dataclass(frozen=True, slots=True, eq=False)
class LLVMType:
    """A loop-IR type with its LLVM spelling; one instance for each type, so that `is` compares."""

    dtype: DType
    lanes: int
    text: str
    scalar: str
    suffix: str
    """As in intrinsic names: f32, v16f32."""

    @property
    def is_unsigned(self) -> bool:
        """True if comparisons and conversions treat it as unsigned."""
        return self.dtype in (DType.U8, DType.BOOL)


class Value(NamedTuple):
    """An operand of an instruction."""

    type: LLVMType
    name: str

    def __str__(self) -> str:
        return f"{self.type.text} {self.name}"


_TYPES: dict[tuple[DType, int], LLVMType] = {}


def llvm_type(dtype: DType, lanes: int = 1) -> LLVMType:
    """The LLVM type of `lanes` elements of `dtype`."""
    found = _TYPES.get((dtype, lanes))
    if found is None:
        scalar = _SCALAR[dtype]
        name = f"f{8 * dtype.itemsize}" if dtype.is_float else scalar
        text, suffix = (f"<{lanes} x {scalar}>", f"v{lanes}{name}") if lanes > 1 else (scalar, name)
        found = _TYPES[dtype, lanes] = LLVMType(dtype, lanes, text, scalar, suffix)
    return found


def of(type: VectorType) -> LLVMType:  # noqa: A002 (the field's own word)
    """The LLVM type of a loop-IR type."""
    return llvm_type(type.dtype, type.lanes)


def memory_type(type: LLVMType) -> LLVMType:  # noqa: A002
    """The type as which values lie in memory: booleans take a byte."""
    return llvm_type(DType.U8, type.lanes) if type.dtype is DType.BOOL else type


def scalar_constant(value: int | float | bool, dtype: DType) -> str:
    """A literal of an element type; floats in LLVM's exact hexadecimal form."""
    if dtype is DType.BOOL:
        return "true" if value else "false"
    if dtype is DType.F16:
        return "0xH" + struct.pack(">e", value).hex().upper()
    if dtype is DType.F32:
        value = struct.unpack("<f", struct.pack("<f", value))[0]
    if dtype.is_float:
        return "0x" + struct.pack(">d", value).hex().upper()
    return str(int(value))


def constant(value: int | float | bool, type: LLVMType) -> str:  # noqa: A002
    """A literal of a type; the same number in every lane."""
    scalar = scalar_constant(value, type.dtype)
    return scalar if type.lanes == 1 else f"splat ({type.scalar} {scalar})"


def mask(places: Iterable[int | None]) -> str:
    """The places that a shuffle takes its lanes from; None where any will do."""
    lanes = [f"i32 {'poison' if place is None else place}" for place in places]
    return f"<{len(lanes)} x i32> <{', '.join(lanes)}>"


def literal(operand: str) -> int | float | None:
    """The number that a numeric operand, scalar or the same in every lane, is known to be."""
    if operand[0] == "%" or operand == "poison":
        return None
    digits = operand.rstrip(")").rpartition(" ")[2]
    if digits.startswith("0xH"):
        return float(struct.unpack(">e", bytes.fromhex(digits[3:]))[0])
    return float(struct.unpack(">d", bytes.fromhex(digits[2:]))[0]) if digits.startswith("0x") else int(digits)


def truth(operand: str) -> bool | None:
    """What a boolean operand, scalar or the same in every lane, is known to be."""
    return _TRUTH.get(operand)


_TRUTH = {"true": True, "false": False, "splat (i1 true)": True, "splat (i1 false)": False}

FLOAT_BINARY = {"add": "fadd", "sub": "fsub", "mul": "fmul", "div": "fdiv"}
SIGNED_BINARY = {"add": "add", "sub": "sub", "mul": "mul", "shr": "ashr"}
UNSIGNED_BINARY = {"add": "add", "sub": "sub", "mul": "mul", "shr": "lshr"}
BITWISE = {"and": "and", "or": "or", "xor": "xor", "shl": "shl"}
FLOAT_COMPARE = {"lt": "fcmp olt", "le": "fcmp ole", "eq": "fcmp oeq", "ne": "fcmp une"}
SIGNED_COMPARE = {"lt": "icmp slt", "le": "icmp sle", "eq": "icmp eq", "ne": "icmp ne"}
UNSIGNED_COMPARE = {"lt": "icmp ult", "le": "icmp ule", "eq": "icmp eq", "ne": "icmp ne"}


def conversion(source: LLVMType, goal: LLVMType) -> str | None:
    """LLVM's instruction from one element type to another, except from floats to integers; None where bits stay."""
    if source.dtype.is_float:
        return "fpext" if goal.dtype.itemsize > source.dtype.itemsize else "fptrunc"
    if goal.dtype.is_float:
        return "uitofp" if source.is_unsigned else "sitofp"
    wide, narrow = goal.dtype.itemsize, source.dtype.itemsize
    if source.dtype is DType.BOOL or wide > narrow:
        return "zext" if source.is_unsigned else "sext"
    return "trunc" if wide < narrow else None
