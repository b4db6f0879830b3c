"""From an optimised graph to what a machine runs: one folder for each kind of machine.

`backend` says what a backend is, `cpu` is the first. What all of them do alike stands in `compiler.lowering`. A target
names its backend; the functions here find it and hand over.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from ..errors import InternalError, NetcError, near_miss
from ..graph.ir import Graph
from ..modules.module import Module
from ..passes import PASSES, Observer, Pass
from ..passes.base import parse_pipeline as read_pipeline
from ..precision import F32
from ..targets.target import Target
from .backend import Backend
from .cpu.backend import Cpu

BACKENDS: dict[str, Backend] = {backend.name: backend for backend in (Cpu(),)}
"""All backends by name."""


def register(backend: Backend) -> None:
    """Add a backend: targets can name it from now on."""
    if backend.name in BACKENDS:
        raise InternalError(f"there is a backend {backend.name} already")
    BACKENDS[backend.name] = backend


def backend_of(target: Target) -> Backend:
    """The backend that a target names."""
    if target.backend not in BACKENDS:
        raise InternalError(f"{target} names the backend {target.backend}, but there are {', '.join(BACKENDS)}")
    return BACKENDS[target.backend]


def find_target(name: str) -> Target:
    """The target of `--cpu NAME`; "host" is this machine. `NetcError` for a name that no backend knows."""
    for backend in BACKENDS.values():
        target = backend.find_target(name)
        if target is not None:
            return target
    names = target_names()
    raise NetcError(f"unknown processor `{name}`", hint=near_miss(name, names) or f"known: {', '.join(names)}")


def target_names() -> tuple[str, ...]:
    """The machines that `find_target` knows."""
    return tuple(name for backend in BACKENDS.values() for name in backend.target_names)


def known_passes() -> Mapping[str, type[Pass]]:
    """All passes by name: those of `compiler.passes` and those of the backends."""
    return {**PASSES} | {each.name: each for backend in BACKENDS.values() for each in backend.passes}


def parse_pipeline(text: str) -> tuple[Pass, ...]:
    """Read a list of passes, those of the backends among them; raises `NetcError` with near misses."""
    return read_pipeline(text, known_passes())


def optimize(
    graph: Graph,
    pipeline: str | Sequence[Pass],
    target: Target,
    *,
    precision: str = F32,
    observers: Sequence[Observer] = (),
    verify: bool = True,
) -> Graph:
    """Carry out a pipeline, then what the target's backend decides about algorithms, precision and layouts."""
    backend = backend_of(target)
    return backend.optimize(graph, pipeline, target, precision=precision, observers=observers, verify=verify)


def lower(graph: Graph, target: Target, threads: int = 1, *, verify: bool = True) -> Module:
    """The loops of an optimised graph, by the schedules of the target's backend."""
    return backend_of(target).lower(graph, target, threads, verify=verify)


__all__ = [
    "BACKENDS",
    "Backend",
    "backend_of",
    "find_target",
    "known_passes",
    "lower",
    "optimize",
    "parse_pipeline",
    "register",
    "target_names",
]
