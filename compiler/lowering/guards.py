"""What need not run in every call of a program that changes its own parameters.

With gradient accumulation the parameters move every so many calls only. The graph says so with `select`: a new value
if a boolean scalar holds, else the old one. Where it doesn't hold, the select would write what stands there already,
and nothing needs what only such selects read. So all of this is guarded by the boolean: it runs if that holds.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from ..graph.analysis import static_values
from ..graph.ir import Graph, Operation, Value
from .state import StateRegion


def guards_of(graph: Graph, state: StateRegion) -> Mapping[Value, Value]:
    """The values that need not be computed in every call, each with the boolean scalar that says whether it must be.

    A boolean that is a parameter guards nothing, because it may change meanwhile; nor does one that is made of the next
    value of a parameter, because it may come too late.
    """
    if not state.updates:
        return {}
    unfit = static_values(graph) | {op.result for op in graph.parameters} | _made_of(graph, state.updates.values())
    renewed: dict[Value, list[Value]] = {}
    for param, update in state.updates.items():
        renewed.setdefault(update, []).append(param)
    guards: dict[Value, Value] = {}
    for op in reversed(graph.operations):  # users first: what they skip decides what may be skipped before them
        conditions: set[Value | None] = {_kept(op, r, param) for r in op.results for param in renewed.get(r, ())}
        conditions |= {_skips(guards, user, r) for r in op.results for user in graph.users[r]}
        # None among the conditions is a reader that is never skipped; two booleans may hold at different times.
        # A loop must not run on what was not computed: it might never end.
        if any(r in state.results for r in op.results) or len(conditions) != 1 or op.operator.regions:
            continue
        (condition,) = conditions
        if condition is not None and condition not in unfit:
            guards |= dict.fromkeys(op.results, condition)
    return guards


def _kept(op: Operation, result: Value, param: Value) -> Value | None:
    """The boolean scalar without which `result`, an update of `param`, is the old value."""
    outer = {v: v for v in op.operands}
    maker: Operation | None = op
    if op.body is not None:  # the select is in a group, whose inputs stand for the parameter and the boolean
        outer = dict(zip(op.body.inputs, op.operands, strict=True))
        maker = op.body.producers.get(op.body.outputs[op.results.index(result)])
    if maker is None or maker.name != "select":
        return None
    condition, _, old = (outer.get(v) for v in maker.operands)
    return condition if old is param and condition is not None and condition.type.size == 1 else None


def _skips(guards: Mapping[Value, Value], user: Operation, value: Value) -> Value | None:
    """The boolean scalar without which `user` does not read `value`."""
    condition = guards.get(user.results[0])
    # What makes the boolean itself must run in every call: else nobody knows whether to run it.
    return None if condition is value else condition


def _made_of(graph: Graph, values: Iterable[Value]) -> set[Value]:
    """What depends on some values, and what is made together with them."""
    found = set(values)
    for op in graph.operations:
        if not found.isdisjoint((*op.operands, *op.results)):
            found.update(op.results)
    return found
