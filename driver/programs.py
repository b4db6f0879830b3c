"""`netc.compile`: from a network to a program in one call, quantized on the way if it should be.

What only quantization and TFLite files need is imported when it is asked for, to keep compiling quick.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from .compiler.backends.backend import F32
from .compiler.errors import NetcError
from .compiler.graph.ir import Graph
from .compiler.graph.state import initial_state
from .frontend import allowing
from .pipeline import PROGRAM, Compilation, Request, Source, Weights, build, find_weights, load, reading_float_weights
from .runtime.program import Program

if TYPE_CHECKING:
    from .quantization import Calibrated, Samples

QUANTIZED = ("int8", "int16x8", "dynamic_range", "float16")


class NetworkProgram(Program):
    """A program that knows which network it computes.

    `graph` is that network before it was optimised, with its quantization. Can be copied and pickled: the other process
    compiles the network for its machine.
    """

    def __init__(self, c: Compilation, model: str) -> None:
        super().__init__(c.module, c.object.code, c.target, c.threads, c.parameters(), initial_state(c.graph))
        self.graph = c.graph
        self._origin = (c.request.weights, c.request.seed, model)
        self._request = (c.request.threads, c.request.cpu, c.request.precision)

    def __reduce__(self) -> tuple[Any, ...]:
        """Copied and pickled as its network with its weights, which are compiled again at the other end."""
        if self.state:
            raise TypeError(f"program {self.graph.name} changes its parameters: it can't be copied or pickled")
        weights, seed, model = self._origin
        if weights is not None:
            weights = dict(find_weights(weights, self.graph, seed))
            if not np.array_equal(self._package(self.module, weights), self.packed_weights):
                raise NetcError(f"the weights of {self.graph.name} have changed since it was compiled")
        return _compiled, (self.graph, weights, seed, model, *self._request)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the network as a TFLite file; raises `NetcError` for what TFLite has no form of.

        Weights come from where they came from when it was compiled: a file is read again.
        """
        from .export import write_graph

        write_graph(path, self.graph, *self._origin)


def _compiled(
    graph: Graph,
    weights: Weights,
    seed: int,
    model: str,
    threads: int | None,
    cpu: str | None,
    precision: str = F32,
) -> NetworkProgram:
    request = Request(graph, threads=threads, cpu=cpu, weights=weights, seed=seed, precision=precision)
    return NetworkProgram(build(request, PROGRAM), model)


def compile(  # noqa: A001 (the public name)
    source: Source,
    *,
    weights: Weights = None,
    batch: int = 1,
    threads: int | None = None,
    cpu: str | None = None,
    net: str | None = None,
    settings: Mapping[str, Any] | None = None,
    seed: int = 0,
    precision: str = F32,
    quantize: str | None = None,
    calibration: Samples | Calibrated | None = None,
    method: str = "mse",
    allow_import: Sequence[str | os.PathLike[str]] = (),
    float_weights: bool = False,
) -> NetworkProgram:
    """Compile a network for this machine.

    `source` is a path to a file (`.net`, `.tflite`, `.onnx`, or `.ir` for a graph in text form), the name of a shipped
    net, or a graph (whose batch is what it is). `weights` is a safetensors file or a mapping from parameter name to
    array in the graph's layout; None draws He-normal ones by `seed`. `batch` binds the free size N, `settings` the
    net's other sizes and hyperparameters; `threads` None uses all cores.

    With `precision="bf16"` contractions have weights, and on machines with instructions for it also inputs, rounded to
    bfloat16, and sums in f32; with `precision="f16"` they have weights of half precision. Weights take half the memory.

    With `quantize="int8"` the network computes in 8-bit integers between its inputs and outputs, which stay floats,
    with `quantize="int16x8"` in 16-bit integers and 8-bit weights; `calibration` are samples to find the ranges of
    activations with, by `method` (see `netc.quantize`). With `quantize="dynamic_range"` weights have 8 bits, with
    `quantize="float16"` half precision, and no samples are needed.

    A `.net` file may name files in its folder and below, and in those below one of the folders `allow_import`.
    With `float_weights` a file of dynamic range is read as one of floats (see `netc.load`).

    Returns a callable from NHWC arrays to arrays, with a method `save` that writes the TFLite file. Raises `NetcError`
    for whatever the caller can cure.
    """
    with allowing(allow_import), reading_float_weights(float_weights):
        model = "" if isinstance(source, Graph) else os.fspath(source)
        if quantize is None:
            if calibration is not None:
                raise NetcError("samples to calibrate with are for quantizing", hint='add quantize="int8"')
            given: dict[str, Any] = {"weights": weights, "seed": seed, "precision": precision}
            request = Request(source, net, batch, settings or {}, threads, cpu, **given)
            return NetworkProgram(build(request, PROGRAM), model)
        if precision != F32:
            raise NetcError("precision is for networks of floats", hint="leave out `precision` or `quantize`")
        if quantize not in QUANTIZED:
            raise NetcError(f"a network can be quantized to {', '.join(QUANTIZED)}, not {quantize!r}")
        from .quantization import quantize as quantize_network

        graph = quantize_network(
            load(source, net=net, batch=batch, settings=settings),
            calibration=calibration,
            weights=weights,
            method=method,
            inputs="f32",
            outputs="f32",
            threads=threads,
            seed=seed,
            form=quantize,
        )
        return _compiled(graph, None, seed, model, threads, cpu)
