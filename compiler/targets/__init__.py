"""Machines as data; no LLVM here."""

from .target import DotProduct, MinMax, Target

__all__ = ["DotProduct", "MinMax", "Target"]
