"""Weights of integer contractions in the form that dot-product instructions read; evaluated when weights are loaded."""

from __future__ import annotations

from types import NoneType

import numpy as np

from ...errors import ShapeError
from ...graph.ir import Array, Attributes, AttributeSpec
from ...graph.registry import register
from ...types import DType, TensorType
from ..windows.window import check_pairs
from .base import BYTES, Part


@register
class PackDot4(Part):
    """8-bit weight [..., F] as i8 panels [F / width, rows * steps, width * 4]: four neighbours of the sum side by side.

    The weight is seen as [rows, length, F]. Each row is filled up with zeros to a multiple of four, the filters to a
    multiple of `width`; `offset` is subtracted from every number first. With `ones`, there is one panel with 1 for each
    weight. It may be another number than four.
    """

    name = "pack_dot4"
    operands = ("weight",)
    attributes = {
        "rows": AttributeSpec(int, "runs of the sum that are contiguous in the input"),
        "width": AttributeSpec(int, "filters of a panel"),
        "offset": AttributeSpec(int, "subtracted, so that the result is signed", 0),
        "ones": AttributeSpec(bool, "only say where weights are", False),
        "together": AttributeSpec(int, "neighbours of the sum side by side", 4),
    }

    def infer(self, operands: tuple[TensorType, ...], attributes: Attributes) -> tuple[TensorType, ...]:
        (weight,) = operands
        together = attributes["together"]
        rows, width, filters, length = _runs(self, weight, attributes)
        if together < 1:
            raise ShapeError(f"pack_dot4 can't put {together} neighbours of the sum side by side")
        panels = 1 if attributes["ones"] else -(-filters // width)
        return (TensorType(DType.I8, (panels, rows * -(-length // together), width * together)),)

    def evaluate(self, operands: tuple[Array, ...], attributes: Attributes) -> tuple[Array, ...]:
        (weight,) = operands
        rows, width, together = attributes["rows"], attributes["width"], attributes["together"]
        if attributes["ones"]:
            weight = np.ones((*weight.shape[:-1], width), np.int8)
        filters = weight.shape[-1]
        signed = _signed_runs(weight, attributes)
        padded = np.pad(signed, ((0, 0), (0, -signed.shape[1] % together), (0, -filters % width)))
        steps = padded.reshape(rows * padded.shape[1] // together, together, padded.shape[2] // width, width)
        packed: Array = steps.transpose(2, 0, 3, 1)
        return (packed.reshape(packed.shape[0], packed.shape[1], width * together),)


def _runs(operator: Part, weight: TensorType, attributes: Attributes) -> tuple[int, int, int, int]:
    """Rows, width of panels, filters, and elements of a row, of an 8-bit weight that is packed in panels."""
    rows, width = attributes["rows"], attributes["width"]
    filters = weight.shape[-1] if weight.rank else 0
    if min(rows, width, filters) < 1 or weight.dtype not in BYTES or (weight.size // filters) % rows:
        raise ShapeError(f"{operator.name} can't pack {weight} in {rows} rows and panels of {width} filters")
    return rows, width, filters, weight.size // filters // rows


def _signed_runs(weight: Array, attributes: Attributes) -> Array:
    """The weight as i8 [rows, length, F], less the offset; differences are those modulo 256."""
    signed: Array = (weight.view(np.uint8) - np.uint8(attributes["offset"] % 256)).view(np.int8)
    return signed.reshape(attributes["rows"], -1, weight.shape[-1])


@register
class PackGroups(Part):
    """8-bit weight [..., C, F] of groups with C filters each as i8 panels [panels, taps, panel's filters * C].

    A panel has vectors of filters, `widths` of them side by side; the last one may have others, `last`, and be filled
    up with zeros. A vector of n filters belongs to n / C groups. It has four filters of each group, then the next four:
    for each filter all groups, for each group all quads of its channels.
    """

    name = "pack_groups"
    operands = ("weight",)
    attributes = {
        "widths": AttributeSpec(tuple, "filters of the vectors of a panel"),
        "last": AttributeSpec(tuple, "those of the last panel, if they are others; else empty", ()),
        "offset": AttributeSpec(int, "subtracted, so that the result is signed", 0),
    }

    def infer(self, operands: tuple[TensorType, ...], attributes: Attributes) -> tuple[TensorType, ...]:
        (weight,) = operands
        widths, last = attributes["widths"], attributes["last"]
        fits = weight.dtype in BYTES and weight.rank > 1 and weight.size
        channels, filters = weight.shape[-2:] if fits else (0, 0)
        vectors = (*widths, *last)
        if not fits or channels % 4 or not widths or any(width < 1 or width % channels for width in vectors):
            raise ShapeError(f"pack_groups can't pack {weight} in vectors of {vectors} filters")
        whole, rest = divmod(filters, sum(widths))
        if rest != sum(last) or rest >= sum(widths):
            raise ShapeError(f"pack_groups can't pack {filters} filters in panels of {widths} and {last}")
        taps = weight.size // channels // filters
        return (TensorType(DType.I8, (whole + bool(last), taps, sum(widths) * channels)),)

    def evaluate(self, operands: tuple[Array, ...], attributes: Attributes) -> tuple[Array, ...]:
        (weight,) = operands
        channels, filters = weight.shape[-2:]
        widths, last = attributes["widths"], attributes["last"]
        signed = (weight.view(np.uint8) - np.uint8(attributes["offset"] % 256)).view(np.int8)
        taps = signed.reshape(-1, channels // 4, 4, filters)  # [tap, quad, channel, filter]
        panels = [widths] * (filters // sum(widths)) + [last] * bool(last)
        packed = np.zeros((len(panels), len(taps), sum(widths) * channels), np.int8)
        first = 0
        for panel, vectors in zip(packed, panels, strict=True):
            place = 0
            for width in vectors:
                some = taps[..., first : first + width].reshape(*taps.shape[:3], width // channels, channels // 4, 4)
                order = some.transpose(0, 4, 5, 3, 1, 2)  # [tap, four filters, filter, group, quad, channel]
                panel[:, place : place + width * channels] = order.reshape(len(taps), -1)
                first, place = first + width, place + width * channels
        return (packed,)


_TOGETHER = {4: DType.I8, 2: DType.I16}
"""Element type by the number of rows that a product takes."""


@register
class PackDepthwise(Part):
    """8-bit depthwise weight [KH, KW, 1, C] as i8 [KW, rows, quads, C * 4] for a block of result rows.

    Entry 4 * c + j of quad q holds channel c's weight for input row 4 * q + j of the block, of which row r of the
    results sees KH rows from r * stride on; where it doesn't look there are zeros. `offset` is subtracted from every
    weight. With `ones` = n, the result is [1, rows, quads, n * 4] with 1 for each weight. With two rows together, the
    result is i16 [KW, rows, pairs, C * 2].
    """

    name = "pack_depthwise"
    operands = ("weight",)
    attributes = {
        "rows": AttributeSpec(int, "rows of results that are computed together"),
        "stride": AttributeSpec(int, "input rows from one row of results to the next"),
        "offset": AttributeSpec(int, "subtracted, so that the result is signed", 0),
        "ones": AttributeSpec(int, "channels of a result that only says where weights are; 0: the weights", 0),
        "together": AttributeSpec(int, "rows side by side: four, or two as words", 4),
    }

    def infer(self, operands: tuple[TensorType, ...], attributes: Attributes) -> tuple[TensorType, ...]:
        (weight,) = operands
        rows, ones, together = attributes["rows"], attributes["ones"], attributes["together"]
        if weight.dtype not in BYTES or weight.rank != 4 or weight.shape[2] != 1 or not weight.size:
            raise ShapeError(f"pack_depthwise can't pack {weight}")
        if min(rows, attributes["stride"]) < 1 or ones < 0:
            raise ShapeError("pack_depthwise needs positive `rows` and `stride`, and `ones` not below 0")
        if together not in _TOGETHER:
            raise ShapeError(f"pack_depthwise can't put {together} rows side by side")
        kh, kw, _, channels = weight.shape
        parts = -(-((rows - 1) * attributes["stride"] + kh) // together)
        shape = (1 if ones else kw, rows, parts, (ones or channels) * together)
        return (TensorType(_TOGETHER[together], shape),)

    def evaluate(self, operands: tuple[Array, ...], attributes: Attributes) -> tuple[Array, ...]:
        (weight,) = operands
        rows, stride, ones, together = (attributes[key] for key in ("rows", "stride", "ones", "together"))
        dtype = _TOGETHER[together].numpy
        signed = (weight[:, :, 0].astype(np.int16) - attributes["offset"]).astype(dtype)
        if ones:
            signed = np.ones((weight.shape[0], 1, ones), dtype)
        kh, kw, channels = signed.shape
        parts = -(-((rows - 1) * stride + kh) // together)
        spread = np.zeros((rows, parts * together, kw, channels), dtype)
        for r in range(rows):
            spread[r, r * stride : r * stride + kh] = signed
        packed: Array = spread.reshape(rows, parts, together, kw, channels).transpose(3, 0, 1, 4, 2)
        return (packed.reshape(kw, rows, parts, channels * together),)


WIDE, HALF, QUARTER = 16, 8, 4
"""Neighbours of the sum that are multiplied together; `wide_parts` cuts runs of it into such."""


def wide_parts(length: int) -> tuple[int, tuple[int, ...]]:
    """How many times 16 elements a run has, and the sizes of the parts (8 or 4) that the rest takes.

    At most three elements beyond the run belong to the last part.
    """
    whole, rest = divmod(length, WIDE)
    last = rest - HALF if rest > HALF else rest
    parts = (HALF,) if rest > HALF else ()
    return whole, (*parts, *((QUARTER if last <= QUARTER else HALF,) if rest else ()))


@register
class PackWide(Part):
    """8-bit weight [..., F] as i8 panels [F / width, bytes]: up to sixteen neighbours of the sum side by side.

    The weight is seen as [rows, length, F]. A panel has for each row: all whole sixteens [count, width, 16], then the
    parts of the rest [width, 8], as `wide_parts` cuts them, filled up with zeros. Of a part of four, each number has a
    zero behind it. `offset` is subtracted from every number first.
    """

    name = "pack_wide"
    operands = ("weight",)
    attributes = {
        "rows": AttributeSpec(int, "runs of the sum that are contiguous in the input"),
        "width": AttributeSpec(int, "filters of a panel"),
        "offset": AttributeSpec(int, "subtracted, so that the result is signed", 0),
    }

    def infer(self, operands: tuple[TensorType, ...], attributes: Attributes) -> tuple[TensorType, ...]:
        (weight,) = operands
        rows, width, filters, length = _runs(self, weight, attributes)
        whole, parts = wide_parts(length)
        return (TensorType(DType.I8, (-(-filters // width), rows * width * (whole * WIDE + len(parts) * HALF))),)

    def evaluate(self, operands: tuple[Array, ...], attributes: Attributes) -> tuple[Array, ...]:
        (weight,) = operands
        rows, width = attributes["rows"], attributes["width"]
        filters = weight.shape[-1]
        signed = _signed_runs(weight, attributes)
        whole, parts = wide_parts(signed.shape[1])
        end = whole * WIDE + sum(parts)
        padded = np.pad(signed, ((0, 0), (0, end - signed.shape[1]), (0, -filters % width)))
        panels = padded.shape[2] // width
        by_panel = padded.reshape(rows, end, panels, width).transpose(2, 0, 3, 1)  # [panel, row, filter, element]
        start = whole * WIDE
        sixteens = by_panel[..., :start].reshape(panels, rows, width, whole, WIDE).transpose(0, 1, 3, 2, 4)
        pieces = [sixteens.reshape(panels, rows, -1)]
        for part in parts:
            piece = by_panel[..., start : start + part]
            spread = np.stack([piece, np.zeros_like(piece)], axis=-1) if part == QUARTER else piece
            pieces.append(spread.reshape(panels, rows, -1))
            start += part
        packed: Array = np.concatenate(pieces, axis=-1)
        return (packed.reshape(panels, -1),)


FARTHEST_SUM = 1 << 28
"""Sums of products up to which tables for unsigned products serve."""
RAISE = 1 << 31
"""Added to sums for unsigned products."""


def _addend(shift: Array, zero: int) -> Array:
    """Rounding and zero point, for products that are shifted by -shift places to the right."""
    return (2 * zero + 1) << (-1 - shift)


def unsigned_factors(multiplier: Array, shift: Array, zero: int, *, halves_up: bool) -> tuple[Array, Array]:
    """Multiplier and addend (i64, of which the lower 32 bits count) for unsigned products: see `RescaleTable`."""
    return 2 * multiplier, _addend(shift, zero) - multiplier - (not halves_up)


PLANES = AttributeSpec(
    tuple, "parts of the weight along its first dimension, (from, up to), that sums go over; empty: all of it", ()
)


@register
class RescaleTable(Part):
    """What a channel's sums start from, and how they are rescaled: i32 [F / width, 4 * width], filled up with zeros.

    A panel has the starts of its channels, multipliers, addends and places. Start is the bias with what
    `dot4_correction` adds. With p = -shift places, the addend is 2^(p - 1) + zero * 2^p: rounding and zero point. Those
    of bias [F], multiplier and shift (one, or [F]) that aren't attributes are operands, in the order of `fields`.

    For `unsigned` products sums are raised by 2^31, multipliers are doubled, and addends make good what that adds;
    where halves don't go up, addends lack 1, which is for sums that aren't negative. There starts are limited: sums of
    products below `FARTHEST_SUM` then stay beyond all results, and the upper half of their product in its range.

    With `planes`, all panels follow each other for each part of the weight.
    """

    name = "rescale_table"
    operands = ("weight", "*others")
    fields = ("multiplier", "shift", "bias")
    attributes = {
        "width": AttributeSpec(int, "channels of a panel"),
        "zero": AttributeSpec(int, "zero point of the results"),
        "x_zero": AttributeSpec(int, "zero point of x"),
        "x_offset": AttributeSpec(int, "what is added to x"),
        "weight_zero": AttributeSpec(int, "zero point of the weight"),
        "planes": PLANES,
        **{name: AttributeSpec((int, NoneType), f"the {name} of all channels", None) for name in fields},
        "unsigned": AttributeSpec(bool, "for products of unsigned numbers", False),
        "halves_up": AttributeSpec(bool, "with unsigned: halves need not go away from zero", False),
    }

    def infer(self, operands: tuple[TensorType, ...], attributes: Attributes) -> tuple[TensorType, ...]:
        weight, *others = operands
        filters, width = weight.shape[-1] if weight.rank else 0, attributes["width"]
        missing = sum(attributes[name] is None for name in self.fields)
        fits = all(o.dtype is DType.I32 and o.shape in ((), (1,), (filters,)) for o in others)
        if min(width, filters) < 1 or len(others) != missing or not fits:
            raise ShapeError(f"rescale_table can't make panels of {width} channels of {', '.join(map(str, operands))}")
        parts = _parts(self, weight, attributes) or 1
        return (TensorType(DType.I32, (parts * -(-filters // width), 4 * width)),)

    def evaluate(self, operands: tuple[Array, ...], attributes: Attributes) -> tuple[Array, ...]:
        weight, *others = operands
        given = iter(others)
        filters, width = weight.shape[-1], attributes["width"]
        numbers = (next(given) if attributes[name] is None else attributes[name] for name in self.fields)
        multiplier, shift, bias = (np.broadcast_to(np.asarray(n, np.int64), (filters,)) for n in numbers)
        start = bias + _corrections(weight, attributes)  # [part, F]
        if np.any((shift < -21) | (shift > -1)):
            raise ShapeError("rescale_table takes shifts from -21 to -1")
        addend = _addend(shift, attributes["zero"])
        if attributes["unsigned"]:
            limit = (1 << 30) + FARTHEST_SUM
            start = np.clip(start, -limit, limit) + RAISE
            multiplier, addend = unsigned_factors(
                multiplier, shift, attributes["zero"], halves_up=attributes["halves_up"]
            )
        table = np.stack(np.broadcast_arrays(start, multiplier, addend, -shift)).astype(np.int32)
        padded = np.pad(table, ((0, 0), (0, 0), (0, -filters % width)))
        panels: Array = padded.reshape(4, -1, width).transpose(1, 0, 2)
        return (np.ascontiguousarray(panels).reshape(panels.shape[0], 4 * width),)


def _parts(operator: Part, weight: TensorType, attributes: Attributes) -> int:
    """The number of parts of the weight for which there are sums; 0: there is none but the whole."""
    planes = attributes["planes"]
    size = weight.shape[0] if weight.rank else 0
    check_pairs(operator.name, planes, len(planes))
    if any(not begin <= end <= size for begin, end in planes):
        raise ShapeError(f"{operator.name}: {weight} has no such parts: {planes}")
    return len(planes)


def _corrections(weight: Array, attributes: Attributes) -> Array:
    """What `dot4_correction` gives, as i64 [part, F]."""
    planes = attributes["planes"] or ((0, len(weight)),)
    return np.stack([_correction(weight[begin:end], attributes) for begin, end in planes])


def _correction(weight: Array, attributes: Attributes) -> Array:
    """The same for one part."""
    sums: Array = weight.sum(axis=tuple(range(weight.ndim - 1)), dtype=np.int64)
    sums -= attributes["weight_zero"] * (weight.size // weight.shape[-1])
    missing: Array = -(attributes["x_offset"] + attributes["x_zero"]) * sums
    return missing


@register
class Dot4Correction(Part):
    """What sums of shifted numbers lack of the sums of (x - x zero) * (weight - weight zero): i32 [F].

    The sums are of x + x_offset instead of x; the part that depends on the weight is missing,
    -(x_offset + x zero) * sum(weight - weight zero). With `planes`, i32 [part, F] for each part of the weight.
    """

    name = "dot4_correction"
    operands = ("weight",)
    attributes = {
        "x_zero": AttributeSpec(int, "zero point of x"),
        "x_offset": AttributeSpec(int, "what is added to x"),
        "weight_zero": AttributeSpec(int, "zero point of the weight"),
        "planes": PLANES,
    }

    def infer(self, operands: tuple[TensorType, ...], attributes: Attributes) -> tuple[TensorType, ...]:
        (weight,) = operands
        parts = _parts(self, weight, attributes)
        return (TensorType(DType.I32, (parts, weight.shape[-1]) if parts else weight.shape[-1:]),)

    def evaluate(self, operands: tuple[Array, ...], attributes: Attributes) -> tuple[Array, ...]:
        sums = _corrections(operands[0], attributes).astype(np.int32)
        return (sums if attributes["planes"] else sums[0],)
