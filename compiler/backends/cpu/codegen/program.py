"""A module of loops to one LLVM module: all kernels, the sequence of calls, and the runtime's C interface.

The sequence is one function that every thread runs from the first call to the last. Where the module asks for a
barrier, a segment of calls ends, which the threads share out (`runtime.ll`). `netc.h` documents how the result is
called. Equal modules and targets give equal text.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import ClassVar

from ....errors import NetcError
from ....modules.module import Block, Call, Kind, Memory, Module, Slot, Step, Turns, sequence
from ....modules.overlaps import overlapping
from ....targets.target import Target
from . import machine
from .llvm import emit_kernel, symbol

SPINS = 10000
"""Turns of the busy-waiting loop before a thread goes to sleep.

A tenth of a millisecond where a pause takes 25 cycles (Intel server of 2025), up to a half where it takes 140. Waking a
sleeping thread of a virtual machine takes as long, and threads that sleep once begin the next shares late, too.
"""

GLANCES = 100
"""Turns after which a thread looks whether others have not begun their shares."""

PART = 250
"""Calls of one LLVM function: the time that LLVM takes for a function grows faster than its length."""

_MONOTONIC_CLOCK = {"linux": 1, "apple": 6, "darwin": 6, "freebsd": 4}
"""CLOCK_MONOTONIC of each system's time.h, by a part of its triple."""

_MEETING = "  call void @netc.meet(ptr %ctx, i64 %tid, i64 %nthreads)"


def emit_module(module: Module, target: Target, prefix: str = "netc") -> str:
    """LLVM text of a whole network; its C functions are `PREFIX_start`, `PREFIX_run` and `PREFIX_stop`."""
    shared = overlapping(module)
    kernels = [emit_kernel(kernel, target, overlapping=shared) for kernel in module.kernels]
    sizes = [
        f"@{prefix}_arena_bytes = constant i64 {module.arena_bytes}",
        f"@{prefix}_weights_bytes = constant i64 {module.weights_bytes}",
    ]
    clock = next((number for system, number in _MONOTONIC_CLOCK.items() if system in target.triple), None)
    if clock is None:
        raise NetcError(f"programs for {target.triple} are not supported: they need POSIX threads")
    runtime = [runtime_text(target, prefix), filled("stamp.ll", {"monotonic": str(clock)})]
    runtime += [filled("turn_stamps.ll", {})] if module.turns else []
    notifies = any(call.announces for call in module.calls)
    runtime += [filled("notify.ll", {})] if notifies else []
    sequence = sequence_text(module, Threaded(stamps=True, notifies=notifies))
    parts = [*runtime, "\n".join(sizes), "", sequence, *kernels]
    return machine.with_helpers(machine.header(target) + "\n".join(parts), target)


def runtime_text(target: Target, prefix: str, linkage: str = "dso_local", workers: Workers | None = None) -> str:
    """`runtime.ll` for a target, on pthread unless `workers` are JavaScript's."""
    words = {"prefix": prefix, "linkage": linkage, "pause": target.pause}
    words |= {"spins": str(SPINS), "glances": str(GLANCES)}
    if workers is None:
        system = {
            "system": filled("pthread.ll", {}),
            "take_workers": "%all = call ptr @calloc(i64 %nthreads, i64 256)",
            "give_workers": "call void @free(ptr %all)",
            "create_worker": "%status = call i32 @pthread_create(ptr %handle, ptr null, ptr @netc.work, ptr %worker)",
        }
    else:
        system = {
            "system": filled("futex.ll", {"library": workers.library}),
            "take_workers": f"%all = getelementptr i8, ptr %ctx, i64 {workers.offset}",
            "give_workers": "",
            "create_worker": "%status = add i32 0, 0",
        }
    return filled("runtime.ll", words | system)


@dataclass(frozen=True)
class Workers:
    """Threads that JavaScript starts: each calls `LIBRARY_worker` with what describes it."""

    library: str
    """The prefix of the library's names."""
    offset: int
    """Of their descriptions from the context, all of them zero at first."""


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
    meeting: ClassVar[tuple[str, ...]] = ()
    """The lines with which all threads wait for each other, where there may be several."""
    stamps: bool = False
    """Time stamps are taken between calls."""
    notifies: bool = False
    """Whoever runs the program may be called back amid it."""

    @abstractmethod
    def load(self, module: Module) -> list[str]:
        """The lines at the beginning of a function."""

    def suffix(self, segment: int) -> str:
        """Of the names of the pointers to inputs, outputs and state: `%buffer0.1` in segment 1."""
        return ""

    def numbers(self, segment: int) -> tuple[str, ...]:
        """What each kernel is given beside its buffers: which thread it is, of how many."""
        return ()

    def segment(self, number: int, module: Module, touched: Sequence[int], calls: list[str]) -> list[str]:
        """The lines of calls that touch these entries of the table of inputs, outputs and state."""
        return calls

    def alone(self) -> tuple[str, ...]:
        """What a kernel is given beside its buffers where one thread runs it."""
        return ()

    def part(self, number: int, turns: Turns) -> tuple[list[str], str, str, str]:
        """The lines that find the turns that are made here: which share it is, its first turn, and the one behind."""
        return [], "0", "0", str(turns.count)


@dataclass(frozen=True)
class Threaded(Convention):
    """The context of `runtime.ll` has all of it; each thread runs the sequence.

    The next run may bring another table of inputs, outputs and state while a thread that is late has not seen the end
    of this run. So a thread reads the table amid a share, before whose end the run can't end.
    """

    stamps: bool = False
    notifies: bool = False
    parameters = "ptr %ctx, i64 %tid, i64 %nthreads"
    meeting = ("  call void @netc.meet(ptr %ctx, i64 %tid, i64 %nthreads)",)

    def load(self, module: Module) -> list[str]:
        """What stays as it is from run to run, and room for the number of a share."""
        lines = ["  %share = alloca i64, align 8"]
        lines += ["  %since = alloca i64, align 8"] if self.stamps and module.turns else []
        for region, place in (("arena", 0), ("weights", 1), ("profile", 4)):
            lines.append(f"  %{region}.at = getelementptr %context, ptr %ctx, i64 0, i32 {place}")
            lines.append(f"  %{region} = load ptr, ptr %{region}.at, align 8")
        return [*lines, "  %buffers.at = getelementptr %context, ptr %ctx, i64 0, i32 2"]

    def suffix(self, segment: int) -> str:
        """Each segment reads the table anew."""
        return f".{segment}"

    def numbers(self, segment: int) -> tuple[str, ...]:
        """The share, by the number of the thread whose it is."""
        return (f"i64 %share{segment}", "i64 %nthreads")

    def alone(self) -> tuple[str, ...]:
        """The only thread."""
        return ("i64 0", "i64 1")

    def part(self, number: int, turns: Turns) -> tuple[list[str], str, str, str]:
        """Shares without memory of their own have no turns."""
        lines = [
            f"  %few{number} = icmp ult i64 %nthreads, {turns.shares}",
            f"  %shares{number} = select i1 %few{number}, i64 %nthreads, i64 {turns.shares}",
        ]
        for name, share in (("from", f"%share{number}"), ("to", f"%following{number}")):
            if name == "to":
                lines.append(f"  {share} = add i64 %share{number}, 1")
            lines += [
                f"  %{name}.in{number} = icmp ult i64 {share}, %shares{number}",
                f"  %{name}.of{number} = select i1 %{name}.in{number}, i64 {share}, i64 %shares{number}",
                f"  %{name}.all{number} = mul i64 %{name}.of{number}, {turns.count}",
                f"  %{name}{number} = udiv i64 %{name}.all{number}, %shares{number}",
            ]
        return lines, f"%share{number}", f"%from{number}", f"%to{number}"

    def segment(self, number: int, module: Module, touched: Sequence[int], calls: list[str]) -> list[str]:
        """A loop over the shares that this thread does."""
        state = len(module.inputs) + len(module.outputs)
        table = []
        for i in touched:
            name = f"%state.{number}" if i == state else f"%buffer{i}.{number}"
            table.append(f"  {name}.at = getelementptr ptr, ptr %buffers.{number}, i64 {i}")
            table.append(f"  {name} = load ptr, ptr {name}.at, align 8")
        return [
            "  store i64 -1, ptr %share, align 8",
            f"  br label %next{number}",
            f"next{number}:",
            f"  %done{number} = load i64, ptr %share, align 8",
            f"  %share{number} = call i64 @netc.take(ptr %ctx, i64 %tid, i64 %nthreads, i64 %done{number})",
            f"  store i64 %share{number}, ptr %share, align 8",
            f"  %over{number} = icmp slt i64 %share{number}, 0",
            f"  br i1 %over{number}, label %end{number}, label %begin{number}",
            f"begin{number}:",
            *([f"  %buffers.{number} = load ptr, ptr %buffers.at, align 8"] if touched else []),
            *table,
            *calls,
            f"  br label %next{number}",
            f"end{number}:",
        ]


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
    inside = {n for turns in module.turns for n in range(turns.first + 1, turns.end)}
    for step in sequence(len(module.calls), module.blocks):
        if calls >= PART and depth == 0 and step.call not in inside:
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
    for segment in _segments(module, steps):
        if isinstance(segment, Step):
            assert segment.block is not None
            lines += _block(segment.kind, numbers[segment.block], segment.block, convention.meeting)
        else:
            lines += _segment(module, convention, segment)
    return "\n".join([*lines, "  ret void", "}", ""])


def _segments(module: Module, steps: Sequence[Step]) -> list[Step | list[int]]:
    """Places of blocks, and the calls between them up to each barrier, by their numbers."""
    found: list[Step | list[int]] = []
    for step in steps:
        if step.block is not None:
            found.append(step)
            continue
        last = found[-1] if found else None
        if isinstance(last, list) and not module.calls[last[-1]].barrier:
            last.append(step.call)
        else:
            found.append([step.call])
    return found


def _segment(module: Module, convention: Convention, calls: Sequence[int]) -> list[str]:
    """Calls that each thread makes without waiting for others; a stamp behind the last says when all have."""
    number = calls[0]
    turns = module.turns_at(number)
    moving = "" if turns is None else f".{turns.first}"
    names = Names(len(module.inputs), len(module.outputs), convention.suffix(number), moving)
    lines, touched = list[str](), set[int]()
    for each in calls:
        call = module.calls[each]
        numbers = convention.numbers(number) if turns is None else convention.alone()
        lines += _guarded(each, call, _call(each, call, names, numbers), names)
        if convention.stamps and turns is not None:
            lines.append(_add_stamp(each + 1))
        elif convention.stamps and each != calls[-1]:
            lines.append(_stamp(each + 1))
        slots = (*call.arguments, *([] if call.when is None else [call.when]))
        touched |= {place for place in map(names.place, slots) if place is not None}
    before, after = list[str](), [_stamp(calls[-1] + 1)] if convention.stamps else []
    if turns is not None:
        lines = _repeated(turns, convention, lines)
        if convention.stamps:
            before = [_stamps("clear", turns)]
            after = [_stamps("sum", turns), *after]
    if convention.notifies and module.calls[calls[-1]].announces:
        found = sum(call.announces for call in module.calls[: calls[-1]])
        after.append(f"  call void @netc.notify(ptr %ctx, i64 %tid, i64 {found})")
    return [*before, *convention.segment(number, module, sorted(touched), lines), *after]


def _repeated(turns: Turns, convention: Convention, calls: list[str]) -> list[str]:
    """Calls in a loop over the turns that are made here, `%turn.FIRST`, in the memory of the share `%own.FIRST`."""
    n = turns.first
    find, share, begin, end = convention.part(n, turns)
    since = ["  call void @netc.stamp.begin(ptr %profile, i64 %tid, ptr %since)"] if convention.stamps else []
    return [
        *find,
        f"  br label %enter.{n}",
        f"enter.{n}:",
        f"  br label %turns.{n}",
        f"turns.{n}:",
        f"  %turn.{n} = phi i64 [ {begin}, %enter.{n} ], [ %later.{n}, %make.{n} ]",
        f"  %more.{n} = icmp ult i64 %turn.{n}, {end}",
        f"  br i1 %more.{n}, label %make.{n}, label %made.{n}",
        f"make.{n}:",
        f"  %own.{n} = add i64 {share}, 0",
        *since,
        *calls,
        f"  %later.{n} = add i64 %turn.{n}, 1",
        f"  br label %turns.{n}",
        f"made.{n}:",
    ]


def _add_stamp(number: int) -> str:
    return f"  call void @netc.stamp.add(ptr %profile, i64 %tid, i64 {number}, ptr %since)"


def _stamps(what: str, turns: Turns) -> str:
    return f"  call void @netc.stamp.{what}(ptr %profile, i64 %tid, i64 {turns.first}, i64 {turns.end})"


def _stamp(number: int) -> str:
    return f"  call void @netc.stamp(ptr %profile, i64 %tid, i64 {number})"


def _block(kind: Kind, number: int, block: Block, meeting: Sequence[str]) -> list[str]:
    """The jumps of a condition or a loop; all threads meet when they have read the boolean, before it can change."""
    if kind is Kind.BEGIN:
        return [f"  br label %repeat{number}", f"repeat{number}:"] if block.repeats else []
    if kind is Kind.END:
        back = [f"  br label %repeat{number}"] if block.repeats else [f"  br label %past{number}"]
        return [*back, f"past{number}:"]
    return [
        f"  %asked{number} = getelementptr inbounds i8, ptr %arena, i64 {block.when.offset}",
        f"  %answer{number} = load i8, ptr %asked{number}, align 1",
        *meeting,
        f"  %goes{number} = icmp ne i8 %answer{number}, 0",
        f"  br i1 %goes{number}, label %inside{number}, label %past{number}",
        f"inside{number}:",
    ]


@dataclass(frozen=True)
class Names:
    """How memory is named in a segment; the table has so many inputs, so many outputs, then the state."""

    inputs: int
    outputs: int
    suffix: str
    moving: str
    """Behind the names of the turn and of the share, among turns."""

    def place(self, slot: Slot) -> int | None:
        """Which entry of the table a slot's address comes from, if any."""
        begin = {Memory.INPUT: 0, Memory.OUTPUT: self.inputs}.get(slot.memory)
        if begin is not None:
            return begin + slot.offset
        return self.inputs + self.outputs if slot.memory is Memory.STATE else None

    def pointer(self, slot: Slot, name: str) -> tuple[list[str], str]:
        """The lines that give `name` a slot's address, and how it is called; an input or output has a name already."""
        regions = {Memory.ARENA: "%arena", Memory.WEIGHTS: "%weights", Memory.STATE: f"%state{self.suffix}"}
        lines, pointer = list[str](), f"%buffer{self.place(slot)}{self.suffix}"
        if slot.memory in regions:
            lines.append(f"  {name} = getelementptr inbounds i8, ptr {regions[slot.memory]}, i64 {slot.offset}")
            pointer = name
        for step, count in ((slot.turn, f"%turn{self.moving}"), (slot.share, f"%own{self.moving}")):
            if step:
                lines.append(f"  {name}.at = getelementptr inbounds [{step} x i8], ptr {pointer}, i64 {count}")
                pointer = f"{name}.at"
        return lines, pointer


def _call(number: int, call: Call, names: Names, numbers: tuple[str, ...]) -> list[str]:
    lines, arguments = [], []
    for position, slot in enumerate(call.arguments):
        address, pointer = names.pointer(slot, f"%p{number}.{position}")
        lines += address
        arguments.append(f"ptr {pointer}")
    lines.append(f'  call void @"{symbol(call.kernel)}"({", ".join([*arguments, *numbers])})')
    return lines


def _guarded(number: int, call: Call, lines: list[str], names: Names) -> list[str]:
    """Lines of a call that is made only if a boolean in memory holds, which is the same for all threads."""
    if call.when is None:
        return lines
    address, pointer = names.pointer(call.when, f"%when{number}")
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
