"""Text form of graphs (placeholder until the printer lands)."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .ir import Graph


def print_graph(graph: Graph) -> str:
    """Print."""
    raise NotImplementedError
