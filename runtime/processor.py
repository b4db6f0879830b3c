"""The instruction sets of this machine, as its kernel lists them, and those that compiled code needs: without LLVM.

Sources: proc_cpuinfo(5) and arch/x86/include/asm/cpufeatures.h of Linux for the kernel's names; the x86-64 psABI for
what the levels of x86-64 hold.
"""

from __future__ import annotations

import functools
from pathlib import Path
from typing import TYPE_CHECKING

from ..compiler.permission import tiles_are_permitted

if TYPE_CHECKING:
    from ..compiler.targets.target import Target

_CPUINFO = Path("/proc/cpuinfo")
_HEAD = 1 << 14
"""Bytes of the file that hold the first processor."""

_KERNEL_NAMES = {
    "amx-bf16": "amx_bf16",
    "amx-fp16": "amx_fp16",
    "amx-int8": "amx_int8",
    "amx-tile": "amx_tile",
    "avx512bf16": "avx512_bf16",
    "avx512bitalg": "avx512_bitalg",
    "avx512fp16": "avx512_fp16",
    "avx512vbmi2": "avx512_vbmi2",
    "avx512vnni": "avx512_vnni",
    "avx512vpopcntdq": "avx512_vpopcntdq",
    "avxvnni": "avx_vnni",
    "bmi": "bmi1",
    "lzcnt": "abm",
    "sse3": "pni",
    "sse4.1": "sse4_1",
    "sse4.2": "sse4_2",
}
"""Of LLVM's names those that the kernel spells otherwise."""
_SHARED_NAMES = (
    *("avx", "avx2", "avx512bw", "avx512cd", "avx512dq", "avx512f", "avx512ifma", "avx512vbmi", "avx512vl", "bmi2"),
    *("f16c", "fma", "gfni", "movbe", "popcnt", "sse4a", "ssse3", "tbm", "vaes", "vpclmulqdq", "xop"),
)
_NAMES = {**_KERNEL_NAMES, **{name: name for name in _SHARED_NAMES}}
"""Instruction sets that LLVM chooses by itself; others, such as those for cryptography, it takes when it is told to."""

_V2 = ("popcnt", "sse3", "sse4.1", "sse4.2", "ssse3")
_V3 = (*_V2, "avx", "avx2", "bmi", "bmi2", "f16c", "fma", "lzcnt", "movbe")
_V4 = (*_V3, "avx512bw", "avx512cd", "avx512dq", "avx512f", "avx512vl")
_BY_LANES = {8: _V3, 16: _V4}


def needed_features(target: Target) -> tuple[str, ...]:
    """LLVM's names of the instruction sets that code for an x86-64 processor may use; none for other processors."""
    if not target.triple.startswith("x86_64"):
        return ()
    told = {name[1:] for name in target.features.split(",") if name.startswith("+")}
    level = _BY_LANES.get(target.vector_lanes, _V2 if target.has_rounding else ())
    stated = {*level, *target.extensions, *told}
    if target.dot_product.value == "vnni":
        stated.add("avx512vnni" if target.vector_lanes == 16 else "avxvnni")
    return tuple(sorted(stated & _NAMES.keys()))


@functools.cache
def description() -> tuple[str, ...]:
    """The lines that tell this processor from others, instruction sets among them; none where no kernel lists them."""
    try:
        with _CPUINFO.open("rb") as file:
            lines = file.read(_HEAD).decode("utf-8", "replace").split("\n\n")[0].splitlines()
    except OSError:
        return ()
    fields = ("vendor_id", "cpu family", "model", "model name", "stepping", "flags", "CPU part", "Features")
    return tuple(line for line in lines if line.partition("\t")[0].partition(":")[0].strip() in fields)


def features() -> frozenset[str] | None:
    """The kernel's names of this processor's instruction sets; None where no kernel lists them."""
    listed = next((line for line in description() if line.startswith(("flags", "Features"))), None)
    return None if listed is None else frozenset(listed.partition(":")[2].split())


def missing_features(needed: tuple[str, ...]) -> tuple[str, ...] | None:
    """Which of the needed instruction sets this machine lacks; None where that isn't known.

    If tiles are needed, the process asks for them; where it may not have them, the machine counts as without.
    """
    there = features()
    if there is not None and any(name.startswith("amx-") for name in needed) and not tiles_are_permitted():
        there = frozenset(name for name in there if not name.startswith("amx_"))
    return None if there is None else tuple(name for name in needed if _NAMES.get(name, name) not in there)
