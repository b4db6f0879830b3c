"""The `preprocess` of a net, resolved and checked, and its `train` recipe, kept for training."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

from ..compiler.errors import Diagnostic, Location, NetcError, near_miss
from ..compiler.preprocess import RESIZE, SETTINGS
from . import ast
from .budget import Budget
from .calls import CallRunner, unfold
from .modules import Module
from .roots import require_allowed
from .state import Elaboration, Frame, LimitError
from .values import Definition, Poisoned, describe, error


@dataclass(frozen=True, slots=True)
class Recipe:
    """How to train a net: the settings as they are written; their names are the library's or the user's."""

    net: str
    settings: Mapping[str, ast.Expr]
    location: Location


PathOf = Callable[[str], Path | None]
"""The file or folder that the name of a data source contains, if any."""


def recipe_of(net: Definition, data_path: PathOf | None) -> Recipe | None:
    """The recipe of a net: its own, or that of the net it specialises. Raises `NetcError` for files out of bounds.

    `data_path` finds those of its data; None: these won't be used.
    """
    for definition in _lineage(net):
        for module in net.scope.reachable():
            for train in module.recipes:
                if module.find(train.net.id) is definition:
                    settings = {s.name.id: s.value for s in train.settings}
                    if data_path is not None:
                        _check_data(settings.get("data"), module, data_path)
                    return Recipe(definition.name, MappingProxyType(settings), train.location)
    return None


def _check_data(value: ast.Expr | None, module: Module, data_path: PathOf) -> None:
    """Files to train on, too, lie where the net may read from; paths are relative to the current folder."""
    if isinstance(value, ast.String):
        text = "".join(part for part in value.parts if isinstance(part, str))
        if (path := data_path(text)) is not None:
            require_allowed(path, module.roots, value.location)


def preprocess_of(net: Definition, budget: Budget) -> tuple[Mapping[str, Any] | None, list[Diagnostic]]:
    """The preprocessing of a net, its own or that of the net it specialises, and what is wrong with it."""
    for definition in _lineage(net):
        for module in net.scope.reachable():
            for preprocess in module.preprocesses:
                if module.find(preprocess.net.id) is definition:
                    return resolve_preprocess(preprocess, module, budget)
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


def resolve_preprocess(
    node: ast.Preprocess, module: Module, budget: Budget
) -> tuple[Mapping[str, Any], list[Diagnostic]]:
    """Evaluate the settings of a `preprocess`."""
    state = Elaboration(node.net.id, budget)
    frame = Frame(node.net.id, module)
    frame.variables.update((word, word) for word in RESIZE)
    resolved: dict[str, Any] = {}
    for setting in node.settings:
        try:
            value = _checked(setting, CallRunner(state).evaluate(setting.value, frame))
            if setting.name.id == "labels" and isinstance(value, str):
                require_allowed((module.folder or Path()) / value, module.roots, setting.value.location)
            resolved[setting.name.id] = value
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
