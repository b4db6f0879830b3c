"""From a graph to text: a `.net` file that a person would have written, and the weights beside it."""

from .text import Written, written

__all__ = ["Written", "written"]
