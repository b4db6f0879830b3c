"""The machine that this process runs on, as LLVM and the kernel describe it."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from pathlib import Path

import llvmlite.binding as llvm

from ....permission import TILE_FEATURES, tiles_are_permitted
from ....targets.cpus import by_features, core_name, with_core
from ....targets.target import Target


@cache
def host_target() -> Target:
    """The machine that this process runs on."""
    triple = str(llvm.get_process_triple())
    features = dict(llvm.get_host_cpu_features())
    cpu = core_name(str(llvm.get_host_cpu_name()), features)
    if any(features.get(name) for name in TILE_FEATURES) and not tiles_are_permitted():
        features |= {name: False for name in features if name.startswith("amx-")}
    base = by_features(triple, features)  # not by name: virtual machines hide features of their processors
    l1, l2 = _host_caches()
    target = replace(
        base,
        triple=triple,
        cpu=cpu,
        features=",".join(("+" if features[f] else "-") + f for f in sorted(features)),
        l1_bytes=l1 or base.l1_bytes,
        l2_bytes=l2 or base.l2_bytes,
    )
    return with_core(target)


def _host_caches() -> tuple[int | None, int | None]:
    """L1 data and L2 sizes of the first core as the kernel reports them; None where it doesn't."""
    sizes: dict[int, int] = {}
    for index in sorted(Path("/sys/devices/system/cpu/cpu0/cache").glob("index*")):
        try:
            kind = (index / "type").read_text().strip()
            level = int((index / "level").read_text())
            size = (index / "size").read_text().strip()
        except (OSError, ValueError):
            continue
        if kind in ("Data", "Unified") and size.endswith("K"):
            sizes[level] = int(size[:-1]) * 1024
    return sizes.get(1), sizes.get(2)
