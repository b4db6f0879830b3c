"""What one elaboration keeps: the graph so far, the names of its parameters, its errors, and how much it has done."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import NoReturn

import numpy as np

from ..compiler.errors import Diagnostic, Location, NetcError
from ..compiler.graph.builder import GraphBuilder
from ..compiler.graph.ir import Array, Attribute, Attributes, Value
from ..compiler.graph.registry import lookup
from ..compiler.initial import parse_initial
from ..compiler.types import DType, TensorType, parse_elements
from . import ast
from .budget import REPORT, Budget, OverspentError
from .modules import Module
from .parser import MAX_ERRORS
from .quantized import Source, quantization_of
from .signatures import Slot
from .values import Applying, Shared, error, join, text

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
class Use:
    """One call of what is shared, and the parameters that it has met."""

    shared: Shared
    outer: Use | None
    """The call of another shared block that it is part of."""
    met: set[str] = field(default_factory=set[str])

    def chain(self) -> Iterator[Use]:
        """The call and those that it is part of, innermost first."""
        use: Use | None = self
        while use is not None:
            yield use
            use = use.outer


@dataclass(frozen=True, slots=True)
class Parameter:
    """A parameter that has been made: where, and what it is."""

    location: Location
    value: Value
    attributes: Attributes


@dataclass(frozen=True, slots=True)
class Update:
    """What the next run begins with in a state of the network, and where that is said."""

    value: Value
    location: Location


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
    use: Use | None = None
    """The call of a shared block that this is, or is part of."""

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


class Elaboration:
    """Mutable state of one elaboration."""

    def __init__(self, name: str, budget: Budget) -> None:
        self.budget = budget
        self.builder = GraphBuilder(name)
        self.parameters: dict[str, Parameter] = {}
        self.states: dict[Value, Location] = {}
        """States of the network, and where they are made."""
        self.updates: dict[Value, Update] = {}
        """Next values of states, in the order in which they are said."""
        self.met: list[tuple[str, Location]] = []
        """Names of parameters in the order of their uses, and where: a shared one has several."""
        self.stored: Sequence[Source] = ()
        """Files of weights that say what integers stand for."""
        self.diagnostics: dict[object, Diagnostic] = {}
        self.depth = 0
        self.inside = 0
        """How many branches and loops that run time decides about are open."""
        self._unknown: dict[Location, Diagnostic] = {}
        self.slots: dict[int, tuple[Sequence[Slot], ast.Procedure]] = {}
        """What the parameters of a procedure take, by its identity."""
        self._sized: dict[int, TensorType] = {}
        """Types whose tensors aren't too large, by identity."""
        self._assigned: dict[int, set[str]] = {}
        self._read: dict[int, Counter[str]] = {}

    @staticmethod
    def nested(outer: Elaboration, name: str) -> Elaboration:
        """For a graph within the graph: errors are kept together, and limits count for both."""
        state = Elaboration(name, outer.budget)
        state.diagnostics, state.depth = outer.diagnostics, outer.depth
        state.stored = outer.stored
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

    def is_read_outside(self, name: str, statement: ast.Statement, frame: Frame) -> bool:
        """True if a name is read in the definition that is elaborated, besides in one of its statements."""
        if frame.procedure is None:
            return True
        for node in (frame.procedure.body, statement):
            if id(node) not in self._read:
                self._read[id(node)] = ast.names_read(node)
        return self._read[id(frame.procedure.body)][name] > self._read[id(statement)][name]

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
        """Add an operation of one result to the graph."""
        (value,) = self.operation(frame, location, operator, *operands, name=name, **attributes)
        return value

    def operation(
        self,
        frame: Frame,
        location: Location,
        operator: str,
        *operands: Value,
        name: str | None = None,
        **attributes: Attribute,
    ) -> tuple[Value, ...]:
        """Add an operation to the graph; its results."""
        self.budget.operation(len(operands))
        self.budget.keep(sum(_REFERENCE + len(v.name or "") for v in operands))
        with Applying(operator, location):
            made = self.builder.operation(lookup(operator), operands, attributes, location=location, name=name)
        for value in made.results:
            if id(value.type) not in self._sized:
                if value.type.rank > MAX_RANK:
                    raise error(f"{operator} gives a tensor of more than {MAX_RANK} dimensions", location)
                check_size(f"{operator} gives a tensor", value.type, location)
                self._sized[id(value.type)] = value.type
        return made.results


def check_size(what: str, kind: TensorType, location: Location) -> None:
    """Raise `NetcError` if a tensor has more than `MAX_ELEMENTS` elements."""
    if kind.size > MAX_ELEMENTS:
        tenths = kind.bytes // 10**8  # no float: sizes that can be written exceed its range
        raise error(f"{what} of more than 2**31 elements: {kind}, {tenths // 10:,}.{tenths % 10} GB", location)


def _initial(value: object, kind: TensorType) -> Array:
    """What a state begins with: a number for all its elements, or lists of its shape."""
    try:
        numbers = np.array(value)
    except ValueError:
        raise error("the lists in a list have different lengths") from None
    wanted = "b" if kind.dtype is DType.BOOL else "biuf" if kind.dtype.is_float else "iu"
    if numbers.dtype.kind not in wanted or numbers.dtype.kind == "b" != wanted:
        raise error(f"a state of {kind.dtype} can't begin with {text(value)}")
    if not all(kind.dtype.holds(number) for number in numbers.reshape(-1).tolist()):
        raise error(f"{text(value)} is out of the range of {kind.dtype}")
    if numbers.shape not in ((), kind.shape):
        raise error(f"a state of shape {list(kind.shape)} can't begin with numbers of shape {list(numbers.shape)}")
    return np.array(np.broadcast_to(numbers.astype(kind.dtype.numpy), kind.shape), order="C")


def _cure(first: Location, second: Location) -> str:
    """What to do where a label stands twice: two layers, or one that was meant to be used twice."""
    place = f"the other one is made at {first}; " if first != second else ""
    return f"{place}tell them apart with @name; to use one twice, write `f = share@name(block)`, then call `f`"


@dataclass(eq=False)
class CallSite:
    """Where a layer is called; the builder that the layer's function works with."""

    state: Elaboration
    frame: Frame
    location: Location
    path: str = ""
    use: Use | None = None
    """The call of a shared layer that this is."""

    def param(
        self,
        name: str,
        shape: Sequence[int],
        *,
        init: str,
        trainable: bool = True,
        checkpoint: str | None = None,
        dtype: str = "f32",
        axis: int = -1,
    ) -> Value:
        """The parameter `name` below the path of the call: a new one, or that of another call of a shared block.

        `dtype` may say what integers stand for; else an imported file of weights may, with scales along `axis`.
        """
        full = self.state.path(join(self.path, name), self.location)
        with Applying(name, self.location):
            elements, quantization = parse_elements(dtype)
            if quantization is None and not elements.is_float:
                quantization = quantization_of(full, len(shape), axis, self.state.stored)
            parse_initial(init)
        attributes: dict[str, Attribute] = {
            "shape": tuple(shape),
            "init": init,
            "trainable": trainable,
            "checkpoint": checkpoint,
            "dtype": elements.value,
            "quantization": quantization,
        }
        use = self.use or self.frame.use
        uses = [] if use is None else list(use.chain())
        known = self.state.parameters.get(full)
        if known is None:
            value = self._new(full, attributes)
        elif any(full in one.shared.made and full not in one.met for one in uses):
            value = self._again(full, known, attributes)
        else:
            raise error(f"two parameters are called `{full}`", self.location, _cure(known.location, self.location))
        self.state.met.append((full, self.location))
        for one in uses:
            one.shared.made.add(full)
            one.met.add(full)
        return value

    def network_state(self, name: str, shape: Sequence[int], value: object, dtype: str) -> Value:
        """The state `name` below the path of the call, which begins with a number, or a list of them."""
        full = self.state.path(join(self.path, name), self.location)
        elements, quantization = parse_elements(dtype)
        kind = TensorType(elements, tuple(shape), None, quantization)
        check_size("a state", kind, self.location)
        array = _initial(value, kind)
        if (known := self.state.parameters.get(full)) is not None:
            raise error(f"two parameters are called `{full}`", self.location, _cure(known.location, self.location))
        attributes: dict[str, Attribute] = {"shape": tuple(shape), "dtype": elements.value, "trainable": False}
        attributes |= {"quantization": quantization, "value": array}
        made = self._new(full, attributes)
        self.state.met.append((full, self.location))
        self.state.states[made] = self.location
        return made

    def _new(self, full: str, attributes: Attributes) -> Value:
        """The first use of a parameter."""
        value = self.emit("param", name=full, **attributes)
        self.state.parameters[full] = Parameter(self.location, value, attributes)
        return value

    def _again(self, full: str, known: Parameter, attributes: Attributes) -> Value:
        """A shared parameter; the call must want just what the first one wanted."""
        if known.attributes != attributes:
            shapes = [list(a["shape"]) for a in (known.attributes, attributes)]
            what = f"is {shapes[0]} in the first call of what is shared, but {shapes[1]} here"
            if shapes[0] == shapes[1]:
                what = "has other settings here than in the first call of what is shared"
            hint = f"the first is at {known.location}; what is shared takes tensors of the same number of channels"
            raise error(f"the shared parameter `{full}` {what}", self.location, hint)
        return known.value

    def emit(self, operator: str, *operands: Value, **attributes: Attribute) -> Value:
        """Add an operation at the place of the call."""
        return self.state.emit(self.frame, self.location, operator, *operands, **attributes)
