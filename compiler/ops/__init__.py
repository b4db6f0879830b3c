"""All operators and layers; importing this package fills the registry."""

from . import convolution, core, dense, elementwise, normalization, pooling, reduction, shape
from .base import Layer, LayerBuilder, Operator, layers, lookup, operators

__all__ = [
    "Layer",
    "LayerBuilder",
    "Operator",
    "convolution",
    "core",
    "dense",
    "elementwise",
    "layers",
    "lookup",
    "normalization",
    "operators",
    "pooling",
    "reduction",
    "shape",
]
