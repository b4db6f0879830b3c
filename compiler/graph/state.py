"""Networks with a state: parameters that state what they begin with, and that each run gives new values.

A graph says so with `param {value = ...}` and its attribute `updates` (see `ir.Graph`). This is what one run after
another means; a compiled program does the same (`lowering.state`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from ..errors import NetcError
from .interpreter import NO_PARAMETERS, evaluate
from .ir import Array, Graph


def initial_state(graph: Graph) -> Mapping[str, Array]:
    """What the parameters that state it begin with, by name."""
    own = (op for op in graph.parameters if op.attributes["value"] is not None)
    return {op.result.name or "": np.asarray(op.attributes["value"]) for op in own}


def refuse_state(graph: Graph, refusal: str, hint: str | None = None) -> None:
    """Raise `NetcError`, which ends in `refusal`, if a network has a state of its own."""
    names = list(initial_state(graph))
    if names:
        listed = ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
        raise NetcError(f"net {graph.name} keeps a state from run to run ({listed}): {refusal}", hint=hint)


class Session:
    """Runs a graph time after time, by the reference interpreter; each run begins with the state that the last left."""

    def __init__(self, graph: Graph, params: Mapping[str, Array] = NO_PARAMETERS) -> None:
        self.graph = graph
        self._params = params
        self.state: dict[str, Array] = {}
        """The values of `graph.states` by name."""
        self.reset()

    def reset(self) -> None:
        """Begin anew."""
        given = {**self._params, **initial_state(self.graph)}
        self.state = {op.result.name or "": given[op.result.name or ""] for op in self.graph.states}

    def __call__(self, inputs: Mapping[str, Array] | Sequence[Array] = ()) -> tuple[Array, ...]:
        """The results of one run."""
        outputs = evaluate(self.graph, inputs, {**self._params, **self.state})
        count = len(self.graph.results)
        self.state = dict(zip(self.state, outputs[count:], strict=True))
        return outputs[:count]
