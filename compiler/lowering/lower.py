"""From a graph to a loop module: every operation becomes a kernel call, every value a place in memory.

Operations that depend on parameters and constants alone are not compiled: they go to the set-up graph, which is
evaluated once when weights are loaded (see `weights`). Parameters that the graph itself changes live in the state
region (see `state`); everything else that is neither input nor output shares the arena (see `memory`).
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from ..errors import InternalError
from ..graph.builder import GraphBuilder
from ..graph.in_place import overwritable, reads_in_place
from ..graph.ir import Graph, Operation, Value
from ..graph.regions import with_own_values
from ..loops.ir import Kernel
from ..modules.module import Block, Call, Memory, Module, Slot
from ..modules.verifier import verify_module
from ..signature import output_names
from ..targets.target import Target
from ..types import DType, TensorType
from .arrangement import Overlaps, arrange
from .barriers import Placed, with_barriers
from .buckets import BUCKET, announcing
from .choices import NetworkChoices, label_of, problem_of
from .control import ControlFlow, Slice
from .group import Group, group_of
from .guards import guards_of
from .kernel import Argument, Packed, Scheduled
from .margins import clear_margins, has_filled_margins
from .memory import Lifetime, Lives, Plan, plan_arena
from .overlapping import overlaps_of, serial
from .reuse import ReusedKernels
from .schedule import Schedules
from .sharing import shared_kernels
from .state import order_updates, state_of
from .weights import WeightRegion


def lower(
    graph: Graph,
    target: Target,
    threads: int,
    schedules: Schedules,
    *,
    verify: bool = True,
    choices: NetworkChoices | None = None,
    inputs_in_arena: bool = False,
) -> Module:
    """Lower a graph (usually with the backend's layouts) by the schedules of a backend for `threads` threads.

    `choices` say which decisions schedules take otherwise. With `inputs_in_arena` the inputs lie there when a run
    begins, and what they take is used again.

    The module is verified: a schedule that leaves a buffer, or lets two threads meet, is an `InternalError`. Without
    `verify` that is left to the caller, who does it before any code of the module runs.
    """
    module = _Lowering(graph, target, threads, schedules, choices, inputs_in_arena).module()
    if verify:
        verify_module(module)
    return module


@dataclass(frozen=True, slots=True)
class _Call:
    """A call before its arguments have places; it is skipped unless the boolean `guard` holds."""

    call: Call
    arguments: tuple[Argument, ...]
    guard: Value | None
    results: tuple[Value, ...]
    fills: bool = False
    """It fills margins of the results; all other calls leave these alone."""

    def part(self, argument: Argument) -> tuple[Value, bool] | None:
        """The part of a tensor that is touched: margins of a result, or what lies between them."""
        return (argument, self.fills) if isinstance(argument, Value) and argument in self.results else None


class _Lowering:
    def __init__(
        self,
        graph: Graph,
        target: Target,
        threads: int,
        schedules: Schedules,
        choices: NetworkChoices | None,
        inputs_in_arena: bool,
    ) -> None:
        self.choices = choices
        self.graph = graph = with_own_values(graph)
        self.target = target
        self.threads = threads
        self.reused = ReusedKernels(lambda group: schedules.kernels(group, target, threads))
        self.alone = ReusedKernels(lambda group: schedules.kernels(group, target, 1)) if threads > 1 else self.reused
        """Kernels that one thread runs."""
        self.state = state_of(graph)
        self.guards = dict(guards_of(graph, self.state))
        plain = not self.guards and not any(op.operator.regions and op.name != "map" for op in graph.operations)
        self.may_overwrite = target.is_scarce and plain
        self.least_overwriting = (0 if target.is_scarce else target.l1_bytes) if plain else math.inf
        """Bytes of a result from which on it is written in the memory of what is read for the last time."""
        self.region = WeightRegion(graph, target.alignment)
        self.weights = self.region.static
        self.producers = self.region.producers
        self.kernels: dict[Kernel, str] = {}
        self.clears: dict[TensorType, Kernel] = {}
        """Kernels that clear margins, by the type of what has them."""
        self.control = ControlFlow(self)
        self.calls: list[_Call] = []
        self.aliases: dict[Value, Value] = {}
        self.slices: dict[Value, Slice] = {}
        """Values among turns that lie in a part of others."""
        self.shared: dict[Value, Value] = {}
        """Results that are written in the memory of others."""
        self.done: set[Operation] = set()
        """Operations that have been lowered: updates come in another order than the graph's."""
        self.inputs_in_arena = inputs_in_arena
        inputs = () if inputs_in_arena else graph.inputs
        self.places: dict[Value, Slot] = {v: Slot(Memory.INPUT, i) for i, v in enumerate(inputs)}
        self.places |= {p: Slot(Memory.STATE, self.state.offsets[p]) for p in self.state.params}

    def module(self) -> Module:
        """Lower the whole graph."""
        self.operations(order_updates(self.graph, self.state, self.guards))
        self._write_outputs()
        self._write_updates()
        self._share_kernels()
        arena_bytes = self._plan_arena()
        placed = [Placed(self._placed(c), list(map(c.part, c.arguments))) for c in self.calls]
        blocks = tuple(Block(b.first, b.body, b.end, self._slot(b.when), b.repeats) for b in self.control.blocks)
        turns = tuple(self.control.turns)
        calls = with_barriers(placed, {name: kernel for kernel, name in self.kernels.items()}, blocks, turns)
        if (least := self.graph.attributes.get(BUCKET)) is not None:
            calls = announcing(calls, [v.type.dense().bytes for v in self.state.results], blocks, least)
        return Module(
            name=self.graph.name,
            kernels=tuple(replace(kernel, name=name) for kernel, name in self.kernels.items()),
            calls=calls,
            inputs=tuple((v.name or f"input{i}", v.type) for i, v in enumerate(self.graph.inputs)),
            outputs=tuple(zip(self._output_names(), (v.type.dense() for v in self.state.results), strict=True)),
            arena_bytes=arena_bytes,
            weights_bytes=self.region.bytes,
            weight_offsets=tuple(self.region.offsets),
            setup=self.region.setup,
            state=self.state.table,
            state_bytes=self.state.bytes,
            blocks=blocks,
            turns=turns,
            input_offsets=tuple(self.places[v].offset for v in self.graph.inputs) if self.inputs_in_arena else (),
        )

    def _output_names(self) -> Sequence[str]:
        names = output_names(self.graph)
        if len(names) == len(self.state.results):
            return names
        return [v.name or f"output{i}" for i, v in enumerate(self.state.results)]

    # ---- operations to calls ----

    @property
    def count(self) -> int:
        """How many calls there are so far."""
        return len(self.calls)

    def operations(self, operations: Sequence[Operation]) -> None:
        """Lower operations of the graph, or of one inside it."""
        for op in operations:
            if op.results[0] in self.weights or op.name == "param":
                continue
            if self._is_view(op):
                self.aliases[op.result] = self.root(op.operands[0])
            elif op.operator.regions:
                self.control.lower(op)
            elif any(result.type.size for result in op.results):  # there is nothing to do for no elements
                self.call(op)

    def _is_view(self, op: Operation) -> bool:
        return op.operator.view and op.operands[0].type.layout is None and op.result.type.layout is None

    def root(self, value: Value) -> Value:
        """The value whose memory another one shows."""
        return self.aliases.get(value, value)

    def multiply(self, first: int, turns: int) -> None:
        """The calls from `first` on are made so many times."""
        repeated = (replace(c, call=replace(c.call, macs=c.call.macs * turns)) for c in self.calls[first:])
        self.calls[first:] = list(repeated)

    def is_static(self, value: Value) -> bool:
        """True for what is known when weights are loaded."""
        return value in self.weights

    def call(self, op: Operation) -> None:
        """Schedule an operation, and the clearing of its results' margins beside it."""
        guard = self.guards.get(op.results[0])
        group = group_of(op, self.producers, self.weights)
        group = replace(group, in_place=self._in_place(group))
        problem = problem_of(group) if self.choices is not None else ""
        if self.choices is not None:
            group = replace(group, picker=self.choices.of(problem, label_of(group)))
        first = len(self.calls)
        kernels = () if group.in_place else self._overwriting(group)
        kernels = kernels or self._scheduled(group)
        late = self.may_overwrite or op.results[0] in self.shared  # until then an operand may lie there
        if not late:
            self._clear_margins(op, guard)
        multiplying = sum(scheduled.multiplies for scheduled in kernels)
        for scheduled in kernels:
            _check_views(scheduled)
            name = self._name(scheduled.kernel, group.anchor.name)
            macs = group.macs * scheduled.multiplies // max(1, multiplying)
            label = " ".join(filter(None, (self.region.layer(op), group.label)))
            call = Call(name, (), False, label, macs, op.location)
            self.calls.append(_Call(call, scheduled.arguments, guard, op.results))
        if late:
            self._clear_margins(op, guard)
        self.done.add(op)
        if self.choices is not None:
            self.choices.called(problem, len(self.calls) - first)

    def _clear_margins(self, op: Operation, guard: Value | None) -> None:
        """Fill margins of the results."""
        for result in op.results:
            if has_filled_margins(result.type):
                clear = self.clears.get(result.type)
                if clear is None:
                    clear = self.clears[result.type] = clear_margins(result.type, self.target)
                call = Call(self._name(clear, "clear_margins"), (), False, "clear_margins", 0, op.location)
                self.calls.append(_Call(call, (result,) * len(clear.params), guard, (result,), fills=True))

    def _name(self, kernel: Kernel, stem: str) -> str:
        name = self.kernels.get(kernel)  # hashing a kernel takes a while
        if name is None:
            number = sum(other.startswith(stem + "_") for other in self.kernels.values())
            name = self.kernels[kernel] = f"{stem}_{number}"
        return name

    def _share_kernels(self) -> None:
        """Let calls of kernels that differ in numbers only call one that reads them."""
        shared = {self.kernels[kernel]: each for kernel, each in shared_kernels(self.kernels).items()}
        numbers = {name: tuple(map(self.region.constant, each.numbers)) for name, each in shared.items()}
        kernels: dict[Kernel, str] = {}
        for kernel, name in self.kernels.items():
            kernels.setdefault(shared[name].kernel if name in shared else kernel, name)
        self.kernels = {serial(k): n for k, n in kernels.items()} if self.target.is_scarce else kernels
        for i, c in enumerate(self.calls):
            name = c.call.kernel
            if name in shared:
                call = replace(c.call, kernel=kernels[shared[name].kernel])
                self.calls[i] = replace(c, call=call, arguments=(*numbers[name], *c.arguments))

    def _in_place(self, group: Group) -> Mapping[Value, Value]:
        """Results that may overwrite a parameter: new values for it, when its old one is not read later."""
        in_place: dict[Value, Value] = {}
        for inner, result in zip(group.results, group.operation.results, strict=True):
            for param, update in self.state.updates.items():
                if self.root(update) is not result or not self._is_last_reader(group.operation, param):
                    continue
                if not reads_in_place(group.operation, param):
                    continue
                self.places[result] = self.places[param]
                old = next((v for v, outer in group.outer.items() if outer is param), None)
                if old is not None:
                    in_place[inner] = old
        return in_place

    def _scheduled(self, group: Group) -> tuple[Scheduled, ...]:
        return (self.alone if self.control.are_shared else self.reused).kernels(group)

    def _overwriting(self, group: Group) -> tuple[Scheduled, ...]:
        """The kernels of a group whose result is written in the memory of a temporary; empty where it is not.

        That spares memory, and, beyond the caches, the reading of what is about to be overwritten.
        """
        result = group.operation.results[0]
        small = result.type.bytes < self.least_overwriting
        if small or result in self.state.results or self.control.are_shared:
            return ()
        for old in overwritable(group.operation, self.graph, self.weights):
            free = all(v not in self.aliases and v not in self.aliases.values() for v in (result, old))
            viewed = any(op.operator.view for op in self.graph.users[result])
            read = all(user in self.done or user is group.operation for user in self.graph.users[old])
            if free and read and not viewed and old.type.margins == result.type.margins and old not in self.places:
                inner = next(v for v, outer in group.outer.items() if outer is old)
                kernels = self._scheduled(replace(group, in_place={group.result: inner}))
                if any(old in scheduled.arguments for scheduled in kernels):  # its schedule reads it apart
                    continue
                self.shared[result] = self.shared.get(old, old)
                return kernels
        return ()

    def _is_last_reader(self, op: Operation, param: Value) -> bool:
        """True if all other operations that read `param` have been lowered, and no output is its old value."""
        if param.type != op.results[0].type or param in self.aliases.values() or param in self.graph.outputs:
            return False
        lowered = {argument for c in self.calls for argument in c.arguments}
        return all(other is op or any(r in lowered for r in other.results) for other in self.graph.users[param])

    # ---- results ----

    def _write_outputs(self) -> None:
        """Give outputs their places; those that no call of their own can write there are copied."""
        for number, value in enumerate(self.state.results):
            self._deliver(value, Slot(Memory.OUTPUT, number))

    def _write_updates(self) -> None:
        """Copy the new values of parameters that could not be written in place."""
        moved = {p: u for p, u in self.state.updates.items() if self.places.get(self.root(u)) != self.places[p]}
        # A value that lies in the state region may be overwritten before its turn comes.
        safe = {p: self._copy(u) if self.root(u) in self.places else u for p, u in moved.items()}
        for param, update in safe.items():
            self.places[self._copy(update)] = self.places[param]

    def _deliver(self, value: Value, slot: Slot) -> None:
        root = self.root(value)
        produced = root in self.graph.producers and root not in self.weights
        if produced and root not in self.places and root.type.layout is None:
            self.places[root] = slot
        else:
            self.places[self._copy(value)] = slot

    def _copy(self, value: Value) -> Value:
        """A copy of a value, made by a call of its own, which is skipped where the value's was."""
        builder = GraphBuilder("copy")
        copied = builder.emit("identity", value)
        if value in self.guards:
            self.guards[copied] = self.guards[value]
        self.call(builder.operations[0])
        return copied

    # ---- values to memory ----

    def _plan_arena(self) -> int:
        lives = self._lives()
        parts = {turns: self._planned(list(own.values())) for turns, own in lives.own.items()}
        memory = {turns: Value(TensorType(DType.U8, (turns.shares, plan.size))) for turns, plan in parts.items()}
        lifetimes = [each for each in lives.lifetimes() if each.value not in self.places]
        lifetimes += [Lifetime(v, v.type.bytes, turns.first, turns.end - 1) for turns, v in memory.items()]
        whole = self._planned(lifetimes)
        for turns, plan in parts.items():
            start, share = whole.offsets[memory[turns]], plan.size if turns.shares > 1 else 0
            self.places |= {v: Slot(Memory.ARENA, start + at, share=share) for v, at in plan.offsets.items()}
        self.places |= {v: Slot(Memory.ARENA, offset) for v, offset in whole.offsets.items()}
        self.places |= {v: self.places[old] for v, old in self.shared.items()}
        return whole.size

    def _lives(self) -> Lives:
        """How long values are live."""
        lives = Lives(self.control.turns)
        for position, value in self._touched():
            if value in self.slices:
                lives.touch(position, self._owner(self.slices[value].whole), apart=False)
            else:
                lives.touch(position, value, apart=value not in self.places)
        if self.inputs_in_arena:
            lives.last |= {v: lives.last.get(v, -1) for v in self.graph.inputs}
            lives.first |= dict.fromkeys(self.graph.inputs, -1)
        lives.last = self.control.extended(lives.first, lives.last)
        # A thread may ask late whether it has to make a call.
        lives.last |= {self.root(c.guard): len(self.calls) for c in self.calls if c.guard is not None}
        return lives

    def _owner(self, value: Value) -> Value:
        """The value in whose memory another one lies."""
        root = self.root(value)
        return self.shared.get(root, root)

    def _planned(self, lifetimes: Sequence[Lifetime]) -> Plan:
        """Where values lie: where memory is scarce, in that of others which a call reads for the last time."""
        if not self.target.is_scarce:
            return plan_arena(lifetimes, self.target.alignment)
        in_turns = bool(self.control.turns)
        return arrange(
            lifetimes, self.target.alignment, self._overlaps(lifetimes) if self.may_overwrite and not in_turns else {}
        )

    def _touched(self) -> Iterator[tuple[int, Value]]:
        """The values in whose memory calls read or write, weights aside, each with the call's number."""
        for position, c in enumerate(self.calls):
            owners = (self._owner(argument) for argument in c.arguments if isinstance(argument, Value))
            yield from ((position, owner) for owner in owners if owner not in self.weights)

    def _overlaps(self, lifetimes: Sequence[Lifetime]) -> Overlaps:
        """How values may lie to each other that calls read last and write first."""
        named = {name: kernel for kernel, name in self.kernels.items()}
        calls = [
            (named[c.call.kernel], [self._owner(a) if isinstance(a, Value) else None for a in c.arguments])
            for c in self.calls
        ]
        return overlaps_of(calls, lifetimes)

    def _placed(self, call: _Call) -> Call:
        when = self._slot(call.guard) if call.guard is not None else None
        return replace(call.call, arguments=tuple(map(self._slot, call.arguments)), when=when)

    def _slot(self, argument: Argument) -> Slot:
        if isinstance(argument, Value):
            argument = self.root(argument)
        if isinstance(argument, Packed) or argument in self.weights:
            return Slot(Memory.WEIGHTS, self.region.place(argument))
        if argument in self.slices:
            part = self.slices[argument]
            return replace(self._slot(part.whole), turn=part.step)
        return self.places[argument]


def _check_views(scheduled: Scheduled) -> None:
    """Raise `InternalError` unless each parameter sees the whole memory of its argument, margins included."""
    for buffer, argument in zip(scheduled.kernel.params, scheduled.arguments, strict=True):
        if isinstance(argument, Value) and buffer.bytes != argument.type.bytes:
            seen = f"{buffer.bytes} bytes of {argument.type} with {argument.type.bytes}"
            raise InternalError(f"%{buffer.name} sees {seen}")
