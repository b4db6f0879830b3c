"""From a graph to a loop module: every operation becomes a kernel call, every value a place in memory.

Operations that depend on parameters and constants alone are not compiled: they go to the set-up graph, which is
evaluated once when weights are loaded, and whose results (packed for the kernels that read them) form the weights
region.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from ..codegen.target import Target
from ..errors import InternalError
from ..graph.builder import GraphBuilder
from ..graph.ir import Graph, Operation, Value
from ..loops.ir import Kernel
from ..loops.module import Call, Memory, Module, Slot
from .contraction import schedule_contraction
from .depthwise import schedule_depthwise
from .generic import schedule_generic
from .group import Group, group_of
from .kernel import Argument, Packed, Scheduled
from .margins import clear_margins, has_zero_margins, schedule_relayout
from .memory import Lifetime, align, plan_arena

Schedule = Callable[[Group, Target, int], Scheduled | None]

SCHEDULES: tuple[Schedule, ...] = (
    schedule_depthwise,
    schedule_contraction,
    schedule_relayout,
    schedule_generic,
)
"""Tried in order; the generic lowering takes whatever is left."""


def lower(graph: Graph, target: Target, threads: int = 1) -> Module:
    """Lower a graph (usually after the inference pipeline) for `threads` threads of `target`."""
    return _Lowering(graph, target, threads).module()


def weight_values(graph: Graph) -> set[Value]:
    """Values that depend on parameters and constants alone."""
    known: set[Value] = set()
    for op in graph.operations:
        if all(v in known for v in op.operands):
            known.update(op.results)
    return known


class _Lowering:
    def __init__(self, graph: Graph, target: Target, threads: int) -> None:
        self.graph = graph
        self.target = target
        self.threads = threads
        self.weights = weight_values(graph)
        self.kernels: dict[Kernel, str] = {}
        self.calls: list[tuple[Call, tuple[Argument, ...]]] = []
        self.aliases: dict[Value, Value] = {}
        self.setup = GraphBuilder(f"{graph.name}.setup")
        self.setup_values: dict[Value, Value] = {}
        self.packed: dict[Argument, int] = {}
        self.packed_values: list[Value] = []
        self.weight_offsets: list[int] = []
        self.weights_bytes = 0

    def module(self) -> Module:
        """Lower the whole graph."""
        for op in self.graph.operations:
            if op.results[0] in self.weights:
                continue
            if self._is_view(op):
                self.aliases[op.result] = self._root(op.operands[0])
            else:
                self._call(op)
        self._copy_outputs()
        arena, arena_bytes = self._plan()
        calls = tuple(
            replace(call, arguments=tuple(self._slot(a, arena) for a in arguments)) for call, arguments in self.calls
        )
        return Module(
            self.graph.name,
            tuple(replace(kernel, name=name) for kernel, name in self.kernels.items()),
            _barriers(calls, {name: kernel.is_parallel for kernel, name in self.kernels.items()}),
            tuple((v.name or f"input{i}", v.type) for i, v in enumerate(self.graph.inputs)),
            tuple((v.name or f"output{i}", v.type.dense()) for i, v in enumerate(self.graph.outputs)),
            arena_bytes,
            self.weights_bytes,
            tuple(self.weight_offsets),
            self.setup.finish(self.packed_values),
        )

    # ---- operations to calls ----

    def _is_view(self, op: Operation) -> bool:
        """A reshape (or identity) of a dense tensor is the same memory."""
        return (
            op.name in ("reshape", "identity") and op.operands[0].type.layout is None and op.result.type.layout is None
        )

    def _root(self, value: Value) -> Value:
        return self.aliases.get(value, value)

    def _call(self, op: Operation) -> None:
        if len(op.results) != 1:
            raise InternalError(f"{op.name} has {len(op.results)} results; the lowering knows only one")
        group = group_of(op, self.graph.producers, self.weights)
        scheduled = next(s for f in SCHEDULES if (s := f(group, self.target, self.threads)) is not None)
        if has_zero_margins(op.result.type):
            clear = clear_margins(op.result.type, self.target)
            name = self._name(clear, "clear_margins")
            self.calls.append(
                (Call(name, (), False, "clear_margins", 0, op.location), (op.result,) * len(clear.params))
            )
        name = self._name(scheduled.kernel, group.anchor.name)
        self.calls.append((Call(name, (), True, group.label, group.macs, op.location), scheduled.arguments))

    def _name(self, kernel: Kernel, stem: str) -> str:
        if kernel not in self.kernels:
            number = sum(name.startswith(stem + "_") for name in self.kernels.values())
            self.kernels[kernel] = f"{stem}_{number}"
        return self.kernels[kernel]

    def _copy_outputs(self) -> None:
        """Outputs that no call of their own can write (inputs, weights, views, repeated ones) are copied."""
        written: set[Value] = set()
        self.output_slots: dict[Value, int] = {}
        for number, value in enumerate(self.graph.outputs):
            root = self._root(value)
            produced = root in self.graph.producers and root not in self.weights
            if produced and root not in written and root.type.layout is None:
                written.add(root)
                self.output_slots[root] = number
                continue
            copy = GraphBuilder("copy")
            copied = copy.emit("identity", value, name=f"output{number}")
            self._call(copy.operations[0])
            self.output_slots[copied] = number

    # ---- values to memory ----

    def _plan(self) -> tuple[dict[Value, int], int]:
        first: dict[Value, int] = {}
        last: dict[Value, int] = {}
        for position, (_, arguments) in enumerate(self.calls):
            for argument in arguments:
                if isinstance(argument, Value) and argument not in self.weights:
                    root = self._root(argument)
                    first.setdefault(root, position)
                    last[root] = position
        external = {*self.graph.inputs, *self.output_slots}
        lifetimes = [Lifetime(v, v.type.bytes, first[v], last[v]) for v in first if v not in external]
        offsets, size = plan_arena(lifetimes)
        return dict(offsets), size

    def _slot(self, argument: Argument, arena: dict[Value, int]) -> Slot:
        if isinstance(argument, Packed) or argument in self.weights:
            return Slot(Memory.WEIGHTS, self._weight_offset(argument))
        root = self._root(argument)
        if root in self.output_slots:
            return Slot(Memory.OUTPUT, self.output_slots[root])
        if root in arena:
            return Slot(Memory.ARENA, arena[root])
        return Slot(Memory.INPUT, self.graph.inputs.index(root))

    def _weight_offset(self, argument: Argument) -> int:
        """Place of a weight in the weights region; the set-up graph gets the operations that make it."""
        if argument not in self.packed:
            value = self._setup_value(argument.value if isinstance(argument, Packed) else argument)
            for step in argument.steps if isinstance(argument, Packed) else ():
                value = self.setup.emit(step.operator, value, **dict(step.attributes))
            self.packed[argument] = self.weights_bytes
            self.packed_values.append(value)
            self.weight_offsets.append(self.weights_bytes)
            self.weights_bytes += align(value.type.bytes)
        return self.packed[argument]

    def _setup_value(self, value: Value) -> Value:
        """Carry the operations that make a weight over to the set-up graph."""
        if value not in self.setup_values:
            op = self.graph.producers[value]
            operands = [self._setup_value(v) for v in op.operands]
            copied = Operation(op.operator, tuple(operands), op.attributes, op.results, op.location, op.body)
            self.setup.append(copied)
            self.setup_values.update(zip(op.results, copied.results, strict=True))
        return self.setup_values[value]


def _barriers(calls: tuple[Call, ...], parallel: dict[str, bool]) -> tuple[Call, ...]:
    """Drop the barrier after a serial call if the next one is serial too: the same thread runs both.

    Calls that clear margins need none: they touch no byte that the call after them touches.
    """
    result: list[Call] = []
    next_is_parallel = True
    for call in reversed(calls):
        if call.barrier:
            result.append(replace(call, barrier=parallel[call.kernel] or next_is_parallel))
            next_is_parallel = parallel[call.kernel]
        else:
            result.append(call)
    return tuple(reversed(result))
