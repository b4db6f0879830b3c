"""The registry of recipes: how each operator is drawn."""

from __future__ import annotations

from collections.abc import Callable

from netc.compiler.graph import Value

from .maker import Maker

Recipe = Callable[[Maker, str], Value]
"""Emits an operator, given by name, on drawn operands with drawn attributes."""

RECIPES: dict[str, Recipe] = {}
EXCLUDED = {
    "param": "a leaf of every network",
    "constant": "a leaf of every network",
    "fused": "made by passes; its members are drawn",
    "scan": "its layers are drawn, which are made of it",
    "if": "its branches are graphs, which tests of their own run",
    "while": "its condition and body are graphs, which tests of their own run",
    "map": "made by a pass, which trials run",
    "opaque": "has no meaning that could be compared",
}
"""Operators without a recipe, and why."""


def recipe(*names: str) -> Callable[[Recipe], Recipe]:
    """Decorator: a function draws these operators."""

    def add(function: Recipe) -> Recipe:
        RECIPES.update(dict.fromkeys(names, function))
        return function

    return add
