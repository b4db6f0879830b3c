"""From a float network to one of 8-bit integers: calibrated by the compiled network, then quantized."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from .compiler.errors import NetcError, Note, near_miss
from .compiler.graph.ir import Array, Graph
from .compiler.ops.opaque import runnable
from .compiler.passes.float_weights import float_weights
from .compiler.passes.freeze import freeze, inference_form
from .compiler.passes.half_constants import half_constants
from .compiler.passes.two_dimensions import windows_in_two_dimensions
from .compiler.quantization import (
    Calibration,
    Noise,
    QuantizationWarning,
    Ranges,
    Scheme,
    comparable,
    dynamic_range,
    equalize,
    findings,
    measure,
    observation_graph,
    prepare,
    quantize_as_given,
    refuse_integers,
    refuse_nans,
    states_scales,
)
from .compiler.quantization import quantize as quantize_graph
from .compiler.quantization.adaround import AdaRound
from .compiler.types import DType
from .output import echo
from .pipeline import Source, Weights, compile_graph, find_weights, load
from .recovery import Inputs, recover
from .runtime.data.calibration import CalibrationSamples, are_pictures, calibration_inputs, facts_of, notes_on
from .runtime.data.interpretation import interpret
from .runtime.data.layout import as_input, sample_shape
from .runtime.data.registry import open_samples
from .runtime.data.source import ArraySource, FileSource, PictureFiles
from .runtime.parallel.world import ALONE, World
from .runtime.training.batches import ArrayMaker, evaluation_plans
from .runtime.training.samples import Preparation

INTEGER_FORMS = ("int8", "int16x8")
"""Forms whose activations are integers, which are calibrated."""
WEIGHT_FORMS = ("dynamic_range", "float16")
"""Forms in which weights alone have fewer bits."""

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
    prepared = _prepared(source, weights, equalized, net, settings, seed)
    calibration = Calibration(prepared)
    given = _SampleInputs(prepared, _opened(prepared, samples, limit), limit)
    cores = threads or world.cores
    with (
        compile_graph(observation_graph(prepared), threads=cores, cpu=cpu) as program,
        ThreadPoolExecutor(cores) as pool,
    ):
        for number, inputs in enumerate(given):
            turn = number % world.size
            if turn == world.rank:
                observation = calibration.observe(inputs, _all(program(*inputs)), pool.map)
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


def _prepared(
    source: Source, weights: Weights, equalized: bool, net: str | None, settings: Mapping[str, Any] | None, seed: int
) -> Graph:
    """The float graph that is quantized."""
    graph = _load(source, weights, net, settings)
    if states_scales(graph):
        raise NetcError("this network is quantized, and says the scales of its activations", hint="give no samples")
    prepared = prepare(graph, find_weights(weights, graph, seed) if graph.weights else {})
    return equalize(prepared) if equalized else prepared


def _load(source: Source, weights: Weights, net: str | None, settings: Mapping[str, Any] | None) -> Graph:
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


def quantize(
    source: Source,
    *,
    calibration: Samples | Calibrated | None = None,
    ranges: Ranges | str | os.PathLike[str] | None = None,
    weights: Weights = None,
    method: str = "mse",
    limit: int = 100,
    equalized: bool = False,
    adaround: bool | AdaRound = False,
    bias_correction: bool = False,
    inputs: str | None = None,
    outputs: str | None = None,
    per_channel: bool = True,
    keep_float: Sequence[str] = (),
    allow_float: bool = False,
    net: str | None = None,
    settings: Mapping[str, Any] | None = None,
    threads: int | None = None,
    seed: int = 0,
    form: str = "int8",
) -> Graph:
    """Turn a float network into one of 8-bit integers, as TFLite's quantization specification says.

    `form` says into which: "int8"; "int16x8", whose activations have 16 bits and whose weights have 8;
    "dynamic_range", whose weights are integers of 8 bits and whose activations are floats; or "float16", whose weights
    have half precision. The last two take no samples, and none of the settings that go with them.

    A network that was quantized before it was read, and says the scales of its activations (ONNX's QDQ and QLinear
    forms), takes neither samples nor ranges: its scales stay. What stays float or gets other integers than in the file
    is a warning (`Note`).

    `calibration` are samples (a folder, an archive, a data set, or input arrays) or what `calibrate` returned, from
    which `method` (minmax, moving-average, percentile, mse, entropy) finds the ranges of activations; or give `ranges`,
    or a file of them. `inputs` and `outputs` are i8 (if nothing is said), u8 or
    f32, or with 16 bits i16 or f32. Operators whose names match one of the patterns
    `keep_float` stay floats; with `allow_float` so do those without an integer form, which else are an error.

    Three ways to get accuracy back: with `equalized`, weights of neighbouring layers are rescaled first, so that their
    channels have like ranges; with `adaround` (settings, or True) weights are rounded so that the layers' results
    change least; with `bias_correction` the mean of a layer's error goes into its bias. The last two need samples.

    Warns (`QuantizationWarning`) of operands and filters that few levels are left to, and of activations that never
    differed in calibration.
    """
    if form not in INTEGER_FORMS:
        given = {"calibration": calibration, "ranges": ranges, "equalized": equalized, "adaround": adaround}
        refuse_settings(form, {**given, "bias_correction": bias_correction, "allow_float": allow_float})
        floats = frozen(_load(source, weights, net, settings), weights, seed)
        return lighter(floats, form, per_channel=per_channel, keep_float=keep_float)
    if form == "int16x8":
        refuse_settings(form, {"adaround": adaround, "bias_correction": bias_correction})
    scheme = scheme_for(form, inputs, outputs, per_channel=per_channel, keep_float=keep_float, allow_float=allow_float)
    if calibration is None and ranges is None and states_scales(graph := _load(source, weights, net, settings)):
        no_choice = {"equalized": equalized, "adaround": adaround, "bias_correction": bias_correction}
        refuse_settings("scales of the file", {**no_choice, "per_channel": not per_channel, "int16x8": scheme.short})
        return as_given(graph, weights=weights, inputs=inputs, outputs=outputs, keep_float=keep_float, seed=seed)
    if (calibration is None) == (ranges is None):
        raise NetcError("quantizing takes samples to calibrate with, or ranges", hint="give one of them")
    if calibration is None:
        if adaround or bias_correction:
            raise NetcError("adaround and bias_correction take samples, not ranges alone", hint="give `calibration`")
        read = ranges if isinstance(ranges, Ranges) else Ranges.read(os.fspath(ranges or ""))
        return quantized(_prepared(source, weights, equalized, net, settings, seed), read, scheme)
    if not isinstance(calibration, Calibrated):
        options: dict[str, Any] = {"net": net, "settings": settings, "threads": threads, "seed": seed}
        calibration = calibrate(source, calibration, weights=weights, limit=limit, equalized=equalized, **options)
    graph = quantized(calibration.graph, calibration.calibration.ranges(method), scheme)
    recovery = recover(
        calibration.graph,
        graph,
        calibration.inputs,
        adaround=AdaRound() if adaround is True else adaround or None,
        bias_correction=bias_correction,
        threads=threads,
        seed=seed,
    )
    return recovery.graph


def as_given(
    graph: Graph,
    *,
    weights: Weights = None,
    inputs: str | None = None,
    outputs: str | None = None,
    keep_float: Sequence[str] = (),
    seed: int = 0,
    integer_edges: bool = False,
) -> Graph:
    """The integer form of a network that says its scales (see `quantize_as_given`).

    Warns of what isn't as in the file.
    """
    edges = {name: edge_type(t) if t else None for name, t in (("inputs", inputs), ("outputs", outputs))}
    params = find_weights(weights, graph, seed) if graph.weights else {}
    given = quantize_as_given(runnable(graph), params, keep_float=keep_float, integer_edges=integer_edges, **edges)
    for note in given.notes:
        warnings.warn(Note(note), stacklevel=3)
    return given.graph


def scheme_for(
    form: str,
    inputs: str | None,
    outputs: str | None,
    *,
    per_channel: bool,
    keep_float: Sequence[str],
    allow_float: bool,
) -> Scheme:
    """What the integer network of a form looks like; edges of which nothing is said have the type of activations."""
    short = form == "int16x8"
    own = "i16" if short else "i8"
    edges = edge_type(inputs or own), edge_type(outputs or own)
    return Scheme(*edges, per_channel, False, tuple(keep_float), allow_float, short)


def frozen(graph: Graph, weights: Weights, seed: int = 0) -> Graph:
    """The float network with constants for weights, in the form whose weights become lighter."""
    refuse_integers(graph)
    params = find_weights(weights, graph, seed) if graph.parameters else {}
    return freeze(windows_in_two_dimensions(inference_form(float_weights(runnable(graph)))), params)


def lighter(graph: Graph, form: str, *, per_channel: bool = True, keep_float: Sequence[str] = ()) -> Graph:
    """A frozen float network with weights of fewer bits; `form` is one of `WEIGHT_FORMS`.

    Raises `NetcError` for weights that are no numbers.
    """
    if form not in WEIGHT_FORMS:
        hint = near_miss(form, (*INTEGER_FORMS, *WEIGHT_FORMS))
        known = ", ".join((*INTEGER_FORMS, *WEIGHT_FORMS))
        raise NetcError(f"a network can be quantized to {known}, not {form!r}", hint=hint)
    refuse_nans(graph)
    if form == "dynamic_range":
        return dynamic_range(graph, per_channel=per_channel, keep_float=keep_float)
    refuse_settings(form, {"keep_float": bool(keep_float), "per_channel": not per_channel})
    return half_constants(graph)


def refuse_settings(form: str, given: Mapping[str, object]) -> None:
    """Raise `NetcError` for settings that say something and mean nothing for a form."""
    wrong = [name for name, value in given.items() if value is not None and value is not False]
    if wrong:
        raise NetcError(f"{form} leaves no choice of {', '.join(wrong)}", hint="leave it out, or quantize to int8")


def quantized(graph: Graph, ranges: Ranges, scheme: Scheme) -> Graph:
    """The integer form of a prepared float graph; warns of what it loses or guesses."""
    result = quantize_graph(graph, ranges, scheme)
    for found in () if scheme.short else findings(graph, ranges, scheme):
        warnings.warn(QuantizationWarning(found), stacklevel=3)
    return result


@contextmanager
def warnings_for_people() -> Iterator[list[str]]:
    """Write warnings of quantization to stderr as the command line does, and gather their texts."""
    texts: list[str] = []

    def show(message: Warning | str, category: type[Warning], *rest: Any) -> None:
        if not isinstance(message, QuantizationWarning):
            return others(message, category, *rest)
        texts.append(str(message))
        echo(f"warning: {message}", err=True)
        return None

    with warnings.catch_warnings():
        warnings.simplefilter("always", QuantizationWarning)
        others = warnings.showwarning
        warnings.showwarning = show  # type: ignore[assignment]
        yield texts


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
                yield _all(wanted(*inputs)), _all(got(*edges))

    return measure(floats, integers, runs())


def _all(outputs: Array | tuple[Array, ...]) -> tuple[Array, ...]:
    return outputs if isinstance(outputs, tuple) else (outputs,)


def edge_type(name: str) -> DType:
    """The element type at an edge of a quantized network by its name: i8, u8, i16 or f32."""
    names = {str(d): d for d in (DType.I8, DType.U8, DType.I16, DType.F32)}
    if name not in names:
        raise NetcError(f"a quantized network takes and gives {', '.join(names)}, not {name}")
    return names[name]
