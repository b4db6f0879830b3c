"""Calibration: running a float network on samples and watching the ranges of its activations.

`prepare` gives the float graph that is calibrated and then quantized; `observation_graph` is the same graph with all
watched values as outputs, which the caller may compile; `Calibration` takes what comes out; `Ranges` is the result,
which can be saved, edited and used again.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, NoReturn

import numpy as np

from ..errors import NetcError, near_miss
from ..graph.builder import Rewriter, rewritten
from ..graph.ir import Array, Graph, Operation, Results, Value
from ..graph.names import value_names
from ..graph.state import refuse_state
from ..ops.facets import INTEGER
from ..ops.functions.activations import activation_of
from ..ops.opaque import runnable
from ..passes.canonicalize import canonicalize
from ..passes.dce import dce
from ..passes.float_weights import float_weights
from ..passes.freeze import freeze, inference_form
from ..passes.spell_out import spelled_out
from ..passes.two_dimensions import windows_in_two_dimensions
from ..reading import read_text, reading
from ..types import DType
from .methods import METHODS, Range, Seen, Statistics

Each = Callable[[Callable[[Array], Seen | None], Sequence[Array]], Iterable[Seen | None]]


def prepare(graph: Graph, params: Mapping[str, Array]) -> Graph:
    """The float network in the operators that have an integer form, with constants for weights.

    Raises `NetcError` for operators that netc knows by name only.

    Before::

        %1 = hard_sigmoid(%0)

    After::

        %1 = mul(relu6(add(%0, 3)), 0.16666667)
    """
    refuse_state(graph, "such networks can't be quantized")
    refuse_integers(graph)
    return integer_ready(graph, params)


def integer_ready(graph: Graph, params: Mapping[str, Array]) -> Graph:
    """What `prepare` gives, of a network that may hold integers."""
    inference = windows_in_two_dimensions(inference_form(float_weights(runnable(graph)), integers=True))
    return in_integer_operators(freeze(spelled_out(inference, INTEGER), params))


def refuse_integers(graph: Graph) -> None:
    """Raise `NetcError` if activations of a network are quantized already."""
    value = quantized_activation(graph)
    if value is not None:
        where = f"`{value.name}`" if value.name else "an activation"
        problem = f"net {graph.name} is quantized already: {where} is {value.type.dtype}"
        raise NetcError(problem, hint="quantize the float network that it was made from")


def quantized_activation(graph: Graph) -> Value | None:
    """An activation that holds integers with a scale; None for networks without any."""
    values = (*graph.inputs, *(v for op in graph.operations if op.name != "constant" for v in op.results))
    return next((v for v in values if v.type.quantization is not None), None)


def in_integer_operators(graph: Graph) -> Graph:
    """A network for inference, written in the operators that have an integer form."""
    return _finite(dce(canonicalize(rewritten(spelled_out(graph, INTEGER), _prepared))))


def _prepared(b: Rewriter, op: Operation) -> Results | None:
    """What stands for an operation before calibration."""
    form = INTEGER.of(op.operator)
    return form.prepare(b, op) if form is not None and form.prepare is not None else None


def _finite(graph: Graph) -> Graph:
    """The graph, or the error about a pad with what no integer can stand for."""
    for op in graph.operations:
        if op.name == "pad" and not np.isfinite(op.attributes["value"]):
            problem = f"pad with {op.attributes['value']} has no integer form"
            raise NetcError(problem, location=op.location, hint="pad with a number near those that are padded")
    return graph


def has_filters(op: Operation) -> bool:
    """True for a convolution or dense layer, whose last operands are weight and bias."""
    form = INTEGER.of(op.operator)
    return form is not None and form.filters


def fused_activations(graph: Graph) -> Mapping[Operation, Operation]:
    """Operations, each with the activation that alone reads its result and becomes part of its integer form."""
    outputs = frozenset(graph.outputs)
    fused: dict[Operation, Operation] = {}
    for op in graph.operations:
        source = graph.producers.get(op.operands[0]) if activation_of(op) else None
        form = INTEGER.of(source.operator) if source is not None else None
        if source is None or form is None or not form.limited or source.result in outputs:
            continue
        if len(graph.users[source.result]) == 1:
            fused[source] = op
    return fused


def watched_values(graph: Graph) -> tuple[Value, ...]:
    """The f32 values whose ranges are needed: inputs and results, but not what a fused activation reads."""
    hidden = {op.result for op in fused_activations(graph)}
    results = (r for op in graph.operations if op.name != "constant" for r in op.results)
    return tuple(v for v in (*graph.inputs, *results) if v.type.dtype is DType.F32 and v not in hidden)


def observation_graph(graph: Graph) -> Graph:
    """The graph with the watched values as its outputs, except for those that are inputs."""
    inputs = frozenset(graph.inputs)
    return replace(graph, outputs=tuple(v for v in watched_values(graph) if v not in inputs))


@dataclass(frozen=True)
class Ranges:
    """Ranges of activations by name, and how they came about.

    `means` has the mean of each channel of what filters read; with them, biases make good what the rounding of filters
    does to their results. Without, biases stay as they are.
    """

    ranges: Mapping[str, Range]
    method: str
    samples: int
    means: Mapping[str, tuple[float, ...]] = field(default_factory=dict[str, tuple[float, ...]])

    def __getitem__(self, name: str) -> Range:
        if name not in self.ranges:
            hint = near_miss(name, self.ranges) or "were they calibrated on this network?"
            raise NetcError(f"there is no calibrated range of `{name}`", hint=hint)
        return self.ranges[name]

    def to_json(self) -> str:
        """The text form: one activation on each line."""
        sections = [f'  "method": {json.dumps(self.method)}', f'  "samples": {self.samples}']
        sections.append(_section("ranges", {name: (r.low, r.high) for name, r in self.ranges.items()}))
        if self.means:
            sections.append(_section("means", self.means))
        return "{\n" + ",\n".join(sections) + "\n}\n"

    @staticmethod
    def from_json(text: str) -> Ranges:
        """Read the text form; raises `NetcError` where it is not one."""
        with reading("this", "file of calibrated ranges"):
            data: Any = json.loads(text)
            pairs = {str(name): Range(float(low), float(high)) for name, (low, high) in data["ranges"].items()}
            means = {str(name): tuple(map(float, each)) for name, each in data.get("means", {}).items()}
            found = Ranges(pairs, str(data["method"]), int(data["samples"]), means)
        for name, each in found.ranges.items():
            if not -np.inf < each.low <= each.high < np.inf:
                raise NetcError(f"the range of `{name}` can't be [{each.low}, {each.high}]")
        for name, numbers in means.items():
            if not np.isfinite(numbers).all():
                raise NetcError(f"the means of `{name}` aren't all numbers")
        return found

    @staticmethod
    def read(path: str | Path) -> Ranges:
        """Read a file that holds the text form."""
        return Ranges.from_json(read_text(path, "file of calibrated ranges"))


def _section(title: str, entries: Mapping[str, Sequence[float]]) -> str:
    """Numbers by name in the text form: one name on each line."""
    lines = (f"    {json.dumps(name)}: {json.dumps(list(numbers))}" for name, numbers in entries.items())
    return f'  "{title}": {{\n' + ",\n".join(lines) + "\n  }"


@dataclass(frozen=True)
class Observation:
    """What is kept of a run of the observation graph."""

    samples: int
    seen: tuple[Seen | None, ...]
    """Of each watched value; None where not all numbers are finite."""


class Calibration:
    """What was seen of the watched values of a prepared graph, batch by batch."""

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        names = value_names(graph)
        self.statistics: dict[str, Statistics] = {names[v]: Statistics() for v in watched_values(graph)}
        self.samples = 0

    def add(self, inputs: Sequence[Array], observed: Sequence[Array]) -> None:
        """Take a run of the observation graph into account: its inputs and outputs, in order."""
        self.take(self.observe(inputs, observed))

    def observe(self, inputs: Sequence[Array], observed: Sequence[Array], each: Each = map) -> Observation:
        """What is kept of a run: whoever runs the graph can send it to who adds all of them up, by `take`.

        `each` may be a `map` of several threads.
        """
        floats = [x for v, x in zip(self.graph.inputs, inputs, strict=True) if v.type.dtype is DType.F32]
        samples = len(inputs[0]) if inputs and inputs[0].ndim else 1
        return Observation(samples, tuple(each(Seen.of, (*floats, *observed))))

    def take(self, observation: Observation) -> None:
        """Take a run into account; in another order runs may give other averages and sums."""
        for (name, statistics), seen in zip(self.statistics.items(), observation.seen, strict=True):
            if seen is None:
                self._refuse(name)
            statistics.take(seen)
        self.samples += observation.samples

    def _refuse(self, name: str) -> NoReturn:
        """Raise the error about an activation that isn't made of numbers."""
        value = next(v for v, known in value_names(self.graph).items() if known == name)
        producer = self.graph.producers.get(value)
        hint = "leave this sample out" if producer is None else "are these the net's weights?"
        problem = f"`{name}` holds infinities or NaNs in sample {self.samples + 1}"
        raise NetcError(problem, location=None if producer is None else producer.location, hint=hint)

    def ranges(self, method: str = "mse") -> Ranges:
        """The range of each activation by one of `METHODS`; inputs and outputs are covered completely by all of them.

        An output that saturates would make classes equal that are not.
        """
        if method not in METHODS:
            hint = near_miss(method, METHODS) or "there are " + ", ".join(METHODS)
            raise NetcError(f"there is no calibration method `{method}`", hint=hint)
        if not self.samples:
            raise NetcError("there are no samples to calibrate with")
        return Ranges(dict(self._ranges(method)), method, self.samples, dict(self._means()))

    def _ranges(self, method: str) -> Iterator[tuple[str, Range]]:
        names = value_names(self.graph)
        edges = {names[v] for v in (*self.graph.inputs, *self.graph.outputs)}
        for name, seen in self.statistics.items():
            yield name, METHODS["minmax" if name in edges else method](seen)

    def _means(self) -> Iterator[tuple[str, tuple[float, ...]]]:
        """The channels' means of what filters read."""
        names = value_names(self.graph)
        for value in dict.fromkeys(op.operands[0] for op in self.graph.operations if has_filters(op)):
            means = self.statistics[names[value]].means if names[value] in self.statistics else ()
            if means:
                yield names[value], means
