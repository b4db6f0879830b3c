"""Everything that is wrong with the recipe of a file, found at once and located, without data and without compiling."""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Mapping
from typing import Any

from .compiler.errors import Diagnostic, Location, NetcError
from .compiler.graph.ir import Graph
from .compiler.patterns import matching
from .compiler.spec import parse_spec
from .compiler.training import LOSSES, Loss, parse_optimizer, parse_rates, parse_schedule, rates_of
from .frontend import Recipe, load_recipes
from .loading import load
from .losses import find_loss
from .recipe import read_setting
from .runtime.data.registry import check_name
from .runtime.training.augment import parse_augmentation
from .runtime.training.samples import check_part


def check_recipes(file: str | os.PathLike[str]) -> list[Diagnostic]:
    """What is wrong with the recipes of a file, whose text and names are in order."""
    found: list[Diagnostic] = []
    for written in load_recipes(file):
        try:
            graph = load(file, net=written.net)
        except NetcError:
            graph = None  # it needs further values, or is reported itself
        found += recipe_problems(written, file, graph)
    return found


def recipe_problems(
    written: Recipe, source: str | os.PathLike[str], graph: Graph | None, ignored: Collection[str] = ()
) -> list[Diagnostic]:
    """What is wrong with a recipe of the file `source`; settings in `ignored` don't count.

    `graph` is the net, or None where it isn't known: then nothing is said about what depends on it.
    """
    problems: list[Diagnostic] = []
    settings: dict[str, Any] = {}
    for name, expression in written.settings.items():
        if name in ignored:
            continue
        try:
            settings[name] = read_setting(name, expression)
            _check(name, settings, source, graph)
        except NetcError as error:
            problems += [_located(d, expression.location) for d in error.diagnostics]
    return problems


def _check(name: str, settings: Mapping[str, Any], source: str | os.PathLike[str], graph: Graph | None) -> None:
    """Read what a setting names."""
    value = settings[name]
    if name == "loss":
        _check_loss(value, source, graph)
    elif name == "freeze" and graph is not None:
        matching(value, [op.result.name or "" for op in graph.parameters])
    elif name == "lr":
        rates = parse_rates(value)
        if graph is not None:
            rates_of(rates, [op.result.name or "" for op in graph.parameters if op.attributes["trainable"]], 0.0)
    elif name == "augment":
        augmentation = parse_augmentation(value)
        if graph is not None and graph.inputs:
            check_part(graph, augmentation)
    elif name in _READERS:
        _READERS[name](value)


_READERS: Mapping[str, Callable[[str], object]] = {
    "optimizer": parse_optimizer,
    "schedule": parse_schedule,
    "data": check_name,
}


def _check_loss(text: str, source: str | os.PathLike[str], graph: Graph | None) -> None:
    if graph is None:
        if parse_spec(text).name in LOSSES:
            find_loss(text, source, None)
        return
    loss: Loss = find_loss(text, source, graph)
    if len(graph.outputs) == 1:
        loss.labels(graph.outputs[0].type)


def _located(diagnostic: Diagnostic, location: Location) -> Diagnostic:
    """A diagnostic with a place, if it has none."""
    if diagnostic.location is not None:
        return diagnostic
    return Diagnostic(diagnostic.message, location, diagnostic.hint, diagnostic.trail)
