"""The calls of a module as functions in LLVM: in order, in segments between barriers, inside conditions and loops."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

from ....modules.module import Block, Call, Kind, Memory, Module, Slot, Step, Turns, sequence
from .conventions import Convention
from .llvm import symbol

PART = 250
"""Calls of one LLVM function: the time that LLVM takes for a function grows faster than its length."""


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
        if slot.memory is Memory.INPUT:
            return slot.offset
        if slot.memory is Memory.OUTPUT:
            return self.inputs + slot.offset
        return self.inputs + self.outputs if slot.memory is Memory.STATE else None

    @cached_property
    def _regions(self) -> Mapping[Memory, str]:
        return {Memory.ARENA: "%arena", Memory.WEIGHTS: "%weights", Memory.STATE: f"%state{self.suffix}"}

    def pointer(self, slot: Slot, name: str) -> tuple[list[str], str]:
        """The lines that give `name` a slot's address, and how it is called; an input or output has a name already."""
        lines, region = list[str](), self._regions.get(slot.memory)
        if region is not None:
            lines.append(f"  {name} = getelementptr inbounds i8, ptr {region}, i64 {slot.offset}")
        pointer = name if region is not None else f"%buffer{self.place(slot)}{self.suffix}"
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
