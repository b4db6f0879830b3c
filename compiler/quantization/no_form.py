"""Why operators have no integer form."""

from __future__ import annotations

from ..ops.conversion import Cast, OneHot
from ..ops.core import Constant, Fused, Param, Relayout
from ..ops.differentiation import CustomGradient
from ..ops.facets import INTEGER
from ..ops.fake_quantize import FakeQuantize, RoundToGrid
from ..ops.functions.arithmetic import Div, Neg, Sign, Sqrt
from ..ops.functions.exponential import Log
from ..ops.functions.selection import Comparison, Select
from ..ops.functions.sigmoid import HardSigmoid
from ..ops.functions.softplus import Softplus
from ..ops.functions.trigonometry import Cos, Sin
from ..ops.moves.indexing import FloorDiv
from ..ops.moves.scattering import LastUpdate, ScatterCombine, ScatterND
from ..ops.moves.striding import StridedSliceGradient
from ..ops.opaque import Opaque
from ..ops.products.strassen import ChannelScales, FilterScales, StrassenFilter
from ..ops.quantized.base import Part, QuantizedOperator
from ..ops.random import RandomUniform
from ..ops.reductions.normalization import BatchNorm, Dropout
from ..ops.reductions.reduction import LogSumExp
from ..ops.reductions.statistics import ChannelVariance
from ..ops.windows.convolution import Conv1D, Conv3D
from ..ops.windows.convolution_gradients import ConvolutionGradient
from ..ops.windows.pooling_gradients import FromWindows, MaxPoolGather, MaxPoolIndex
from ..ops.windows.winograd import WinogradFilter

INTEGER.none("computes with integers", Part, QuantizedOperator)
INTEGER.none("stands for weights, or groups others", Constant, Fused, Param, Relayout)
INTEGER.none("folded, or left out, before", BatchNorm, Dropout)
INTEGER.none("part of a training step", ConvolutionGradient, FromWindows, MaxPoolGather, MaxPoolIndex)
INTEGER.none("part of a training step", ChannelVariance, FakeQuantize, RandomUniform, RoundToGrid, StridedSliceGradient)
INTEGER.none("made of others", Conv1D, CustomGradient, HardSigmoid, LogSumExp, Softplus)
INTEGER.none("nothing known of it", Opaque)
INTEGER.none("computes what is known when weights are loaded", ChannelScales, FilterScales)
INTEGER.none("computes what is known when weights are loaded", StrassenFilter, WinogradFilter)
INTEGER.none("integers stay integers", Cast, FloorDiv, LastUpdate, OneHot)
INTEGER.none("sums need more bits than eight", ScatterND)
INTEGER.none("TFLite has no kernel for 8 bits", Conv3D, Cos, Div, Log, Neg, Sign, Sin, Sqrt)
INTEGER.none("not done yet", Comparison, ScatterCombine, Select)
