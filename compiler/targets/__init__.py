"""Machines as data; no LLVM here."""

from .target import DotProduct, Environment, MinMax, Target

__all__ = ["DotProduct", "Environment", "MinMax", "Target"]
