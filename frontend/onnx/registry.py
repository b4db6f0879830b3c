"""The registry of rules: what an operator of ONNX becomes, for each of its versions.

A rule takes a `Node` and returns what the node's outputs stand for. Rules stand in the modules of `rules`, one for each
family of operators; they are found there. A version of an operator is the operator set that defined it last.
"""

from __future__ import annotations

import pkgutil
from collections.abc import Callable
from functools import cache
from importlib import import_module
from typing import TypeAlias, TypeVar

from .node import Node
from .values import Given

EXPERIMENTAL = "experimental"
"""Stands for ONNX's own domain: what it had on trial before operator set 10, and what ONNX Runtime adds to sets."""
Result: TypeAlias = Given | tuple[Given, ...]
Rule = Callable[[Node], Result]

RuleT = TypeVar("RuleT", bound=Rule)

_RULES: dict[tuple[str, str], list[tuple[int, Rule]]] = {}


def onnx(*names: str, since: int = 1, domain: str = "") -> Callable[[RuleT], RuleT]:
    """Decorator: a rule of some operators, from the version `since` up to that of their next rule."""

    def add(rule: RuleT) -> RuleT:
        for name in names:
            rules = _RULES.setdefault((domain, name), [])
            if any(version == since for version, _ in rules):
                raise ValueError(f"{name}-{since} is read in two ways")
            rules.append((since, rule))
            rules.sort(key=lambda pair: pair[0])
        return rule

    return add


def rule_of(domain: str, name: str, version: int) -> Rule | None:
    """The rule of a version of an operator; None where there is none."""
    _load()
    return next((rule for since, rule in reversed(_RULES.get((domain, name), [])) if since <= version), None)


def known_operators(domain: str = "") -> frozenset[str]:
    """The names of all operators of a domain that have rules."""
    _load()
    return frozenset(name for known, name in _RULES if known == domain)


@cache
def _load() -> None:
    from . import rules  # they register themselves here

    for module in pkgutil.iter_modules(rules.__path__):
        import_module(f"{rules.__name__}.{module.name}")
