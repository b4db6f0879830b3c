"""Integer convolutions and dense layers by dot products of four 8-bit numbers at a time.

The schedule is that of `contraction`; one step of the micro-kernel takes four neighbouring input elements of a pixel.
Signs and zero points are made good as `signs` says. Runs of the sum that are contiguous in the input are filled up to a
multiple of four with zero weights; the input's margins make these reads legal.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import Any

from .....graph.ir import Attributes, Value
from .....loops.ir import Allocate, Buffer, Const, Dot2Words, Dot4, Expr, Load, Space, Stmt, Store
from .....lowering.group import Group
from .....lowering.kernel import Names, Packed, PackingStep, Parameters, Scheduled, let, packing_step
from .....lowering.loops import ceil_div, kind_for, loop, vector_loop, vector_widths
from .....ops.quantized.contraction import ConvolutionSum, DenseSum
from .....ops.quantized.groups import are_whole_quads
from .....targets.target import DotProduct, Target
from .....types import DType, TensorType
from ..contraction import MORE_ASKING_PIXELS, NEXT_SHARE, ContractionEmitter
from ..epilogue import Finish
from ..geometry import Walk, walks
from ..grouped import first_of_group, tile_of_group
from ..micro_kernel import MicroKernel
from ..tiling import BROADCAST_CYCLES, Tile
from .rescaling import START, Rescaling, UnsignedRescaling
from .signs import QUAD, Kinds, Signs, flip

END_REGISTERS = 4
"""Registers without sums where a tile's end is long: with a smaller tile, more of that comes beside the next tile's
multiplications (Zen 5: 0.98 of the time)."""
NEAR_SHARE = 0.5
"""Part of the L1 cache that a channel tile's weights may fill to stay there."""
FETCHING = 4.5
"""What a vector of others takes to come from the L2 cache, in multiplications (Zen 5)."""


def schedule_integer_contraction(group: Group, target: Target, threads: int) -> tuple[Scheduled, ...]:
    """Schedule a group whose anchor is a sum of integer products with a weight known at load time."""
    return dot_kernels(DotEmitter, group, target, threads) if serves(group) else ()


def dot_kernels(kind: type[DotEmitter], group: Group, target: Target, threads: int) -> tuple[Scheduled, ...]:
    """The kernels that emitters of a kind write, and one that flips inputs before, where that is quicker."""
    x, found = group.outer[group.anchor.operands[0]], walks(group)
    if not found or not _flips_ahead(group, target):
        return tuple(kind(group, walk, target, threads).schedule() for walk in found)
    flipped = Value(TensorType(DType.U8, x.type.buffer_shape))
    emitters = [kind(group, walk, target, threads, flipped) for walk in found]
    return (converting_kernel(x, flipped, target, flip), *(emitter.schedule() for emitter in emitters))


def _flips_ahead(group: Group, target: Target) -> bool:
    """True if signed inputs are flipped by a kernel of its own, before they are read.

    Cores that multiply two vectors in a cycle flip with the units that multiply (measured on Emerald Rapids), unless
    they have others.
    """
    signed = group.anchor.operands[0].type.dtype is DType.I8
    quick = target.dot_product is DotProduct.VNNI and target.float_units > 1 and not target.has_adders
    pixels = group.result.type.size // group.result.type.shape[-1]
    return signed and quick and pixels > 1


def converting_kernel(x: Value, goal: Value, target: Target, convert: Callable[[Expr], Expr]) -> Scheduled:
    """A kernel that writes the numbers of a tensor in another form, margins included; `goal` has its buffer's shape."""
    whole = x.type.buffer_shape
    rows = math.prod(whole[:-2])
    shape = (rows, math.prod(whole) // rows)
    source, copy = Buffer("x", x.type.dtype, shape), Buffer("y", goal.type.dtype, shape, Space.OUT)
    names, parameters = Names(), Parameters()
    parameters.add(source, x)
    parameters.add(copy, goal)
    lanes = target.vector_lanes * DType.F32.itemsize // goal.type.dtype.itemsize

    def row(r: Expr) -> list[Stmt]:
        def vector(c: Expr, width: int) -> list[Stmt]:
            return [Store(copy, (r, c), convert(Load(source, (r, c), width)))]

        return vector_loop(names, shape[1], lanes, vector)

    return parameters.scheduled(loop("r", rows, row, kind_for(math.prod(shape))), multiplies=0)


def serves(group: Group) -> bool:
    """True if products of four neighbours can make up the sum: the weight is known, and runs may be filled up."""
    anchor = group.anchor
    if not isinstance(anchor.operator, (ConvolutionSum, DenseSum)):
        return False
    operands = anchor.operands
    if any(v not in group.outer for v in operands[:2]) or not group.knows_weight:
        return False
    x, weight = operands[0].type, operands[1].type
    wanted = anchor.operator.input_margins([v.type for v in operands], anchor.attributes)
    if not x.size or (wanted is None and weight.shape[0] % QUAD):
        return False
    if wanted and not x.has_margins(wanted):
        return False
    groups: int = anchor.attributes.get("groups", 1)
    return are_whole_quads(x.shape[-1] // groups, groups)


def literal_bias(group: Group) -> int:
    """A bias of one element is a number of the program; 0 for any other one."""
    return sum(int(group.constants.get(v, 0)) for v in group.anchor.operands[2:])


class DotEmitter(ContractionEmitter):
    """Writes the kernel of one integer contraction."""

    together = QUAD
    """Neighbours of the sum that a lane multiplies at once."""
    rescales: type[Rescaling] = UnsignedRescaling
    """How, where a table has the numbers of a channel."""
    step_cost = 0.5
    """What a pixel takes in a step beside its multiplications and the sum of its inputs."""

    def __init__(self, group: Group, g: Walk, target: Target, threads: int, flipped: Value | None = None) -> None:
        """`flipped` has the input's numbers with the signs that products want."""
        self.flipped = flipped
        x, weight = (v.type.dtype for v in group.anchor.operands[:2])
        self.signs = Signs.of(target, x, weight, self._zero_points(group))
        self.pixel_registers = 1 if self.signs.needs_input_sums else 0
        flips = target.dot_product is DotProduct.VNNI and self.signs.x_offset and flipped is None
        self.held_registers += 1 if flips else 0  # the bits to flip
        self.pixel_cost = (self.step_cost if flipped is None else BROADCAST_CYCLES) + self.pixel_registers
        self.rescaling = self._find_rescaling(target, group)
        self.held_registers += END_REGISTERS if target.has_adders and self._has_long_end(group) else 0
        super().__init__(group, g, target, threads)
        self.joined_vectors = self._joined_vectors(target)
        panel = math.prod(self.w.shape[1:])
        self.next_panel = panel if 2 * panel <= target.l2_bytes * NEXT_SHARE else 0
        if isinstance(self.rescaling, UnsignedRescaling) and not self._has_short_end():
            self.longest_epilogue = 0  # its numbers fill the registers: sums wait on the stack

    def _waits_for_weights(self, target: Target) -> bool:
        asks = target.outruns_caches and self.g.groups == 1
        return asks and self._has_large_weight and self._pixels in MORE_ASKING_PIXELS

    def _fetching(self, target: Target, vectors: int) -> float:
        panel = self.g.depth * vectors * target.vector_lanes
        return vectors * FETCHING if target.outruns_caches and panel > target.l1_bytes * NEAR_SHARE else 0.0

    @property
    def _input(self) -> Value:
        return self.flipped or super()._input

    def _zero_points(self, group: Group) -> Attributes:
        """Those of both sides, `x_zero` and `weight_zero`."""
        return group.anchor.attributes

    def _find_rescaling(self, target: Target, group: Group) -> Rescaling | None:
        return None if self.signs.needs_input_sums else self.rescales.of(group, target)

    def _has_long_end(self, group: Group) -> bool:
        """True if more becomes of the sums than a table says, such as another tensor's summand."""
        if self.rescaling is None:
            return False
        known = (group.anchor, self.rescaling.operation)
        return any(op not in known and op.name != "constant" for op in group.members)

    def _has_short_end(self) -> bool:
        """True if the end of a tile is expanded, though it has a table's numbers."""
        return False

    def _joined_vectors(self, target: Target) -> int:
        """So many that whole vectors of 16-bit numbers are narrowed, or of bytes where registers hold the table's."""
        many = target.vector_registers >= 32
        if isinstance(self.rescaling, UnsignedRescaling):
            return 4 if many else 2
        if many and target.dot_product is DotProduct.VNNI and self.group.result.type.dtype.itemsize == 1:
            return 4  # floats become bytes by instructions that saturate
        return 2 if target.has_high_products or target.dot_product is DotProduct.WORDS else 1

    def _choose_tile(self, target: Target) -> Tile:
        if self.g.groups == 1:
            return super()._choose_tile(target)
        share = self.filters // self.g.groups
        widths = vector_widths(tile_of_group(share, target.vector_lanes, target.vector_registers), target.vector_lanes)
        return self._tile_of(widths, target, target.vector_registers)

    @property
    def run_length(self) -> int:
        """Elements of the sum that are contiguous in the input."""
        return self.g.channels * (self.g.window[1] if self.g.merges_columns else 1)

    @property
    def runs(self) -> int:
        """Contiguous runs of the whole sum."""
        return self.g.depth // self.run_length

    @property
    def literal_bias(self) -> int:
        """See `literal_bias`."""
        return literal_bias(self.group)

    def _declare_weight(self, weight: Value) -> None:
        self.packed = True
        steps = self._declare_panels(weight)
        filters, kinds = self.filters, self.kinds
        if self.rescaling is None:
            self.correction = self.signs.add_correction(self.parameters, weight, filters, kinds)
        else:
            self.table = self.parameters.add(*self.rescaling.table(weight, self.signs, filters, filters, kinds))
        self.ones: Buffer | None = None
        if self.signs.needs_input_sums and self.run_length % self.together:
            width = self.tile.widths[0]
            ones = Packed(weight, (self._packing(width, ones=True),))
            self.ones = self.parameters.add(Buffer("o", DType.I8, (1, steps, width * self.together)), ones)

    def _declare_panels(self, weight: Value) -> int:
        """Make the parameter of the packed weight; returns the steps of its sum."""
        width = self.tile.channels
        steps = self.runs * ceil_div(self.run_length, self.together)
        self.w = Buffer("w", DType.I8, (self.panels, steps, width * self.together))
        self.parameters.add(self.w, Packed(weight, (self._packing(width, offset=self.signs.weight_offset),)))
        return steps

    def _packing(self, width: int, **attributes: Any) -> PackingStep:
        """Makes panels of so many filters."""
        if self.together != QUAD:
            attributes["together"] = self.together
        return packing_step("pack_dot4", rows=self.runs, width=width, **attributes)

    def panel(self, j: Expr) -> Expr:
        """The packed weights of channel tile j."""
        return j

    @property
    def kinds(self) -> Kinds:
        """The kinds of planes whose sums start differently, as padding isn't multiplied that isn't zero."""
        found = self.g.planes.kinds if self.signs.padding else ()
        return () if found == [(0, self.g.planes.window)] else found

    def number(self, field: int, channel: Expr, lanes: int, kind: Expr | int = 0) -> Expr:
        """Numbers of the table from a channel on; what sums start from depends on the kind of plane."""
        return Load(
            self.table, (kind if isinstance(kind, Expr) else Const(kind), channel + field * self.filters), lanes
        )

    def start(self, channel: Expr, lanes: int, kind: Expr) -> Expr:
        """What the sums of channels from this one on start from, beside the bias."""
        place = self.start_place(channel)
        return Load(self.correction, (kind, place) if self.kinds else (place,), lanes)

    def weight_index(self, j: Expr, depth: Expr, channel: Expr, offset: int) -> tuple[Expr, ...]:
        """Place of the weights of step `depth`, `offset` channels into channel tile j."""
        return (self.panel(j), depth, Const(offset * self.together))

    def start_place(self, channel: Expr) -> Expr:
        """Where `correction` has what the sums of a channel start from."""
        return channel

    def micro_kernel(self, rows: int, columns: int, widths: tuple[int, ...]) -> MicroKernel:
        """What computes one tile."""
        kernel = DotMicroKernel(self, rows, columns, widths)
        if self.ahead:
            kernel.ahead = self._by_turns()
        return kernel


class DotMicroKernel(MicroKernel):
    """One register tile of integer sums."""

    elements = QUAD
    multiply: type[Dot4 | Dot2Words] = Dot4
    """The node that adds the products of a step."""

    def __init__(self, owner: DotEmitter, rows: int, columns: int, widths: tuple[int, ...]) -> None:
        super().__init__(owner, rows, columns, widths)
        self.dot = owner
        self.sums: dict[int, Buffer] = {}
        """By number of lanes: the sum of each pixel's inputs, in every lane."""
        if owner.signs.needs_input_sums:
            name, shape = owner.names.fresh, (rows * columns,)
            self.sums = {w: Buffer(name("sum"), DType.I32, shape, Space.REGISTER, lanes=w) for w in set(widths)}

    def _extents(self) -> tuple[int, int]:
        g = self.dot.g
        return ceil_div(self.dot.run_length, self.dot.together), 1 if g.merges_columns else g.window[1]

    def _depth(self, kz: Expr, ky: Expr, kx: Expr, k: Expr) -> Expr:
        inner, outer = self._extents()
        return ((kz * self.dot.g.window[0] + ky) * outer + kx) * inner + k

    def _initial(self, channel: Expr, width: int) -> Expr:
        fresh = self.dot.names.fresh
        kind = self.dot.g.planes.kind(self.met) if self.dot.kinds else Const(0)
        if self.dot.rescaling is not None:
            return let(self.block, fresh("start"), self.dot.number(START, channel, width, kind))
        start = super()._initial(channel, width) + self.dot.start(channel, width, kind)
        return let(self.block, fresh("start"), start + self.dot.literal_bias if self.dot.literal_bias else start)

    def _start(self, j: Expr) -> None:
        super()._start(j)
        for width, buffer in sorted(self.sums.items()):
            self.block.append(Allocate(buffer))
            self.block += self._pixels(partial(self._clear, buffer, Const(0, DType.I32, width)))

    def _clear(self, buffer: Buffer, zero: Expr, r: Expr, s: Expr) -> list[Stmt]:
        return [Store(buffer, (r * self.columns + s,), zero)]

    def _first_input(self, j: Expr) -> Expr | int:
        return first_of_group(self.dot, j)

    def _begin(
        self, tile: tuple[Expr, Expr, Expr], first: int, single: int, step: int, v: Expr
    ) -> tuple[list[Stmt], Finish]:
        block, store = super()._begin(tile, first, single, step, v)
        if self.dot.rescaling is None:
            return block, store
        return block, self.dot.rescaling.before(store, self.dot.names, self._fields(block, first, single * step, v))

    def _fields(self, block: list[Stmt], first: int, width: int, v: Expr) -> Callable[[int], Expr]:
        """What loads numbers of the table for the v-th vector of channels from the first on."""
        fresh = self.dot.names.fresh
        channel = let(block, fresh("c"), self.channels[first] + v * width)
        return lambda number: let(block, fresh("f"), self.dot.number(number, channel, width))

    @property
    def _summed(self) -> Value:
        rescaling = self.dot.rescaling
        return rescaling.result if rescaling else super()._summed

    def _step(self, image: Expr, y: Expr, x: Expr, j: Expr, depth: Expr) -> list[Stmt]:
        o, g = self.dot, self.dot.g
        block: list[Stmt] = []
        weights: list[Expr] = []
        offset = 0
        for width, channel in zip(self.widths, self.channels, strict=True):
            place = o.weight_index(j, depth, channel, offset)
            weights.append(let(block, o.names.fresh("w"), self._factor(Load(o.w, place, width * o.together))))
            block += self._asked(j, depth, channel, offset)
            offset += width
        ones = {width: self._ones(block, depth, width) for width in sorted(self.sums)}

        def pixel(r: Expr, s: Expr) -> list[Stmt]:
            place = (image, y + r * g.strides[0], x + s * (g.strides[1] * g.pitch))
            inside: list[Stmt] = []
            inputs = let(inside, "a", o.signs.as_left(Load(o.x, place, o.together)))
            at = (r * self.columns + s,)
            for accumulator, weight in zip(self.accumulators, weights, strict=True):
                inside.append(Store(accumulator, at, self.multiply(inputs, weight, Load(accumulator, at))))
            for width, one in ones.items():
                inside.append(Store(self.sums[width], at, self.multiply(inputs, one, Load(self.sums[width], at))))
            return inside

        return [*block, *self._pixels(pixel)]

    def _factor(self, weight: Expr) -> Expr:
        """Bytes of weights as they are multiplied."""
        return weight

    def _ones(self, block: list[Stmt], depth: Expr, width: int) -> Expr:
        """What sums up the inputs of a step: not those that only fill up a run."""
        o, lanes = self.dot, width * self.dot.together
        if o.ones is None:
            return self._factor(Const(1, DType.I8, lanes))
        return let(block, o.names.fresh("o"), self._factor(Load(o.ones, (Const(0), depth, Const(0)), lanes)))

    def _total(self, v: int, at: tuple[Expr, ...]) -> Expr:
        total = super()._total(v, at)
        if not self.sums:
            return total
        return total + Load(self.sums[self.widths[v]], at) * self.dot.signs.input_sum_factor
