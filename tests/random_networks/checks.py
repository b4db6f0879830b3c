"""What must hold of a network: its meaning after passes, and of its machine code on every machine and thread count."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from netc.compiler.backends import find_target, lower, optimize
from netc.compiler.backends.cpu.codegen import emit_module, object_code
from netc.compiler.graph import Array, Graph, evaluate
from netc.compiler.graph.verifier import verify
from netc.compiler.modules.interpreter import run_module
from netc.compiler.modules.module import Module
from netc.compiler.modules.verifier import verify_module
from netc.compiler.passes import SplitBatch, pipelines, run
from netc.compiler.targets.target import Target
from netc.runtime.host import runs_here
from netc.runtime.program import Program

from .maker import Network
from .meaning import distances, tolerances
from .source import Source, choice

LEVELS = (
    *("host", "x86-64", "x86-64-v2", "x86-64-v3", "x86-64-v4", "cascadelake", "icelake-server", "sapphirerapids"),
    *("znver3", "znver4", "cortex-a76", "cortex-a72"),
)
"""Processors for which code is made; where it doesn't run here, only what it means in loops is looked at."""


class WrongError(AssertionError):
    """A network that doesn't mean the same everywhere."""


INTERPRETED_MACS = 20_000
"""Multiplications up to which loops are interpreted."""


@dataclass(frozen=True)
class Machine:
    """What a network is compiled for."""

    cpu: str = "host"
    threads: int = 1
    pipeline: str = pipelines.INFERENCE
    group: int = 0
    """Samples of a group, where the network is cut into stretches that run for groups."""

    @property
    def target(self) -> Target:
        return find_target(self.cpu)

    def optimize(self, graph: Graph) -> Graph:
        """The graph after the passes; without layouts and algorithms where it is only decomposed."""
        if self.pipeline == "decompose":
            optimized = run(graph, self.pipeline)
        else:
            optimized = optimize(graph, self.pipeline, self.target)
        return run(optimized, (SplitBatch(group=self.group),)) if self.group else optimized


def draw_machine(source: Source, network: Network) -> Machine:
    """A machine that may be this one, with 1 to 4 threads, and a way there."""
    cpu = choice(source, LEVELS)
    pipeline = choice(source, (pipelines.INFERENCE, pipelines.INFERENCE, pipelines.TRAINING, "decompose"))
    return Machine(cpu, choice(source, (1, 2, 3, 4)), pipeline, choice(source, (0, 1, 2)))


class Judge:
    """Holds what a network gives against its meaning."""

    def __init__(self, network: Network) -> None:
        self.network = network
        self.expected = evaluate(network.graph, network.inputs, network.params)
        self._tolerances: list[float] | None = None

    @property
    def tolerances(self) -> list[float]:
        if self._tolerances is None:
            self._tolerances = tolerances(self.network, self.expected)
        return self._tolerances

    def check(self, what: str, results: Sequence[Array]) -> None:
        """Raise `WrongError` unless the results are the network's, but for rounding."""
        if len(results) != len(self.expected):
            raise WrongError(f"{what} gives {len(results)} outputs, not {len(self.expected)}")
        for number, (result, wanted) in enumerate(zip(results, self.expected, strict=True)):
            if result.shape != wanted.shape or result.dtype != wanted.dtype:
                raise WrongError(f"{what}: output {number} is {result.dtype}{result.shape}")
            if not np.array_equal(result, wanted) and _distance(result, wanted) > self._allowed(number, result, wanted):
                raise WrongError(_difference(what, number, result, wanted, self.tolerances[number]))

    def _allowed(self, number: int, result: Array, wanted: Array) -> float:
        """The error allowed; where the usual samples make it look wrong, more are taken first."""
        if _distance(result, wanted) > self.tolerances[number] > 0:
            self._tolerances = tolerances(self.network, self.expected, 60)
        return self.tolerances[number]


def _distance(result: Array, wanted: Array) -> float:
    return float(distances(result, wanted).max(initial=0))


def _difference(what: str, number: int, result: Array, wanted: Array, tolerance: float) -> str:
    place = np.unravel_index(int(np.argmax(distances(result, wanted))), wanted.shape) if wanted.ndim else ()
    return (
        f"{what}: output {number} differs from its meaning by {_distance(result, wanted):.3g}, more than "
        f"{tolerance:.3g}; most at {list(map(int, place))}: {result[place]!r}, not {wanted[place]!r}"
    )


def check_network(network: Network, machines: Sequence[Machine]) -> None:
    """Raise `WrongError` unless a network means the same after passes, in loops, and as machine code.

    Its results must be the same, to the last bit, on machines that differ only in their threads, and each time.
    """
    judge = Judge(network)
    verify(network.graph)
    known: dict[tuple[str, str], Sequence[Array]] = {}
    for machine in machines:
        graph = machine.optimize(network.graph)
        judge.check("after passes", evaluate(graph, network.inputs, network.params))
        module = lower(graph, machine.target, machine.threads)
        verify_module(module)
        if sum(call.macs for call in module.calls) <= INTERPRETED_MACS:
            judge.check("interpreted loops", run_module(module, list(network.inputs.values()), network.params))
        text = emit_module(module, machine.target)
        if not runs_here(machine.target):
            continue
        results = execute(module, text, machine, network)
        judge.check("machine code", results)
        same = known.setdefault((machine.cpu, machine.pipeline), results)
        if any(a.tobytes() != b.tobytes() for a, b in zip(results, same, strict=True)):
            raise WrongError("machine code: another number of threads gives other bits")


def execute(module: Module, text: str, machine: Machine, network: Network) -> list[Array]:
    """The outputs of the machine code, which must be the same each time, in memory that was full of ones."""
    code = object_code(text, machine.target)
    with Program(module, code, machine.target, machine.threads, network.params) as program:
        first: list[Array] | None = None
        for turn in range(2 if machine.threads == 1 else 3):
            program._session.arena[...] = 0xFF
            # The usual call is by position, and goes another way once the program has started (`runtime/direct.py`).
            results = _as_list(program(*network.inputs.values()) if turn else program(**network.inputs))
            if first and any(a.tobytes() != b.tobytes() for a, b in zip(first, results, strict=True)):
                raise WrongError("machine code: another run gives other bits")
            first = first or results
    return first or []


def _as_list(results: Any) -> list[Array]:
    return list(results) if isinstance(results, tuple) else [results]
