"""The right factors of Strassen's products, which weights are packed as, and the scales that these are divided by."""

from __future__ import annotations

from typing import NamedTuple

from .....graph.ir import Value
from .....lowering.kernel import Packed, packing_step


class RightFactors(NamedTuple):
    """What becomes of a weight."""

    factors: Packed
    """[panel][7][channel of a half][filter of a panel]."""
    channels: Packed
    """Powers of two that inputs are multiplied by."""
    filters: Packed
    """Powers of two that results are multiplied by."""


def right_factors(weight: Value, half: int, width: int) -> RightFactors:
    """Those of a weight whose first half has `half` filters, in panels of `width`."""
    *_, channels, filters = weight.type.shape
    flat = packing_step("reshape", shape=(channels, filters))
    of_channels = Packed(weight, (flat, packing_step("channel_scales")))
    of_filters = Packed(weight, (flat, packing_step("filter_scales")), (of_channels,))
    factors = packing_step("strassen_filter", half=half, width=width)
    return RightFactors(Packed(weight, (flat, factors), (of_channels, of_filters)), of_channels, of_filters)
