"""A module of loops to one LLVM module: all kernels, the sequence of calls, and the runtime's C interface.

The sequence is one function that every thread runs from the first call to the last, with barriers where the module
asks for them. `netc.h` documents how the result is called. Equal modules and targets give equal text.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import ClassVar

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
    clock = next((number for system, number in _MONOTONIC_CLOCK.items() if system in target.triple), None)
    if clock is None:
        raise NetcError(f"programs for {target.triple} are not supported: they need POSIX threads")
    runtime = [runtime_text(target, prefix), filled("stamp.ll", {"monotonic": str(clock)})]
    notifies = any(call.announces for call in module.calls)
    runtime += [filled("notify.ll", {})] if notifies else []
    sequence = sequence_text(module, Threaded(stamps=True, notifies=notifies))
    parts = [*runtime, "\n".join(sizes), "", sequence, *kernels]
    return machine.with_helpers(machine.header(target) + "\n".join(parts), target)


def runtime_text(target: Target, prefix: str, linkage: str = "dso_local") -> str:
    """`runtime.ll` for a target."""
    words = {"prefix": prefix, "linkage": linkage, "pause": target.pause, "spins": str(SPINS)}
    return filled("runtime.ll", words)


def filled(name: str, words: Mapping[str, str]) -> str:
    """A text beside this module, with what stands for its words in double braces."""
    text = _template(name)
    for word, value in words.items():
        text = text.replace("{{" + word + "}}", value)
    return text


@cache
def _template(name: str) -> str:
    return files("netc.compiler.backends.cpu.codegen").joinpath(name).read_text(encoding="utf-8")


class Convention(ABC):
    """How the functions that make a network's calls are given what they work on."""

    parameters: ClassVar[str]
    """With types and names, as they are declared and passed on."""
    numbers: ClassVar[tuple[str, ...]] = ()
    """What each kernel is given beside its buffers: which thread it is, of how many."""
    meets: ClassVar[bool] = False
    """There may be several threads, which wait for each other."""
    stamps: bool = False
    """Time stamps are taken between calls."""
    notifies: bool = False
    """Whoever runs the program may be called back amid it."""

    @abstractmethod
    def load(self, module: Module) -> list[str]:
        """The lines that give %arena, %weights, %state and %buffer0, ... their values."""


@dataclass(frozen=True)
class Threaded(Convention):
    """The context of `runtime.ll` has all of it; each thread runs the sequence."""

    stamps: bool = False
    notifies: bool = False
    parameters = "ptr %ctx, i64 %tid, i64 %nthreads"
    numbers = ("i64 %tid", "i64 %nthreads")
    meets = True

    def load(self, module: Module) -> list[str]:
        """Read the context."""
        lines = []
        for region, field in (("arena", 0), ("weights", 1), ("buffers", 2), ("profile", 4)):
            lines.append(f"  %{region}.at = getelementptr %context, ptr %ctx, i64 0, i32 {field}")
            lines.append(f"  %{region} = load ptr, ptr %{region}.at, align 8")
        for i in range(len(module.inputs) + len(module.outputs)):
            lines.append(f"  %buffer{i}.at = getelementptr ptr, ptr %buffers, i64 {i}")
            lines.append(f"  %buffer{i} = load ptr, ptr %buffer{i}.at, align 8")
        if module.state:
            count = len(module.inputs) + len(module.outputs)
            lines.append(f"  %state.at = getelementptr ptr, ptr %buffers, i64 {count}")
            lines.append("  %state = load ptr, ptr %state.at, align 8")
        return lines


def sequence_text(module: Module, convention: Convention) -> str:
    """The function that makes all calls in order, of long networks in parts; every thread runs it."""
    steps = _parts(module)
    if len(steps) < 2:
        return _part(module, convention, "netc.sequence", steps[0] if steps else [])
    names = [f"netc.sequence.{part[0].call if part[0].block is None else part[0].block.first}" for part in steps]
    lines = [f"  call void @{name}({convention.parameters})" for name in names]
    parts = [_part(module, convention, name, part) for name, part in zip(names, steps, strict=True)]
    return "\n".join([*parts, _head(convention, "netc.sequence"), *lines, "  ret void", "}", ""])


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


def _head(convention: Convention, name: str) -> str:
    quick = " optnone" if convention.stamps else ""  # of calls in a row LLVM would make little, in much time
    return f"define internal void @{name}({convention.parameters}) noinline{quick} nounwind {{\nentry:"


def _part(module: Module, convention: Convention, name: str, steps: Sequence[Step]) -> str:
    """A function of some steps."""
    lines = [_head(convention, name), *convention.load(module)]
    is_first = not steps or steps[0].call == 0 or (steps[0].block is not None and steps[0].block.first == 0)
    if convention.stamps and is_first:
        lines.append(_stamp(0))
    numbers = {block: number for number, block in enumerate(module.blocks)}
    barrier = [_BARRIER] if convention.meets else []
    for step in steps:
        if step.block is not None:
            lines += _block(step.kind, numbers[step.block], step.block, barrier)
            continue
        number, call = step.call, module.calls[step.call]
        text = _call(number, call, len(module.inputs), convention.numbers)
        if call.barrier and number + 1 < len(module.calls):  # all threads meet at the end anyway
            text += barrier
        lines += _guarded(number, call.when, text, len(module.inputs))
        if call.announces and convention.notifies:
            found = sum(other.announces for other in module.calls[:number])
            lines.append(f"  call void @netc.notify(ptr %ctx, i64 %tid, i64 {found})")
        if convention.stamps:
            lines.append(_stamp(number + 1))
    return "\n".join([*lines, "  ret void", "}", ""])


def _stamp(number: int) -> str:
    return f"  call void @netc.stamp(ptr %profile, i64 %tid, i64 {number})"


def _block(kind: Kind, number: int, block: Block, barrier: list[str]) -> list[str]:
    """The jumps of a condition or a loop."""
    if kind is Kind.BEGIN:
        return [f"  br label %repeat{number}", f"repeat{number}:"] if block.repeats else []
    if kind is Kind.END:
        back = [*barrier, f"  br label %repeat{number}"] if block.repeats else [f"  br label %past{number}"]
        return [*back, f"past{number}:"]
    return [
        *barrier,
        f"  %asked{number} = getelementptr inbounds i8, ptr %arena, i64 {block.when.offset}",
        f"  %answer{number} = load i8, ptr %asked{number}, align 1",
        f"  %goes{number} = icmp ne i8 %answer{number}, 0",
        f"  br i1 %goes{number}, label %inside{number}, label %past{number}",
        f"inside{number}:",
    ]


def _call(number: int, call: Call, inputs: int, numbers: tuple[str, ...]) -> list[str]:
    lines, arguments = [], []
    for position, slot in enumerate(call.arguments):
        address, pointer = _pointer(slot, f"%p{number}.{position}", inputs)
        lines += address
        arguments.append(f"ptr {pointer}")
    lines.append(f'  call void @"{symbol(call.kernel)}"({", ".join([*arguments, *numbers])})')
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
