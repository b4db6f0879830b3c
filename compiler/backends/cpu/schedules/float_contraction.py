"""Which walks compute a contraction of floats without groups, and which kernel goes each of them."""

from __future__ import annotations

from ....lowering.group import Group
from ....lowering.kernel import Scheduled
from ....ops.products.dense import Dense
from ....targets.target import Target
from .blocked_contraction import BlockedEmitter, is_worth_blocks
from .contraction import ContractionEmitter
from .geometry import Walk, flat_between_margins, walks
from .paired_contraction import PairedEmitter, is_worth_pairs
from .storage import as_stored
from .weight_panels import WeightPanels

FLAT_DEPTH = 64
"""Products of sums that are worth finding the places of results between margins ..."""
FLAT_PIXELS = 1024
"""... where so many pixels, at most, make rows short, and what their ends lose much."""


def _has_short_rows(group: Group, target: Target) -> bool:
    """Do register tiles lose by rows of pictures that end amid them? Measured with few registers, and on Zen 5."""
    if isinstance(group.anchor.operator, Dense):
        return target.outruns_caches
    return target.streams_quickly and target.has_few_registers


def _in_one_row(group: Group) -> tuple[Walk, ...]:
    """The walk over all pixels as one row, whose tiles don't end with rows of the picture, where sums are long."""
    return tuple(walk for walk in flat_between_margins(group) if walk.depth >= FLAT_DEPTH and walk.width <= FLAT_PIXELS)


def schedule_contraction(group: Group, target: Target, threads: int) -> tuple[Scheduled, ...]:
    """Schedule a group whose anchor is a contraction without groups; empty where its form needs another lowering."""
    if not group.anchor.operator.contraction or not group.anchor.result.type.dtype.is_float:
        return ()
    group = as_stored(group)
    operands, bias = group.anchor.operands[:2], group.anchor.operands[2:]
    known = all(v in group.outer for v in operands) and all(v in group.outer or v in group.constants for v in bias)
    if not known or group.anchor.attributes.get("groups", 1) > 1:
        return ()
    found = walks(group)
    if found and not found[0].flat and _has_short_rows(group, target):
        found = _in_one_row(group) or found
    if not found or target.is_scarce:
        return tuple(ContractionEmitter(group, walk, target, threads).schedule() for walk in found)
    copies = WeightPanels(group.outer[group.anchor.operands[1]], found[0].depth, group.result.type.shape[-1])
    main = [_emitter(group, walk, target, threads, copies).schedule() for walk in found]
    return (*copies.schedule(target.vector_lanes), *main)


def _emitter(group: Group, walk: Walk, target: Target, threads: int, copies: WeightPanels) -> ContractionEmitter:
    """What writes the kernel of a walk: block by block where that pays."""
    if is_worth_pairs(group, walk, target):
        return PairedEmitter(group, walk, target, threads)
    emitter = ContractionEmitter(group, walk, target, threads, copies)
    if not (target.outruns_caches and is_worth_blocks(emitter)):
        return emitter
    return BlockedEmitter(group, walk, target, threads, copies)
