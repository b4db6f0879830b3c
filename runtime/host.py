"""What this machine can do: how many cores a process may use, how much memory, which targets' code it runs."""

from __future__ import annotations

import os

from ..compiler.codegen.target import DotProduct, Target


def available_cores() -> int:
    """Cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def physical_memory() -> int:
    """Bytes of memory of this machine."""
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def runs_here(target: Target) -> bool:
    """Whether this machine has the target's instruction set, as far as netc uses it."""
    host = Target.host()
    same_system = any(system in target.triple and system in host.triple for system in ("linux", "apple"))
    return (
        target.triple.split("-")[0] == host.triple.split("-")[0]
        and same_system
        and target.vector_lanes <= host.vector_lanes
        and target.has_fma <= host.has_fma
        and target.dot_product in (DotProduct.NONE, host.dot_product)
    )
