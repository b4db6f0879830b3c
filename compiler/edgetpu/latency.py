"""Estimate of the time of one inference, from sizes alone.

Arithmetic, with the channels padded as the chip pads them; activations that enter and leave; parameters that are
streamed; and a fixed part. The rates are fitted to times that were published for 136 synthetic models of release 16.0;
docs/edgetpu.md says how well they meet them. Nothing is known of how well other networks are met.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from .facts import OperatorFacts
from .parameters import LANES, TILES, groups

MACS_PER_SECOND = 0.887e12
ACTIVATION_BYTES_PER_SECOND = 166e6
PARAMETER_BYTES_PER_SECOND = 374e6
FIXED_SECONDS = 0.17e-3
BASIS = (
    "multiply-accumulates, padded to 4 input and 64 output channels, at 0.887e12 per second; input and output at "
    "166 MB/s; streamed parameters at 374 MB/s; 0.17 ms besides. Fitted to published times of synthetic models "
    "(release 16.0; whether over USB or PCIe is not stated). Operators on the CPU are not counted. Parameters of "
    "convolutions over large images were seen to be streamed two to four times; here they count once."
)


@dataclass(frozen=True, slots=True)
class Latency:
    """Seconds of one inference on the Edge TPU, and their parts."""

    arithmetic: float
    transfers: float
    streaming: float

    @property
    def total(self) -> float:
        """All parts and the fixed one."""
        return self.arithmetic + self.transfers + self.streaming + FIXED_SECONDS


def estimate(operators: Sequence[OperatorFacts], border_bytes: int, streamed_bytes: int) -> Latency:
    """Time of mapped operators, of `border_bytes` of activations that enter and leave, and of streaming."""
    arithmetic = sum(map(padded_macs, operators)) / MACS_PER_SECOND
    transfers = border_bytes / ACTIVATION_BYTES_PER_SECOND
    return Latency(arithmetic, transfers, streamed_bytes / PARAMETER_BYTES_PER_SECOND)


def padded_macs(op: OperatorFacts) -> int:
    """Multiply-accumulates that the chip carries out, padding included; 0 where there are no weights."""
    weight = op.input(1)
    if weight is None or op.kind not in ("CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED", "TRANSPOSE_CONV"):
        return 0
    output = op.output
    lanes = TILES * LANES
    outputs = -(-output.channels // lanes) * lanes
    if op.kind == "DEPTHWISE_CONV_2D":
        return output.positions * math.prod(weight.shape[1:3]) * LANES * outputs
    data = op.input(2)
    places = data.positions if op.kind == "TRANSPOSE_CONV" and data else output.positions
    return places * math.prod(weight.shape[1:-1]) * groups(weight.channels) * LANES * outputs
