"""Bytes of parameters that the compiler stores for one operator: in the compiled file and in the chip's memory.

The chip has 16 tiles, and works on four channels at a time. Weights are stored for groups of four outputs: 16 bytes for
each four inputs and each place of the kernel, then 16 bytes of biases and, where channels are quantized by themselves,
16 bytes of zero points and 16 of scales. Derivation and evidence: docs/edgetpu.md.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from .facts import OperatorFacts, TensorFacts
from .release import Release

TILES = 16
LANES = 4
"""Channels that are stored and computed together."""
BLOCK = LANES * LANES
"""Bytes of weights from four inputs to four outputs."""
ALIGNMENT = 64
BIAS, ZERO_POINTS, SCALES = 16, 16, 16
"""Bytes for a group of four outputs."""
LONG_ROW = 48 << 10
"""Weights of one group of a convolution that are longer than this are streamed (46,080 bytes were seen cached)."""
LONG_DENSE_ROW = 32 << 10
"""The same for dense layers, whose biases are streamed with them (23 KiB were seen cached, 37 KiB streamed)."""


@dataclass(frozen=True, slots=True)
class Parameters:
    """Stored bytes: `file` in the compiled file, `chip` in the chip's memory if cached; `streamed` never are cached."""

    file: int = 0
    chip: int = 0
    streamed: int = 0

    def __add__(self, other: Parameters) -> Parameters:
        return Parameters(self.file + other.file, self.chip + other.chip, self.streamed + other.streamed)

    @property
    def total(self) -> int:
        """All bytes in the compiled file."""
        return self.file + self.streamed


def groups(channels: int) -> int:
    """Groups of four channels."""
    return -(-channels // LANES)


def stored_groups(count: int) -> int:
    """Groups of outputs with the padding that the file has: to a multiple of 4, or of 16 beyond 16."""
    step = LANES if count <= TILES else TILES
    return -(-count // step) * step


def parameters_of(
    op: OperatorFacts, release: Release, *, from_host: bool = False, piece: int | None = None
) -> Parameters:
    """Stored bytes of a mapped operator.

    `from_host`: its input comes from the host as it stands, in any order. `piece`: all that reads its result is a
    RESHAPE that cuts the channels into pieces of this size.
    """
    if op.kind in _CONTRACTIONS:
        return _contraction(op, release, piece)
    if op.kind in _ELEMENTWISE:
        return Parameters(streamed=sum(_constant_operand(t) for t in op.constants))
    if op.kind == "UNIDIRECTIONAL_SEQUENCE_LSTM":
        return _lstm(op)
    if op.kind == "RESHAPE" and not from_host:
        return _reshape(op, release)
    if op.kind == "SOFTMAX" and release >= Release(16, 0):
        return _softmax(op)
    if op.kind == "SPLIT":
        return _split(op)
    return Parameters()


def _contraction(op: OperatorFacts, release: Release, piece: int | None) -> Parameters:
    weight, bias = op.input(1), op.input(2)
    if weight is None or len(weight.shape) != (2 if op.kind == "FULLY_CONNECTED" else 4):
        return Parameters()
    if op.kind == "TRANSPOSE_CONV":
        bias = op.input(3)
    outputs, row = _geometry(op, weight)
    constants = _bias(op, bias, release) + _scales(weight)
    if piece is not None and op.kind != "FULLY_CONNECTED":
        outputs = outputs // piece * LANES * groups(piece)
    count = groups(outputs)
    if op.kind == "DEPTHWISE_CONV_2D" and _fan_in(op) > 1:
        stored = count
    elif outputs == 1 and op.kind != "FULLY_CONNECTED":
        stored = 1
    else:
        stored = stored_groups(count)
    if op.kind == "FULLY_CONNECTED" and row > LONG_DENSE_ROW:
        return Parameters(streamed=_aligned(stored * (row + constants)))
    return _layer(stored, count, row, constants)


def _bias(op: OperatorFacts, bias: TensorFacts | None, release: Release) -> int:
    """Biases of zero are left out since 16.0, where numbers are signed."""
    if bias is None or (bias.zero and release >= Release(16, 0) and op.output.dtype == "INT8"):
        return 0
    return BIAS


def _scales(weight: TensorFacts) -> int:
    """Zero points of channels, and their scales unless they are all equal."""
    if not weight.per_channel:
        return 0
    return ZERO_POINTS + (0 if weight.uniform_scales else SCALES)


def _layer(stored: int, count: int, row: int, constants: int) -> Parameters:
    per_tile = TILES * -(-count // TILES)
    if row > LONG_ROW:
        return Parameters(_aligned(stored * constants), per_tile * constants, _aligned(stored * row))
    return Parameters(_aligned(stored * (row + constants)), per_tile * (row + constants))


def _fan_in(op: OperatorFacts) -> int:
    data = op.input(0)
    return data.channels if data is not None else 1


def _geometry(op: OperatorFacts, weight: TensorFacts) -> tuple[int, int]:
    """Number of outputs, and bytes of weights for four of them."""
    if op.kind == "FULLY_CONNECTED":
        data = op.input(0)
        flat = weight.channels
        if data is not None and data.size == flat:
            return weight.shape[0], BLOCK * data.positions * groups(data.channels)
        return weight.shape[0], BLOCK * groups(flat)
    height, width = _met(op, weight, 0, "H"), _met(op, weight, 1, "W")
    if op.kind == "DEPTHWISE_CONV_2D":
        return weight.channels, BLOCK * height * width
    return weight.shape[0], BLOCK * height * width * groups(weight.channels)


def _met(op: OperatorFacts, weight: TensorFacts, axis: int, letter: str) -> int:
    """Rows (axis 0) or columns (axis 1) of a kernel that meet anything but padding; only these are stored."""
    kernel, data = weight.shape[1 + axis], op.input(0)
    if op.options.get("Padding") != "SAME" or op.kind == "TRANSPOSE_CONV" or data is None or len(data.shape) != 4:
        return kernel
    size, stride = data.shape[1 + axis], op.number(f"Stride{letter}", 1)
    dilation = op.number(f"Dilation{letter}Factor", 1)
    steps = -(-size // stride)
    before = max((steps - 1) * stride + (kernel - 1) * dilation + 1 - size, 0) // 2
    places = (range(k * dilation - before, k * dilation - before + steps * stride, stride) for k in range(kernel))
    return sum(any(0 <= place < size for place in row) for row in places)


def _constant_operand(tensor: TensorFacts) -> int:
    """Scalars are part of the instructions; constants of one place are repeated in each tile."""
    if tensor.size == 1:
        return 0
    if tensor.positions == 1:
        return TILES * LANES * groups(tensor.channels)
    return _aligned(tensor.size)


def _softmax(op: OperatorFacts) -> Parameters:
    """Three sums over all elements: of four lanes at different places, or, if four doesn't divide them, of all."""
    elements = op.output.channels
    row = BLOCK * (groups(elements) if elements % LANES else 1)
    one = _layer(stored_groups(1), 1, row, 0)
    return one + one + one


def _split(op: OperatorFacts) -> Parameters:
    """A convolution with the identity, where pieces don't begin at a multiple of four channels."""
    data = op.activations[0] if op.activations else None
    if data is None or all(t.channels % LANES == 0 or t.channels == data.channels for t in op.outputs):
        return Parameters()
    count = groups(data.channels)
    return _layer(stored_groups(count), count, BLOCK * count, BIAS)


def _reshape(op: OperatorFacts, release: Release) -> Parameters:
    """Flattening: a convolution with the identity, where four does not divide the channels.

    From 16.0 on it covers as many places as make whole groups of 16 outputs; in 14.1 and 15.0, all places.
    """
    data, output = op.input(0), op.output
    if data is None or data.channels % LANES == 0 or output.positions != 1 or release < Release(14, 0):
        return Parameters()
    if data.positions == 1:
        return Parameters(ALIGNMENT, TILES * ALIGNMENT) if release >= Release(16, 0) else Parameters()
    places = data.positions
    if release >= Release(16, 0):
        places = min(places, math.lcm(data.channels, TILES) // data.channels)
    count = groups(places * data.channels)
    return _layer(stored_groups(count), count, BLOCK * places * groups(data.channels), BIAS)


def _lstm(op: OperatorFacts) -> Parameters:
    """The weights of the gates; more is stored, by a rule that is not known."""
    total = Parameters()
    for tensor in op.constants:
        if len(tensor.shape) == 2:
            count = groups(tensor.shape[0])
            total += _layer(stored_groups(count), count, BLOCK * groups(tensor.channels), BIAS)
    return total


def _aligned(size: int) -> int:
    return -(-size // ALIGNMENT) * ALIGNMENT


_CONTRACTIONS = ("CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED", "TRANSPOSE_CONV")
_ELEMENTWISE = ("ADD", "SUB", "MUL", "MAXIMUM", "MINIMUM", "SQUARED_DIFFERENCE", "PRELU")
