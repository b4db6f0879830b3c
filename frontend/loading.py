"""From a path or a model's name to a graph: reads the files, picks the net, elaborates it."""

from __future__ import annotations

import operator
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any, SupportsIndex

from ..compiler.errors import Diagnostic, NetcError, near_miss
from ..compiler.graph.ir import Graph
from ..compiler.text import shortened
from ..compiler.types import TensorType
from . import ast
from .annotations import free_sizes, is_tensor_annotation
from .calls import unfold
from .diagnostics import SourceError
from .elaborate import Options, elaborate
from .index import locate
from .losses import elaborate_loss
from .modules import Loader, Module
from .names import check_names
from .parser import MAX_ERRORS
from .quantized import Source
from .roots import allowing
from .settings import PathOf, Recipe, preprocess_of, recipe_of, resolve_preprocess
from .state import identity
from .values import Definition


def load_network(
    source: str | os.PathLike[str],
    *,
    net: str | None = None,
    batch: int = 1,
    sizes: Mapping[str, int] | None = None,
    hyperparameters: Mapping[str, Any] | None = None,
    allow_import: Sequence[str | os.PathLike[str]] = (),
) -> Graph:
    """Load a net from a .net file, or a shipped net by name.

    `net` picks one of several nets in a file (default: see `locate`, or the only one). `batch` binds
    the free size N, `sizes` the others; `hyperparameters` override defaults. The files that it names lie in its folder
    or below, among the shipped models, or below one of the folders `allow_import`. Raises `NetcError` with all errors
    found.
    """
    with allowing(allow_import):
        return _graph(_open(source), net, _options(batch, sizes, hyperparameters))


def load_text(
    text: str,
    file: str = "<text>",
    *,
    net: str | None = None,
    batch: int = 1,
    sizes: Mapping[str, int] | None = None,
    hyperparameters: Mapping[str, Any] | None = None,
    stored: Mapping[str, Source] = MappingProxyType({}),
) -> Graph:
    """Load a net from text; see `load_network`. Imports are looked for in the current folder.

    `stored` are files of weights that it may import without their being read, by name.
    """
    return _graph(_open_text(text, file, stored), net, _options(batch, sizes, hyperparameters))


def load_recipe(
    source: str | os.PathLike[str], *, net: str | None = None, data_path: PathOf | None = None
) -> Recipe | None:
    """The `train` recipe of a net; arguments as for `load_network`.

    If its data will be used, `data_path` finds the file or folder that they name, which must lie where the net may
    read from.
    """
    opened = _open(source)
    opened.loader.finish()
    return recipe_of(_choose(opened, net), data_path)


def load_recipes(source: str | os.PathLike[str]) -> list[Recipe]:
    """All `train` recipes that stand in a file itself; none if there are errors in its text."""
    opened = _open(source)
    if opened.loader.diagnostics:
        return []
    found = [recipe_of(net, None) for net in opened.module.nets().values()]
    own = {train.location for train in opened.module.recipes}
    return [recipe for recipe in found if recipe is not None and recipe.location in own]


def load_loss(
    source: str | os.PathLike[str],
    name: str,
    prediction: TensorType,
    hyperparameters: Mapping[str, Any] | None = None,
) -> Graph | None:
    """The loss that a net's file defines, or imports, as the block `name`; None if it does neither.

    The block takes a prediction of the given type and labels; see `elaborate_loss` for the type of these. Raises
    `NetcError` with all errors found.
    """
    opened = _open(source)
    opened.loader.finish()
    block = opened.module.find(name)
    if block is None or block.kind != "block":
        return None
    graph, diagnostics = elaborate_loss(block, prediction, hyperparameters or {}, opened.loader.budget)
    if graph is None:
        raise SourceError(_merged(check_names(opened.module), diagnostics), opened.loader.sources)
    return graph


def check(source: str | os.PathLike[str]) -> list[Diagnostic]:
    """All problems that can be found in a file: syntax, names, and the nets that need no further values."""
    try:
        return _check(_open(source))
    except NetcError as problem:
        return list(problem.diagnostics)


def check_text(text: str, file: str = "<text>") -> list[Diagnostic]:
    """All problems that can be found in a text; see `check`."""
    return _check(_open_text(text, file))


def _options(batch: int, sizes: Mapping[str, int] | None, hyperparameters: Mapping[str, Any] | None) -> Options:
    bound = {name: _size(f"the free size {name}", size) for name, size in (sizes or {}).items()}
    return Options(_size("the batch", batch), bound, hyperparameters or {})


def _size(name: str, value: object) -> int:
    if not isinstance(value, SupportsIndex) or isinstance(value, bool):
        raise NetcError(f"{name} must be a whole number, not {shortened(repr(value))}")
    return operator.index(value)


@dataclass(frozen=True, slots=True)
class _Opened:
    loader: Loader
    module: Module
    net: str
    """The net that is meant unless another is chosen."""


def _open(source: str | os.PathLike[str]) -> _Opened:
    path, net = locate(source)
    loader = Loader(path.parent)
    return _Opened(loader, loader.load(path), net)


def _open_text(text: str, file: str, stored: Mapping[str, Source] = MappingProxyType({})) -> _Opened:
    loader = Loader(Path(), stored)
    return _Opened(loader, loader.load_text(text, file), Path(file).stem)


def _graph(opened: _Opened, net: str | None, options: Options) -> Graph:
    opened.loader.finish()
    definition = _choose(opened, net)
    preprocess, problems = preprocess_of(definition, opened.loader.budget)
    attributes = {} if preprocess is None else {"preprocess": preprocess}
    graph, diagnostics = elaborate(definition, options, attributes, opened.loader.budget)
    diagnostics = problems + diagnostics
    if graph is None or diagnostics:
        names = check_names(opened.module)
        raise SourceError(_merged(names, diagnostics), opened.loader.sources)
    return graph


def _choose(opened: _Opened, name: str | None) -> Definition:
    """The net called `name`; by default the one that the source means, or the only one."""
    module = opened.module
    if name is None:
        return _default(opened)
    found = module.find(name)
    if found is None or found.kind != "net":
        nets = {n for m in module.reachable() for n in m.nets()}
        cure = near_miss(name, sorted(nets)) or ("it has " + ", ".join(sorted(nets)) if nets else None)
        raise NetcError(f"{module.file} has no net `{name}`", hint=cure)
    return found


def _default(opened: _Opened) -> Definition:
    module, own = opened.module, opened.module.nets()
    if (found := module.find(opened.net)) is not None and found.kind == "net":
        return found
    if len(own) == 1:
        return next(iter(own.values()))
    hint = f"choose one of {', '.join(own)}" if own else "write `net name(image: f32[N, 28, 28, 1]) { ... }`"
    count = "several nets, none of them named like it" if own else "no net"
    raise NetcError(f"{module.file} has {count}", hint=hint)


def _check(opened: _Opened) -> list[Diagnostic]:
    if opened.loader.diagnostics:
        return opened.loader.diagnostics
    module, budget = opened.module, opened.loader.budget
    found = check_names(module)
    for preprocess in module.preprocesses:
        found += resolve_preprocess(preprocess, module, budget)[1]
    for definition in module.nets().values():
        if budget.is_spent or len(found) >= MAX_ERRORS:
            break
        if _is_complete(definition):
            found += elaborate(definition, Options(), {}, budget)[1]
    return _merged(found, [])[:MAX_ERRORS]


def _is_complete(net: Definition) -> bool:
    """Whether a net can be elaborated without further values."""
    try:
        base, chain = unfold(net)
    except NetcError:
        return False  # the check of names has reported it
    given = {argument.name for node in chain for argument in node.arguments}
    parameters = base.node.parameters if isinstance(base.node, ast.Net) else ()
    names = {p.name.id: None for p in parameters}
    for parameter in parameters:
        if is_tensor_annotation(parameter.annotation):
            if set(free_sizes(parameter.annotation, names)) - {"N"}:
                return False
        elif parameter.default is None and parameter.name.id not in given:
            return False
    return True


def _merged(first: list[Diagnostic], second: list[Diagnostic]) -> list[Diagnostic]:
    """Both lists without repetitions, in the order of the text."""
    unique: dict[object, Diagnostic] = {}
    for diagnostic in [*first, *second]:
        unique.setdefault(identity(diagnostic), diagnostic)
    return sorted(
        unique.values(),
        key=lambda d: (d.location.file, d.location.line, d.location.column) if d.location else ("", 0, 0),
    )
