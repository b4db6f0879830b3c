"""The registry of all operators."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from importlib import import_module
from types import MappingProxyType

from ..errors import NetcError, near_miss
from .ir import Operator

_OPERATORS: dict[str, Operator] = {}


def register(operator: type[Operator]) -> type[Operator]:
    """Class decorator: put an operator into the registry."""
    if operator.name in _OPERATORS:
        raise ValueError(f"operator {operator.name} is defined twice")
    _OPERATORS[operator.name] = operator()
    return operator


def lookup(name: str) -> Operator:
    """The operator called `name`, or `NetcError` with a near miss."""
    _load()  # before any is given: another thread may be importing them, and some have no rules yet
    operator = _OPERATORS.get(name)
    if operator is None:
        raise NetcError(f"there is no operator `{name}`", hint=near_miss(name, operators()))
    return operator


def operators() -> Mapping[str, Operator]:
    """All operators by name."""
    _load()
    return MappingProxyType(_OPERATORS)


@cache
def _load() -> None:
    """Import netc's own operators, which register themselves: whoever reads a graph needn't know where they are."""
    import_module("..ops", __package__)
