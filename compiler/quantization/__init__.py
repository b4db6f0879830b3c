"""Post-training quantization: calibration of activations, and the integer graph that follows from it."""

from . import no_form as no_form
from .calibration import Calibration, Ranges, observation_graph, prepare, quantized_activation, refuse_integers
from .dynamic_range import dynamic_range
from .equalize import equalize
from .errors import Noise, comparable, measure
from .fake_quantize import FakeQuantized, fake_quantize
from .findings import QuantizationWarning, findings
from .finite import refuse_nans
from .given import Given, quantize_as_given, states_scales
from .methods import METHODS
from .quantizer import Scheme
from .rules import quantize

__all__ = [
    "METHODS",
    "Calibration",
    "FakeQuantized",
    "Given",
    "Noise",
    "QuantizationWarning",
    "Ranges",
    "Scheme",
    "comparable",
    "dynamic_range",
    "equalize",
    "fake_quantize",
    "findings",
    "measure",
    "observation_graph",
    "prepare",
    "quantize",
    "quantize_as_given",
    "quantized_activation",
    "refuse_integers",
    "refuse_nans",
    "states_scales",
]
