"""Why operators have no TFLite form."""

from __future__ import annotations

from ...ops.core import Constant, Fused, Param, Relayout
from ...ops.differentiation import CustomGradient
from ...ops.facets import TFLITE
from ...ops.fake_quantize import FakeQuantize, RoundToGrid
from ...ops.functions.sigmoid import HardSigmoid
from ...ops.functions.softplus import Softplus
from ...ops.moves.indexing import TakeAlongAxis
from ...ops.moves.striding import StridedSliceGradient
from ...ops.products.strassen import ChannelScales, FilterScales, StrassenFilter
from ...ops.quantized.base import Part
from ...ops.quantized.conversion import QuantizeEven
from ...ops.random import RandomUniform
from ...ops.reductions.normalization import BatchNorm, Dropout
from ...ops.reductions.reduction import LogSumExp
from ...ops.reductions.statistics import ChannelVariance
from ...ops.trees import NextNodes
from ...ops.windows.convolution import Conv1D
from ...ops.windows.convolution_gradients import InputGradient, WeightGradient
from ...ops.windows.pooling_gradients import FromWindows, MaxPoolGather, MaxPoolIndex
from ...ops.windows.winograd import WinogradFilter

TFLITE.none("becomes a tensor", Constant, Param)
TFLITE.none("made by passes of netc for its own code", ChannelScales, FilterScales, Fused, Relayout)
TFLITE.none("made by passes of netc for its own code", StrassenFilter, WinogradFilter)
TFLITE.none("part of the code that q_ and hybrid_ operators become", Part)
TFLITE.none("folded, or left out, before", BatchNorm, Dropout)
TFLITE.none("part of a training step", FromWindows, MaxPoolGather, MaxPoolIndex, WeightGradient)
TFLITE.none("part of a training step", ChannelVariance, FakeQuantize, RandomUniform, RoundToGrid, StridedSliceGradient)
TFLITE.none("made of others", Conv1D, CustomGradient, HardSigmoid, InputGradient, LogSumExp, Softplus)
TFLITE.none("made of others", NextNodes, TakeAlongAxis)
TFLITE.none("TFLite rounds halves away from zero; quantize the network, which takes the file's scales", QuantizeEven)
