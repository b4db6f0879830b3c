"""Settings with a name and options, as recipes write them: `sgd(lr=0.1, momentum=0.9)`, `cosine(epochs=12)`.

Losses, optimisers and schedules are frozen dataclasses derived from `Setting`; their fields are the options.
`parse_setting` reads the text form, `make_setting` takes options that are values already, and `str` writes the text
form back.
"""

from __future__ import annotations

import sys
import types
from collections.abc import Mapping
from dataclasses import MISSING, dataclass, fields
from typing import Any, ClassVar, TypeVar, Union, get_args, get_origin, get_type_hints

from ..errors import NetcError, near_miss
from ..spec import format_value, parse_spec


@dataclass(frozen=True, kw_only=True)
class Setting:
    """Base of losses, optimisers and schedules."""

    kind: ClassVar[str]
    """What it is, in messages: loss, optimizer, schedule."""
    name: ClassVar[str]

    @property
    def doc(self) -> str:
        """First line of the class docstring."""
        return (self.__doc__ or "").strip().splitlines()[0]

    def require(self, condition: bool, message: str) -> None:
        """Raise `NetcError` about this setting unless `condition` holds."""
        if not condition:
            raise NetcError(f"{self.name}: {message}")

    def __str__(self) -> str:
        options = [
            f"{f.name}={format_value(getattr(self, f.name))}"
            for f in fields(self)
            if getattr(self, f.name) != f.default
        ]
        return f"{self.name}({', '.join(options)})" if options else self.name


S = TypeVar("S", bound=Setting)


def parse_setting(text: str, kind: str, registry: Mapping[str, type[S]]) -> S:
    """Read `name(key=value, ...)`; values are numbers, true, false or lists of numbers such as [30, 60].

    `NetcError`, with a near miss where there is one, for unknown names and options and for values that don't fit.
    """
    spec = parse_spec(text, example=f"{next(iter(registry), 'name')}(key=value)")
    if spec.positional:
        raise NetcError(f"`{spec}`: the options of {spec.name} are given by name", hint="write key=value")
    return make_setting(spec.name, spec.named, kind, registry)


def make_setting(name: str, options: Mapping[str, Any], kind: str, registry: Mapping[str, type[S]]) -> S:
    """The setting called `name` with the given options; errors as for `parse_setting`."""
    if name not in registry:
        hint = near_miss(name, registry) or "there are " + ", ".join(registry)
        raise NetcError(f"there is no {kind} `{name}`", hint=hint)
    made = registry[name]
    declared = {f.name: f for f in fields(made)}
    for key in options:
        if key not in declared:
            hint = near_miss(key, declared) or _options_hint(name, declared)
            raise NetcError(f"the {kind} {name} has no option `{key}`", hint=hint)
    for key, field in declared.items():
        if key not in options and field.default is MISSING:
            raise NetcError(f"the {kind} {name} needs the option `{key}`", hint=f"write {name}({key}=...)")
    hints = get_type_hints(made)
    return made(**{key: _fitting(f"option `{key}` of {name}", value, hints[key]) for key, value in options.items()})


def _options_hint(name: str, declared: Mapping[str, Any]) -> str:
    return f"its options are {', '.join(declared)}" if declared else f"{name} takes no options"


def _fitting(what: str, value: Any, kind: Any) -> Any:
    """The value as the field's type has it."""
    if get_origin(kind) in (Union, types.UnionType):
        if value is None:
            return None
        (kind,) = (k for k in get_args(kind) if k is not type(None))
    if get_origin(kind) is tuple:
        items = value if isinstance(value, (tuple, list)) else (value,)
        return tuple(_fitting(what, item, get_args(kind)[0]) for item in items)
    if kind is bool:
        if not isinstance(value, bool):
            raise NetcError(f"{what} is true or false, not {format_value(value)}")
        return value
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise NetcError(f"{what} is a number, not {format_value(value)}")
    if not abs(value) <= sys.float_info.max or (kind is int and value != int(value)):
        raise NetcError(f"{what} is a {'whole' if kind is int else 'finite'} number, not {format_value(value)}")
    return kind(value)
