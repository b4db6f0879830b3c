"""What code generation knows about a machine: triple, features, vector width, register count, cache sizes.

A `Target` is data. Schedules and the LLVM translation read its fields; nowhere does code ask which architecture it is
on. `Target.host()` describes this machine, `Target.named()` one of the processors of `--cpu NAME`.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import Any

import llvmlite.binding as llvm

from ..errors import NetcError, near_miss


class MinMax(enum.Enum):
    """How the smaller or larger of two floats becomes one instruction."""

    SELECT = "select"
    """Compare and select: `vmaxps` of x86."""
    INTRINSIC = "intrinsic"
    """`llvm.maximum`: `fmax` of Arm."""


class DotProduct(enum.Enum):
    """The 8-bit dot-product instructions of a machine."""

    NONE = "none"
    VNNI = "vnni"
    """x86: four unsigned by signed products into each 32-bit lane."""
    NEON = "neon"
    """Arm: four signed products into each 32-bit lane."""


@dataclass(frozen=True, slots=True)
class Target:
    """A machine to compile for. Two targets with equal fields give equal code."""

    triple: str
    cpu: str
    """LLVM's name of the processor."""
    features: str
    """LLVM's feature list, `+avx2,-sse4a`; empty where the processor's name says it all."""
    vector_lanes: int
    """f32 elements in one vector register."""
    vector_registers: int
    l1_bytes: int
    """Data cache of one core."""
    l2_bytes: int
    """Second-level cache of one core."""
    has_fma: bool
    has_rounding: bool = True
    """Vectors can be rounded to whole numbers by one instruction."""
    dot_product: DotProduct = DotProduct.NONE
    has_half: bool = True
    """Half precision is converted by an instruction."""
    extensions: tuple[str, ...] = ()
    """LLVM's names of instruction sets that code for this processor may hold beside those that its vectors imply."""
    has_high_products: bool = False
    """Vectors of i32 can be multiplied to the rounded upper halves of doubled products by one instruction."""
    min_max: MinMax = MinMax.SELECT
    pause: str = ""
    """LLVM instruction that eases a short busy-waiting loop."""
    attributes: tuple[str, ...] = field(default=())
    """Extra LLVM function attributes."""

    @staticmethod
    @cache
    def host() -> Target:
        """The machine that this process runs on."""
        triple = str(llvm.get_process_triple())
        features = dict(llvm.get_host_cpu_features())
        base = _by_features(triple, features)  # not by name: virtual machines hide features of their processors
        l1, l2 = _host_caches()
        return replace(
            base,
            triple=triple,
            cpu=str(llvm.get_host_cpu_name()),
            features=",".join(("+" if features[f] else "-") + f for f in sorted(features)),
            l1_bytes=l1 or base.l1_bytes,
            l2_bytes=l2 or base.l2_bytes,
        )

    @staticmethod
    def named(name: str) -> Target:
        """The target of `--cpu NAME`; "host" is this machine. `NetcError` for a name that is not in the table."""
        if name in ("host", "native"):
            return Target.host()
        if name not in _CPUS:
            names = ", ".join(["host", *_CPUS])
            raise NetcError(f"unknown processor `{name}`", hint=near_miss(name, _CPUS) or f"known: {names}")
        return _CPUS[name]

    @staticmethod
    def names() -> tuple[str, ...]:
        """The processors that `named` knows."""
        return ("host", *_CPUS)

    def __str__(self) -> str:
        return f"{self.cpu} ({self.triple})"


def _x86(cpu: str, lanes: int, registers: int, **changes: Any) -> Target:
    wide = ('"prefer-vector-width"="512"',) if lanes == 16 else ()
    base = Target(
        triple="x86_64-unknown-linux-gnu",
        cpu=cpu,
        features="",
        vector_lanes=lanes,
        vector_registers=registers,
        l1_bytes=32 * 1024,
        l2_bytes=512 * 1024,
        has_fma=lanes >= 8,
        has_rounding=lanes >= 8,
        has_half=lanes >= 8,
        pause="call void @llvm.x86.sse2.pause()",
        attributes=wide,
    )
    return replace(base, **changes)


def _arm(cpu: str, triple: str = "aarch64-unknown-linux-gnu", **changes: Any) -> Target:
    base = Target(
        triple=triple,
        cpu=cpu,
        features="",
        vector_lanes=4,
        vector_registers=32,
        l1_bytes=32 * 1024,
        l2_bytes=512 * 1024,
        has_fma=True,
        has_high_products=True,
        min_max=MinMax.INTRINSIC,
        pause="call void @llvm.aarch64.isb(i32 15)",
    )
    return replace(base, **changes)


_VNNI = DotProduct.VNNI
_CRYPTO = ("vaes", "vpclmulqdq")
_ICELAKE = (*_CRYPTO, "avx512ifma", "avx512vbmi", "avx512vbmi2", "avx512bitalg", "avx512vpopcntdq", "gfni")
_SAPPHIRE_RAPIDS = (*_ICELAKE, "avx512bf16", "avx512fp16", "avxvnni")
_ZEN4 = ("sse4a", *_ICELAKE, "avx512bf16")
"""Intel's processors lack SSE4a, AMD's lack arithmetic of half precision: no name stands for more than its own."""
_MIB = 1024 * 1024

_CPUS: dict[str, Target] = {
    t.cpu: t
    for t in (
        _x86("x86-64", 4, 16),
        _x86("x86-64-v2", 4, 16, has_rounding=True),
        _x86("x86-64-v3", 8, 16),
        _x86("x86-64-v4", 16, 32, l2_bytes=_MIB),
        _x86("haswell", 8, 16, l2_bytes=256 * 1024),
        _x86("skylake", 8, 16, l2_bytes=256 * 1024),
        _x86("skylake-avx512", 16, 32, l2_bytes=_MIB),
        _x86("cascadelake", 16, 32, l2_bytes=_MIB, dot_product=_VNNI),
        _x86(
            "icelake-server", 16, 32, l1_bytes=48 * 1024, l2_bytes=5 * _MIB // 4, dot_product=_VNNI, extensions=_ICELAKE
        ),
        _x86(
            "sapphirerapids",
            16,
            32,
            l1_bytes=48 * 1024,
            l2_bytes=2 * _MIB,
            dot_product=_VNNI,
            extensions=_SAPPHIRE_RAPIDS,
        ),
        _x86("znver2", 8, 16, extensions=("sse4a",)),
        _x86("znver3", 8, 16, extensions=("sse4a", *_CRYPTO)),
        _x86("znver4", 16, 32, l2_bytes=_MIB, dot_product=_VNNI, extensions=_ZEN4),
        _x86(
            "znver5",
            16,
            32,
            l1_bytes=48 * 1024,
            l2_bytes=_MIB,
            dot_product=_VNNI,
            extensions=(*_ZEN4, "avxvnni", "avx512vp2intersect"),
        ),
        _arm("cortex-a53"),
        _arm("cortex-a72", l2_bytes=_MIB),
        _arm("cortex-a76", l1_bytes=64 * 1024, dot_product=DotProduct.NEON),
        _arm("neoverse-n1", l1_bytes=64 * 1024, l2_bytes=_MIB, dot_product=DotProduct.NEON),
        _arm("neoverse-v1", l1_bytes=64 * 1024, l2_bytes=_MIB, dot_product=DotProduct.NEON),
        _arm(
            "apple-m1",
            "arm64-apple-macosx11.0.0",
            l1_bytes=128 * 1024,
            l2_bytes=12 * _MIB,
            dot_product=DotProduct.NEON,
        ),
    )
}


def _by_features(triple: str, features: dict[str, bool]) -> Target:
    """What a processor with these features can do."""
    if triple.startswith(("aarch64", "arm64")):
        return _arm("generic", triple, dot_product=DotProduct.NEON if features.get("dotprod") else DotProduct.NONE)
    if triple.startswith("x86_64"):
        wide = all(features.get(f) for f in ("avx512f", "avx512bw", "avx512dq", "avx512vl"))
        if wide:
            vnni = features.get("avx512vnni")
            return _x86("generic", 16, 32, l2_bytes=_MIB, dot_product=_VNNI if vnni else DotProduct.NONE)
        if features.get("avx2") and features.get("fma"):
            return _x86("generic", 8, 16, has_half=bool(features.get("f16c")))
        half, rounding = bool(features.get("f16c")), bool(features.get("sse4.1"))
        return _x86("generic", 4, 16, has_rounding=rounding, has_half=half)
    return Target(triple, "generic", "", 4, 16, 32 * 1024, 512 * 1024, has_fma=False, has_rounding=False)


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
