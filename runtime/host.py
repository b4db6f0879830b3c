"""What this machine can do: how many cores a process may use, how much memory, which targets' code it runs.

A container gets a share of a machine: its control groups (cgroups, version 1 or 2) say how much. Sources: cgroups(7);
cpu.max and memory.max of the kernel's cgroup-v2 documentation; cpu.cfs_quota_us and memory.limit_in_bytes of v1's.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ..compiler.targets.target import Target

ROOT = Path("/")
"""Where /proc and /sys lie."""


def available_cores(root: Path = ROOT) -> int:
    """Cores that this process may use: those of its affinity, or as many as its quota of processor time fills."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    quotas = [-(-quota // period) for quota, period in _quotas(root) if quota > 0 and period > 0]
    return max(1, min([cores, *quotas]))


def physical_memory(root: Path = ROOT) -> int:
    """Bytes of memory that this process may use: all of this machine, or what its container gets."""
    names = ("memory.max", "memory.limit_in_bytes")
    limits = [number for folder in _groups("memory", root) for name in names for number in _numbers(folder / name)]
    return min([os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"), *(n for n in limits if n > 0)])


def _quotas(root: Path) -> Iterator[tuple[int, int]]:
    """Microseconds of processor time, and in how many microseconds they may be used."""
    for folder in _groups("cpu", root):
        numbers = _numbers(folder / "cpu.max")
        numbers = numbers or _numbers(folder / "cpu.cfs_quota_us") + _numbers(folder / "cpu.cfs_period_us")
        if len(numbers) == 2:
            yield numbers[0], numbers[1]


def _groups(controller: str, root: Path) -> Iterator[Path]:
    """The folders of this process's group and of all groups around it, whose limits hold, too.

    A container may see only its own group, mounted as if it were the outermost.
    """
    mounts = root / "sys/fs/cgroup"
    for line in _lines(root / "proc/self/cgroup"):
        _, names, place = line.split(":", 2) if line.count(":") >= 2 else ("", "-", "")
        if names and controller not in names.split(","):
            continue
        path = PurePosixPath("/", *(part for part in place.split("/") if part not in ("", "..")))
        for home in {mounts / names, mounts / controller} if names else (mounts, mounts / "unified"):
            yield from (home.joinpath(*group.parts[1:]) for group in (path, *path.parents))


def _numbers(file: Path) -> list[int]:
    """The whole numbers at the start of a file; none for "max", which is no limit."""
    words = _lines(file)[:1]
    with suppress(ValueError):
        return [int(word) for word in words[0].split()] if words else []
    return []


def _lines(file: Path) -> list[str]:
    try:
        return file.read_text(encoding="utf-8").splitlines()
    except (OSError, ValueError):
        return []


def runs_here(target: Target) -> bool:
    """Whether this machine has the target's instruction set, as far as netc uses it."""
    from ..compiler.backends.cpu.codegen.host import host_target  # brings LLVM along, which only this needs
    from ..compiler.targets.target import DotProduct

    host = host_target()
    same_system = any(system in target.triple and system in host.triple for system in ("linux", "apple"))
    return (
        target.backend == host.backend
        and target.triple.split("-")[0] == host.triple.split("-")[0]
        and same_system
        and target.vector_lanes <= host.vector_lanes
        and target.has_fma <= host.has_fma
        and target.has_half <= host.has_half
        and target.has_rounding <= host.has_rounding
        and target.dot_product in (DotProduct.NONE, DotProduct.WORDS, host.dot_product)
        and {f"+{name}" for name in target.extensions} <= set(host.features.split(","))
    )
