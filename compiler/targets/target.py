"""What netc knows about a machine: triple, features, vector width, register count, cache sizes.

A `Target` is data. Schedules and the LLVM translation read its fields; nowhere does code ask which architecture it is
on. `cpus` has the processors that people can name, `backends.cpu.codegen.host` describes this machine.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass, field, replace


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
    LANES = "lanes"
    """Arm: four signed products of 16 bits, with one lane of a vector, added to the 32-bit lanes of a register."""
    WIDENED = "widened"
    """WebAssembly: two signed products of 16 bits into each 32-bit lane."""
    WORDS = "words"
    """x86 without the above: the same, `pmaddwd`."""
    REDUCED = "reduced"
    """Arm's Helium: sixteen signed products added to a scalar; single words as with `PAIRS`."""
    PAIRS = "pairs"
    """Arm without vectors: two products of the 16-bit halves of registers, whose bytes are widened two at a time."""


class ByteTables(enum.Enum):
    """The instructions that take bytes from registers at the places that the bytes of another one name."""

    NONE = "none"
    SIXTEENS = "sixteens"
    """x86: in each half of a register of 32 from one of 16, `vpshufb`."""
    PAIRS_OF_64 = "pairs of 64"
    """x86: from two registers of 64, `vpermi2b`."""


class Environment(enum.Enum):
    """What surrounds the code."""

    POSIX = "posix"
    """A process with the C library."""
    WASM = "wasm"
    """A WebAssembly module: what it imports is the page's to give."""
    BARE = "bare"
    """Nothing: no C library, no memory but what the caller gives."""


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
    """Multiplies and adds floats, in double precision where `has_double` holds, with one rounding."""
    vector_fma: str = ""
    """LLVM's name of an intrinsic that multiplies and adds vectors of f32 where `has_fma` doesn't hold."""
    has_rounding: bool = True
    """Vectors can be rounded to whole numbers by one instruction."""
    dot_product: DotProduct = DotProduct.NONE
    has_bfloat16: bool = False
    """Products of pairs of bfloat16 are added to f32 by an instruction, and f32 is rounded to bfloat16 by one."""
    has_slow_bfloat16: bool = False
    """The former takes as long as four multiply-adds of f32, so that two of these are quicker."""
    has_byte_tiles: bool = False
    """Tiles of bytes, 16 rows of 64 at most, are multiplied and added to tiles of i32 by an instruction."""
    has_bfloat16_tiles: bool = False
    """The same of bfloat16, added to f32."""
    has_half: bool = True
    """Half precision is converted by an instruction."""
    has_double: bool = True
    """There are instructions for double precision; else each operation is a call."""
    has_double_vectors: bool = True
    """There are vectors of double precision, if there is double precision at all."""
    extensions: tuple[str, ...] = ()
    """LLVM's names of instruction sets that code for this processor may hold beside those that its vectors imply."""
    multiplies_by_lane: bool = False
    """Vectors are multiplied by one lane of another, so that a number need not be in every lane."""
    has_high_products: bool = False
    """Vectors of i32 can be multiplied to the rounded upper halves of doubled products by one instruction."""
    min_max: MinMax = MinMax.SELECT
    float_units: int = 1
    """Vectors of floats that a core multiplies and adds in a cycle, if it reads as many."""
    has_adders: bool = False
    """Other units than those that multiply add vectors of 512 bits, and combine their bits (Zen 5)."""
    streams_slowly: bool = False
    """Reading a weight from memory takes a core as long as multiplying it by dozens of pixels: it has two units for
    vectors of 512 bits, or shares its memory with many other cores."""
    gathers_slowly: bool = False
    """Gathering 16 words takes longer than choosing among all of a table of 256 (Zen 4: 22 cycles, 10)."""
    saves_products: bool = False
    """An eighth of the multiplications of 1x1 convolutions is worth the sums that save it, as measured on Zen 4: one
    vector of 512 bits is multiplied in a cycle, and sums are added up beside it."""
    bfloat16_units: int = 1
    """Vectors of pairs of bfloat16 that a core multiplies and adds in a cycle, where it is known to be more than one
    (Zen 5)."""
    filters_pairs: bool = False
    """3x3 convolutions of bfloat16 gain by Winograd's filtering with products of their pairs (Zen 4, Zen 5)."""
    reads_operands: bool = False
    """Vector instructions take an operand from memory, so that a constant needs no register."""
    loads_ahead: bool = False
    """What runs the code moves the loads of a loop's body to its front, so that each of them needs a register."""
    longest_epilogue: int = 2000
    """Expressions to which the end of a register tile is expanded, at most; a longer one becomes a loop."""
    byte_tables: ByteTables = ByteTables.NONE
    pause: str = ""
    """LLVM instruction that eases a short busy-waiting loop."""
    attributes: tuple[str, ...] = field(default=())
    """Extra LLVM function attributes."""
    has_wide_products: bool = True
    """Two 32-bit numbers are multiplied to 64 bits by an instruction or two."""
    pointer_bits: int = 64
    environment: Environment = Environment.POSIX
    abi: str = ""
    """LLVM's name of the calling convention, where the triple leaves a choice: `lp64d`."""
    code_model: str = "default"
    backend: str = "cpu"
    """What makes code for it: the name of one of `compiler.backends`."""

    @property
    def has_threads(self) -> bool:
        """Code for it can be run by several threads; else it is serial, and kernels get pointers only."""
        if self.environment is Environment.POSIX:
            return self.pointer_bits == 64
        return self.environment is Environment.WASM

    @property
    def alignment(self) -> int:
        """Bytes to which buffers in memory are aligned: a cache line, a vector, or what 64-bit numbers want."""
        if self.environment is Environment.BARE:
            return max(8, 4 * self.vector_lanes)
        return 64

    @property
    def is_scarce(self) -> bool:
        """Memory counts more than anything else."""
        return self.environment is Environment.BARE

    @property
    def has_few_registers(self) -> bool:
        """The sums of a register tile take nearly all vector registers, as on x86 without vectors of 512 bits."""
        return self.vector_registers <= 16

    @property
    def streams_quickly(self) -> bool:
        """A core waits for weights from memory only where few pixels share them: x86 with FMA, as measured on Zen 4.

        Of what streams neither slowly nor quickly nothing is known.
        """
        return self.reads_operands and self.has_fma and not self.streams_slowly

    @property
    def outruns_caches(self) -> bool:
        """It streams quickly, but multiplies two vectors of 512 bits in a cycle: more than come from the L2 cache.

        So a core waits for weights that some hundreds of pixels share, unless it asks for them early, and for inputs
        that it reads again (Zen 5).
        """
        return self.streams_quickly and self.float_units > 1 and not self.has_few_registers

    @property
    def has_pairs(self) -> bool:
        """Two products of the halves of words are added by an instruction, as with `PAIRS`."""
        return self.dot_product in (DotProduct.PAIRS, DotProduct.REDUCED)

    @property
    def multiplies_words(self) -> bool:
        """Products of words in vectors of 256 bits are the best that it has for bytes: x86 with AVX2 and no more."""
        return self.dot_product is DotProduct.WORDS and self.vector_lanes == 8

    def without_tiles(self) -> Target:
        """The same machine for code that uses no tile registers."""
        return replace(self, has_byte_tiles=False, has_bfloat16_tiles=False)

    def copied(self, itemsize: int) -> int:
        """Elements that loops which only copy or fill memory move at once."""
        if self.dot_product is DotProduct.PAIRS and itemsize == 1:
            return 4  # bytes of a word, which may lie anywhere
        return self.vector_lanes

    def __str__(self) -> str:
        return f"{self.cpu} ({self.triple})"
