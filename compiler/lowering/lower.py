"""From a graph to a loop module: every operation becomes a kernel call, every value a place in memory.

Operations that depend on parameters and constants alone are not compiled: they go to the set-up graph, which is
evaluated once when weights are loaded (see `weights`). Parameters that the graph itself changes live in the state
region (see `state`); everything else that is neither input nor output shares the arena (see `memory`).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace

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
from ..types import TensorType
from .arena import Arena
from .barriers import Placed, with_barriers
from .buckets import BUCKET, announcing
from .calls import OpenCall
from .choices import NetworkChoices, label_of, problem_of
from .control import ControlFlow
from .group import Group, group_of
from .guards import guards_of
from .kernel import Scheduled
from .margins import clear_margins, has_filled_margins
from .overlapping import serial
from .places import Places
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
        self.reused = ReusedKernels(lambda group: _checked(schedules.kernels(group, target, threads)))
        one = ReusedKernels(lambda group: _checked(schedules.kernels(group, target, 1)))
        self.alone = one if threads > 1 else self.reused
        """Kernels that one thread runs."""
        self.state = state_of(graph)
        self.guards = dict(guards_of(graph, self.state))
        plain = not self.guards and not any(op.operator.regions and op.name != "map" for op in graph.operations)
        self.may_overwrite = target.is_scarce and plain
        self.least_overwriting = (0 if target.is_scarce else target.l1_bytes) if plain else math.inf
        """Bytes of a result from which on it is written in the memory of what is read for the last time."""
        self.region = WeightRegion(graph, target.alignment)
        self.producers = self.region.producers
        self.kernels: dict[Kernel, str] = {}
        self.clears: dict[TensorType, Kernel] = {}
        """Kernels that clear margins, by the type of what has them."""
        self.control = ControlFlow(self)
        self.calls: list[OpenCall] = []
        self.done: set[Operation] = set()
        """Operations that have been lowered: updates come in another order than the graph's."""
        self.inputs_in_arena = inputs_in_arena
        inputs = () if inputs_in_arena else graph.inputs
        given = {v: Slot(Memory.INPUT, i) for i, v in enumerate(inputs)}
        given |= {p: Slot(Memory.STATE, self.state.offsets[p]) for p in self.state.params}
        self.places = Places(self.region, given)

    def module(self) -> Module:
        """Lower the whole graph."""
        self.operations(order_updates(self.graph, self.state, self.guards))
        self._write_outputs()
        self._write_updates()
        self._share_kernels()
        named = {name: kernel for kernel, name in self.kernels.items()}
        arena_bytes = self._arena(named).plan()
        placed = [Placed(self._placed(c), list(map(c.part, c.arguments))) for c in self.calls]
        blocks = tuple(Block(b.first, b.body, b.end, self.places.slot(b.when), b.repeats) for b in self.control.blocks)
        turns = tuple(self.control.turns)
        calls = with_barriers(placed, named, blocks, turns)
        if (least := self.graph.attributes.get(BUCKET)) is not None:
            calls = announcing(calls, [v.type.dense().bytes for v in self.state.results], blocks, least)
        return Module(
            name=self.graph.name,
            kernels=tuple(replace(kernel, name=name) for name, kernel in named.items()),
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
            input_offsets=tuple(self.places.slots[v].offset for v in self.graph.inputs) if self.inputs_in_arena else (),
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
            if self.places.is_static(op.results[0]) or op.name == "param":
                continue
            if self._is_view(op):
                self.places.aliases[op.result] = self.places.root(op.operands[0])
            elif op.operator.regions:
                self.control.lower(op)
            elif any(result.type.size for result in op.results):  # there is nothing to do for no elements
                self.call(op)

    def _is_view(self, op: Operation) -> bool:
        return op.operator.view and op.operands[0].type.layout is None and op.result.type.layout is None

    def multiply(self, first: int, turns: int) -> None:
        """The calls from `first` on are made so many times."""
        repeated = (replace(c, call=replace(c.call, macs=c.call.macs * turns)) for c in self.calls[first:])
        self.calls[first:] = list(repeated)

    def call(self, op: Operation) -> None:
        """Schedule an operation, and the clearing of its results' margins beside it."""
        guard = self.guards.get(op.results[0])
        group = group_of(op, self.producers, self.region.static)
        if in_place := self._in_place(group):
            group = replace(group, in_place=in_place)
        problem = problem_of(group) if self.choices is not None else ""
        if self.choices is not None:
            group = replace(group, picker=self.choices.of(problem, label_of(group)))
        first = len(self.calls)
        kernels = () if group.in_place else self._overwriting(group)
        kernels = kernels or self._scheduled(group)
        late = self.may_overwrite or op.results[0] in self.places.shared  # until then an operand may lie there
        if not late:
            self._clear_margins(op, guard)
        multiplying = sum(scheduled.multiplies for scheduled in kernels)
        for scheduled in kernels:
            name = self._name(scheduled.kernel, group.anchor.name)
            macs = group.macs * scheduled.multiplies // max(1, multiplying)
            label = " ".join(filter(None, (self.region.layer(op), group.label)))
            call = Call(name, (), False, label, macs, op.location)
            self.calls.append(OpenCall(call, scheduled.arguments, guard, op.results))
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
                self.calls.append(OpenCall(call, (result,) * len(clear.params), guard, (result,), fills=True))

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
                if self.places.root(update) is not result or not self._is_last_reader(group.operation, param):
                    continue
                if not reads_in_place(group.operation, param):
                    continue
                self.places.slots[result] = self.places.slots[param]
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
        result, aliases = group.operation.results[0], self.places.aliases
        small = result.type.bytes < self.least_overwriting
        if small or result in self.state.results or self.control.are_shared:
            return ()
        for old in overwritable(group.operation, self.graph, self.region.static):
            free = all(v not in aliases and v not in aliases.values() for v in (result, old))
            viewed = any(op.operator.view for op in self.graph.users[result])
            read = all(user in self.done or user is group.operation for user in self.graph.users[old])
            fits = old.type.margins == result.type.margins and old not in self.places.slots
            if free and read and fits and not viewed:
                inner = next(v for v, outer in group.outer.items() if outer is old)
                kernels = self._scheduled(replace(group, in_place={group.result: inner}))
                if any(old in scheduled.arguments for scheduled in kernels):  # its schedule reads it apart
                    continue
                self.places.shared[result] = self.places.shared.get(old, old)
                return kernels
        return ()

    def _is_last_reader(self, op: Operation, param: Value) -> bool:
        """True if all other operations that read `param` have been lowered, and no output is its old value."""
        if param.type != op.results[0].type or param in self.places.aliases.values() or param in self.graph.outputs:
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
        slots, root = self.places.slots, self.places.root
        moved = {p: u for p, u in self.state.updates.items() if slots.get(root(u)) != slots[p]}
        # A value that lies in the state region may be overwritten before its turn comes.
        safe = {p: self._copy(u) if root(u) in slots else u for p, u in moved.items()}
        for param, update in safe.items():
            slots[self._copy(update)] = slots[param]

    def _deliver(self, value: Value, slot: Slot) -> None:
        root, slots = self.places.root(value), self.places.slots
        produced = root in self.graph.producers and not self.places.is_static(root)
        if produced and root not in slots and root.type.layout is None:
            slots[root] = slot
        else:
            slots[self._copy(value)] = slot

    def _copy(self, value: Value) -> Value:
        """A copy of a value, made by a call of its own, which is skipped where the value's was."""
        builder = GraphBuilder("copy")
        copied = builder.emit("identity", value)
        if value in self.guards:
            self.guards[copied] = self.guards[value]
        self.call(builder.operations[0])
        return copied

    def _arena(self, kernels: Mapping[str, Kernel]) -> Arena:
        inputs = self.graph.inputs if self.inputs_in_arena else ()
        given = self.calls, kernels, self.places, self.control, self.target
        return Arena(*given, overlapping=self.may_overwrite, inputs=inputs)

    def _placed(self, call: OpenCall) -> Call:
        when = self.places.slot(call.guard) if call.guard is not None else None
        return replace(call.call, arguments=tuple(map(self.places.slot, call.arguments)), when=when)


def _checked(kernels: tuple[Scheduled, ...]) -> tuple[Scheduled, ...]:
    """Raise `InternalError` unless each parameter sees the whole memory of its argument, margins included."""
    for scheduled in kernels:
        for buffer, argument in zip(scheduled.kernel.params, scheduled.arguments, strict=True):
            if isinstance(argument, Value) and buffer.bytes != argument.type.bytes:
                seen = f"{buffer.bytes} bytes of {argument.type} with {argument.type.bytes}"
                raise InternalError(f"%{buffer.name} sees {seen}")
    return kernels
