"""What netc knows about a machine: triple, features, vector width, register count, cache sizes.

A `Target` is data. Schedules and the LLVM translation read its fields; nowhere does code ask which architecture it is
on. `cpus` has the processors that people can name, `backends.cpu.codegen.host` describes this machine.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass, field


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
    has_byte_tables: bool = False
    """An instruction takes bytes from two registers of 64 at the places that the bytes of a third one name."""
    pause: str = ""
    """LLVM instruction that eases a short busy-waiting loop."""
    attributes: tuple[str, ...] = field(default=())
    """Extra LLVM function attributes."""
    backend: str = "cpu"
    """What makes code for it: the name of one of `compiler.backends`."""

    def __str__(self) -> str:
        return f"{self.cpu} ({self.triple})"
