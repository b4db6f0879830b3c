"""From a float network to one of 8-bit integers, or to one whose weights alone have fewer bits."""

from __future__ import annotations

import os
import warnings
from collections.abc import Mapping, Sequence
from typing import Any

from .calibration import Calibrated, Samples, calibrate, prepared_floats, read_floats
from .compiler.errors import NetcError, Note, near_miss
from .compiler.graph.ir import Graph
from .compiler.ops.opaque import runnable
from .compiler.passes.float_weights import float_weights
from .compiler.passes.freeze import freeze, inference_form
from .compiler.passes.half_constants import half_constants
from .compiler.passes.two_dimensions import windows_in_two_dimensions
from .compiler.quantization import (
    QuantizationWarning,
    Ranges,
    Scheme,
    dynamic_range,
    findings,
    quantize_as_given,
    refuse_integers,
    refuse_nans,
    states_scales,
)
from .compiler.quantization import quantize as quantize_graph
from .compiler.quantization.adaround import AdaRound
from .compiler.types import DType
from .loading import Source, Weights, find_weights
from .recovery import recover

INTEGER_FORMS = ("int8", "int16x8")
"""Forms whose activations are integers, which are calibrated."""
WEIGHT_FORMS = ("dynamic_range", "float16")
"""Forms in which weights alone have fewer bits."""


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
    differed in calibration. Raises `NetcError` for what the caller can cure.
    """
    if form not in INTEGER_FORMS:
        given = {"calibration": calibration, "ranges": ranges, "equalized": equalized, "adaround": adaround}
        refuse_settings(form, {**given, "bias_correction": bias_correction, "allow_float": allow_float})
        floats = frozen(read_floats(source, weights, net, settings), weights, seed)
        return lighter(floats, form, per_channel=per_channel, keep_float=keep_float)
    if form == "int16x8":
        refuse_settings(form, {"adaround": adaround, "bias_correction": bias_correction})
    scheme = scheme_for(form, inputs, outputs, per_channel=per_channel, keep_float=keep_float, allow_float=allow_float)
    if calibration is None and ranges is None and states_scales(graph := read_floats(source, weights, net, settings)):
        no_choice = {"equalized": equalized, "adaround": adaround, "bias_correction": bias_correction}
        refuse_settings("scales of the file", {**no_choice, "per_channel": not per_channel, "int16x8": scheme.short})
        return as_given(graph, weights=weights, inputs=inputs, outputs=outputs, keep_float=keep_float, seed=seed)
    if (calibration is None) == (ranges is None):
        raise NetcError("quantizing takes samples to calibrate with, or ranges", hint="give one of them")
    if calibration is None:
        if adaround or bias_correction:
            raise NetcError("adaround and bias_correction take samples, not ranges alone", hint="give `calibration`")
        read = ranges if isinstance(ranges, Ranges) else Ranges.read(os.fspath(ranges or ""))
        return quantized(prepared_floats(source, weights, equalized, net, settings, seed), read, scheme)
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


def edge_type(name: str) -> DType:
    """The element type at an edge of a quantized network by its name: i8, u8, i16 or f32.

    Raises `NetcError` for others.
    """
    names = {str(d): d for d in (DType.I8, DType.U8, DType.I16, DType.F32)}
    if name not in names:
        raise NetcError(f"a quantized network takes and gives {', '.join(names)}, not {name}")
    return names[name]
