"""One table of operator uses, odd shapes included, that drives the tests of every stage: a file for each family.

Every file here that has `CASES` counts.
"""

from __future__ import annotations

import pkgutil
from importlib import import_module

import netc.compiler.ops  # noqa: F401 (fills the registry)

from .case import OpCase

__all__ = ["CASES", "OpCase"]

_MODULES = sorted(module.name for module in pkgutil.iter_modules(__path__))
CASES: tuple[OpCase, ...] = tuple(
    case for name in _MODULES for case in getattr(import_module(f"{__name__}.{name}"), "CASES", ())
)
