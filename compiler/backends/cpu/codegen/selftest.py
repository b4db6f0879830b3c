"""The function of a library that tests it: LLVM text for `library.selftest`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from ....library.interface import Interface, Status
from ....library.selftest import INCREMENT, MULTIPLIER, SEED, Answer
from ....types import DType, TensorType
from . import text
from .program import filled
from .text import llvm_type, scalar_constant

_FLOAT = """  %bits = lshr i32 %drawn, 8
  %whole = uitofp i32 %bits to float
  %scaled = fmul float %whole, 0x3E80000000000000
  %single = fsub float %scaled, 1.0
"""
_WIDEN = {DType.F32: "  %element = fadd float %single, 0.0", DType.F64: "  %element = fpext float %single to double"}
_WIDEN[DType.F16] = "  %element = fptrunc float %single to half"
_NEAR = """  %difference = fsub float {found}, {meant}
  %distance = call float @llvm.fabs.f32(float %difference)
  %near = fcmp ole float %distance, %tolerance
  %alike = fcmp oeq float {found}, {meant}
  %found.nan = fcmp uno float {found}, {found}
  %meant.nan = fcmp uno float {meant}, {meant}
  %nans = and i1 %found.nan, %meant.nan
  %close = or i1 %near, %alike
  %equal = or i1 %close, %nans"""


def selftest_text(interface: Interface, answers: Sequence[Answer], words: Mapping[str, str], sections: bool) -> str:
    """The test; with `sections` its code and data lie in sections of their own, which linkers leave out if unused."""
    code = f' section ".text.{interface.prefix}_selftest"' if sections else ""
    words = {**words, "text": code, "seed": str(SEED), "multiplier": str(MULTIPLIER), "increment": str(INCREMENT)}
    inputs = [t.type for t in interface.inputs]
    parts = [filled("selftest_fill.ll", words | _sampling(d)) for d in dict.fromkeys(t.dtype for t in inputs)]
    kinds = dict.fromkeys(answer.type.dtype for answer in answers)
    parts += [filled("selftest_compare.ll", words | _comparing(d)) for d in kinds]
    parts += [_stored(number, answer, interface, sections) for number, answer in enumerate(answers)]
    reset = f"  %begun = call i32 @{interface.prefix}_reset(ptr %workspace)\n" if interface.state_bytes else ""
    offsets = interface.selftest_offsets
    places = offsets[len(inputs) : -1]
    test = {
        "inputs_or_one": str(max(1, len(inputs))),
        "reset": reset,
        "samples": "\n".join(
            [
                *(_table("inputs", i, offsets[i], _fill(i, t, words["size"])) for i, t in enumerate(inputs)),
                *(_table("outputs", i, place, []) for i, place in enumerate(places)),
            ]
        ),
        "comparisons": _comparisons(answers, words["size"]),
        "wrong": str(int(Status.WRONG_ANSWER)),
    }
    return "\n".join([*parts, filled("selftest.ll", {**words, **test})])


def _sampling(dtype: DType) -> dict[str, str]:
    kind = text.memory_type(llvm_type(dtype)).text
    if dtype.is_float:
        element = _FLOAT + _WIDEN[dtype]
    elif dtype in (DType.I8, DType.U8, DType.I16):
        element = f"  %upper = lshr i32 %drawn, {32 - 8 * dtype.itemsize}\n  %element = trunc i32 %upper to {kind}"
    else:
        change = {DType.BOOL: "trunc i32 %upper to i8", DType.I32: "add i32 %upper, 0"}
        element = f"  %upper = lshr i32 %drawn, 31\n  %element = {change.get(dtype, 'zext i32 %upper to i64')}"
    return {"kind": str(dtype), "type": kind, "element": element}


def _comparing(dtype: DType) -> dict[str, str]:
    kind = text.memory_type(llvm_type(dtype)).text
    if not dtype.is_float:
        return {"kind": str(dtype), "type": kind, "equal": f"  %equal = icmp eq {kind} %found, %meant"}
    names = ("%found", "%meant")
    change = {DType.F64: "fptrunc double", DType.F16: "fpext half"}.get(dtype)
    lines = [f"  {name}.single = {change} {name} to float\n" for name in names] if change else []
    found, meant = (f"{name}.single" if change else name for name in names)
    return {"kind": str(dtype), "type": kind, "equal": "".join(lines) + _NEAR.format(found=found, meant=meant)}


def _stored(number: int, answer: Answer, interface: Interface, sections: bool) -> str:
    kind = text.memory_type(llvm_type(answer.type.dtype)).text
    dtype = DType.U8 if answer.type.dtype is DType.BOOL else answer.type.dtype
    elements = ", ".join(f"{kind} {_constant(v, dtype)}" for v in answer.stored.tolist())
    section = f', section ".rodata.{interface.prefix}_selftest"' if sections else ""
    return f"@netc.answer{number} = internal constant [{answer.stored.size} x {kind}] [{elements}]{section}\n"


def _constant(value: float | int | bool, dtype: DType) -> str:
    return scalar_constant(value if dtype.is_float else int(value), dtype)


def _table(table: str, number: int, offset: int, rest: Sequence[str]) -> str:
    name = f"%{table}{number}"
    lines = [
        f"  {name} = getelementptr i8, ptr %buffers, i32 {offset}",
        f"  {name}.at = getelementptr ptr, ptr %{table}, i32 {number}",
        f"  store ptr {name}, ptr {name}.at",
    ]
    return "\n".join([*lines, *rest])


def _fill(number: int, type_: TensorType, size: str) -> list[str]:
    return [f"  call void @netc.sample.{type_.dtype}(ptr %state, ptr %inputs{number}, {size} {type_.size})"]


def _comparisons(answers: Sequence[Answer], size: str) -> str:
    lines, last = [], "true"
    for number, answer in enumerate(answers):
        sizes = f"{size} {answer.stored.size}, {size} {answer.stride}"
        tolerance = scalar_constant(answer.tolerance, DType.F32)
        operands = f"ptr %outputs{number}, ptr @netc.answer{number}, {sizes}, float {tolerance}"
        lines.append(f"  %same{number} = call i1 @netc.same.{answer.type.dtype}({operands})")
        lines.append(f"  %all{number} = and i1 {last}, %same{number}")
        last = f"%all{number}"
    return "\n".join([*lines, f"  %all = and i1 {last}, true"])
