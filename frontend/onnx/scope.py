"""What names stand for in the parts of a file."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from .values import Tensor


@dataclass(eq=False)
class Scope:
    """What names stand for in a graph, or in the body of a function or node."""

    opsets: Mapping[str, int]
    parent: Scope | None = None
    names: dict[str, Tensor | None] = field(default_factory=dict[str, "Tensor | None"])
    """None where a problem was reported."""
    bound: Mapping[str, Any] = field(default_factory=dict[str, Any])
    """Attributes of the function whose body this is."""
    place: str = ""
    """Where in the file this is, for messages."""
    depth: int = 0

    def find(self, name: str) -> Tensor | None:
        """What a name stands for. Raises `KeyError` where it isn't defined."""
        if name in self.names:
            return self.names[name]
        if self.parent is None:
            raise KeyError(name)
        return self.parent.find(name)

    def inner(self) -> Scope:
        """A scope of a graph in a node, which sees this one's names."""
        return Scope(self.opsets, self, {}, self.bound, self.place, self.depth + 1)
