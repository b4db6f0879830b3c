"""A call of a kernel, before its arguments have places."""

from __future__ import annotations

from dataclasses import dataclass

from ..graph.ir import Value
from ..modules.module import Call
from .kernel import Argument


@dataclass(frozen=True, slots=True)
class OpenCall:
    """A `modules.module.Call` before its arguments have places; it is skipped unless the boolean `guard` holds."""

    call: Call
    arguments: tuple[Argument, ...]
    guard: Value | None
    results: tuple[Value, ...]
    fills: bool = False
    """It fills margins of the results; all other calls leave these alone."""

    def part(self, argument: Argument) -> tuple[Value, bool] | None:
        """The part of a tensor that is touched: margins of a result, or what lies between them."""
        return (argument, self.fills) if isinstance(argument, Value) and argument in self.results else None
