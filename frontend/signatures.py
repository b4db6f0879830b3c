"""What can be given to something that is called, and the binding of arguments to it.

User's definitions, layers, operators and builtin functions all become a tuple of `Slot`s, so that their arguments are
bound and checked, and their misuse reported, in one way.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import Any, Union

from ..compiler.errors import Location, near_miss
from ..compiler.graph.declarations import REQUIRED
from ..compiler.graph.ir import Operator
from ..compiler.ops.layer import Layer
from ..compiler.types import Quantization
from .budget import Budget
from .values import Tensor, describe, describe_kind, error, fits, list_of


@dataclass(frozen=True, slots=True)
class Slot:
    """One thing to give: its name and kind (a Python annotation)."""

    name: str
    kind: Any = object
    required: bool = True
    variadic: bool = False
    """Takes all remaining arguments by position."""
    named_only: bool = False


@dataclass(frozen=True, slots=True)
class Given:
    """A value given to a call, and where."""

    value: Any
    location: Location


_NUMBERS = tuple[int | tuple[int, ...], ...]
"""What operators take where they declare a tuple: axes, shapes, pairs of margins."""


@dataclass(frozen=True, slots=True)
class Arguments:
    """What a call gives."""

    positional: tuple[Given, ...] = ()
    named: Mapping[str, Given] = field(default_factory=dict[str, Given])

    def __iter__(self) -> Iterator[Given]:
        yield from self.positional
        yield from self.named.values()


def bind(name: str, slots: Sequence[Slot], arguments: Arguments, location: Location, budget: Budget) -> dict[str, Any]:
    """Match arguments to slots. The result holds what was given; variadic slots get a tuple."""
    bound = _bind_positions(name, slots, arguments.positional, budget)
    by_name = {slot.name: slot for slot in slots if not slot.variadic} if arguments.named else {}
    for key, given in arguments.named.items():
        if key not in by_name:
            raise error(f"{name} has no argument `{key}`", given.location, near_miss(key, by_name) or _takes(slots))
        if key in bound:
            raise error(f"{name} is given `{key}` twice: by position and by name", given.location)
        bound[key] = given
    missing = [f"`{s.name}`" for s in slots if s.required and s.name not in bound]
    if missing:
        raise error(f"{name} needs a value for {' and '.join(missing)}", location, _takes(slots))
    return {slot.name: _checked(name, slot, bound[slot.name], budget) for slot in slots if slot.name in bound}


def _bind_positions(name: str, slots: Sequence[Slot], positional: Sequence[Given], budget: Budget) -> dict[str, Given]:
    bound: dict[str, Given] = {}
    rest = list(positional)
    for slot in slots:
        if not rest or slot.named_only:
            break
        if slot.variadic:
            values = [v for g in rest for v in _spread(slot, g.value, budget)]
            bound[slot.name] = Given(tuple(values), rest[0].location)
            rest = []
        elif slot.required or slot.kind is not Tensor or isinstance(rest[0].value, Tensor):
            bound[slot.name] = rest.pop(0)
    if rest:
        most = sum(not s.named_only for s in slots)
        count = f"{most} argument{'s' * (most != 1)}"
        raise error(f"{name} takes at most {count}, not {len(positional)}", rest[0].location, _takes(slots))
    return bound


def _spread(slot: Slot, value: Any, budget: Budget) -> tuple[Any, ...]:
    """A list stands for its items where single values are taken: `concat([a, b])`, `max(sizes)`."""
    return value if isinstance(value, tuple) and not fits(slot.kind, value, budget) else (value,)


def _checked(name: str, slot: Slot, given: Given, budget: Budget) -> Any:
    kind = list_of(slot.kind) if slot.variadic else slot.kind
    if fits(kind, given.value, budget):
        return given.value
    raise error(f"`{slot.name}` of {name} must be {describe_kind(kind)}, not {describe(given.value)}", given.location)


def _takes(slots: Sequence[Slot]) -> str:
    names = [("*" if s.variadic else "") + s.name + ("" if s.required or s.variadic else "?") for s in slots]
    return "it takes " + ", ".join(names) if names else "it takes no arguments"


def slots_of_layer(layer: Layer) -> tuple[Slot, ...]:
    """Slots of a layer: its Python parameters after the builder."""
    known = _OF_LAYERS.get(layer.function)
    if known is None:
        known = _OF_LAYERS[layer.function] = _slots(layer.signature.parameters.values(), skip=1)
    return known


_OF_LAYERS: dict[Callable[..., Any], tuple[Slot, ...]] = {}
"""By function: a signature is hashed slowly."""


@cache
def slots_of_function(function: Callable[..., Any]) -> tuple[Slot, ...]:
    """Slots of a Python function with annotations."""
    return _slots(inspect.signature(function, eval_str=True).parameters.values())


@cache
def slots_of_operator(operator: Operator) -> tuple[Slot, ...]:
    """Slots of an operator: operands, then attributes."""
    slots = [
        Slot(name.strip("*?"), Tensor, name[-1] != "?" and name[0] != "*", variadic=name[0] == "*")
        for name in operator.operands
    ]
    variadic = any(slot.variadic for slot in slots)
    for name, spec in operator.attributes.items():
        if spec.is_quantization and any(slot.name == name for slot in slots):
            continue  # the operand's type says it
        kinds = tuple(map(_kind, spec.kind if isinstance(spec.kind, tuple) else (spec.kind,)))
        kind = list_of(_kind(spec.items)) if spec.items is not None else Union[kinds]  # noqa: UP007
        is_required = spec.default is REQUIRED and spec.items is not Quantization
        slots.append(Slot(name, kind, is_required, named_only=variadic))
    return tuple(slots)


def _kind(kind: Any) -> Any:
    """The kind of value in the text that stands for an attribute of a class."""
    return str if kind is Quantization else _NUMBERS if kind is tuple else kind


def _slots(parameters: Any, skip: int = 0) -> tuple[Slot, ...]:
    return tuple(
        Slot(
            p.name,
            p.annotation,
            p.default is p.empty and p.kind is not p.VAR_POSITIONAL,
            variadic=p.kind is p.VAR_POSITIONAL,
            named_only=p.kind is p.KEYWORD_ONLY,
        )
        for p in list(parameters)[skip:]
    )
