"""Running networks on samples: to calibrate a float network, and to measure how far its integer form is from it."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from .compiler.errors import NetcError, Note
from .compiler.graph.ir import Array, Graph, Value
from .compiler.graph.keys import computation_key
from .compiler.graph.names import value_names
from .compiler.passes.rebatch import rebatch
from .compiler.quantization import (
    Calibration,
    Noise,
    comparable,
    equalize,
    measure,
    observation_graph,
    prepare,
    states_scales,
)
from .compiler.types import DType
from .loading import Source, Weights, find_weights, load
from .pipeline import compile_graph
from .recovery import Inputs
from .runtime.data.calibration import CalibrationSamples, are_pictures, calibration_inputs, facts_of, notes_on
from .runtime.data.interpretation import interpret
from .runtime.data.layout import as_input, sample_shape
from .runtime.data.registry import open_samples
from .runtime.data.source import ArraySource, FileSource, PictureFiles
from .runtime.parallel.world import ALONE, World
from .runtime.program import all_outputs
from .runtime.training.batches import ArrayMaker, evaluation_plans
from .runtime.training.samples import Preparation

Samples = str | os.PathLike[str] | CalibrationSamples | Iterable[Array | Sequence[Array]]
"""What to calibrate with: a folder, an archive or a data set by name, or opened, or inputs of the network.

An array with as many dimensions as the network's only input holds samples, one after the other, for its batches; of
what type and range they are is judged as for training (see `runtime.data.interpretation`).
"""


@dataclass(frozen=True)
class Calibrated:
    """A float network whose activations have been watched: the graph that is quantized, and what was seen of it."""

    graph: Graph
    calibration: Calibration
    inputs: Inputs
    """What it was run on, again."""


@dataclass(frozen=True)
class _SampleInputs:
    """The inputs of a network that samples make; each iteration begins anew."""

    graph: Graph
    samples: Samples
    limit: int

    def __iter__(self) -> Iterator[Sequence[Array]]:
        return iter(_inputs(self.graph, self.samples, self.limit))


def calibrate(
    source: Source,
    samples: Samples,
    *,
    weights: Weights = None,
    limit: int = 100,
    equalized: bool = False,
    net: str | None = None,
    settings: Mapping[str, Any] | None = None,
    threads: int | None = None,
    cpu: str | None = None,
    seed: int = 0,
    progress: Callable[[int], None] | None = None,
    world: World = ALONE,
) -> Calibrated:
    """Run a float network on samples and watch its activations.

    Of a folder, an archive or a data set up to `limit` pictures are taken; `progress` is told the number done. With
    `equalized`, weights of neighbouring layers are rescaled first so that their channels have like ranges. Raises
    `NetcError` if there are no samples, or if an activation is not finite; what was passed over or guessed of the
    samples is a warning, except of those that were opened before. `threads` and `cpu` are those of `netc.compile`.
    The ranks of a world take runs in turn; rank 0 alone gets the calibration.
    """
    prepared = prepared_floats(source, weights, equalized, net, settings, seed)
    given = _SampleInputs(prepared, _opened(prepared, samples, limit), limit)
    return _watched(given, threads or world.cores, cpu, progress, world)


def calibrate_for_batch(
    loaded: Callable[[int], Graph],
    batch: int,
    samples: Samples,
    *,
    weights: Weights = None,
    limit: int = 100,
    threads: int | None = None,
    seed: int = 0,
) -> Calibrated:
    """As `calibrate`, of the network that `loaded` gives for a batch.

    Where samples are single ones, not inputs of a run, it is watched for one at a time: that takes little memory, finds
    the same ranges for any batch, and needs no whole batches. A network that mixes samples is watched for its batch.
    """
    prepared = prepared_floats(loaded(batch), weights, False, None, None, seed)
    watched = prepared
    if batch > 1 and _are_single(prepared, samples):
        with suppress(NetcError), warnings.catch_warnings(action="ignore", category=Note):  # as before, but for N
            single = prepared_floats(loaded(1), weights, False, None, None, seed)
            watched = single if _is_sample_of(single, prepared, batch) else prepared
    given = _SampleInputs(watched, _opened(watched, samples, limit), limit)
    return replace(_watched(given, threads or ALONE.cores, None, None, ALONE), graph=prepared)


def _are_single(graph: Graph, samples: Samples) -> bool:
    """Whether samples are numbered one by one, for whatever batch."""
    if isinstance(samples, str | os.PathLike | CalibrationSamples):
        return True
    return isinstance(samples, np.ndarray) and _holds_samples(graph, samples)


def _is_sample_of(single: Graph, graph: Graph, batch: int) -> bool:
    """Whether one sample has the same ranges as each of a batch: operations neither mix samples nor count them.

    Raises `NetcError` where it isn't known which of the numbers are a sample's.
    """
    if _structure(single) != _structure(graph):
        return False
    meanings = dict[Hashable, int]()
    one, other = (_meanings(g, meanings) for g in (prepare(rebatch(single, batch), {}), graph))
    return one == other


def _meanings(graph: Graph, known: dict[Hashable, int]) -> list[int]:
    """A number for each output: the same, among graphs with a common `known`, where the same is computed."""
    found = dict[Value, int]()

    def note(value: Value, *key: Hashable) -> None:
        found[value] = known.setdefault((*key, value.type), len(known))

    for place, value in enumerate(graph.inputs):
        note(value, place)
    for op in graph.operations:
        key = op.name, tuple(found[v] for v in op.operands), computation_key(op)
        for place, value in enumerate(op.results):
            note(value, *key, place)
    return [found[v] for v in graph.outputs]


def _structure(graph: Graph) -> list[tuple[str, list[str], list[str]]]:
    """The operations by names, which ranges go by."""
    names = value_names(graph)
    return [(op.name, [names[v] for v in op.operands], [names[v] for v in op.results]) for op in graph.operations]


def _watched(
    given: _SampleInputs, cores: int, cpu: str | None, progress: Callable[[int], None] | None, world: World
) -> Calibrated:
    """Run the network that samples are for, and watch its activations."""
    prepared, calibration = given.graph, Calibration(given.graph)
    with (
        compile_graph(observation_graph(prepared), threads=cores, cpu=cpu) as program,
        ThreadPoolExecutor(cores) as pool,
    ):
        for number, inputs in enumerate(given):
            turn = number % world.size
            if turn == world.rank:
                observation = calibration.observe(inputs, all_outputs(program(*inputs)), pool.map)
                if turn:
                    world.send_message(observation, 0)
            elif world.rank == 0:
                observation = world.receive_message(turn)
            if world.rank == 0:
                calibration.take(observation)
                if progress:
                    progress(calibration.samples)
    return Calibrated(prepared, calibration, given)


def _opened(graph: Graph, samples: Samples, limit: int) -> Samples:
    """Samples that can be gone through several times; warns of what isn't plain."""
    if isinstance(samples, str | os.PathLike):
        samples = open_samples(samples)
        _warn(notes_on(samples, graph, limit))
    elif isinstance(samples, Iterator):
        return tuple(samples)
    elif isinstance(samples, np.ndarray) and _holds_samples(graph, samples):
        _warn(notes_on(_unlabelled(samples), graph, limit))
    return samples


def _warn(notes: Sequence[str]) -> None:
    if notes:
        warnings.warn("\n".join(notes), stacklevel=4)


def prepared_floats(
    source: Source, weights: Weights, equalized: bool, net: str | None, settings: Mapping[str, Any] | None, seed: int
) -> Graph:
    """The float graph that is quantized.

    Raises `NetcError` for a network that is quantized already.
    """
    graph = read_floats(source, weights, net, settings)
    if states_scales(graph):
        raise NetcError("this network is quantized, and says the scales of its activations", hint="give no samples")
    prepared = prepare(graph, find_weights(weights, graph, seed) if graph.weights else {})
    return equalize(prepared) if equalized else prepared


def read_floats(source: Source, weights: Weights, net: str | None, settings: Mapping[str, Any] | None) -> Graph:
    """The network of a file."""
    return load(source, net=net, settings=settings, with_parameters=weights is not None)


def _inputs(graph: Graph, samples: Samples, limit: int) -> Iterable[Sequence[Array]]:
    """The inputs of each run, in order."""
    if isinstance(samples, str | os.PathLike):
        samples = open_samples(samples)
    if isinstance(samples, ArraySource | FileSource | PictureFiles) and len(graph.inputs) != 1:
        hint = "in Python, netc.quantize takes a tuple of arrays for each run"
        raise NetcError(f"net {graph.name} takes {len(graph.inputs)} inputs; such samples are for one", hint=hint)
    if isinstance(samples, ArraySource) and not are_pictures(graph, samples):
        first = replace(samples.first(limit), facts=facts_of(samples))
        return ((x,) for x in _batches(_interpreted(graph, first), graph.inputs[0].type.shape[0]))
    if isinstance(samples, ArraySource | FileSource | PictureFiles):
        return ((x,) for x in calibration_inputs(graph, samples, limit))
    if isinstance(samples, np.ndarray) and _holds_samples(graph, samples):
        return ((x,) for x in _batches(_array_inputs(graph, samples), graph.inputs[0].type.shape[0]))
    return ((np.asarray(x),) if isinstance(x, np.ndarray) else tuple(np.asarray(part) for part in x) for x in samples)


def _holds_samples(graph: Graph, samples: Array) -> bool:
    """Whether an array holds samples for the only input, one after the other."""
    return len(graph.inputs) == 1 and samples.ndim == graph.inputs[0].type.rank


def _unlabelled(samples: Array) -> ArraySource:
    """An array as a source."""
    return ArraySource("the array", None, np.zeros(len(samples), np.int32), samples)


def _array_inputs(graph: Graph, samples: Array) -> Array:
    """An array as the network takes it."""
    if graph.inputs[0].type.dtype != DType.F32 or samples.ndim < 2 or len(samples) == 0:
        return samples
    return _interpreted(graph, _unlabelled(samples))


def _interpreted(graph: Graph, source: ArraySource) -> Array:
    """Samples as a float network takes them."""
    found = interpret(graph, facts_of(source))
    preparation = Preparation(sample_shape(graph), found.preprocess, interpretation=found)
    (made,) = ArrayMaker(source, preparation).make(evaluation_plans(len(source), len(source)))
    return as_input(made.images, graph.inputs[0].type)


def _batches(samples: Array, size: int) -> Iterator[Array]:
    """Samples in batches; those that don't fill one are left out."""
    if len(samples) < size:
        raise NetcError(f"{len(samples)} samples don't fill a batch of {size}")
    return (samples[i : i + size] for i in range(0, len(samples) - size + 1, size))


def layer_noise(
    graph: Graph, quantized: Graph, samples: Samples, *, limit: int = 10, threads: int | None = None
) -> tuple[Noise, ...]:
    """The noise of each activation against the float network `graph` (as `prepare` makes it), in its order.

    Of a folder, an archive or a data set `limit` samples are taken, of arrays all.
    """
    floats, integers = comparable(graph, quantized)

    def runs() -> Iterator[tuple[Sequence[Array], Sequence[Array]]]:
        with compile_graph(floats, threads=threads) as wanted, compile_graph(integers, threads=threads) as got:
            for inputs in _inputs(graph, samples, limit):
                edges = [as_input(x, v.type) for x, v in zip(inputs, integers.inputs, strict=True)]
                yield all_outputs(wanted(*inputs)), all_outputs(got(*edges))

    return measure(floats, integers, runs())
