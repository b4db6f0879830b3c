"""The road from a network to a program on this machine: one straight list of stages.

    graph       file -> graph                           frontend; of a training request, the graph of a step
    optimized   graph -> graph                          compiler.passes; at the end, those of the backend
    loops       graph -> kernels over buffers           compiler.lowering, by the backend's schedules
    llvm        kernels -> the backend's text           compiler.backends; for processors, LLVM IR
    asm         LLVM IR -> assembly, for people         the backend
    object      LLVM IR -> machine code                 the backend, or the cache
    (program)   machine code and weights -> callable    runtime

`build` walks it as far as it is asked to and keeps what stands at the end of each stage. A `Request` says what is
built; that of a training step (`netc.training`) says more, and walks the same stages. `programs` offers all of it as
one call, `netc.compile`.
"""

from __future__ import annotations

import operator
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any, Protocol, SupportsIndex, TypeVar

from .collector import without_collections
from .compiler import passes
from .compiler.backends import backend_of, find_target
from .compiler.backends.cpu.codegen.host import host_target
from .compiler.errors import NetcError
from .compiler.graph.ir import Array, Graph
from .compiler.graph.state import initial_state
from .compiler.lowering import footprint
from .compiler.lowering.choices import NetworkChoices, network_key
from .compiler.modules.module import Module
from .compiler.modules.verifier import verify_module
from .compiler.ops.opaque import runnable
from .compiler.precision import F32, PRECISIONS
from .compiler.targets.target import Target
from .loading import Source, Weights, find_weights, load
from .runtime import tuned as tuned_results
from .runtime.cache import CompiledObject, compile_object
from .runtime.host import available_cores, physical_memory, runs_here
from .runtime.processor import description
from .runtime.program import Program

if TYPE_CHECKING:
    from .runtime.saved_weights import WeightsFile

STAGES = ("graph", "optimized", "loops", "llvm", "asm", "object")
"""What `--emit` offers."""
PROGRAM = "program"
"""The stage behind `object`: what it takes to run here is checked on the way, before the long work."""
MAX_THREADS = 1024


@dataclass(frozen=True, slots=True)
class Request:
    """What to compile, and for what. `threads` None means one for each core, `cpu` None this machine.

    `precision`, one of `PRECISIONS`, says as what numbers may be stored.

    `settings` are the net's hyperparameters (lower case) and free sizes (upper case) by name, `preprocess` settings of
    pictures that count before those that the network declares. `pipeline` None means the
    passes that what is built usually goes through.
    """

    source: Source
    net: str | None = None
    batch: int = 1
    settings: Mapping[str, Any] = field(default_factory=dict[str, Any])
    preprocess: Mapping[str, Any] = field(default_factory=dict[str, Any], kw_only=True)
    threads: int | None = None
    cpu: str | None = None
    observers: Sequence[passes.Observer] = ()
    weights: Weights = None
    seed: int = 0
    pipeline: str | None = None
    precision: str = field(default=F32, kw_only=True)
    choices: NetworkChoices | None = field(default=None, kw_only=True)
    """Decisions of schedules; None: those that `netc tune` has kept for this network on this machine, if any."""
    inputs_in_arena: bool = field(default=False, kw_only=True)
    """A run may overwrite its inputs, which lie in its arena; only libraries know of that."""
    tiles: bool = field(default=True, kw_only=True)
    """Code may use tile registers, for which a process must ask first: netc's own does, programs in C don't."""

    def begin(self) -> Compilation:
        """Before the first stage."""
        return Compilation(self)


@dataclass(frozen=True, slots=True)
class StageReport:
    """How long a stage took, and what came out in a few words."""

    name: str
    seconds: float
    result: str


class Compilation:
    """What stands at the end of each stage; an attribute is there once `build` has come that far."""

    network: Graph
    """What was read."""
    graph: Graph
    """What is compiled: the network, or what a kind of request makes of it."""
    optimized: Graph
    module: Module
    llvm: str
    asm: str
    object: CompiledObject

    run_name = "a run"
    """What one call of the program is called."""
    less_memory = "take a smaller batch"
    """The cure where memory doesn't suffice."""
    is_tunable = True
    """Whether `netc tune` searches schedules for such a program."""

    def __init__(self, request: Request) -> None:
        self.request = request
        if request.precision not in PRECISIONS:
            raise NetcError(f"there is no precision `{request.precision}`", hint="known: " + ", ".join(PRECISIONS))
        self.target = target_of(request.cpu) if request.tiles else target_of(request.cpu).without_tiles()
        self.backend = backend_of(self.target)
        self.threads = available_cores() if request.threads is None else _checked_threads(request.threads)
        self.choices = request.choices
        self.stages: list[StageReport] = []

    def read(self) -> None:
        """The first stage: find `network` and `graph`."""
        r = self.request
        self.network = self.graph = load(
            r.source,
            net=r.net,
            batch=r.batch,
            settings=r.settings,
            preprocess=r.preprocess,
            with_parameters=r.weights is not None,
        )

    def pipeline(self) -> str:
        """The passes that `graph` goes through."""
        return self.request.pipeline or passes.pipelines.INFERENCE

    def optimize(self) -> Graph:
        """The graph that is lowered, of `graph`."""
        r = self.request
        given: dict[str, Any] = {"precision": r.precision, "observers": r.observers, "choices": self.choices}
        return self.backend.optimize(self.graph, self.pipeline(), self.target, **given)

    def lowered(self, *, verify: bool) -> Module:
        """The loops of `optimized`."""
        given: dict[str, Any] = {"choices": self.choices, "inputs_in_arena": self.request.inputs_in_arena}
        return self.backend.lower(self.optimized, self.target, self.threads, verify=verify, **given)

    @property
    def batch(self) -> int:
        """How many samples a run takes: as the file's sizes were bound, as was asked for, or as inputs have them."""
        asked = int(self.network.attributes.get("batch", self.request.batch))
        fixed = {v.type.shape[0] for v in self.network.inputs if v.type.rank > 1}
        return fixed.pop() if asked == 1 and len(fixed) == 1 else asked

    @property
    def is_drawn(self) -> bool:
        """True if the weights are none that anything gives, but drawn by the seed."""
        return self.request.weights is None and bool(self.network.weights)

    def parameters(self) -> Mapping[str, Array]:
        """Values for the parameters of `graph`."""
        return find_weights(self.request.weights, self.graph, self.request.seed)

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


C = TypeVar("C", bound=Compilation, covariant=True)


class Buildable(Protocol[C]):
    """A request of any kind."""

    def begin(self) -> C:
        """Before the first stage."""
        ...


@without_collections()
def build(
    request: Buildable[C],
    until: str = "object",
    *,
    whole: bool = True,
    lowered: Callable[[Compilation], object] = lambda c: None,
) -> C:
    """Walk the stages up to and including `until`, one of `STAGES` or `PROGRAM`.

    The object is a file that others can link, unless it needn't be `whole` or is to run here: then it may be several,
    and schedules decide as `netc tune` has found to be best. `lowered` is called when loops stand.
    Raises `NetcError` for what the user can cure.
    """
    c = request.begin()
    runs = until == PROGRAM
    if runs:
        check_runs_here(c.target)

    with c.stage("graph") as result:
        c.read()
        result.append(f"{len(c.graph.operations)} operations")
    if until == "graph":
        return c
    c.graph = runnable(c.graph)
    loads = runs or not whole
    if c.choices is None and c.is_tunable and loads:
        c.choices = find_choices(c)

    with c.stage("optimized") as result:
        c.optimized = c.optimize()
        result.append(f"{len(c.optimized.operations)} operations")
    if until == "optimized":
        return c
    if runs:
        _check_memory(c)

    with c.stage("loops") as result:
        c.module = c.lowered(verify=until not in ("object", PROGRAM))
        result.append(f"{len(c.module.kernels)} kernels, {len(c.module.calls)} calls")
    if until == "loops":
        return c
    lowered(c)

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
        check = partial(verify_module, c.module)
        c.object = compile_object(c.llvm, c.target, verify=check, whole=not loads)
        result.append(f"{len(c.object.code):,} bytes, {'from the cache' if c.object.hit else 'compiled'}")
    return c


def build_packed(
    request: Buildable[C], weights_file: Callable[[Module], WeightsFile | None] = lambda module: None
) -> tuple[C, Array]:
    """Walk all stages, and pack the weights of the request beside those that make code of loops.

    `weights_file` says where to; None stands for memory.
    """
    from concurrent.futures import Future, ThreadPoolExecutor

    packing: list[Future[Array]] = []
    with ThreadPoolExecutor(1) as beside:

        def pack(c: Compilation) -> None:
            packing.append(beside.submit(_packed, c, weights_file(c.module)))

        return build(request, PROGRAM, lowered=pack), packing[0].result()


def _packed(c: Compilation, file: WeightsFile | None) -> Array:
    """The weights, in memory or in a file; where this can't be written, in memory all the same."""
    if file is not None:
        with suppress(OSError):
            return file.fill(c.backend.pieces(c.module, c.parameters()))
    return c.backend.package(c.module, c.parameters())


def find_choices(c: Compilation) -> NetworkChoices | None:
    """What `netc tune` has kept for this network and this machine; None where that is nothing, as it usually is."""
    if not tuned_results.are_there() or c.target != host_target():
        return None
    return tuned_results.kept_choices(tuned_place(c))


def tuned_place(c: Compilation) -> tuned_results.Place:
    """Where results for this network and machine lie."""
    settings = (c.pipeline(), c.request.precision, c.threads)
    machine = (c.backend.fingerprint(c.target), repr(c.target), *description())
    return tuned_results.Place.of(network_key(c.graph), settings, machine)


@without_collections()
def load_program(c: Compilation, parameters: Mapping[str, Array] | None = None, packed: Array | None = None) -> Program:
    """The last stage: link the object of a compilation into this process and pack weights for it.

    `parameters` of the graph stand in for those of the request; `packed` are weights that `build_packed` has packed.
    """
    check_runs_here(c.target)
    given = c.parameters() if parameters is None else parameters
    return Program(c.module, c.object.code, c.target, c.threads, given, initial_state(c.graph), packed=packed)


# ---- checks ---------------------------------------------------------------------------------------------------------


def target_of(cpu: str | None) -> Target:
    """The processor of that name; None is this machine's."""
    return find_target(cpu) if cpu else host_target()


def check_runs_here(target: Target) -> None:
    """Raise `NetcError` if this machine can't run code for a target."""
    if not runs_here(target):
        hint = "`netc compile --emit object` writes its code without running it"
        raise NetcError(f"this machine, {host_target()}, can't run code for {target}", hint=hint)


def _checked_threads(threads: int) -> int:
    if not isinstance(threads, SupportsIndex) or not 1 <= (count := operator.index(threads)) <= MAX_THREADS:
        raise NetcError(f"a program runs on 1 to {MAX_THREADS} threads, not {threads!r}")
    return count


def _check_memory(c: Compilation) -> None:
    """Refuse what this machine can't hold before a long compilation."""
    needed, there = footprint(c.optimized), physical_memory()
    if needed.total > there:
        sizes = f"{needed.total / 1e9:.3g} GB, but this machine has {there / 1e9:.3g} GB of memory"
        lasting = needed.state + needed.weights
        hint = (
            f"the parameters alone take {lasting / 1e9:.3g} GB: take a smaller net"
            if lasting > there
            else c.less_memory
        )
        raise NetcError(f"{c.run_name} works on {sizes}", hint=hint)


def compile_graph(graph: Graph, *, threads: int | None = None, cpu: str | None = None) -> Program:
    """A graph without parameters as a program."""
    return load_program(build(Request(graph, threads=threads, cpu=cpu), PROGRAM))
