"""The `preprocess` of a net, resolved and checked, and its `train` recipe, kept for training."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from ..compiler.errors import Diagnostic, Location, NetcError, near_miss
from ..compiler.preprocess import RESIZE, SETTINGS
from . import ast
from .elaborate import Elaborator, unfold
from .modules import Module
from .state import Frame, LimitError, State
from .values import Definition, Poisoned, describe, error


@dataclass(frozen=True, slots=True)
class Recipe:
    """How to train a net: the settings as they are written; their names are the library's or the user's."""

    net: str
    settings: Mapping[str, ast.Expr]
    location: Location


def recipe_of(net: Definition) -> Recipe | None:
    """The recipe of a net: its own, or that of the net it specialises."""
    for definition in _lineage(net):
        for module in net.scope.reachable():
            for train in module.recipes:
                if module.find(train.net.id) is definition:
                    settings = {s.name.id: s.value for s in train.settings}
                    return Recipe(definition.name, MappingProxyType(settings), train.location)
    return None


def preprocess_of(net: Definition) -> tuple[Mapping[str, Any] | None, list[Diagnostic]]:
    """The preprocessing of a net, its own or that of the net it specialises, and what is wrong with it."""
    for definition in _lineage(net):
        for module in net.scope.reachable():
            for preprocess in module.preprocesses:
                if module.find(preprocess.net.id) is definition:
                    return resolve_preprocess(preprocess, module)
    return None, []


def _lineage(net: Definition) -> list[Definition]:
    lineage = [net]
    try:
        unfold(net)
    except NetcError:
        return lineage  # reported when the net is elaborated
    while isinstance(lineage[-1].node, ast.Specialisation):
        lineage.append(lineage[-1].scope.find(lineage[-1].node.base.id))
    return lineage


def resolve_preprocess(node: ast.Preprocess, module: Module) -> tuple[Mapping[str, Any], list[Diagnostic]]:
    """Evaluate the settings of a `preprocess`."""
    state = State(node.net.id)
    frame = Frame(node.net.id, module)
    frame.variables.update((word, word) for word in RESIZE)
    resolved: dict[str, Any] = {}
    for setting in node.settings:
        try:
            resolved[setting.name.id] = _checked(setting, Elaborator(state).evaluate(setting.value, frame))
        except NetcError as problem:
            state.report(problem, frame, setting.location)
        except Poisoned:
            pass
        except LimitError:
            break
    return MappingProxyType(resolved), list(state.diagnostics.values())


def _checked(setting: ast.Setting, value: Any) -> Any:
    key = setting.name.id
    if key not in SETTINGS:
        hint = near_miss(key, SETTINGS) or "there are " + ", ".join(SETTINGS)
        raise error(f"preprocess has no setting `{key}`", setting.name.location, hint)
    if not SETTINGS[key].accepts(value):
        cure = near_miss(value, RESIZE) if key == "resize" and isinstance(value, str) else None
        raise error(f"`{key}` must be {SETTINGS[key].expected}, not {describe(value)}", setting.value.location, cure)
    return value
