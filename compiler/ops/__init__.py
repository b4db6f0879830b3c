"""All operators and layers; importing this package fills the registry."""

from . import convolution, core, elementwise

__all__ = ["convolution", "core", "elementwise"]
