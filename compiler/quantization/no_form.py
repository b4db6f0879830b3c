"""Why operators have no integer form."""

from __future__ import annotations

from ..ops.arithmetic import Div, Neg, Sign, Sqrt
from ..ops.conversion import Cast, OneHot
from ..ops.convolution import Conv1D, Conv3D
from ..ops.convolution_gradients import ConvolutionGradient
from ..ops.core import Constant, Fused, Param, Relayout
from ..ops.differentiation import CustomGradient
from ..ops.exponential import Log
from ..ops.facets import INTEGER
from ..ops.fake_quantize import FakeQuantize, RoundToGrid
from ..ops.indexing import FloorDiv
from ..ops.normalization import BatchNorm, Dropout
from ..ops.opaque import Opaque
from ..ops.pooling_gradients import FromWindows, MaxPoolGather, MaxPoolIndex
from ..ops.quantized.base import Part, QuantizedOperator
from ..ops.random import RandomUniform
from ..ops.reduction import LogSumExp
from ..ops.scattering import LastUpdate, ScatterCombine, ScatterND
from ..ops.selection import Comparison, Select
from ..ops.sigmoid import HardSigmoid
from ..ops.softplus import Softplus
from ..ops.statistics import ChannelVariance
from ..ops.strassen import FilterScales, StrassenFilter
from ..ops.striding import StridedSliceGradient
from ..ops.trigonometry import Cos, Sin
from ..ops.winograd import WinogradFilter

INTEGER.none("computes with integers", Part, QuantizedOperator)
INTEGER.none("stands for weights, or groups others", Constant, Fused, Param, Relayout)
INTEGER.none("folded, or left out, before", BatchNorm, Dropout)
INTEGER.none("part of a training step", ConvolutionGradient, FromWindows, MaxPoolGather, MaxPoolIndex)
INTEGER.none("part of a training step", ChannelVariance, FakeQuantize, RandomUniform, RoundToGrid, StridedSliceGradient)
INTEGER.none("made of others", Conv1D, CustomGradient, HardSigmoid, LogSumExp, Softplus)
INTEGER.none("nothing known of it", Opaque)
INTEGER.none("computes what is known when weights are loaded", FilterScales, StrassenFilter, WinogradFilter)
INTEGER.none("integers stay integers", Cast, FloorDiv, LastUpdate, OneHot)
INTEGER.none("sums need more bits than eight", ScatterND)
INTEGER.none("TFLite has no kernel for 8 bits", Conv3D, Cos, Div, Log, Neg, Sign, Sin, Sqrt)
INTEGER.none("not done yet", Comparison, ScatterCombine, Select)
