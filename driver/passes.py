"""The passes from graph to graph, under a short name: `from netc.passes import fuse`. See `netc.compiler.passes`."""

from .compiler.passes import *  # noqa: F403 (the same names, as `__all__` lists them)
from .compiler.passes import __all__ as __all__
