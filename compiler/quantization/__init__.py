"""Post-training quantization: calibration of activations, and the integer graph that follows from it."""

from .calibration import Calibration, Ranges, observation_graph, prepare
from .equalize import equalize
from .errors import Noise, comparable, measure
from .fake_quantize import FakeQuantized, fake_quantize
from .methods import METHODS
from .quantizer import Scheme
from .rules import quantize

__all__ = [
    "METHODS",
    "Calibration",
    "FakeQuantized",
    "Noise",
    "Ranges",
    "Scheme",
    "comparable",
    "equalize",
    "fake_quantize",
    "measure",
    "observation_graph",
    "prepare",
    "quantize",
]
