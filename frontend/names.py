"""Checks of names that need no elaboration, over all definitions of a file, used or not.

Reported here: names that nothing binds, blocks that call each other in a circle, recipes and preprocessings of nets
that don't exist.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from itertools import islice

from ..compiler.errors import Diagnostic, Location, NetcError, near_miss
from . import ast
from .modules import Module, candidates, library, unknown_name
from .parser import MAX_ERRORS
from .values import Definition

FREE_SIZE = re.compile(r"[A-Z][A-Z0-9_]*")
"""Names of free sizes."""

Calls = dict[Definition, dict[Definition, Location]]


def check_names(module: Module) -> list[Diagnostic]:
    """The first problems with names in a file; imported files are not looked into."""
    return list(islice(_problems(module), MAX_ERRORS))


def _problems(module: Module) -> Iterator[Diagnostic]:
    definitions = (*module.definitions.values(), *module.gradients.values())
    for definition in definitions:
        is_body = not isinstance(definition.node, ast.Specialisation)
        yield from _check_body(definition) if is_body else _check_specialisation(definition)
    yield from _circles({definition: dict(_callees(definition)) for definition in definitions})
    for gradient in module.gradients.values():
        yield from check_gradient(gradient)
    for net in [*(r.net for r in module.recipes), *(p.net for p in module.preprocesses)]:
        yield from _check_target(module, net)


def local_names(procedure: ast.Procedure) -> set[str]:
    """Everything that is bound in a definition: parameters, free sizes, assigned names."""
    sizes = {
        node.id
        for parameter in procedure.parameters
        if parameter.annotation and parameter.annotation.sizes
        for size in parameter.annotation.sizes
        for node in ast.walk(size)
        if isinstance(node, ast.Name) and FREE_SIZE.fullmatch(node.id)
    }
    return {p.name.id for p in procedure.parameters} | sizes | ast.assigned_names(procedure.body)


def _check_body(definition: Definition) -> Iterator[Diagnostic]:
    procedure = definition.node
    assert isinstance(procedure, ast.Procedure)
    local = local_names(procedure)
    callees = {id(n.callee) for n in ast.walk(procedure) if isinstance(n, ast.Call)}
    for name in _names_read(procedure):
        yield from _check_name(name, definition.scope, local, id(name) in callees)


def _check_name(name: ast.Name, module: Module, local: set[str], called: bool) -> Iterator[Diagnostic]:
    try:
        known = name.id in local or module.find(name.id, name.location) or library(name.id)
    except NetcError as problem:
        yield from problem.diagnostics
        return
    if not known:
        yield unknown_name(name.id, candidates(module, local), name.location, called=called)


def _names_read(procedure: ast.Procedure) -> Iterator[ast.Name]:
    bound = {id(procedure.name)} | {id(p.name) for p in procedure.parameters}
    for node in ast.walk(procedure):
        if isinstance(node, ast.Assign | ast.For):
            bound |= {id(n) for n in ast.walk(node.target)}
        if isinstance(node, ast.Name) and id(node) not in bound:
            yield node


def _check_specialisation(definition: Definition) -> Iterator[Diagnostic]:
    node, module = definition.node, definition.scope
    assert isinstance(node, ast.Specialisation)
    try:
        base = module.find(node.base.id, node.base.location)
    except NetcError as problem:
        yield from problem.diagnostics
        return
    if base is None or base.kind != "net":
        yield _no_net(module, node.base)
    elif isinstance(base.node, ast.Net):
        yield from _check_hyperparameters(node, base.node)
    for argument in node.arguments:
        for name in ast.walk(argument.value):
            if isinstance(name, ast.Name):
                yield from _check_name(name, module, set(), False)


def _check_hyperparameters(node: ast.Specialisation, net: ast.Net) -> Iterator[Diagnostic]:
    names = [p.name.id for p in net.parameters if not (p.annotation and p.annotation.sizes)]
    for argument in node.arguments:
        if argument.name is not None and argument.name not in {p.name.id for p in net.parameters}:
            yield unknown_hyperparameter(net, argument.name, names, argument.location)


def unknown_hyperparameter(net: ast.Net, name: str, known: Iterable[str], location: Location) -> Diagnostic:
    """The complaint about a value for a hyperparameter that the net doesn't have."""
    hint = near_miss(name, known) or f"it has {', '.join(known) or 'none'}"
    return Diagnostic(f"net {net.name.id} has no hyperparameter `{name}`", location, hint)


def _check_target(module: Module, net: ast.Name) -> Iterator[Diagnostic]:
    try:
        definition = module.find(net.id, net.location)
    except NetcError as problem:
        yield from problem.diagnostics
        return
    if definition is None or definition.kind != "net":
        yield _no_net(module, net)


def check_gradient(gradient: Definition) -> Iterator[Diagnostic]:
    """A gradient belongs to a block of its file, and takes what the block takes, the result and its cotangent."""
    node, module = gradient.node, gradient.scope
    block = module.definitions.get(node.name.id)
    if block is None or block.kind != "block":
        blocks = [name for name, d in module.definitions.items() if d.kind == "block"]
        hint = near_miss(node.name.id, blocks) or "a gradient stands in the file of its block"
        yield Diagnostic(f"there is no block `{node.name.id}` in this file", node.name.location, hint)
        return
    assert isinstance(node, ast.Gradient)
    assert isinstance(block.node, ast.Block)
    wanted, given = ([p.name.id for p in procedure.parameters] for procedure in (block.node, node))
    if given[:-2] != wanted or len(given) < 2:
        takes = ", ".join([*wanted, "y", "dy"])
        hint = f"write ({takes}): the block's parameters, its result and the cotangent of the result"
        yield Diagnostic(f"the gradient of {block.name} doesn't take what the block takes", node.name.location, hint)


def _no_net(module: Module, name: ast.Name) -> Diagnostic:
    nets = {n for m in module.reachable() for n in m.nets()}
    return Diagnostic(f"there is no net `{name.id}`", name.location, near_miss(name.id, sorted(nets)))


def _callees(definition: Definition) -> Iterator[tuple[Definition, Location]]:
    """What a definition calls by name, or specialises."""
    node, module = definition.node, definition.scope
    if isinstance(node, ast.Specialisation):
        calls = [node.base]
    else:
        local = local_names(node)
        calls = [n.callee for n in ast.walk(node) if isinstance(n, ast.Call) and isinstance(n.callee, ast.Name)]
        calls = [name for name in calls if name.id not in local]
    for name in calls:
        if (callee := module.definitions.get(name.id)) is not None:
            yield callee, name.location


def _circles(calls: Calls) -> Iterator[Diagnostic]:
    """Depth-first search; each circle is reported once, where it closes."""
    done: set[Definition] = set()
    for start in calls:
        if start in done:
            continue
        path, position = [start], {start: 0}
        pending = [iter(calls[start].items())]
        while pending:
            callee, location = next(pending[-1], (None, None))
            if callee is None:
                done.add(path.pop())
                position.pop(next(reversed(position)))
                pending.pop()
            elif callee in position:
                yield recursion([d.name for d in path[position[callee] :]], location)
            elif callee not in done:
                position[callee] = len(path)
                path.append(callee)
                pending.append(iter(calls.get(callee, {}).items()))


def recursion(circle: list[str], location: Location | None) -> Diagnostic:
    """The complaint about definitions that lead back to themselves."""
    names = circle if len(circle) <= 8 else [*circle[:4], "...", *circle[-4:]]
    chain = " -> ".join([*names, circle[0]])
    return Diagnostic(f"{circle[0]} leads back to itself: {chain}", location, "recursion is not allowed; use `for`")
