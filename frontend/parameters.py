"""Functions about parameters: `param` makes one where it is called, `share` lets several calls have the same ones.

`state` makes one that each run gives a new value.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from ..compiler.ops.layer import Layer
from ..compiler.published import parse_order
from ..compiler.types import parse_elements
from .signatures import Arguments, Slot, bind
from .values import Applying, Definition, Placed, Shared, checked_label, describe, error, join

if TYPE_CHECKING:
    from .state import CallSite


def _share(site: CallSite, label: str | None, arguments: Arguments) -> Shared:
    """`share@label(block, name = value, ...)`: the block bound to the path of this place."""
    if len(arguments.positional) != 1:
        hint = "write `f = share@name(block)`; further arguments are given by name"
        raise error(f"share takes one block or layer, not {len(arguments.positional)}", site.location, hint)
    (given,) = arguments.positional
    callee = given.value
    if isinstance(callee, Shared):
        raise error(f"{describe(callee)} is shared already", given.location, "call it as it is")
    if not isinstance(callee, Layer | Definition) or (isinstance(callee, Definition) and callee.kind == "func"):
        raise error(f"share takes a block or a layer, not {describe(callee)}", given.location)
    path = site.state.path(site.frame.component(callee.name, label), site.location)
    return Shared(callee, path, MappingProxyType(dict(arguments.named)), set())


def _param(site: CallSite, label: str | None, arguments: Arguments) -> Any:
    """`param(name, shape, init, trainable, checkpoint, dtype, axis)`: a parameter of the block that it stands in."""
    bound = _placed(site, label, "param", _PARAM, arguments)
    if any(size < 0 for size in bound["shape"]):
        raise error("a parameter can't have negative sizes", site.location)
    with Applying("param", site.location):
        parse_order(bound.get("checkpoint"), len(bound["shape"]))
        elements, _ = parse_elements(bound.get("dtype", "f32"))
        return site.param(**{"init": "zeros", "trainable": elements.is_float, **bound})


def _state(site: CallSite, label: str | None, arguments: Arguments) -> Any:
    """`state(name, shape, value, dtype)`: what the network keeps from one run to the next."""
    bound = _placed(site, label, "state", _STATE, arguments)
    if any(size < 1 for size in bound["shape"]):
        raise error("the sizes of a state must be positive", site.location)
    with Applying("state", site.location):
        return site.network_state(**{"value": 0, "dtype": "f32", **bound})


def _placed(
    site: CallSite, label: str | None, function: str, slots: Sequence[Slot], arguments: Arguments
) -> dict[str, Any]:
    """The arguments of `param` or `state`, at the path of the block that it stands in, or of its label there."""
    bound = bind(function, slots, arguments, site.location, site.state.budget)
    checked_label(bound["name"], site.location)
    site.path = site.frame.path if label is None else join(site.frame.path, label)
    return bound


_STATE = (
    Slot("name", str),
    Slot("shape", tuple[int, ...]),
    Slot("value", required=False),
    Slot("dtype", str, required=False),
)

_PARAM = (
    Slot("name", str),
    Slot("shape", tuple[int, ...]),
    Slot("init", str, required=False),
    Slot("trainable", bool, required=False),
    Slot("checkpoint", str | None, required=False),
    Slot("dtype", str, required=False),
    Slot("axis", int, required=False),
)

PLACED: Mapping[str, Placed] = MappingProxyType(
    {p.name: p for p in (Placed("share", _share), Placed("param", _param), Placed("state", _state))}
)
"""All functions that work at the place of their call."""
