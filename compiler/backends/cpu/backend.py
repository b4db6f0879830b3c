"""Processors as a backend. LLVM is imported when code is made, so that graphs and loops can do without."""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING, Any

from ...image import Image, LoadedObject
from ...lowering.choices import NetworkChoices
from ...modules.module import Module
from ...passes import Pass, order_operations
from ...passes.assign_layouts import AssignLayouts
from ...precision import BF16, F32
from ...targets.cpus import CPUS
from ...targets.devices import DEVICES
from ...targets.target import DotProduct, Target
from ..backend import Backend
from .add_in_floats import AddInFloats
from .choose_algorithms import AlgorithmsAsChosen, ChooseAlgorithms
from .choose_tiles import ChooseTiles
from .narrow_products import LARGE, LARGE_BESIDE_TILES, NarrowProducts
from .schedules import SCHEDULES

if TYPE_CHECKING:
    from ...library.facts import Extras
    from ...library.interface import Interface

TILE_PRODUCTS = 8
"""Products of bfloat16 by tile registers in the time of one of f32; of small layers less than half the machine's."""

TILE_PITCH_BYTES = 256
"""Tile registers read 16 pixels of up to six rows together: with pixels a multiple of this apart, they fall onto a
quarter of the sets of the L1 cache or less."""

BYTES_AT_ONCE = {DotProduct.WORDS: 2, DotProduct.WIDENED: 2, DotProduct.VNNI: 4}
"""Products of bytes that an instruction adds to a sum, on processors with one that adds two of words."""


class Cpu(Backend):
    """The processors of `targets.cpus` and `targets.devices`, and this machine, for which LLVM makes the code."""

    name = "cpu"
    schedules = SCHEDULES
    passes = (AddInFloats, ChooseAlgorithms, NarrowProducts, ChooseTiles)

    @property
    def target_names(self) -> Collection[str]:
        """The host and those of the tables."""
        return ("host", *CPUS, *DEVICES)

    def find_target(self, name: str) -> Target | None:
        """The processor of this name; "host" is this machine."""
        if name in ("host", "native"):
            from .codegen.host import host_target

            return host_target()
        return CPUS.get(name) or DEVICES.get(name)

    def layouts(self, target: Target, precision: str = F32, choices: NetworkChoices | None = None) -> tuple[Pass, ...]:
        """Arithmetic and algorithms by the machine's vectors; margins against bounds checks and cache conflicts.

        Where memory is scarce, there is no choice of algorithms, as Winograd's weights take four times as much of it,
        and operations come in the order in which least memory is live.
        Numbers are stored narrow, if they may be, after other algorithms had their choice; which of their products go
        by tile registers is decided when values have places.
        """
        pairs = precision == BF16 and target.has_bfloat16
        large = LARGE_BESIDE_TILES if target.has_bfloat16_tiles else LARGE
        narrow = (NarrowProducts(precision=precision, pairs=pairs, large=large),) if precision != F32 else ()
        if target.is_scarce:
            return (*narrow, AssignLayouts(pitch=False, shares=True), order_operations)
        floats = (AddInFloats(),) if target.has_fma and target.vector_lanes > 4 else ()
        tiles, slow = target.has_bfloat16_tiles, target.has_slow_bfloat16
        facts: dict[str, Any] = {"lanes": target.vector_lanes, "pairs": pairs, "units": target.float_units}
        facts["pair_units"] = target.bfloat16_units if target.filters_pairs else 0
        facts["streams_slowly"] = target.streams_slowly
        facts["streams_quickly"] = target.streams_quickly
        facts["kept_bytes"] = target.l2_bytes if target.outruns_caches else math.inf
        facts["phases"] = precision == F32 and target.outruns_caches
        facts["halves"] = precision == F32 and target.saves_products
        if not target.has_byte_tiles:
            facts["bytes_at_once"] = BYTES_AT_ONCE.get(target.dot_product, 0)
            facts["transforms_quickly"] = target.has_adders
        facts["at_once"] = TILE_PRODUCTS if tiles else 1 if slow else 2
        algorithms = ChooseAlgorithms(**facts) if choices is None else AlgorithmsAsChosen(**facts, choices=choices)
        layouts = AssignLayouts(window_pitch=TILE_PITCH_BYTES if target.has_byte_tiles or tiles else 0)
        by_tiles = (ChooseTiles(l1_bytes=target.l1_bytes, l2_bytes=target.l2_bytes),) if tiles and pairs else ()
        return (*floats, algorithms, *narrow, layouts, *by_tiles)

    def emit(self, module: Module, target: Target) -> str:
        """LLVM text, with the C interface of netc.h."""
        from .codegen.program import emit_module

        return emit_module(module, target)

    def emit_library(self, module: Module, target: Target, interface: Interface) -> str:
        """LLVM text, with the C interface of docs/libraries.md."""
        from .codegen.library import emit_library

        return emit_library(module, target, interface)

    def complete_library(
        self, text: str, target: Target, interface: Interface, code: int, region: bytes, extras: Extras | None = None
    ) -> str:
        """Weights are data of the module."""
        from .codegen.library import complete_library

        return complete_library(text, target, interface, code, region, extras)

    def assembly(self, text: str, target: Target) -> str:
        """The processor's instructions as text."""
        from .codegen import machine

        return machine.assembly(text, target)

    def object_code(self, text: str, target: Target) -> bytes:
        """An object file."""
        from .codegen import machine

        return machine.object_code(text, target)

    def loadable_code(self, text: str, target: Target) -> bytes:
        """Several objects, made side by side."""
        from .codegen.parts import code_of

        return code_of(text, target)

    def load(self, code: bytes, target: Target, symbols: Sequence[str]) -> LoadedObject:
        """The object, linked into this process."""
        from .codegen.jit import load_object

        return load_object(code, target, symbols)

    def image(self, code: bytes, target: Target, symbols: Sequence[str]) -> Image | None:
        """The objects as one image, where `linker` knows the processor."""
        from .codegen.linker import link
        from .codegen.python_call import loaded_objects

        return link(loaded_objects(code, target, symbols), symbols)

    def fingerprint(self, target: Target) -> str:
        """Versions of LLVM and its passes, how objects are made, and the target."""
        from .codegen import parts

        return parts.fingerprint(target)
