"""A module of loops to one LLVM module: all kernels, the sequence of calls, and the runtime's C interface.

The sequence is one function that every thread runs from the first call to the last, with barriers where the module
asks for them. `netc.h` documents how the result is called. Equal modules and targets give equal text.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from importlib.resources import files

from ....errors import NetcError
from ....modules.module import Block, Call, Kind, Memory, Module, Slot, Step, sequence
from ....targets.target import Target
from . import machine
from .llvm import emit_kernel, symbol

SPINS = 2000
"""Turns of the busy-waiting loop before a thread goes to sleep: tens of microseconds."""

PART = 250
"""Calls of one LLVM function: the time that LLVM takes for a function grows faster than its length."""

_MONOTONIC_CLOCK = {"linux": 1, "apple": 6, "darwin": 6, "freebsd": 4}
"""CLOCK_MONOTONIC of each system's time.h, by a part of its triple."""

_BARRIER = "  call void @netc.barrier(ptr %ctx, i64 %nthreads)"
_REGION = {Memory.ARENA: "%arena", Memory.WEIGHTS: "%weights", Memory.STATE: "%state"}


def emit_module(module: Module, target: Target, prefix: str = "netc") -> str:
    """LLVM text of a whole network; its C functions are `PREFIX_start`, `PREFIX_run` and `PREFIX_stop`."""
    kernels = [emit_kernel(kernel, target) for kernel in module.kernels]
    sizes = [
        f"@{prefix}_arena_bytes = constant i64 {module.arena_bytes}",
        f"@{prefix}_weights_bytes = constant i64 {module.weights_bytes}",
    ]
    parts = [runtime_text(target, prefix), "\n".join(sizes), "", _sequence(module), *kernels]
    return machine.with_conversions(machine.header(target) + "\n".join(parts), target)


def runtime_text(target: Target, prefix: str) -> str:
    """`runtime.ll` for a target."""
    clock = next((number for system, number in _MONOTONIC_CLOCK.items() if system in target.triple), None)
    if clock is None:
        raise NetcError(f"programs for {target.triple} are not supported: they need POSIX threads")
    words = {"prefix": prefix, "pause": target.pause, "spins": str(SPINS), "monotonic": str(clock)}
    text = _runtime()
    for name, value in words.items():
        text = text.replace("{{" + name + "}}", value)
    return text


@cache
def _runtime() -> str:
    return files("netc.compiler.backends.cpu.codegen").joinpath("runtime.ll").read_text(encoding="utf-8")


def _sequence(module: Module) -> str:
    """The function that every thread runs: all calls in order, of long networks in parts."""
    steps = _parts(module)
    if len(steps) < 2:
        return _part(module, "netc.sequence", steps[0] if steps else [])
    names = [f"netc.sequence.{part[0].call if part[0].block is None else part[0].block.first}" for part in steps]
    lines = [f"  call void @{name}(ptr %ctx, i64 %tid, i64 %nthreads)" for name in names]
    parts = [_part(module, name, part) for name, part in zip(names, steps, strict=True)]
    return "\n".join([*parts, _head("netc.sequence"), *lines, "  ret void", "}", ""])


def _parts(module: Module) -> list[list[Step]]:
    """The steps in parts of at least `PART` calls; no block is cut."""
    parts: list[list[Step]] = []
    calls, depth = PART, 0
    for step in sequence(len(module.calls), module.blocks):
        if calls >= PART and depth == 0:
            parts.append([])
            calls = 0
        parts[-1].append(step)
        calls += step.kind is Kind.CALL
        depth += (step.kind is Kind.BEGIN) - (step.kind is Kind.END)
    return parts


def _head(name: str) -> str:
    return f"define internal void @{name}(ptr %ctx, i64 %tid, i64 %nthreads) noinline optnone nounwind {{\nentry:"


def _part(module: Module, name: str, steps: Sequence[Step]) -> str:
    """A function of some steps."""
    lines = [_head(name)]
    for region, field in (("arena", 0), ("weights", 1), ("buffers", 2), ("profile", 4)):
        lines.append(f"  %{region}.at = getelementptr %context, ptr %ctx, i64 0, i32 {field}")
        lines.append(f"  %{region} = load ptr, ptr %{region}.at, align 8")
    for i in range(len(module.inputs) + len(module.outputs)):
        lines.append(f"  %buffer{i}.at = getelementptr ptr, ptr %buffers, i64 {i}")
        lines.append(f"  %buffer{i} = load ptr, ptr %buffer{i}.at, align 8")
    if module.state:
        lines.append(f"  %state.at = getelementptr ptr, ptr %buffers, i64 {len(module.inputs) + len(module.outputs)}")
        lines.append("  %state = load ptr, ptr %state.at, align 8")
    if not steps or steps[0].call == 0 or (steps[0].block is not None and steps[0].block.first == 0):
        lines.append("  call void @netc.stamp(ptr %profile, i64 %tid, i64 0)")
    numbers = {block: number for number, block in enumerate(module.blocks)}
    for step in steps:
        if step.block is not None:
            lines += _block(step.kind, numbers[step.block], step.block)
            continue
        number, call = step.call, module.calls[step.call]
        text = _call(number, call, len(module.inputs))
        if call.barrier and number + 1 < len(module.calls):  # all threads meet at the end anyway
            text.append(_BARRIER)
        lines += _guarded(number, call.when, text, len(module.inputs))
        lines.append(f"  call void @netc.stamp(ptr %profile, i64 %tid, i64 {number + 1})")
    return "\n".join([*lines, "  ret void", "}", ""])


def _block(kind: Kind, number: int, block: Block) -> list[str]:
    """The jumps of a condition or a loop."""
    if kind is Kind.BEGIN:
        return [f"  br label %repeat{number}", f"repeat{number}:"] if block.repeats else []
    if kind is Kind.END:
        back = [_BARRIER, f"  br label %repeat{number}"] if block.repeats else [f"  br label %past{number}"]
        return [*back, f"past{number}:"]
    return [
        _BARRIER,
        f"  %asked{number} = getelementptr inbounds i8, ptr %arena, i64 {block.when.offset}",
        f"  %answer{number} = load i8, ptr %asked{number}, align 1",
        f"  %goes{number} = icmp ne i8 %answer{number}, 0",
        f"  br i1 %goes{number}, label %inside{number}, label %past{number}",
        f"inside{number}:",
    ]


def _call(number: int, call: Call, inputs: int) -> list[str]:
    lines, arguments = [], []
    for position, slot in enumerate(call.arguments):
        address, pointer = _pointer(slot, f"%p{number}.{position}", inputs)
        lines += address
        arguments.append(f"ptr {pointer}")
    operands = ", ".join([*arguments, "i64 %tid", "i64 %nthreads"])
    lines.append(f'  call void @"{symbol(call.kernel)}"({operands})')
    return lines


def _guarded(number: int, when: Slot | None, lines: list[str], inputs: int) -> list[str]:
    """Lines that run only if a boolean in memory holds, which is the same for all threads."""
    if when is None:
        return lines
    address, pointer = _pointer(when, f"%when{number}", inputs)
    return [
        *address,
        f"  %byte{number} = load i8, ptr {pointer}, align 1",
        f"  %holds{number} = icmp ne i8 %byte{number}, 0",
        f"  br i1 %holds{number}, label %call{number}, label %after{number}",
        f"call{number}:",
        *lines,
        f"  br label %after{number}",
        f"after{number}:",
    ]


def _pointer(slot: Slot, name: str, inputs: int) -> tuple[list[str], str]:
    """The lines that give `name` the address of a slot, and how it is called; an input or output has a name already."""
    if slot.memory in _REGION:
        return [f"  {name} = getelementptr inbounds i8, ptr {_REGION[slot.memory]}, i64 {slot.offset}"], name
    return [], f"%buffer{slot.offset if slot.memory is Memory.INPUT else inputs + slot.offset}"
