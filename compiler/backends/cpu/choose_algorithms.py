"""choose-algorithms: what a processor computes by Winograd's filtering or Strassen's multiplication."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Hashable, Mapping
from dataclasses import dataclass, field, replace
from functools import cache, partial

from ...graph.algorithm import Algorithm
from ...graph.alike import likeness
from ...graph.analysis import static_values
from ...graph.ir import Graph, Operation, Operator, Value
from ...lowering.choices import NetworkChoices, label_of, problem_before_layout
from ...lowering.group import Group, group_of
from ...ops.products.dense import Dense
from ...ops.products.strassen import HALVES
from ...ops.quantized.contraction import Conv2DSum, Conv3DSum
from ...ops.quantized.winograd import sums_fit
from ...ops.windows.convolution import Conv2D, Conv3D
from ...ops.windows.convolution_gradients import Conv2DWeightGradient
from ...ops.windows.transpose_convolution import TransposeConv2D
from ...ops.windows.window import window_of, with_whole_tiles
from ...ops.windows.winograd import F23, FEW_TILES, TILE, is_served, tiles_of
from ...passes import Pass
from ...passes.assign_layouts import LayoutPlan
from ...passes.samples import sample_axes
from ...types import DType
from .cycles import CHANGING_IN_PARTS, MEASURED_OF_PAIRS, MEASURED_QUICK_WORDS, Cycles, cycles_of, form_by_phases
from .schedules.strassen.schedule import DENSE_RANKS, STRASSEN
from .schedules.winograd.bfloat16_convolution import OF_PAIRS, takes_pairs
from .schedules.winograd.convolution import BY_PHASES, HALFWAY, IN_PARTS, IN_REGISTERS, PACKED
from .schedules.winograd.emitter import STREAMED_TILES
from .schedules.winograd.gradient import margins_of_gradient, partial_sums_of
from .schedules.winograd.integer_convolution import IN_ONE_SUM, parts_of
from .schedules.winograd.rows import TILES
from .schedules.winograd.tiles import bytes_at_points

Choice = Callable[[Group], Algorithm | None]

DIRECT = "direct"
"""What a convolution is without."""
MORE_TILES = 16
"""For so many, bringing filters to their points from half the way takes less time than waiting for twice the memory,
if they don't stay in a cache (Zen 5, 14 x 14 x 256: 0.35 ms, not 0.46)."""
MEMORY_BYTES = 16 * 1024 * 1024
"""Filters at their points that are larger come from memory, even half the way, and very few tiles wait for them less if
they come as they are (Zen 5, 7 x 7 x 512: 0.46 ms, not 0.52, and 0.24, not 0.38, on two cores, which share the memory;
from a cache they take 1.13 times the time)."""
SUMS = (Conv2DSum, Conv3DSum)
SUMMED = Algorithm(PACKED, (TILE, TILE))
"""Of a gradient of weights."""


@dataclass(frozen=True)
class ChooseAlgorithms(Pass):
    """Decide which 3x3 convolutions go by Winograd's filtering, and what else goes by Strassen's multiplication.

    The rule, for conv2d, conv3d, transpose_conv2d and conv2d_weight_gradient in single precision, and for conv2d_sum
    and conv3d_sum where the machine multiplies words, with 3x3 windows (in the planes of a conv3d) of stride 1 but for
    what is said of others, neither dilated nor grouped:

    - It must save time, by cycles measured on a processor with vectors of `lanes` elements.
    - A convolution gets its tiles written beside it; assign-layouts, which comes next, makes margins for them. An input
      that is known when weights are loaded gets no margins, so it must do without.
    - Where weights come slowly from memory, filters come to their points in each run if the whole batch has few tiles:
      part by part, or, for very few, in registers. Where they come quickly, very few get filters that are packed half
      the way there, and where a core outruns large ones, few do, and very large ones for very few come there in
      registers; filters that change with each run come there part by part if there are few tiles.
    - Sums of bytes are made at once, not in parts, if the numbers of the weight show that they can't be too large.
    - Where it was measured that convolutions of bfloat16 gain by smaller tiles, whose products are of bfloat16, too,
      those of two dimensions go by these, of an even number of channels and with filters known when they are loaded.
    - Where that was measured to gain, convolutions of two dimensions with a stride of 2 go by tiles of even and odd
      inputs, if their weights are known when they are loaded.
    - A gradient goes by tiles if the convolutions beside it give dy the margins that it needs, and its input has them
      or can get them.

    1x1 convolutions and dense layers in single precision go by Strassen's multiplication where that was measured and
    saves time, if their weights are known when they are loaded. Dense layers must number samples in front and have
    other rows for each: two of these are multiplied together.

    What was decided before is decided anew.

    Before::

        %0 = conv2d(%x, %w) {strides = [1,1], padding = "same", dilations = [1,1]} : f32[1,56,56,64]

    After::

        %0 = conv2d(%x, %w) {strides = [1,1], padding = "same", dilations = [1,1]} by winograd[4,4] : f32[1,56,56,64]
    """

    name = "choose-algorithms"
    lanes: int = 16
    pairs: bool = False
    """Convolutions may have products of bfloat16 instead."""
    at_once: int = 2
    """Products of bfloat16 that take the time of one of f32."""

    pair_units: int = 0
    """With `pairs`: so many vectors of them the core multiplies in a cycle, if Winograd's filtering may multiply them,
    too, at the points of smaller tiles; else 0."""

    streams_slowly: bool = False
    """Weights come slowly from memory: filters may come to their points in each run."""

    streams_quickly: bool = False
    """They come quickly: filters for very few tiles are packed half the way to their points."""

    kept_bytes: float = math.inf
    """So are more tiles' filters that are larger at their points: a core waits for their memory. Those for very few
    tiles may come as they are."""

    halves: bool = False
    """1x1 convolutions and dense layers may be computed by Strassen's multiplication."""

    phases: bool = False
    """Convolutions of stride 2 may go by tiles, whose even and odd inputs have points of their own."""

    units: int = 1
    """Vectors that the core multiplies in a cycle."""

    bytes_at_once: int = 0
    """Products of bytes that an instruction adds to a sum, where one adds two of words, too; 0: elsewhere."""

    transforms_quickly: bool = False
    """Words come to the points, and their products back, in less time beside multiplications than elsewhere: other
    units add."""

    def run(self, graph: Graph) -> Graph:
        """Convolutions first: their margins are what gradients find."""
        cycles, static = cycles_of(self.lanes, pairs=self.pairs), cache(lambda: static_values(graph))
        changing = cycles_of(self.lanes, changing=True) if self.units > 1 else cycles
        floats = (Conv2D, Conv3D, TransposeConv2D)
        kinds: tuple[type, ...] = (*floats, *SUMS) if self.bytes_at_once else floats
        kinds = (*kinds, Dense) if self.halves else kinds
        axes = cache(lambda: sample_axes(graph))
        saves_time = partial(self._saves_time, cycles, changing)
        choose = partial(
            _for_convolution,
            saves_time=saves_time,
            filters=self._filters,
            at_once=partial(_sums_at_once, graph),
            static=static,
            choosing=self.choosing,
            by_strassen=partial(_by_strassen, cycles=cycles, axes=axes) if self.halves else None,
            by_phases=partial(_by_phases, lanes=self.lanes) if self.phases else None,
        )

        def known(value: Value) -> Hashable:
            return value in static(), self.halves and axes().get(value)

        tiled = _decided(graph, kinds, choose, known)
        plan = cache(lambda: LayoutPlan(tiled))
        return _decided(tiled, (Conv2DWeightGradient,), lambda group: _for_gradient(group, cycles, self.lanes, plan))

    def _saves_time(self, cycles: Cycles, changing: Cycles, anchor: Operation, known: bool, at_once: bool) -> bool:
        """Is Winograd's filtering estimated to be faster, for a weight that is known when it is loaded or isn't?

        `at_once`: sums of bytes needn't be parted.
        """
        sizes = _sizes(anchor)
        if isinstance(anchor.operator, SUMS):
            parts = 1 if at_once else _parts(anchor)
            words = MEASURED_QUICK_WORDS if self.transforms_quickly else cycles
            return words.is_faster_in_words(*sizes, parts, self.bytes_at_once, _met_planes(anchor))
        if not known:
            in_parts = self._filters(anchor, known=False) == IN_PARTS
            return (CHANGING_IN_PARTS if in_parts else changing).is_faster(*sizes)
        how = self._filters(anchor, known=known)
        if how == OF_PAIRS:
            return MEASURED_OF_PAIRS[self.pair_units].is_faster(*sizes)
        ways = {IN_REGISTERS: cycles.is_faster_in_registers, HALFWAY: cycles.is_faster_halfway}
        is_faster = ways.get(how, cycles.is_faster)
        return is_faster(*sizes, products_at_once=self.at_once if self.pairs else 1)

    def _filters(self, anchor: Operation, *, known: bool) -> str:
        """The algorithm by how filters come to their points, for a weight that is known when it is loaded or isn't."""
        if isinstance(anchor.operator, SUMS):
            return PACKED
        *outer, height, width, filters = anchor.result.type.shape
        tiles = math.prod(outer) * tiles_of(height) * tiles_of(width)
        if not known:
            few = self.streams_quickly and self.units > 1 and tiles <= STREAMED_TILES
            return IN_PARTS if few and filters % self.lanes == 0 else PACKED
        if self.pairs and self.pair_units and len(outer) == 1 and self._gains_by_pairs(anchor):
            return OF_PAIRS
        if self.streams_slowly:
            return IN_REGISTERS if tiles <= FEW_TILES else IN_PARTS if tiles <= STREAMED_TILES else PACKED
        at_points = bytes_at_points(anchor.operands[1].type)
        is_large = at_points > self.kept_bytes
        if tiles <= TILES and is_large and at_points > MEMORY_BYTES:
            return IN_REGISTERS
        return HALFWAY if self.streams_quickly and tiles <= (MORE_TILES if is_large else TILES) else PACKED

    def _gains_by_pairs(self, anchor: Operation) -> bool:
        """Are smaller tiles faster than those of f32? With two units always: these wait for their larger filters."""
        if not takes_pairs(anchor.operands[1].type.shape[-2]):
            return False
        cycles = cycles_of(self.lanes, pairs=True)
        return self.pair_units > 1 or MEASURED_OF_PAIRS[self.pair_units].is_faster_than(cycles, *_sizes(anchor))

    def choosing(self, group: Group) -> Group:
        """The group with what decides in place of the cycles."""
        return group


@dataclass(frozen=True)
class AlgorithmsAsChosen(ChooseAlgorithms):
    """The same with choices for a network."""

    choices: NetworkChoices = field(default_factory=lambda: NetworkChoices({}))

    def __str__(self) -> str:
        return self.name

    def choosing(self, group: Group) -> Group:
        """By the problem, which has no layout yet."""
        problem = problem_before_layout(group, self.name)
        return replace(group, picker=self.choices.of(problem, label_of(group)))


def _sizes(anchor: Operation) -> tuple[int, tuple[int, int], int, int]:
    """Images, output, channels and filters of a convolution, as `cycles` takes them."""
    weight = anchor.operands[1].type
    *outer, height, width = anchor.result.type.shape[:-1]
    return math.prod(outer), (height, width), math.prod(weight.shape[:-4]) * weight.shape[-2], weight.shape[-1]


def _parts(anchor: Operation) -> int:
    """In how many parts bytes of these types are summed up, whatever they are."""
    x, weight = (v.type.dtype for v in anchor.operands[:2])
    return parts_of(_sizes(anchor)[2], x, weight, anchor.attributes["weight_zero"])


def _sums_at_once(graph: Graph, group: Group) -> bool:
    """True if sums of bytes needn't be parted where their types say so, because of what the weight holds."""
    x, weight = (group.outer[v] for v in group.anchor.operands[:2])
    maker = graph.producers.get(weight)
    if maker is None or maker.name != "constant" or _parts(group.anchor) == 1:
        return False
    return sums_fit(x.type.dtype, maker.attributes["value"], group.anchor.attributes["weight_zero"])


def _met_planes(anchor: Operation) -> float:
    """The part of a convolution's products whose plane of input is none of padding: others direct sums leave out."""
    x, weight = (v.type.shape for v in anchor.operands[:2])
    if len(x) == 4:
        return 1.0
    window = window_of(anchor.name, x[1:-1], weight[:-2], anchor.attributes)
    (planes, *_), (taps, *_), (stride, *_), (dilation, *_), ((before, _), *_) = (
        window.output,
        window.kernel,
        window.strides,
        window.dilations,
        window.padding,
    )
    places = [z * stride + k * dilation - before for z in range(planes) for k in range(taps)]
    return sum(0 <= place < x[1] for place in places) / len(places)


def _decided(
    graph: Graph, kinds: tuple[type, ...], choose: Choice, known: Callable[[Value], Hashable] | None = None
) -> Graph:
    """The graph with what `choose` says about groups whose anchor is one of these operators.

    With `known`, it says the same of groups that are alike and of whose operands the same is known.
    """

    @cache  # of abstract classes `isinstance` takes long
    def is_asked(operator: Operator) -> bool:
        return isinstance(operator, kinds)

    def decided(op: Operation) -> Operation:
        if not any(map(is_asked, [m.operator for m in op.body.operations] if op.body else [op.operator])):
            return op
        key = None
        if known is not None:
            makers = [graph.producers.get(v) for v in op.operands]
            numbers = [maker is not None and maker.name == "constant" for maker in makers]
            key = likeness(op), tuple([known(v) for v in op.operands]), any(numbers) and id(op)
        if key is None or key not in made:
            group = group_of(op, graph.producers)
            changed = with_algorithm(op, group, choose(group)) if is_asked(group.anchor.operator) else op
            if key is None:
                return changed
            made[key] = changed
        like = made[key]
        return op if like.body is op.body and like.algorithm is op.algorithm else _as(op, like)

    made: dict[Hashable, Operation] = {}
    operations = tuple(map(decided, graph.operations))
    return graph if operations == graph.operations else replace(graph, operations=operations)


def _as(op: Operation, like: Operation) -> Operation:
    """The operation with the body and the algorithm of another one."""
    return Operation(op.operator, op.operands, op.attributes, op.results, op.location, like.body, like.algorithm)


def with_algorithm(op: Operation, group: Group, algorithm: Algorithm | None) -> Operation:
    """The operation whose anchor is computed by this algorithm."""
    if group.anchor.algorithm == algorithm:
        return op
    anchor = replace(group.anchor, algorithm=algorithm)
    if op.body is None:
        return anchor
    members = tuple(anchor if member is group.anchor else member for member in op.body.operations)
    return replace(op, body=replace(op.body, operations=members))


def _for_convolution(
    group: Group,
    *,
    saves_time: Callable[[Operation, bool, bool], bool],
    filters: Callable[..., str],
    at_once: Callable[[Group], bool],
    static: Callable[[], Collection[Value]],
    choosing: Callable[[Group], Group],
    by_strassen: Callable[..., Algorithm | None] | None,
    by_phases: Callable[..., Algorithm | None] | None,
) -> Algorithm | None:
    anchor = group.anchor
    x, weight = (v.type for v in anchor.operands[:2])
    attributes = anchor.attributes
    sums_bytes = isinstance(anchor.operator, SUMS)
    read = anchor.operands[:2] if sums_bytes else anchor.operands  # a bias of one element may be a literal
    if attributes.get("groups", 1) != 1 or not x.size or any(v not in group.outer for v in read):
        return None
    if by_strassen and (isinstance(anchor.operator, Dense) or weight.shape[:-2] == (1, 1)):
        return by_strassen(group, static=static, choosing=choosing)
    if by_phases and isinstance(anchor.operator, Conv2D) and attributes["strides"] == (2, 2):
        return by_phases(group, static=static, choosing=choosing)
    flat = slice(-2, None)
    dilations = attributes.get("dilations", (1, 1))
    if not is_served(x.dtype, weight.shape[-4:-2], attributes["strides"][flat], dilations[flat]):
        return None
    known, output = group.outer[anchor.operands[1]] in static(), anchor.result.type.shape[1:-1]
    if (len(output) == 3 or sums_bytes) and not known:
        return None
    whole = sums_bytes and at_once(group)
    group = choosing(group)
    is_faster = saves_time(anchor, known, whole)
    if not is_faster and group.picker is None:
        return None
    # The planes of a convolution of three dimensions are summed at the points.
    how = IN_ONE_SUM if whole else filters(anchor, known=known)
    side = F23.tile if how == OF_PAIRS else TILE
    tile = (side, side) if len(output) == 2 else (1, side, side)
    margins = anchor.operator.input_margins((x, weight), attributes) or ()
    dense = not any(map(any, with_whole_tiles(margins, output, tile)))
    if not dense and group.outer[anchor.operands[0]] in static():
        return None
    default = PACKED if is_faster else DIRECT
    chosen = group.choose("algorithm", default, lambda: (PACKED, DIRECT))
    return Algorithm(how, tile) if chosen == PACKED else None


def _by_phases(
    group: Group, lanes: int, static: Callable[[], Collection[Value]], choosing: Callable[[Group], Group]
) -> Algorithm | None:
    """For a convolution of stride 2, by the tiles that take least time."""
    anchor = group.anchor
    x, weight = (v.type for v in anchor.operands[:2])
    window = weight.shape[:2], anchor.attributes["strides"], anchor.attributes["dilations"]
    data, filters = (group.outer[v] in static() for v in anchor.operands[:2])
    if x.dtype is not DType.F32 or not is_served(x.dtype, *window, stride=2) or data or not filters:
        return None
    form, is_faster = form_by_phases(lanes, *_sizes(anchor))
    default = BY_PHASES if is_faster else DIRECT
    chosen = choosing(group).choose("algorithm", default, lambda: (BY_PHASES, DIRECT))
    return Algorithm(BY_PHASES, (form.tile, form.tile)) if chosen == BY_PHASES else None


def _by_strassen(
    group: Group,
    cycles: Cycles,
    axes: Callable[[], Mapping[Value, int]],
    static: Callable[[], Collection[Value]],
    choosing: Callable[[Group], Group],
) -> Algorithm | None:
    """For a 1x1 convolution or a dense layer. What decides is the same for each image, so it is for all batches."""
    anchor = group.anchor
    x, weight = (v.type for v in anchor.operands[:2])
    *places, filters = anchor.result.type.shape
    known = group.outer[anchor.operands[1]] in static()
    if x.dtype is not DType.F32 or weight.shape[-2] % HALVES or filters <= cycles.lanes or not known:
        return None
    if isinstance(anchor.operator, Dense):
        if x.rank not in DENSE_RANKS or axes().get(group.outer[anchor.operands[0]]) != 0:
            return None
    elif not isinstance(anchor.operator, Conv2D):
        return None
    is_faster = cycles.is_faster_by_strassen(math.prod(places[1:]), weight.shape[-2], filters)
    default = STRASSEN if is_faster else DIRECT
    chosen = choosing(group).choose("algorithm", default, lambda: (STRASSEN, DIRECT))
    return Algorithm(STRASSEN) if chosen == STRASSEN else None


def _for_gradient(group: Group, cycles: Cycles, lanes: int, plan: Callable[[], LayoutPlan]) -> Algorithm | None:
    anchor = group.anchor
    if len(group.members) != 1 or anchor.attributes["groups"] != 1:
        return None
    x, dy = (v.type for v in anchor.operands)
    window = window_of(anchor.name, x.shape[1:-1], group.result.type.shape[:2], anchor.attributes)
    if not is_served(x.dtype, window.kernel, window.strides, window.dilations):
        return None
    sizes = x.shape[-1], dy.shape[-1]
    partial_sums = partial_sums_of(x.shape[0] * math.prod(map(tiles_of, window.output)), *sizes, lanes)
    if partial_sums is None or not cycles.is_gradient_faster(x.shape[0], window.output, *sizes, partial_sums):
        return None
    values = [group.outer[v] for v in anchor.operands]
    read = (plan().operand_type(group.operation, v) for v in values)
    fits = [t.has_margins(m) for t, m in zip(read, margins_of_gradient(window), strict=True)]
    fits[0] |= plan().carries(values[0])  # what is written beside the gradient enlarges them
    return SUMMED if all(fits) and plan().type_of(group.operation.results[0]).layout is None else None
