"""From a float network to one of 8-bit integers: calibrated by the compiled network, then quantized."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from .compiler.errors import NetcError
from .compiler.graph.ir import Array, Graph
from .compiler.graph.types import DType
from .compiler.quantization import Calibration, Ranges, Scheme, observation_graph, prepare
from .compiler.quantization import quantize as quantize_graph
from .pipeline import Source, Weights, compile, find_weights, load  # noqa: A004 (the public name)
from .runtime.calibration import calibration_inputs
from .runtime.datasets import Dataset
from .runtime.images import Preprocess

Samples = str | os.PathLike[str] | Dataset | Iterable[Array | Sequence[Array]]
"""What to calibrate with: a folder, an archive or a data set by name, a data set, or inputs of the network."""


@dataclass(frozen=True)
class Calibrated:
    """A float network whose activations have been watched: the graph that is quantized, and what was seen of it."""

    graph: Graph
    calibration: Calibration


def calibrate(
    source: Source,
    samples: Samples,
    *,
    weights: Weights = None,
    limit: int = 100,
    net: str | None = None,
    settings: Mapping[str, Any] | None = None,
    threads: int | None = None,
    seed: int = 0,
) -> Calibrated:
    """Run a float network on samples and watch its activations.

    Of a folder, an archive or a data set up to `limit` pictures are taken. Raises `NetcError` if there are none, or if
    an activation is not finite.
    """
    graph = load(source, net=net, settings=settings)
    prepared = prepare(graph, find_weights(weights, graph, seed) if graph.parameters else {})
    calibration = Calibration(prepared)
    with compile(observation_graph(prepared), threads=threads) as program:
        for inputs in _inputs(graph, samples, limit):
            observed = program(*inputs)
            calibration.add(inputs, observed if isinstance(observed, tuple) else (observed,))
    return Calibrated(prepared, calibration)


def _inputs(graph: Graph, samples: Samples, limit: int) -> Iterable[Sequence[Array]]:
    """The inputs of each run, in order."""
    if isinstance(samples, str | os.PathLike):
        return ((x,) for x in calibration_inputs(graph, samples, limit))
    if isinstance(samples, Dataset):
        preprocess, shape = Preprocess.of(graph), graph.inputs[0].type.shape
        pictures = (preprocess(picture) for (picture, _), _ in zip(samples, range(limit), strict=False))
        return ((np.broadcast_to(x, shape).copy(),) for x in pictures)
    return ((np.asarray(x),) if isinstance(x, np.ndarray) else tuple(np.asarray(part) for part in x) for x in samples)


def quantize(
    source: Source,
    *,
    calibration: Samples | Calibrated | None = None,
    ranges: Ranges | str | os.PathLike[str] | None = None,
    weights: Weights = None,
    method: str = "mse",
    limit: int = 100,
    inputs: str = "i8",
    outputs: str = "i8",
    per_channel: bool = True,
    keep_float: Sequence[str] = (),
    allow_float: bool = False,
    net: str | None = None,
    settings: Mapping[str, Any] | None = None,
    threads: int | None = None,
    seed: int = 0,
) -> Graph:
    """Turn a float network into one of 8-bit integers, as TFLite's quantization specification says.

    `calibration` are samples (a folder, an archive, a data set, or input arrays) or what `calibrate` returned, from
    which `method` (minmax, moving-average, percentile, mse, entropy) finds the ranges of activations; or give `ranges`,
    or a file of them. `inputs` and `outputs` are i8, u8 or f32. Operators whose names match one of the patterns
    `keep_float` stay floats; with `allow_float` so do those without an integer form, which else are an error.
    """
    scheme = Scheme(_dtype(inputs), _dtype(outputs), per_channel, False, tuple(keep_float), allow_float)
    if (calibration is None) == (ranges is None):
        raise NetcError("quantizing takes samples to calibrate with, or ranges", hint="give one of them")
    if isinstance(calibration, Calibrated):
        return quantize_graph(calibration.graph, calibration.calibration.ranges(method), scheme)
    if calibration is not None:
        options: dict[str, Any] = {"net": net, "settings": settings, "threads": threads, "seed": seed}
        done = calibrate(source, calibration, weights=weights, limit=limit, **options)
        return quantize_graph(done.graph, done.calibration.ranges(method), scheme)
    graph = load(source, net=net, settings=settings)
    prepared = prepare(graph, find_weights(weights, graph, seed) if graph.parameters else {})
    given = ranges if isinstance(ranges, Ranges) else Ranges.read(os.fspath(ranges or ""))
    return quantize_graph(prepared, given, scheme)


def _dtype(name: str) -> DType:
    names = {str(d): d for d in (DType.I8, DType.U8, DType.F32)}
    if name not in names:
        raise NetcError(f"a quantized network takes and gives {', '.join(names)}, not {name}")
    return names[name]
