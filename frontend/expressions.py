"""Evaluation of expressions: compile-time values are computed, operations on tensors go into the graph."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

from ..compiler.errors import Diagnostic, Location, NetcError, near_miss
from ..compiler.graph.ir import Value
from . import arithmetic, ast
from .budget import OverspentError
from .modules import candidates, library, unknown_name
from .names import local_names
from .signatures import Arguments, Given
from .state import CallSite, Elaboration, Frame
from .tensors import QUERIES, take, tensor_binary, tensor_compare, tensor_unary
from .values import Poisoned, Record, Tensor, checked_label, describe, error, is_callee, is_number, text

POISON = object()
"""Value of a variable that an error has left undefined."""


class ExpressionEvaluator(ABC):
    """Evaluates expressions in a frame; what a call does is left to the subclass."""

    def __init__(self, state: Elaboration) -> None:
        self.state = state
        self._evaluators: Mapping[type[ast.Node], Callable[[Any, Frame], Any]] = {
            ast.Literal: lambda node, frame: node.value,
            ast.String: self._string,
            ast.Name: self._name,
            ast.Sequence: self._sequence,
            ast.Unary: self._unary,
            ast.Binary: self._binary,
            ast.Compare: self._compare,
            ast.Conditional: self._conditional,
            ast.Call: self._call,
            ast.Pipe: self._pipe,
            ast.Index: self._index,
            ast.Slice: self._slice,
            ast.RecordOf: self._record,
            ast.Member: self._member,
        }

    @abstractmethod
    def call(self, site: CallSite, callee: Any, label: str | None, arguments: Arguments) -> Any:
        """Call `callee` and return its result."""

    @abstractmethod
    def choose(self, node: ast.Conditional, condition: Value, frame: Frame) -> Any:
        """The value that a tensor chooses at run time."""

    def evaluate(self, node: ast.Expr, frame: Frame) -> Any:
        """The value of an expression. Raises `NetcError`, or `Poisoned` where the reason is known already."""
        self.state.enter(frame, node.location)
        try:
            return self._evaluators[type(node)](node, frame)
        except OverspentError as problem:
            self.state.stop(str(problem), frame, node.location)
        finally:
            self.state.leave()

    def _string(self, node: ast.String, frame: Frame) -> str:
        parts = [p if isinstance(p, str) else text(self.evaluate(p, frame)) for p in node.parts]
        result: str = arithmetic.checked("".join(parts), node.location)
        if len(parts) > 1:
            self.state.budget.make(result)
        return result

    def _name(self, node: ast.Name, frame: Frame) -> Any:
        if node.id in frame.variables:
            value = frame.variables[node.id]
            if value is POISON:
                raise Poisoned
            return value
        return self.look_up(node, frame)

    def look_up(self, node: ast.Name, frame: Frame, *, called: bool = False) -> Any:
        """What a name means outside the frame's variables."""
        found = frame.scope.find(node.id, node.location) or library(node.id)
        if found is None:
            raise NetcError([self.state.once(node.location, lambda: self._unknown(node, frame, called))])
        return found

    def _unknown(self, node: ast.Name, frame: Frame, called: bool) -> Diagnostic:
        if isinstance(frame.procedure, ast.Procedure) and node.id in local_names(frame.procedure):
            return Diagnostic(f"`{node.id}` has no value yet", node.location)
        return unknown_name(node.id, candidates(frame.scope, frame.variables), node.location, called=called)

    def _sequence(self, node: ast.Sequence, frame: Frame) -> tuple[Any, ...]:
        items = tuple([self.evaluate(item, frame) for item in node.items])
        self.state.budget.make(items)
        return items

    def _unary(self, node: ast.Unary, frame: Frame) -> Any:
        value = self.evaluate(node.operand, frame)
        if isinstance(value, Tensor):
            return tensor_unary(node.operator, value, self._emitter(frame, node.location), node.location)
        return arithmetic.unary(node.operator, value, node.location)

    def _binary(self, node: ast.Binary, frame: Frame) -> Any:
        """Chains such as a + b + c lean to the left; they are walked in a loop, not by recursion."""
        chain = [node]
        while isinstance(chain[-1].left, ast.Binary):
            chain.append(chain[-1].left)
        value = self.evaluate(chain[-1].left, frame)
        for link in reversed(chain):
            value = self._combine(link, value, frame)
        return value

    def _combine(self, node: ast.Binary, left: Any, frame: Frame) -> Any:
        if node.operator in ("and", "or"):
            if arithmetic.truth(left, node.left.location) is (node.operator == "or"):
                return left
            return arithmetic.truth(self.evaluate(node.right, frame), node.right.location)
        right = self.evaluate(node.right, frame)
        return self.apply(node.operator, left, right, frame, node.location)

    def apply(self, operator: str, left: Any, right: Any, frame: Frame, location: Location) -> Any:
        """`left operator right`."""
        if isinstance(left, Tensor) or isinstance(right, Tensor):
            return tensor_binary(operator, left, right, self._emitter(frame, location), location)
        return arithmetic.binary(operator, left, right, location, self.state.budget)

    def _emitter(self, frame: Frame, location: Location) -> Callable[..., Any]:
        return CallSite(self.state, frame, location).emit

    def _compare(self, node: ast.Compare, frame: Frame) -> Any:
        left = self.evaluate(node.operands[0], frame)
        for symbol, operand in zip(node.operators, node.operands[1:], strict=True):
            right = self.evaluate(operand, frame)
            if isinstance(left, Tensor) or isinstance(right, Tensor):
                return self._mask(node, symbol, left, right, frame)
            if not arithmetic.compare(symbol, left, right, node.location, self.state.budget):
                return False
            left = right
        return True

    def _mask(self, node: ast.Compare, symbol: str, left: Any, right: Any, frame: Frame) -> Any:
        if len(node.operators) > 1:
            hint = "write (0 < x) and (x < 1) as logical_and(0 < x, x < 1)"
            raise error("comparisons of tensors can't be chained", node.location, hint)
        if symbol in ("==", "!=") and not all(isinstance(v, Tensor) or is_number(v) for v in (left, right)):
            return symbol == "!="
        return tensor_compare(symbol, left, right, self._emitter(frame, node.location), node.location)

    def _conditional(self, node: ast.Conditional, frame: Frame) -> Any:
        condition = self.evaluate(node.condition, frame)
        if isinstance(condition, Tensor):
            return self.choose(node, condition, frame)
        is_true = arithmetic.truth(condition, node.condition.location)
        return self.evaluate(node.yes if is_true else node.no, frame)

    def _index(self, node: ast.Index, frame: Frame) -> Any:
        items = self.evaluate(node.value, frame)
        index = self._whole(node.index, frame)
        if isinstance(items, Tensor):
            return take(items, [index], CallSite(self.state, frame, node.location), node.location)
        if not isinstance(items, tuple):
            raise error(f"only lists and tensors have items, not {describe(items)}", node.location)
        if not -len(items) <= index < len(items):
            raise error(f"there is no item {index} in a list of {len(items)}", node.index.location)
        return items[index]

    def _whole(self, node: ast.Expr, frame: Frame) -> int:
        index = self.evaluate(node, frame)
        if not isinstance(index, int) or isinstance(index, bool):
            raise error(f"an item is chosen by a whole number, not {describe(index)}", node.location)
        return index

    def _slice(self, node: ast.Slice, frame: Frame) -> Any:
        value = self.evaluate(node.value, frame)
        places = [self._place(place, frame) for place in node.places]
        if isinstance(value, Tensor):
            return take(value, places, CallSite(self.state, frame, node.location), node.location)
        if not isinstance(value, tuple):
            raise error(f"only lists and tensors have items, not {describe(value)}", node.location)
        if len(places) > 1 or not isinstance(places[0], slice):
            raise error("a list has one dimension", node.location, "write list[0][1] for an item of an item")
        part = value[places[0]]
        self.state.budget.make(part)
        return part

    def _place(self, node: ast.Expr | ast.Range, frame: Frame) -> slice | int:
        """One element of a dimension, or a range of them."""
        if not isinstance(node, ast.Range):
            return self._whole(node, frame)
        bounds = [None if b is None else self._whole(b, frame) for b in (node.start, node.stop, node.step)]
        if bounds[2] == 0:
            raise error("the step of a range can't be 0", node.location)
        return slice(*bounds)

    def _record(self, node: ast.RecordOf, frame: Frame) -> Record:
        fields = {field.name: self.evaluate(field.value, frame) for field in node.fields}
        self.state.budget.make((*fields, *fields.values()))
        return Record(MappingProxyType(fields))

    def _member(self, node: ast.Member, frame: Frame) -> Any:
        record = self.evaluate(node.value, frame)
        if not isinstance(record, Record):
            asked = isinstance(record, Tensor) and node.name in QUERIES
            hint = f"write {node.name}(...)" if asked else None
            raise error(f"only records have fields, not {describe(record)}", node.location, hint)
        if node.name not in record.fields:
            hint = near_miss(node.name, record.fields) or f"it has {', '.join(record.fields) or 'none'}"
            raise error(f"the record has no field `{node.name}`", node.location, hint)
        return record.fields[node.name]

    # --- calls

    def _pipe(self, node: ast.Pipe, frame: Frame) -> Any:
        value, location = self.evaluate(node.value, frame), node.value.location
        for stage in node.stages:
            self.state.enter(frame, stage.location)
            value = self._call(stage, frame, Given(value, location))
            self.state.leave()
            location = stage.location
        return value

    def _call(self, node: ast.Call, frame: Frame, piped: Given | None = None) -> Any:
        callee = self._callee(node.callee, frame)
        label = None if node.label is None else self._label(node.label, frame)
        positional = [] if piped is None else [piped]
        named: dict[str, Given] = {}
        for argument in node.arguments:
            given = Given(self.evaluate(argument.value, frame), argument.location)
            if argument.name is None:
                positional.append(given)
            else:
                named[argument.name] = given
        arguments = Arguments(tuple(positional), named)
        return self.call(CallSite(self.state, frame, node.location), callee, label, arguments)

    def _callee(self, node: ast.Expr, frame: Frame) -> Any:
        if isinstance(node, ast.Name) and node.id not in frame.variables:
            callee = self.look_up(node, frame, called=True)
        else:
            callee = self.evaluate(node, frame)
        if is_callee(callee):
            return callee
        hint = None
        if isinstance(node, ast.Name) and node.id in frame.variables and is_callee(library(node.id)):
            hint = f"here the variable `{node.id}` hides what is otherwise called so"
        raise error(f"{describe(callee)} can't be called", node.location, hint)

    def _label(self, node: ast.Expr, frame: Frame) -> str:
        label = str(self.evaluate(node, frame))
        return label and checked_label(label, node.location)
