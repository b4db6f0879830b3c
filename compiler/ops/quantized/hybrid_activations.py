"""The activations tanh and sigmoid as the kernels of recurrent layers of dynamic range compute them.

States are quantized from step to step, so that the last bit of an activation moves integers. LiteRT takes both from
Eigen, whose single-precision forms are written out here; sums and products are rounded one by one. The form of tanh is
x (1 + x^2 p(x^2)) / q(x^2), that of the sigmoid e / (1 + e) with e = exp(x / 2)^2. Where a vector isn't made of whole
fours, Eigen computes some of its sigmoids by the C library instead, which depends on addresses: netc takes its own.
"""

from __future__ import annotations

from collections.abc import Sequence

from ...graph.ir import Emits, Value
from ..expressions import Formula

LANES = 4
"""Elements of Eigen's vectors on the processors for which LiteRT is built."""
_ONE = 7.90738964080810547
"""From here on tanh is 1."""
_NUMERATOR = (1.394553628e-8, 2.102733560e-5, 3.520756727e-3, 1.340216100e-1)
_DENOMINATOR = (8.015776984e-7, 3.326951409e-4, 2.597254514e-2, 4.673548340e-1, 1.0)
_SIGMOID_ONE, _SIGMOID_ZERO = 16.6355324, -104.0
"""From here on the sigmoid is 1, and below it is 0."""
_LOG2_E = 1.44269504088896341
_LOG_2 = (-0.693359375, 2.12194440e-4)
"""-log(2) in two parts, the first of which has few digits."""
_EVEN = (4.1898667812347412109375e-2, 0.49999141693115234375)
_ODD = (8.33471305668354034423828125e-3, 0.16666877269744873046875)
_EXPONENT, _BIAS = 1 << 23, 127
"""Place and bias of a float's exponent."""


def tanh(b: Emits, x: Value) -> Value:
    """The hyperbolic tangent in f32."""
    inside = Formula(b, b.emit("clamp", x, low=-_ONE, high=_ONE))
    square = inside * inside
    above = square * inside * _polynomial(square, _NUMERATOR) + inside
    return (above / _polynomial(square, _DENOMINATOR)).value


def sigmoid(b: Emits, x: Value) -> Value:
    """1 / (1 + exp(-x)) in f32, of rows of whole vectors."""
    if x.type.shape[-1] % LANES:
        return b.emit("sigmoid", x)
    half = Formula(b, x).minimum(_SIGMOID_ONE) * 0.5
    twos = (half * _LOG2_E + 0.5).emit("floor")
    rest = twos * _LOG_2[1] + (twos * _LOG_2[0] + half)
    square = rest * rest
    inner = rest * _polynomial(square, _ODD) + _polynomial(square, _EVEN)
    near = square * inner + (rest + 1.0)
    bits = (twos.cast("i32") + _BIAS) * _EXPONENT
    root = near * bits.emit("bitcast", dtype="f32")
    power = root * root
    is_some = b.emit("greater_equal", x, power.constant(_SIGMOID_ZERO).value)
    return (power / (power + 1.0)).where(is_some, 0.0).value


def _polynomial(x: Formula, factors: Sequence[float]) -> Formula:
    """The polynomial with these factors, the highest power first."""
    first, second, *others = factors
    total = x * first + second
    for factor in others:
        total = x * total + factor
    return total
