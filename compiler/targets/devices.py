"""Machines that programs are built for, not on: by the names of `--cpu`, as LLVM's names alone don't say what they are.

Microcontrollers have no C library, no threads and, but for Helium, no vectors. The float ABI is that of the processor's
own floating-point unit, as vendors' tools have it. With `gnueabi` LLVM copies memory by `memcpy`, else by functions of
Arm's own run-time ABI, which not every program has.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from .cpus import arm64
from .target import DotProduct, Environment, Target

_KIB = 1024


def _base(triple: str, cpu: str, features: str, **changes: Any) -> Target:
    """A machine of 32 bits without vectors and floats, in no environment."""
    base = Target(
        triple=triple,
        cpu=cpu,
        features=features,
        vector_lanes=1,
        vector_registers=8,
        l1_bytes=16 * _KIB,
        l2_bytes=128 * _KIB,
        has_fma=False,
        has_rounding=False,
        has_half=False,
        has_double=False,
        pointer_bits=32,
        environment=Environment.BARE,
    )
    return replace(base, **changes)


def _cortex_m(cpu: str, triple: str, **changes: Any) -> Target:
    return _base(triple, cpu, "", **changes)


def _riscv(bits: int, letters: str, abi: str) -> Target:
    """LLVM makes rounding to whole numbers of conversions, which have a rounding mode."""
    features = ",".join(f"+{letter}" for letter in letters)
    system = "linux-gnu" if bits == 64 else "none-elf"
    environment = Environment.POSIX if bits == 64 else Environment.BARE
    vectors: dict[str, Any] = {"vector_lanes": 4, "vector_registers": 32} if "v" in letters else {}
    return _base(
        f"riscv{bits}-unknown-{system}",
        f"generic-rv{bits}",
        features,
        pointer_bits=bits,
        environment=environment,
        abi=abi,
        code_model="medium",
        has_fma="f" in letters,
        has_rounding="f" in letters,
        has_double="d" in letters and bits == 64,  # else rounding to whole numbers is a call
        **vectors,
    )


def _wasm(more_features: str = "", **changes: Any) -> Target:
    """Browsers run it on processors with 16 registers, of which their compilers keep one for themselves."""
    return _base(
        "wasm32-unknown-unknown",
        "generic",
        f"+simd128,+atomics,+bulk-memory,+bulk-memory-opt,+sign-ext,+nontrapping-fptoint,+mutable-globals{more_features}",
        vector_lanes=4,
        vector_registers=15,
        l1_bytes=32 * _KIB,
        l2_bytes=512 * _KIB,
        has_rounding=True,
        has_double=True,
        dot_product=DotProduct.WIDENED,
        loads_ahead=True,
        longest_epilogue=100,
        environment=Environment.WASM,
        **changes,
    )


_FLOATS = {"has_fma": True, "has_half": True}
_FLOATS_V8 = {**_FLOATS, "has_rounding": True}
_PAIRS = DotProduct.PAIRS

DEVICES: Mapping[str, Target] = {
    "aarch64-linux": arm64("generic", dot_product=DotProduct.LANES),
    "aarch64-macos": arm64("apple-m1", "arm64-apple-macosx11.0.0", dot_product=DotProduct.NEON),
    "armv7": _base(
        "armv7-unknown-linux-gnueabihf",
        "generic",
        "+neon",
        vector_lanes=4,
        vector_registers=16,
        l1_bytes=32 * _KIB,
        l2_bytes=256 * _KIB,
        dot_product=DotProduct.LANES,
        environment=Environment.POSIX,
    ),
    "cortex-m0plus": _cortex_m("cortex-m0plus", "thumbv6m-unknown-none-gnueabi", has_wide_products=False),
    "cortex-m4": _cortex_m("cortex-m4", "thumbv7em-unknown-none-gnueabihf", **_FLOATS, dot_product=_PAIRS),
    "cortex-m7": _cortex_m(
        "cortex-m7", "thumbv7em-unknown-none-gnueabihf", **_FLOATS_V8, has_double=True, dot_product=_PAIRS
    ),
    "cortex-m33": _cortex_m("cortex-m33", "thumbv8m.main-unknown-none-gnueabihf", **_FLOATS_V8, dot_product=_PAIRS),
    "cortex-m55": _cortex_m(
        "cortex-m55",
        "thumbv8.1m.main-unknown-none-gnueabihf",
        **_FLOATS_V8,
        has_double=True,
        has_double_vectors=False,
        vector_lanes=4,
        dot_product=DotProduct.REDUCED,
    ),
    "riscv64": _riscv(64, "mafdc", "lp64d"),
    "riscv64-v": _riscv(64, "mafdcv", "lp64d"),
    "riscv32": _riscv(32, "mac", "ilp32"),
    "riscv32-v": _riscv(32, "mafdcv", "ilp32d"),
    "wasm32": _wasm(),
    "wasm32-relaxed": _wasm(",+relaxed-simd", vector_fma="llvm.wasm.relaxed.madd.v4f32"),
}
"""By name. 64-bit x86 and Arm cores by LLVM's names are in `cpus`."""
