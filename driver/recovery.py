"""Getting back accuracy that quantization costs: adaptive rounding of weights and correction of biases.

Layers are taken in order. What a layer reads comes from the integer network so far, what it should give from the float
network, so each layer also makes good what those before it did wrong.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from .compiler import passes
from .compiler.errors import NetcError
from .compiler.graph.builder import GraphBuilder
from .compiler.graph.ir import Array, Graph, Operation, Value
from .compiler.quantization.adaround import AdaRound, initial_state, learn, squared_error, step_graph
from .compiler.quantization.bias_correction import corrected_bias
from .compiler.quantization.layers import Floats, IntegerLayer, Rows, layers, replaced, with_biases, with_constants
from .pipeline import PROGRAM, Compilation, Request, build, compile_graph, load_program
from .runtime.data.layout import as_input
from .runtime.program import all_outputs

ROWS = 2048
"""Places of each layer's output that are looked at, over all samples."""

Inputs = Iterable[Sequence[Array]]
"""The inputs of each sample; gone through several times."""
Progress = Callable[[int, int], None]
"""Is told how many layers are done, of how many."""


@dataclass(frozen=True, slots=True)
class Recovered:
    """What became of a layer: its mean squared error before and after, on rows that nothing was learnt from."""

    name: str
    before: float
    after: float
    moved: int
    """Weights that are not rounded to the nearest any more."""


@dataclass(frozen=True)
class Recovery:
    """An integer network with other weights and biases, and what became of its layers."""

    graph: Graph
    layers: tuple[Recovered, ...]


def recover(
    graph: Graph,
    quantized: Graph,
    inputs: Inputs,
    *,
    adaround: AdaRound | None = None,
    bias_correction: bool = False,
    threads: int | None = None,
    seed: int = 0,
    progress: Progress | None = None,
) -> Recovery:
    """Round weights anew, correct biases, or both, in the integer form of a prepared float graph.

    `inputs` are samples for the float graph. Scales, and so the ranges of activations, stay as they are; a new rounding
    is taken only if it does better on samples that it was not learnt from. The same seed gives the same network.
    Raises `NetcError` if there are no samples.
    """
    if not (adaround or bias_correction):
        return Recovery(quantized, ())
    if bias_correction:
        quantized = with_biases(quantized)
    found = {layer.integer: layer for layer in layers(graph, quantized)}
    samples = tuple(tuple(x) for x in inputs)
    if not samples:
        raise NetcError("there are no samples to recover accuracy with")
    if not found:
        return Recovery(quantized, ())
    targets = _targets(graph, tuple(found.values()), samples, seed, threads)
    prefix = _Prefix(quantized, samples, threads)
    rounder = _Rounder(adaround, threads, seed) if adaround else None
    arrays: dict[Value, Array] = {}
    done: list[Recovered] = []
    for op in quantized.operations:
        if op in found:
            layer = found[op]
            rows = Rows(prefix.rows(layer, _places(layer, len(done), len(samples), seed)), targets.pop(layer.name))
            weight, bias, result = _recovered(layer, rows, rounder, bias_correction)
            arrays[op.operands[1]] = weight
            if len(op.operands) > 2:
                arrays[op.operands[2]] = bias
            done.append(result)
            if progress:
                progress(len(done), len(found))
        prefix.append(op, arrays)
    return Recovery(with_constants(quantized, arrays), tuple(done))


def _recovered(
    layer: IntegerLayer, rows: Rows, rounder: _Rounder | None, bias_correction: bool
) -> tuple[NDArray[np.int8], NDArray[np.int32], Recovered]:
    """The weight and bias with the smallest error on rows that nothing was learnt from, and what they do to it."""
    learnt, judged = rows.split()
    corrections = (False, True) if bias_correction else (False,)

    def bias(weight: NDArray[np.int8], corrected: bool, rows: Rows) -> NDArray[np.int32]:
        if corrected:
            return corrected_bias(layer, rows, weight)
        return layer.bias if weight is layer.rounded else layer.plain_bias

    def error(form: tuple[NDArray[np.int8], bool]) -> float:
        return squared_error(layer, judged, form[0], bias(*form, learnt))

    best = min(((layer.rounded, c) for c in corrections), key=error)
    if rounder is not None:
        weight = rounder(layer, learnt, bias(*best, learnt) if best[1] else layer.plain_bias)
        best = min((best, *((weight, c) for c in corrections)), key=error)
    moved = int(np.count_nonzero(best[0] != layer.rounded))
    result = Recovered(layer.name, error((layer.rounded, False)), error(best), moved)
    return best[0], bias(*best, rows), result


# ---- the float network ----------------------------------------------------------------------------------------------


def _places(layer: IntegerLayer, number: int, samples: int, seed: int) -> list[NDArray[np.int64]]:
    """The places of a layer's output that are looked at, for each sample."""
    count = max(1, -(-ROWS // samples))
    return [layer.places(count, (seed, number, sample)) for sample in range(samples)]


def _targets(
    graph: Graph, found: Sequence[IntegerLayer], samples: Sequence[Sequence[Array]], seed: int, threads: int | None
) -> dict[str, Floats]:
    """What the float network gives at the places of each layer, before activations."""
    places = [_places(layer, i, len(samples), seed) for i, layer in enumerate(found)]
    rows: list[list[Floats]] = [[] for _ in found]
    outputs = tuple(layer.original.result for layer in found)
    with compile_graph(replace(graph, outputs=outputs), threads=threads) as program:
        for i, sample in enumerate(samples):
            results = program(*sample)
            for into, chosen, result in zip(rows, places, all_outputs(results), strict=True):
                into.append(result.reshape(-1, result.shape[-1])[chosen[i]])
    return {layer.name: np.concatenate(parts) for layer, parts in zip(found, rows, strict=True)}


# ---- the integer network --------------------------------------------------------------------------------------------


class _Prefix:
    """The integer network, run on all samples as far as somebody asks, one stretch of operations after the other."""

    def __init__(self, graph: Graph, samples: Sequence[Sequence[Array]], threads: int | None) -> None:
        self.graph = graph
        self.threads = threads
        self.values: dict[Value, list[Array]] = {
            value: [as_input(sample[i], value.type) for sample in samples] for i, value in enumerate(graph.inputs)
        }
        self.samples = len(samples)
        self.constants: dict[Value, Operation] = {}
        self.pending: list[Operation] = []
        self.last = {v: i for i, op in enumerate(graph.operations) for v in op.operands}
        self.position = 0

    def append(self, op: Operation, arrays: Mapping[Value, Array]) -> None:
        """Add the next operation; `arrays` replaces constants."""
        self.position += 1
        if op.name == "constant":
            self.constants[op.result] = op
            return
        self.constants.update(
            (c.result, c) for c in replaced((self.constants[v] for v in op.operands if v in self.constants), arrays)
        )
        self.pending.append(op)

    def rows(self, layer: IntegerLayer, places: Sequence[NDArray[np.int64]]) -> Floats:
        """What a layer, the next operation, reads at some places of each sample."""
        x = layer.integer.operands[0]
        if x not in self.values:
            self._run()
        return np.concatenate([layer.read(array, at) for array, at in zip(self.values[x], places, strict=True)])

    def _run(self) -> None:
        """Compute all that is pending and needed later, and forget what is not."""
        produced = {r for op in self.pending for r in op.results}
        used = dict.fromkeys(v for op in self.pending for v in op.operands)
        taken = [v for v in used if v not in produced and v not in self.constants]
        given = [v for op in self.pending for v in op.results if self.last.get(v, -1) >= self.position]
        with compile_graph(self._stretch(used, taken, given), threads=self.threads) as program:
            results = [all_outputs(program(*(self.values[v][i] for v in taken))) for i in range(self.samples)]
        self.values.update((v, [each[k] for each in results]) for k, v in enumerate(given))
        self.values = {v: a for v, a in self.values.items() if self.last.get(v, -1) >= self.position}
        self.pending = []

    def _stretch(self, used: Iterable[Value], taken: Sequence[Value], given: Sequence[Value]) -> Graph:
        """The pending operations as a graph."""
        constants = [self.constants[v] for v in used if v in self.constants]
        b = GraphBuilder(self.graph.name)
        arguments = [b.input(f"x{i}", v.type) for i, v in enumerate(taken)]
        body = Graph(self.graph.name, tuple(taken), (*constants, *self.pending), tuple(given))
        return b.finish(b.inline(body, arguments))


# ---- adaptive rounding ----------------------------------------------------------------------------------------------


@dataclass
class _Rounder:
    """Runs adaptive rounding; steps of layers with the same shapes are compiled once."""

    settings: AdaRound
    threads: int | None
    seed: int
    compiled: dict[str, Compilation] = field(default_factory=dict[str, Compilation])

    def __call__(self, layer: IntegerLayer, rows: Rows, bias: NDArray[np.int32]) -> NDArray[np.int8]:
        """The learnt rounding of a layer."""
        with load_program(self._step(layer), initial_state(layer, bias)) as program:
            return learn(layer, rows, bias, self.settings, program, self.seed)

    def _step(self, layer: IntegerLayer) -> Compilation:
        graph = step_graph(layer, self.settings)
        key = str(graph)
        if key not in self.compiled:
            request = Request(graph, threads=self.threads, pipeline=passes.pipelines.TRAINING)
            self.compiled[key] = build(request, PROGRAM)
        return self.compiled[key]
