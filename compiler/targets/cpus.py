"""The processors that people can name, and what a processor with certain features can do."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import replace
from typing import Any

from .target import ByteTables, DotProduct, MinMax, Target


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
        float_units=1 if lanes == 16 else 2,
        pause="call void @llvm.x86.sse2.pause()",
        dot_product=DotProduct.WORDS,
        longest_epilogue=400,
        reads_operands=True,
        attributes=wide,
    )
    extensions = changes.get("extensions", ())
    tables, pairs = _byte_tables(lanes, "avx512vbmi" in extensions), "avx512bf16" in extensions
    return replace(base, **{"byte_tables": tables, "has_bfloat16": pairs, **_tiles(extensions), **changes})


def _byte_tables(lanes: int, vbmi: bool) -> ByteTables:
    if lanes == 8:
        return ByteTables.SIXTEENS
    return ByteTables.PAIRS_OF_64 if lanes == 16 and vbmi else ByteTables.NONE


def _tiles(features: Collection[str]) -> dict[str, Any]:
    """What is multiplied by tiles, with these instruction sets, and what such processors have beside them."""
    kinds = {"has_byte_tiles": "amx-int8", "has_bfloat16_tiles": "amx-bf16", "has_slow_bfloat16": "avx512bf16"}
    return {fact: {"amx-tile", name} <= set(features) for fact, name in kinds.items()}


def arm64(cpu: str, triple: str = "aarch64-unknown-linux-gnu", **changes: Any) -> Target:
    """A 64-bit processor by Arm; `changes` are what it has otherwise than the smallest of them."""
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
        multiplies_by_lane=True,
        min_max=MinMax.INTRINSIC,
        pause="call void @llvm.aarch64.isb(i32 15)",
    )
    return replace(base, **changes)


_VNNI = DotProduct.VNNI
_CRYPTO = ("vaes", "vpclmulqdq")
_ICELAKE = (*_CRYPTO, "avx512ifma", "avx512vbmi", "avx512vbmi2", "avx512bitalg", "avx512vpopcntdq", "gfni")
_SAPPHIRE_RAPIDS = (*_ICELAKE, "avx512bf16", "avx512fp16", "avxvnni", "amx-tile", "amx-int8", "amx-bf16")
_RAPIDS = {
    "sapphirerapids": _SAPPHIRE_RAPIDS,
    "emeraldrapids": _SAPPHIRE_RAPIDS,
    "graniterapids": (*_SAPPHIRE_RAPIDS, "amx-fp16"),
}
_ALDER_LAKE = (*_CRYPTO, "avxvnni", "gfni")
_ZEN4 = ("sse4a", *_ICELAKE, "avx512bf16")
"""Intel's processors lack SSE4a, AMD's lack arithmetic of half precision: no name stands for more than its own."""
_MIB = 1024 * 1024

_INTEL_SERVERS = (
    "skylake-avx512",
    "cascadelake",
    "cooperlake",
    "icelake-server",
    "sapphirerapids",
    "emeraldrapids",
    "graniterapids",
    "graniterapids-d",
    "diamondrapids",
)
"""LLVM's names of cores with two units for vectors of 512 bits."""


def core_name(cpu: str, features: Mapping[str, bool]) -> str:
    """The name of a core that LLVM calls `cpu`, by what it can do.

    Virtual machines show model numbers of other processors, but of Intel's only the servers compute with halves in
    vectors of 512 bits.
    """
    is_server = features.get("avx512fp16") and not features.get("sse4a") and cpu not in _INTEL_SERVERS
    return "sapphirerapids" if is_server else cpu


def with_core(target: Target) -> Target:
    """A target with what is known of its core by name."""
    if target.cpu in _INTEL_SERVERS:
        return replace(target, float_units=2, streams_slowly=True)
    if target.vector_lanes != 16:
        return target
    if target.cpu == "znver4":
        return replace(target, gathers_slowly=True, saves_products=True, filters_pairs=True)
    if target.cpu == "znver5":
        wide = replace(target, float_units=2, bfloat16_units=2, has_adders=True)
        return replace(wide, gathers_slowly=True, filters_pairs=True)
    return target


CPUS: Mapping[str, Target] = {
    t.cpu: with_core(t)
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
        *(
            _x86(name, 16, 32, l1_bytes=48 * 1024, l2_bytes=2 * _MIB, dot_product=_VNNI, extensions=extensions)
            for name, extensions in _RAPIDS.items()
        ),
        _x86("znver2", 8, 16, extensions=("sse4a",)),
        _x86("alderlake", 8, 16, l1_bytes=48 * 1024, l2_bytes=5 * _MIB // 4, dot_product=_VNNI, extensions=_ALDER_LAKE),
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
        arm64("cortex-a53", dot_product=DotProduct.LANES),
        arm64("cortex-a72", l2_bytes=_MIB, dot_product=DotProduct.LANES),
        arm64("cortex-a76", l1_bytes=64 * 1024, dot_product=DotProduct.NEON),
        arm64("neoverse-n1", l1_bytes=64 * 1024, l2_bytes=_MIB, dot_product=DotProduct.NEON),
        arm64("neoverse-v1", l1_bytes=64 * 1024, l2_bytes=_MIB, dot_product=DotProduct.NEON),
        arm64(
            "apple-m1",
            "arm64-apple-macosx11.0.0",
            l1_bytes=128 * 1024,
            l2_bytes=12 * _MIB,
            dot_product=DotProduct.NEON,
        ),
    )
}
"""By LLVM's name, as in `--cpu NAME`."""


def by_features(triple: str, features: dict[str, bool]) -> Target:
    """What a processor with these features can do."""
    if triple.startswith(("aarch64", "arm64")):
        return arm64("generic", triple, dot_product=DotProduct.NEON if features.get("dotprod") else DotProduct.LANES)
    if triple.startswith("x86_64"):
        wide = all(features.get(f) for f in ("avx512f", "avx512bw", "avx512dq", "avx512vl"))
        if wide:
            vnni = features.get("avx512vnni")
            generic = _x86("generic", 16, 32, l2_bytes=_MIB, dot_product=_VNNI if vnni else DotProduct.WORDS)
            tables, pairs = _byte_tables(16, bool(features.get("avx512vbmi"))), bool(features.get("avx512bf16"))
            tiles = _tiles([name for name, there in features.items() if there])
            return replace(generic, byte_tables=tables, has_bfloat16=pairs, **tiles)
        if features.get("avx2") and features.get("fma"):
            dots = _VNNI if features.get("avxvnni") else DotProduct.WORDS
            return _x86("generic", 8, 16, has_half=bool(features.get("f16c")), dot_product=dots)
        half, rounding = bool(features.get("f16c")), bool(features.get("sse4.1"))
        return _x86("generic", 4, 16, has_rounding=rounding, has_half=half)
    return Target(triple, "generic", "", 4, 16, 32 * 1024, 512 * 1024, has_fma=False, has_rounding=False)
