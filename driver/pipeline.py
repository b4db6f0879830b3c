"""The road from a network's text to a program on this machine: one straight list of stages.

    graph       .net text -> graph                      frontend
    optimized   graph -> graph                          compiler.passes, the inference pipeline; layouts: the backend
    loops       graph -> kernels over buffers           compiler.lowering, by the backend's schedules
    llvm        kernels -> LLVM IR                      the backend (compiler.backends): its text
    asm         LLVM IR -> assembly, for people         the backend
    object      LLVM IR -> machine code                 the backend, or the cache
    (program)   machine code and weights -> callable    runtime

`build` walks it as far as it is asked to and keeps what stands at the end of each stage. `programs` offers all of it as
one call, `netc.compile`.
"""

from __future__ import annotations

import operator
import os
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any, SupportsIndex

from .compiler import passes
from .compiler.backends import backend_of, find_target
from .compiler.backends.cpu.codegen.host import host_target
from .compiler.errors import NetcError
from .compiler.graph.ir import Array, Graph
from .compiler.modules.module import Module
from .compiler.modules.verifier import verify_module
from .compiler.ops.opaque import refuse_unknown
from .compiler.targets.target import Target
from .frontend import load_network
from .runtime.cache import CompiledObject, compile_object
from .runtime.host import available_cores, runs_here
from .runtime.program import Program
from .runtime.weights import check_weights, initial_weights, read_weights

STAGES = ("graph", "optimized", "loops", "llvm", "asm", "object")
MAX_THREADS = 1024

Source = str | os.PathLike[str] | Graph
"""A path to a `.net` or `.tflite` file, the name of a shipped net, or a graph."""
Weights = str | os.PathLike[str] | Mapping[str, Array] | None
"""A safetensors file, arrays by parameter name in the graph's layout, or None: seeded initial values."""


@dataclass(frozen=True, slots=True)
class Request:
    """What to compile, and for what. `threads` None means one for each core, `cpu` None this machine.

    `settings` are the net's hyperparameters (lower case) and free sizes (upper case) by name.
    """

    source: Source
    net: str | None = None
    batch: int = 1
    settings: Mapping[str, Any] = field(default_factory=dict)
    threads: int | None = None
    cpu: str | None = None
    observers: Sequence[passes.Observer] = ()


@dataclass(frozen=True, slots=True)
class StageReport:
    """How long a stage took, and what came out in a few words."""

    name: str
    seconds: float
    result: str


class Compilation:
    """What stands at the end of each stage; an attribute is there once `build` has come that far."""

    graph: Graph
    optimized: Graph
    module: Module
    llvm: str
    asm: str
    object: CompiledObject

    def __init__(self, request: Request) -> None:
        self.request = request
        self.target = find_target(request.cpu) if request.cpu else host_target()
        self.backend = backend_of(self.target)
        self.threads = available_cores() if request.threads is None else _checked_threads(request.threads)
        self.stages: list[StageReport] = []

    @contextmanager
    def stage(self, name: str) -> Iterator[list[str]]:
        """Time a stage; what it appends to the list is its result in words."""
        result: list[str] = []
        start = time.perf_counter()
        yield result
        self.stages.append(StageReport(name, time.perf_counter() - start, "".join(result)))

    def emit(self, stage: str) -> str | bytes:
        """What stands at the end of one of `STAGES`: text, or object code."""
        value = getattr(self, "module" if stage == "loops" else stage)
        return value.code if isinstance(value, CompiledObject) else str(value)


def _checked_threads(threads: int) -> int:
    if not isinstance(threads, SupportsIndex) or not 1 <= (count := operator.index(threads)) <= MAX_THREADS:
        raise NetcError(f"a program runs on 1 to {MAX_THREADS} threads, not {threads!r}")
    return count


def build(request: Request, until: str = "object") -> Compilation:
    """Walk the stages up to and including `until`, one of `STAGES`. Raises `NetcError` for what the user can cure."""
    c = Compilation(request)

    with c.stage("graph") as result:
        c.graph = load(request.source, net=request.net, batch=request.batch, settings=request.settings)
        result.append(f"{len(c.graph.operations)} operations")
    if until == "graph":
        return c
    refuse_unknown(c.graph)

    with c.stage("optimized") as result:
        c.optimized = c.backend.optimize(c.graph, passes.pipelines.INFERENCE, c.target, observers=request.observers)
        result.append(f"{len(c.optimized.operations)} operations")
    if until == "optimized":
        return c

    with c.stage("loops") as result:
        c.module = c.backend.lower(c.optimized, c.target, c.threads, verify=until != "object")
        result.append(f"{len(c.module.kernels)} kernels, {len(c.module.calls)} calls")
    if until == "loops":
        return c

    with c.stage("llvm") as result:
        c.llvm = c.backend.emit(c.module, c.target)
        result.append(f"{c.llvm.count(chr(10)):,} lines")
    if until == "llvm":
        return c

    if until == "asm":  # on nobody's way to the object: LLVM makes either from the same text
        with c.stage("asm"):
            c.asm = c.backend.assembly(c.llvm, c.target)
        return c

    with c.stage("object") as result:
        c.object = compile_object(c.llvm, c.target, verify=partial(verify_module, c.module))
        result.append(f"{len(c.object.code):,} bytes, {'from the cache' if c.object.hit else 'compiled'}")
    return c


def compile_lowered(graph: Graph, target: Target, threads: int) -> tuple[Module, bytes]:
    """The last stages for a graph that has been through its passes: loops, and their object code."""
    backend = backend_of(target)
    module = backend.lower(graph, target, threads, verify=False)
    return module, compile_object(backend.emit(module, target), target, verify=partial(verify_module, module)).code


def load_program(c: Compilation, weights: Weights = None, seed: int = 0) -> Program:
    """The last stage: link the object of a compilation into this process and pack the weights for it."""
    check_runs_here(c.target)
    return Program(c.module, c.object.code, c.target, c.threads, find_weights(weights, c.graph, seed))


def check_runs_here(target: Target) -> None:
    """Raise `NetcError` if this machine can't run code for a target."""
    if not runs_here(target):
        hint = "`netc compile --emit object` writes its code without running it"
        raise NetcError(f"this machine, {host_target()}, can't run code for {target}", hint=hint)


def compile_graph(graph: Graph, *, threads: int | None = None) -> Program:
    """A graph without parameters as a program."""
    return load_program(build(Request(graph, threads=threads)))


def find_weights(
    weights: Weights, graph: Graph, seed: int = 0, *, skip: str | Sequence[str] = ()
) -> Mapping[str, Array]:
    """The values of a graph's parameters from a file, from a mapping, or drawn by `seed`.

    What matches a pattern in `skip` is left out, of the parameters as of what is given.
    """
    if weights is None:
        if skip:
            raise NetcError("parameters are skipped in weights that are given, and none are", hint="leave `skip` out")
        return initial_weights(graph, seed)
    if isinstance(weights, Mapping):
        return check_weights(weights, graph, skip)
    return read_weights(weights, graph, skip)


def load(
    source: Source,
    *,
    net: str | None = None,
    batch: int = 1,
    settings: Mapping[str, Any] | None = None,
    allow_import: Sequence[str | os.PathLike[str]] = (),
) -> Graph:
    """Read a network: a path to a `.net` or `.tflite` file, the name of a shipped net, or a graph, returned as is.

    The files that a `.net` file names lie in its folder or below, or below one of the folders `allow_import`.
    """
    if isinstance(source, Graph):
        return source
    if not isinstance(batch, SupportsIndex) or operator.index(batch) < 1:
        raise NetcError(f"a batch is a positive whole number of samples, not {batch!r}")
    if os.fspath(source).endswith(".tflite"):
        return _load_tflite(source, net, batch, settings)
    sizes = {name: value for name, value in (settings or {}).items() if name[:1].isupper()}
    hyperparameters = {name: value for name, value in (settings or {}).items() if name not in sizes}
    options: dict[str, Any] = {"sizes": sizes, "hyperparameters": hyperparameters, "allow_import": allow_import}
    return load_network(source, net=net, batch=batch, **options)


def _load_tflite(
    source: str | os.PathLike[str], net: str | None, batch: int, settings: Mapping[str, Any] | None
) -> Graph:
    """A TFLite model, in which nothing is left to choose."""
    if net is not None or settings:
        raise NetcError(f"{os.fspath(source)} is a TFLite model: it has no nets, sizes or hyperparameters to choose")
    from .frontend.tflite import load_tflite  # brings the schema classes along, which most networks don't need

    graph = load_tflite(source)
    if batch != 1 and any(v.type.shape[:1] != (batch,) for v in graph.inputs):
        raise NetcError(f"the batch of {os.fspath(source)} is fixed, it can't be {batch}")
    return graph
