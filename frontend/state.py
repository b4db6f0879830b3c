"""What one elaboration keeps: the graph so far, the names of its parameters, its errors, and how much it has done."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import NoReturn

from ..compiler.errors import Diagnostic, Location, NetcError
from ..compiler.graph.builder import GraphBuilder
from ..compiler.graph.ir import Attribute, Value
from . import ast
from .budget import REPORT, Budget, OverspentError
from .modules import Module
from .parser import MAX_ERRORS
from .values import applying, error

MAX_DEPTH = 150
"""Statements, expressions and calls that may be open inside each other."""
MAX_ELEMENTS = 2**31
"""Elements of one tensor."""
MAX_RANK = 32
"""Dimensions of one tensor."""
MAX_PATH = 1_000
"""Characters of the name of a parameter, the labels before it included."""


def identity(diagnostic: Diagnostic) -> object:
    """Diagnostics with the same identity say the same: one of them is enough."""
    at = diagnostic.location
    return diagnostic.message, at and (at.file, at.line, at.column)


_REFERENCE = 64
"""Bytes that an operand of an operation is worth."""


class LimitError(Exception):
    """A limit is passed, or enough errors are found: elaboration stops."""


@dataclass(eq=False)
class Frame:
    """One call of a definition that is being elaborated."""

    name: str
    scope: Module
    path: str = ""
    """Parameter names start with it."""
    caller: Frame | None = None
    called_at: Location | None = None
    procedure: ast.Procedure | None = None
    variables: dict[str, object] = field(default_factory=dict[str, object])
    counts: Counter[str] = field(default_factory=Counter[str])
    """How often each block or layer has been called here."""
    damaged: bool = False
    """Something in here could not be elaborated."""

    def component(self, callee: str, label: str | None) -> str:
        """The path of a call: its label, or the callee's name and which of its calls in this frame it is."""
        self.counts[callee] += 1
        return join(self.path, label if label is not None else f"{callee}_{self.counts[callee]}")

    def trail(self) -> tuple[tuple[str, Location], ...]:
        """The blocks that led here, innermost first."""
        trail: list[tuple[str, Location]] = []
        frame: Frame | None = self
        while frame is not None and frame.called_at is not None:
            trail.append((frame.name, frame.called_at))
            frame = frame.caller
        return tuple(trail)


def join(path: str, name: str) -> str:
    """Append to a dotted path."""
    return f"{path}.{name}" if path else name


class Elaboration:
    """Mutable state of one elaboration."""

    def __init__(self, name: str, budget: Budget) -> None:
        self.budget = budget
        self.builder = GraphBuilder(name)
        self.parameters: dict[str, Location] = {}
        self.diagnostics: dict[object, Diagnostic] = {}
        self.depth = 0
        self._unknown: dict[Location, Diagnostic] = {}
        self._assigned: dict[int, set[str]] = {}

    @staticmethod
    def nested(outer: Elaboration, name: str) -> Elaboration:
        """For a graph within the graph: errors are kept together, and limits count for both."""
        state = Elaboration(name, outer.budget)
        state.diagnostics, state.depth = outer.diagnostics, outer.depth
        return state

    def add(self, diagnostic: Diagnostic) -> None:
        """Keep a diagnostic; the same message at the same place is kept once."""
        self.diagnostics.setdefault(identity(diagnostic), diagnostic)
        if len(self.diagnostics) >= MAX_ERRORS:
            raise LimitError

    def report(self, problem: NetcError, frame: Frame, location: Location) -> None:
        """Keep an error that was raised in `frame`; where it has no place of its own, `location` is its place."""
        self.budget.work(REPORT)
        for diagnostic in problem.diagnostics:
            trail = diagnostic.trail or frame.trail()
            self.add(replace(diagnostic, location=diagnostic.location or location, trail=trail))

    def enter(self, frame: Frame, location: Location) -> None:
        """Count one more open statement or expression; every `enter` is followed by a `leave`."""
        self.depth += 1
        try:
            self.budget.work(1)
        except OverspentError as problem:
            self.stop(str(problem), frame, location)
        if self.depth > MAX_DEPTH:
            self.stop(f"this is nested too deeply (more than {MAX_DEPTH} levels)", frame, location)

    def leave(self) -> None:
        """Undo `enter`."""
        self.depth -= 1

    def once(self, location: Location, describe: Callable[[], Diagnostic]) -> Diagnostic:
        """The complaint about a name at a place, which is made but once however often the place is evaluated."""
        if location not in self._unknown:
            self._unknown[location] = describe()
        return self._unknown[location]

    def assigned(self, statement: ast.Statement) -> set[str]:
        """The names that a statement binds, which are found but once."""
        key = id(statement)
        if key not in self._assigned:
            self._assigned[key] = ast.assigned_names(statement)
        return self._assigned[key]

    def path(self, path: str, location: Location) -> str:
        """The path of a call or the name of a parameter, if it is not too long."""
        if len(path) > MAX_PATH:
            message = f"the name of a parameter is longer than {MAX_PATH:,} characters"
            raise error(message, location, "shorten the labels")
        self.budget.make(path)
        return path

    def stop(self, message: str, frame: Frame, location: Location) -> NoReturn:
        """A limit is passed: keep the complaint and end the elaboration."""
        self.add(Diagnostic(message, location, trail=frame.trail()))
        raise LimitError

    def emit(
        self,
        frame: Frame,
        location: Location,
        operator: str,
        *operands: Value,
        name: str | None = None,
        **attributes: Attribute,
    ) -> Value:
        """Add an operation to the graph."""
        self.budget.operation(len(operands))
        self.budget.keep(sum(_REFERENCE + len(v.name or "") for v in operands))
        with applying(operator, location):
            value = self.builder.emit(operator, *operands, location=location, name=name, **attributes)
        if value.type.rank > MAX_RANK:
            raise error(f"{operator} gives a tensor of more than {MAX_RANK} dimensions", location)
        if value.type.size > MAX_ELEMENTS:
            raise error(f"{operator} gives a tensor of more than 2**31 elements: {value.type}", location)
        return value


def _cure(first: Location, second: Location) -> str:
    """What to do where a label stands twice: two layers, or one that was meant to be used twice."""
    place = f"the other one is made at {first}; " if first != second else ""
    return f"{place}tell them apart with @name; to share a layer, concat its inputs (axis = 0) and slice its result"


@dataclass(eq=False)
class CallSite:
    """Where a layer is called; the builder that the layer's function works with."""

    state: Elaboration
    frame: Frame
    location: Location
    path: str = ""

    def param(
        self,
        name: str,
        shape: Sequence[int],
        *,
        init: str,
        trainable: bool = True,
        checkpoint: str | None = None,
    ) -> Value:
        """Create the parameter `name` below the path of the call."""
        full = self.state.path(join(self.path, name), self.location)
        if full in self.state.parameters:
            other = self.state.parameters[full]
            raise error(f"two parameters are called `{full}`", self.location, _cure(other, self.location))
        self.state.parameters[full] = self.location
        return self.emit(
            "param",
            name=full,
            shape=tuple(shape),
            init=init,
            trainable=trainable,
            checkpoint=checkpoint,
        )

    def emit(self, operator: str, *operands: Value, **attributes: Attribute) -> Value:
        """Add an operation at the place of the call."""
        return self.state.emit(self.frame, self.location, operator, *operands, **attributes)
