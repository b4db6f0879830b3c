"""Post-training quantization: calibration of activations, and the integer graph that follows from it."""

from .calibration import Calibration, Ranges, observation_graph, prepare
from .methods import METHODS
from .quantizer import Scheme
from .rules import quantize

__all__ = ["METHODS", "Calibration", "Ranges", "Scheme", "observation_graph", "prepare", "quantize"]
