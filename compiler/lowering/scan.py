"""Lowering of scan: the kernels of the body, one after the other in a loop over the steps, as one serial kernel.

States lie in the results that hold them after the last step. What one operation of the body hands to another lies in
memory of the scan's own, the slices of stacked results where they stay.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from ..errors import InternalError
from ..graph.in_place import reads_in_place
from ..graph.ir import Graph, Operation, Value
from ..loops.ir import (
    Allocate,
    Buffer,
    Const,
    Expr,
    For,
    If,
    Let,
    Load,
    LoopKind,
    Prefetch,
    Space,
    Stmt,
    Store,
    Var,
    rebuilt,
    row_major,
)
from ..targets.target import Target
from ..types import TensorType
from .group import Group, group_of
from .kernel import Argument, Names, Parameters, Scheduled, values_of, with_values
from .loops import vector_loop

Kernels = Callable[[Group], tuple[Scheduled, ...]]
"""The kernels of a group in the body, for one thread."""
Place = Callable[[tuple[int, ...], tuple[Expr, ...]], tuple[Buffer, tuple[Expr, ...]]]
"""From the shape in which a kernel sees a value, and an index, to the buffer that holds it, and the index there."""


def schedule_scan(group: Group, target: Target, kernels: Kernels) -> tuple[Scheduled, ...]:
    """The kernel of a scan."""
    return (_Loop(group, target, kernels).scheduled(),)


class _Loop:
    def __init__(self, group: Group, target: Target, kernels: Kernels) -> None:
        self.op = group.anchor
        self.static = group.static
        self.lanes = target.vector_lanes
        self.kernels = kernels
        self.body: Graph = self.op.attributes["body"]
        self.states: int = self.op.attributes["states"]
        self.first: int = self.states + self.op.attributes["sequences"]
        self.steps: int = self.op.attributes["steps"]
        self.outer = dict(zip(self.body.inputs, self.op.operands, strict=True))
        self.parameters = Parameters()
        self.names = Names()
        self.time: Expr = Var("t") if self.steps > 1 else Const(0)
        self.aliases: dict[Value, Value] = {}
        self.homes: dict[Value, Buffer] = {}
        """The buffers of states, of slices that stay and of what the body makes; all have one dimension of elements."""
        self.stays: set[Value] = set()
        """Values whose home has all steps."""
        self.overwritten: dict[Operation, dict[Value, Value]] = {}
        """The results of operations that are written over a state, with that state."""

    def scheduled(self) -> Scheduled:
        """The kernel with its arguments."""
        results = self._results()
        for value, buffer in zip(self.body.inputs[: self.states], results, strict=False):
            self.homes[value] = buffer
        start = [s for v in self.body.inputs[: self.states] for s in self._start(v)]
        self._claim_results(results[self.states :])
        self._claim_states()
        statements = [s for i, op in enumerate(self.body.operations) for s in self._operation(i, op)]
        statements += self._stack(results[self.states :])
        statements += self._next_states()
        loop = self._loop(statements)
        # Results stand behind all operands.
        for buffer, result in zip(results, self.op.results, strict=True):
            if result.type.size:
                self.parameters.add(buffer, result)
        return self.parameters.scheduled([*start, *loop])

    def _loop(self, statements: list[Stmt]) -> list[Stmt]:
        if self.steps < 2:
            return statements if self.steps else []
        if self.op.attributes["reverse"]:
            statements = [Let("t", Const(self.steps - 1) - Var("step")), *statements]
        return [For("step" if self.op.attributes["reverse"] else "t", Const(0), Const(self.steps), tuple(statements))]

    # ---- memory ----

    def _results(self) -> list[Buffer]:
        sizes = [
            (v.type.size,) if i < self.states else (self.steps, v.type.size) for i, v in enumerate(self.body.outputs)
        ]
        types = [r.type for r in self.op.results]
        if any(t.layout is not None for t in types):
            raise InternalError("scan can't write margins")
        return [Buffer(f"y{i}", t.dtype, s, Space.OUT) for i, (t, s) in enumerate(zip(types, sizes, strict=True))]

    def _claim_results(self, stacked: Sequence[Buffer]) -> None:
        """Have what the body makes for a stacked result be made where it stays."""
        makers = self.body.producers
        for value, buffer in zip(self.body.outputs[self.states :], stacked, strict=True):
            maker = makers.get(value)
            if maker is not None and not maker.operator.view and value not in self.homes:
                self.homes[value] = buffer
                self.stays.add(value)

    def _claim_states(self) -> None:
        """Have the next state be made where the state lies, if each element is read before it is overwritten."""
        outputs = self.body.outputs
        viewed = {v for op in self.body.operations if op.operator.view for v in (*op.operands, *op.results)}
        for state, value in zip(self.body.inputs[: self.states], outputs[: self.states], strict=True):
            maker = self.body.producers.get(value)
            if maker is None or value in self.homes or not viewed.isdisjoint((state, value)) or state in outputs:
                continue
            users = self.body.users[state]
            if users and users[-1] is maker and _is_elementwise(maker) and reads_in_place(maker, state):
                self.homes[value] = self.homes[state]
                self.overwritten.setdefault(maker, {})[value] = state

    def _scratch(self, type_: TensorType) -> Buffer:
        """Memory for the kernel's use."""
        size = (type_.size,)
        buffer = Buffer(self.names.fresh("m"), type_.dtype, size, Space.OUT)
        return self.parameters.add(buffer, Value(TensorType(type_.dtype, size)))

    def _root(self, value: Value) -> Value:
        return self.aliases.get(value, value)

    def _home(self, value: Value) -> Buffer:
        root = self._root(value)
        if root not in self.homes:
            self.homes[root] = self._scratch(root.type)
        return self.homes[root]

    def _place(self, value: Value) -> Place:
        """Where a kernel finds a value that isn't constant."""
        root = self._root(value)
        if root in self.homes or root not in self.outer:
            home = self._home(root)
            before = (self.time,) if root in self.stays else ()
            return lambda shape, index: (home, (*before, row_major(index, shape)))
        return self._slice(root)

    def _slice(self, value: Value) -> Place:
        """A slice of a sequence: the sequence has a parameter for each shape in which it is seen."""
        seen: dict[tuple[int, ...], Buffer] = {}

        def place(shape: tuple[int, ...], index: tuple[Expr, ...]) -> tuple[Buffer, tuple[Expr, ...]]:
            if shape not in seen:
                buffer = Buffer(self.names.fresh("x"), value.type.dtype, (self.steps, *shape))
                seen[shape] = self.parameters.add(buffer, self.outer[value])
            return seen[shape], (self.time, *index)

        return place

    def _is_constant(self, value: Value) -> bool:
        return value in self.outer and value in self.body.inputs[self.first :]

    # ---- the body's operations ----

    def _operation(self, number: int, op: Operation) -> list[Stmt]:
        if op.operator.view:
            self.aliases[op.result] = self._root(op.operands[0])
            return []
        if not any(result.type.size for result in op.results):
            return []
        if op.name == "constant":
            if op.result.type.size > 1:
                raise InternalError("the body of a scan can't hold arrays; pass them as constants")
            return []  # a number, which is known where it is read
        static = [v for v in self.body.inputs[self.first :] if self.outer[v] in self.static]
        group = group_of(op, self.body.producers, static)
        group = replace(group, in_place=_inside(group, self.overwritten.get(op, {})))
        inlined: list[Stmt] = []
        for i, scheduled in enumerate(self.kernels(group)):
            inlined += self._inlined(f"o{number}_{i}_", scheduled)
        return inlined

    def _inlined(self, prefix: str, scheduled: Scheduled) -> tuple[Stmt, ...]:
        places: dict[str, Place] = {}
        for buffer, argument in zip(scheduled.kernel.params, scheduled.arguments, strict=True):
            roots = [self._root(value) for value in values_of(argument)]
            root = roots[0]
            if self._is_constant(root):
                places[buffer.name] = self._constant(buffer, with_values(argument, [self.outer[r] for r in roots]))
            else:
                if buffer.dtype is not root.type.dtype or buffer.bytes != root.type.bytes:
                    raise InternalError(f"%{buffer.name} sees {root.type} as {buffer.dtype}{list(buffer.shape)}")
                places[buffer.name] = self._place(root)
        return _Inlining(prefix, places).block(scheduled.kernel.body)

    def _constant(self, buffer: Buffer, argument: Argument) -> Place:
        known = zip(self.parameters.buffers, self.parameters.arguments, strict=True)
        same = (b for b, a in known if a == argument and b.shape == buffer.shape and b.dtype is buffer.dtype)
        own = next(same, None) or self.parameters.add(replace(buffer, name=self.names.fresh("c")), argument)
        return lambda shape, index: (own, index)

    # ---- states and stacked results ----

    def _copy(self, type_: TensorType, source: Place, goal: Place) -> list[Stmt]:
        shape = (type_.size,)

        def body(first: Var, lanes: int) -> list[Stmt]:
            buffer, index = goal(shape, (first,))
            return [Store(buffer, index, Load(*source(shape, (first,)), lanes))]

        return vector_loop(self.names, type_.size, self.lanes, body) if type_.size else []

    def _start(self, state: Value) -> list[Stmt]:
        """The state before the first step."""
        if not state.type.size:
            return []
        given = self.parameters.add(
            Buffer(self.names.fresh("s"), state.type.dtype, (state.type.size,)), self.outer[state]
        )
        return self._copy(state.type, lambda shape, index: (given, index), self._place(state))

    def _source(self, value: Value) -> Place:
        root = self._root(value)
        if self._is_constant(root):
            return self._constant(Buffer("c", root.type.dtype, (root.type.size,)), self.outer[root])
        maker = self.body.producers.get(root)
        if maker is not None and maker.name == "constant":
            number = Const(maker.attributes["value"].reshape(()).item(), root.type.dtype)
            raise InternalError(f"scan can't hand on the constant {number}")
        return self._place(root)

    def _stack(self, stacked: Sequence[Buffer]) -> list[Stmt]:
        """Copies of the results that no operation has written where they stay."""
        copies: list[Stmt] = []
        for value, buffer in zip(self.body.outputs[self.states :], stacked, strict=True):
            if self.homes.get(self._root(value)) is not buffer:
                copies += self._copy(value.type, self._source(value), _at_time(buffer, self.time))
        return copies

    def _next_states(self) -> list[Stmt]:
        """Copies of the next states over the states; those that stand for other states go through memory in between."""
        states, after = self.body.inputs[: self.states], self.body.outputs[: self.states]
        before: list[Stmt] = []
        copies: list[Stmt] = []
        for state, value in zip(states, after, strict=True):
            root = self._root(value)
            if root is state or not state.type.size or self.homes.get(root) is self.homes[state]:
                continue
            source = self._source(root)
            if root in states:
                held = self._scratch(state.type)
                before += self._copy(state.type, source, _whole(held))
                source = _whole(held)
            copies += self._copy(state.type, source, self._place(state))
        return [*before, *copies]


def _is_elementwise(op: Operation) -> bool:
    """True for what is one pass over elements."""
    members = op.body.operations if op.body is not None else (op,)
    return all(m.operator.elementwise or m.name in ("constant", "slice") for m in members)


def _inside(group: Group, overwritten: Mapping[Value, Value]) -> dict[Value, Value]:
    """Results and what they overwrite, as the group knows them."""
    names = {outer: inner for inner, outer in group.outer.items()}
    results = dict(zip(group.operation.results, group.results, strict=True))
    return {results[new]: names[old] for new, old in overwritten.items()}


def _at_time(buffer: Buffer, time: Expr) -> Place:
    return lambda shape, index: (buffer, (time, *index))


def _whole(buffer: Buffer) -> Place:
    return lambda shape, index: (buffer, index)


@dataclass
class _Inlining:
    """A kernel's statements with names of their own, on other memory, for one thread."""

    prefix: str
    places: Mapping[str, Place]

    def __post_init__(self) -> None:
        self._known: dict[int, tuple[Expr, Expr]] = {}
        self._own: dict[str, Buffer] = {}

    def block(self, statements: Sequence[Stmt]) -> tuple[Stmt, ...]:
        """Statements in order."""
        return tuple(self._statement(s) for s in statements)

    def _statement(self, s: Stmt) -> Stmt:
        if isinstance(s, Let):
            return Let(self.prefix + s.name, self.expr(s.value))
        if isinstance(s, Store):
            buffer, index = self._access(s.buffer, s.indices)
            return Store(buffer, index, self.expr(s.value))
        if isinstance(s, Prefetch):
            buffer, index = self._access(s.buffer, s.indices)
            return replace(s, buffer=buffer, indices=index)
        if isinstance(s, For):
            kind = LoopKind.SERIAL if s.kind is LoopKind.PARALLEL else s.kind
            body = self.block(s.body)
            return For(self.prefix + s.var, self.expr(s.start), self.expr(s.stop), body, kind, s.step)
        if isinstance(s, If):
            return If(self.expr(s.condition), self.block(s.then), self.block(s.otherwise))
        if isinstance(s, Allocate):
            own = replace(s.buffer, name=self.prefix + s.buffer.name)
            self._own[s.buffer.name] = own
            return Allocate(own)
        raise InternalError(f"{type(s).__name__} can't be inlined")

    def _access(self, buffer: Buffer, indices: tuple[Expr, ...]) -> tuple[Buffer, tuple[Expr, ...]]:
        index = tuple(map(self.expr, indices))
        own = self._own.get(buffer.name)
        return (own, index) if own is not None else self.places[buffer.name](buffer.shape, index)

    def expr(self, e: Expr) -> Expr:
        """An expression; parts that are shared stay so."""
        known = self._known.get(id(e))
        if known is None:
            known = self._known[id(e)] = (e, self._new(e))
        return known[1]

    def _new(self, e: Expr) -> Expr:
        if isinstance(e, Var):
            return Var(self.prefix + e.name, e.of)
        if isinstance(e, Load):
            return Load(*self._access(e.buffer, e.indices), e.lanes, e.rows, e.pitch)
        return rebuilt(e, self.expr)
