"""Conditions and loops on values that are known only at run time: the operators `if` and `while`.

What a branch or a turn of a loop does is elaborated in its place, and the operations that it has added to the graph are
cut out again: they become a graph of their own. What they read from outside, parameters included, becomes its inputs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import chain
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from ..compiler.errors import Location
from ..compiler.graph.ir import Graph, Operation, Value
from ..compiler.types import DType, TensorType
from . import ast
from .expressions import POISON
from .state import Elaboration, Frame
from .tensors import as_tensors
from .values import Poisoned, Record, Tensor, describe, error, is_number

if TYPE_CHECKING:
    from .statements import StatementRunner

RUNNING = object()
"""Result of a statement that doesn't return."""
_MISSING = object()


def check_condition(condition: Value, location: Location) -> None:
    """Raise `NetcError` unless a tensor is one truth value."""
    if condition.type.dtype is not DType.BOOL:
        raise error(f"a condition must be true or false, not {describe(condition)}", location, "compare it: `x > 0`")
    if condition.type.size != 1:
        hint = "reduce_any(mask) or reduce_all(mask) makes one of them; where(mask, a, b) chooses element by element"
        raise error(f"a condition is one truth value, not {describe(condition)}", location, hint)


# ---- stretches of operations -----------------------------------------------------------------------------------------


@dataclass
class _Part:
    """What a branch, or a turn of a loop, has added to the graph, and the variables and the result it leaves."""

    operations: list[Operation] = field(default_factory=list[Operation])
    variables: dict[str, Any] = field(default_factory=dict[str, Any])
    result: Any = RUNNING

    def captured(self, outputs: Sequence[Value], bound: Sequence[Value] = ()) -> Iterator[Value]:
        """What the operations and outputs read from outside, in the order of use."""
        own = {*bound, *(r for op in self.operations for r in op.results)}
        yield from (v for v in chain((v for op in self.operations for v in op.operands), outputs) if v not in own)

    def graph(self, name: str, inputs: Sequence[Value], outputs: Sequence[Value]) -> Graph:
        """The operations as a graph of their own, with inputs that stand for these values."""
        own = {v: Value(v.type.dense(), v.name or f"x{i}") for i, v in enumerate(inputs)}
        operations = tuple(replace(op, operands=tuple(own.get(v, v) for v in op.operands)) for op in self.operations)
        return Graph(name, tuple(own.values()), operations, tuple(own.get(v, v) for v in outputs), MappingProxyType({}))


def _part(state: Elaboration, frame: Frame, variables: Mapping[str, Any], run: Callable[[], Any]) -> _Part:
    """Run something with these variables, and cut out the operations that it adds. Parameters stay outside."""
    before, start = frame.variables, len(state.builder.operations)
    frame.variables = dict(variables)
    state.inside += 1
    try:
        result = run()
        added = state.builder.operations[start:]
        left = frame.variables
    finally:
        state.inside -= 1
        frame.variables = before
        state.builder.operations[start:] = [op for op in state.builder.operations[start:] if op.name == "param"]
    return _Part([op for op in added if op.name != "param"], left, result)


# ---- conditions ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Pair:
    """A tensor of each branch, of which one is chosen."""

    yes: Value
    no: Value


@dataclass
class _Choice:
    """The results of two branches, of which a condition chooses one."""

    state: Elaboration
    frame: Frame
    location: Location
    pairs: dict[_Pair, None] = field(default_factory=dict[_Pair, None])

    def merged(self, what: str, yes: Any, no: Any) -> Any:
        """A value with pairs in place of tensors that differ. Raises `NetcError` where nothing can be chosen."""
        if yes is no or (not _holds_tensor(yes) and not _holds_tensor(no) and _equal(yes, no)):
            return yes
        if isinstance(yes, tuple) and isinstance(no, tuple) and len(yes) == len(no):
            return tuple(self.merged(what, a, b) for a, b in zip(yes, no, strict=True))
        if isinstance(yes, Record) and isinstance(no, Record) and [*yes.fields] == [*no.fields]:
            fields = {name: self.merged(what, value, no.fields[name]) for name, value in yes.fields.items()}
            return Record(MappingProxyType(fields))
        pair = self._pair(yes, no)
        if pair is None or pair.yes.type.dense() != pair.no.type.dense():
            hint = (
                'make it a tensor, for example `tensor(1, dtype = "i32")`' if pair is None and is_number(yes) else None
            )
            what = f"{what} is {describe(yes)} in one branch and {describe(no)} in the other"
            raise error(f"{what}: which one is known only at run time", self.location, hint)
        self.pairs[pair] = None
        return pair

    def _pair(self, yes: Any, no: Any) -> _Pair | None:
        """Both as tensors; a number beside a tensor is one of its type."""
        if isinstance(yes, Tensor) and isinstance(no, Tensor):
            return _Pair(yes, no)
        if isinstance(yes, Tensor) and is_number(no):
            return _Pair(yes, number_like(no, yes, self.state, self.frame, self.location))
        if isinstance(no, Tensor) and is_number(yes):
            return _Pair(number_like(yes, no, self.state, self.frame, self.location), no)
        return None

    def results(self, condition: Value, yes: _Part, no: _Part) -> Mapping[_Pair, Value]:
        """Add the operation."""
        if not self.pairs:
            return {}
        ways = ("then", yes, [pair.yes for pair in self.pairs]), ("else", no, [pair.no for pair in self.pairs])
        values = tuple(dict.fromkeys(v for _, part, outputs in ways for v in part.captured(outputs)))
        graphs: dict[str, Any] = {name: part.graph(name, values, outputs) for name, part, outputs in ways}
        made = self.state.operation(self.frame, self.location, "if", condition, *values, **graphs)
        return dict(zip(self.pairs, made, strict=True))


def _resolved(value: Any, results: Mapping[_Pair, Value]) -> Any:
    """A value with results in place of pairs."""
    if isinstance(value, _Pair):
        return results[value]
    if isinstance(value, Record):
        return Record(MappingProxyType({name: _resolved(v, results) for name, v in value.fields.items()}))
    return tuple(_resolved(v, results) for v in value) if isinstance(value, tuple) else value


def choose(
    state: Elaboration,
    frame: Frame,
    condition: Value,
    location: Location,
    yes: Callable[[], Any],
    no: Callable[[], Any],
    is_read: Callable[[str], bool] = lambda name: True,
) -> Any:
    """Run both branches into graphs of their own; variables get what the condition chooses.

    Returns what it chooses of the results of the branches, or `RUNNING`. A variable that one branch alone knows has no
    value afterwards, and neither has a new one for which `is_read` doesn't hold: it serves the branch alone. Raises
    `NetcError` where branches leave different types.
    """
    before = frame.variables
    parts = [_part(state, frame, before, branch) for branch in (yes, no)]
    results = [part.result for part in parts]
    if POISON in results:
        raise Poisoned
    if (results[0] is RUNNING) != (results[1] is RUNNING):
        hint = "assign a variable in both branches, and return it behind them"
        raise error("one branch returns and the other doesn't: which one is known only at run time", location, hint)
    choice = _Choice(state, frame, location)
    if results[0] is not RUNNING:
        merged = choice.merged("what is returned", *results)
        return _resolved(merged, choice.results(condition, *parts))
    names = [name for name in _changed(before, parts) if name in before or is_read(name)]
    values = {name: [part.variables.get(name, _MISSING) for part in parts] for name in names}
    merged = {
        name: POISON if POISON in pair else choice.merged(f"`{name}`", *pair)
        for name, pair in values.items()
        if _MISSING not in pair
    }
    made = choice.results(condition, *parts)
    for name in names:
        before.pop(name, None)
    before.update({name: _resolved(value, made) for name, value in merged.items()})
    return RUNNING


def _changed(before: Mapping[str, Any], parts: Sequence[_Part]) -> list[str]:
    """The variables that a branch assigns, in the order in which they come."""
    found = [n for part in parts for n, v in part.variables.items() if n not in before or before[n] is not v]
    return list(dict.fromkeys(found))


def _holds_tensor(value: Any) -> bool:
    if isinstance(value, Record):
        return any(map(_holds_tensor, value.fields.values()))
    return any(map(_holds_tensor, value)) if isinstance(value, tuple) else isinstance(value, Tensor)


def _equal(a: Any, b: Any) -> bool:
    return type(a) is type(b) and bool(a == b)


def number_like(number: Any, like: Value, state: Elaboration, frame: Frame, location: Location) -> Value:
    """A number as a tensor of another one's type."""

    def emit(operator: str, *operands: Value, **attributes: Any) -> Value:
        return state.emit(frame, location, operator, *operands, **attributes)

    made = as_tensors((like, number), emit, location)[1]
    return emit("broadcast_to", made, shape=like.type.shape) if like.type.shape else made


# ---- loops -----------------------------------------------------------------------------------------------------------


def repeat(runner: StatementRunner, statement: ast.While, frame: Frame) -> None:
    """`while condition { body }`: the tensors that the body assigns go from turn to turn, and keep their types.

    Raises `NetcError` where they don't, and where other values change.
    """
    state, before = runner.state, frame.variables
    tensors = {name: value for name, value in before.items() if isinstance(value, Tensor)}
    names = [name for name in _assigned(statement.body) if name in tensors]
    fresh = {name: Value(tensors[name].type.dense(), name) for name in names}
    at = statement.condition.location
    asked = _part(state, frame, {**before, **fresh}, lambda: runner.evaluate(statement.condition, frame))
    if not isinstance(asked.result, Tensor):
        hint = "`for` goes over lists; a loop at run time asks a tensor, such as `i < 10` where `i` is one"
        raise error(f"the condition of `while` is known at compile time: {describe(asked.result)}", at, hint)
    check_condition(asked.result, at)
    turn = _part(state, frame, {**before, **fresh}, lambda: runner.run(statement.body, frame))
    if turn.result is POISON or any(turn.variables[name] is POISON for name in names):
        raise Poisoned
    if turn.result is not RUNNING:
        raise error("`return` can't leave a loop that goes on at run time", statement.location)
    after = {name: _next(name, fresh[name], turn.variables[name], state, frame, statement) for name in names}
    _refuse_others(before, turn.variables, names, statement)
    carried = [name for name in names if after[name] is not fresh[name]]
    if not carried:
        raise error("this loop changes no tensor, and so would never end", statement.location)
    same = {fresh[name]: tensors[name] for name in names if name not in carried}
    results = _loop(
        state, frame, statement.location, asked, turn, same, [(tensors[n], fresh[n], after[n]) for n in carried]
    )
    before.update(zip(carried, results, strict=True))


def _loop(
    state: Elaboration,
    frame: Frame,
    location: Location,
    asked: _Part,
    turn: _Part,
    same: Mapping[Value, Value],
    carried: Sequence[tuple[Value, Value, Value]],
) -> tuple[Value, ...]:
    """Add the operation. `carried` are values as they begin, as a turn finds them and as it leaves them."""
    begin, fresh, after = ([row[i] for row in carried] for i in range(3))
    ways = [("condition", asked, [asked.result]), ("body", turn, after)]
    outer = dict.fromkeys(v for _, part, outputs in ways for v in part.captured(outputs, fresh))
    graphs: dict[str, Any] = {name: part.graph(name, (*fresh, *outer), outputs) for name, part, outputs in ways}
    operands = (*begin, *(same.get(v, v) for v in outer))
    return state.operation(frame, location, "while", *operands, **graphs)


def _next(name: str, fresh: Value, value: Any, state: Elaboration, frame: Frame, statement: ast.While) -> Value:
    """What a turn leaves in a variable."""
    if is_number(value):
        value = number_like(value, fresh, state, frame, statement.location)
    if not isinstance(value, Tensor) or value.type.dense() != fresh.type:
        what = f"`{name}` is {_kind(fresh.type)} when a turn begins, and {describe(value)} when it ends"
        hint = "what goes from turn to turn keeps its element type and its shape"
        raise error(what, statement.location, hint)
    return value


def _kind(type_: TensorType) -> str:
    return f"a tensor {type_}"


def _refuse_others(
    before: Mapping[str, Any], after: Mapping[str, Any], carried: Sequence[str], statement: ast.While
) -> None:
    """Refuse values that are no tensors and change from turn to turn."""
    for name, value in before.items():
        new = after.get(name)
        if name in carried or new is value or (not _holds_tensor(value) and _equal(value, new)):
            continue
        hint = 'make it a tensor before the loop, for example `i = tensor(0, dtype = "i32")`'
        what = f"`{name}` is {describe(value)}, which a loop at run time can't change"
        raise error(what, statement.location, hint)


def _assigned(body: ast.Body) -> list[str]:
    """The names that are assigned in a body, in the order of the text."""
    targets = [node.target for node in ast.walk(body) if isinstance(node, ast.Assign | ast.For)]
    return list(dict.fromkeys(n.id for target in targets for n in ast.walk(target) if isinstance(n, ast.Name)))
