"""Functions of elements of which PyTorch's exporter loses digits or signs, in terms of operators that it gets right.

PyTorch's own kernels are the source of the formulas.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

Form = Callable[..., Any]

_FLOAT_FORMS = ("remainder", "floor_divide", "sign", "sgn")
"""Those of integers are right. Of floats a rounded quotient loses what large quotients leave, NaN has a sign."""
_ALWAYS = (
    *("atan2", "heaviside", "isclose", "lerp", "logaddexp", "logaddexp2", "xlogy"),
    *("log_sigmoid", "logit", "binary_cross_entropy_with_logits", "signbit"),
)
_SHIFTS = ("__lshift__", "__rshift__", "bitwise_left_shift", "bitwise_right_shift")
"""Of a negative number to the right; to the left by way of types without a sign."""


def is_misspelt(name: str, given: dict[str, Any]) -> bool:
    """Whether the exporter loses something of a call of `aten.NAME`."""
    if name in _ALWAYS or name in _SHIFTS:
        return True
    is_float = any(_is_float(value) for value in given.values())
    if name == "div":
        return given.get("rounding_mode") == "floor" or (given.get("rounding_mode") == "trunc" and not is_float)
    return name in _FLOAT_FORMS and is_float


def _is_float(value: Any) -> bool:
    """Whether an argument, a number or a node, is a float."""
    if hasattr(value, "meta"):
        value = value.meta.get("val")
    dtype = getattr(value, "dtype", None)
    return isinstance(value, float) or bool(dtype is not None and dtype.is_floating_point)


def forms(torch: Any) -> dict[Any, Form]:
    """By operator; a form gives `NotImplemented` for what the exporter gets right."""
    aten = torch.ops.aten
    made: dict[Any, Form] = {
        aten.atan2.default: lambda y, x: _angle(torch, *_promoted(torch, y, x)),
        aten.isclose.default: lambda a, b, *rest, **named: _close(torch, a, b, *rest, **named),
        aten.heaviside.default: lambda x, at_zero: torch.where(x == 0, at_zero, (x > 0).to(x.dtype)),
        aten.lerp.Scalar: lambda a, b, weight: _between(torch, a, b, weight),
        aten.lerp.Tensor: lambda a, b, weight: _between(torch, a, b, weight),
        aten.xlogy.Tensor: lambda x, y: _times_logarithm(torch, *_promoted(torch, x, y)),
        aten.xlogy.Scalar_Other: lambda x, y: _times_logarithm(torch, *_promoted(torch, x, y)),
        aten.xlogy.Scalar_Self: lambda x, y: _times_logarithm(torch, *_promoted(torch, x, y)),
        aten.logaddexp.default: lambda a, b: _added(torch, a, b, torch.exp, 1.0),
        aten.logaddexp2.default: lambda a, b: _added(torch, a, b, torch.exp2, math.log2(math.e)),
        aten.log_sigmoid.default: lambda x: _log_sigmoid(torch, x),
        aten.logit.default: lambda x, eps=None: _logit(torch, x, eps),
        aten.sign.default: lambda x: _sign(x),
        aten.sgn.default: lambda x: _sign(x),
        aten.signbit.default: lambda x: is_below(x) if x.is_floating_point() else NotImplemented,
        aten.binary_cross_entropy_with_logits.default: lambda *given: _cross_entropy(torch, *given),
    }
    for operator in (aten.remainder.Tensor, aten.remainder.Scalar, aten.remainder.Scalar_Tensor):
        made[operator] = lambda x, y: _of_floats(torch, _remainder, x, y)
    for operator in (aten.floor_divide.default, aten.floor_divide.Scalar):
        made[operator] = lambda x, y: _of_floats(torch, _floored, x, y)
    for operator in (aten.div.Tensor_mode, aten.div.Scalar_mode):
        made[operator] = lambda x, y, *, rounding_mode: _quotient(torch, x, y, rounding_mode)
    for overload in ("Scalar", "Tensor"):
        made[getattr(aten.__lshift__, overload)] = lambda x, y: _shifted_left(torch, x, y)
        made[getattr(aten.__rshift__, overload)] = lambda x, y: _shifted_right(torch, x, y)
    for overload in ("Tensor", "Tensor_Scalar", "Scalar_Tensor"):
        made[getattr(aten.bitwise_left_shift, overload)] = lambda x, y: _shifted_left(torch, x, y)
        made[getattr(aten.bitwise_right_shift, overload)] = lambda x, y: _shifted_right(torch, x, y)
    return made


def _promoted(torch: Any, *operands: Any) -> tuple[Any, ...]:
    """Tensors of the type that PyTorch computes with."""
    dtype = torch.result_type(*operands)
    return tuple(x.to(dtype) if hasattr(x, "to") else torch.scalar_tensor(x, dtype=dtype) for x in operands)


def _of_floats(torch: Any, form: Form, x: Any, y: Any) -> Any:
    x, y = _promoted(torch, x, y)
    return form(torch, x, y) if x.is_floating_point() else NotImplemented


def _remainder(torch: Any, x: Any, y: Any) -> Any:
    rest = torch.fmod(x, y)
    return torch.where((rest != 0) & ((y < 0) != (rest < 0)), rest + y, rest)


def _floored(torch: Any, x: Any, y: Any) -> Any:
    rest = torch.fmod(x, y)
    whole = (x - rest) / y
    whole = torch.where((rest != 0) & ((y < 0) != (rest < 0)), whole - 1, whole)
    below = torch.floor(whole)
    below = torch.where(whole - below > 0.5, below + 1, below)
    below = torch.where(whole == 0, x / y * 0, below)  # the sign of the quotient
    return torch.where(y == 0, x / y, below)


def _floored_integers(torch: Any, x: Any, y: Any) -> Any:
    """Also by the older exporter, which rounds toward zero."""
    whole = torch.floor_divide(x, y)
    rest = x - whole * y
    return whole - ((rest != 0) & ((rest < 0) != (y < 0))).to(x.dtype)


def _quotient(torch: Any, x: Any, y: Any, rounding: str | None) -> Any:
    x, y = _promoted(torch, x, y)
    if rounding == "floor":
        return _floored(torch, x, y) if x.is_floating_point() else _floored_integers(torch, x, y)
    if rounding == "trunc" and not x.is_floating_point():
        is_rounded_down = (torch.remainder(x, y) != 0) & ((x < 0) != (y < 0))
        return _floored_integers(torch, x, y) + is_rounded_down.to(x.dtype)
    return NotImplemented


def _shifted_left(torch: Any, x: Any, y: Any) -> Any:
    x, y = _promoted(torch, x, y)
    kept = (y >= 0) & (y < torch.iinfo(x.dtype).bits)
    return torch.where(kept, x * _power_of_two(torch, y), torch.zeros_like(x))


def _shifted_right(torch: Any, x: Any, y: Any) -> Any:
    """Powers of two that have no place in the type leave the sign alone."""
    x, y = _promoted(torch, x, y)
    limits = torch.iinfo(x.dtype)
    signs = torch.where(x < 0, -torch.ones_like(x), torch.zeros_like(x)) if limits.min else torch.zeros_like(x)
    kept = (y >= 0) & (y < limits.bits - bool(limits.min))
    power = _power_of_two(torch, torch.where(kept, y, torch.zeros_like(y)))
    return torch.where(kept, _floored_integers(torch, x, power), signs)


def _power_of_two(torch: Any, y: Any) -> Any:
    """2 to the lowest six bits of whole numbers, modulo what the type holds."""
    power, bits = torch.ones_like(y), torch.iinfo(y.dtype).bits
    for k in range(bits.bit_length() - 1):
        wrapped = 1 << 2**k
        power = torch.where((y & (1 << k)) != 0, power * wrapped, power)
    return power


def _angle(torch: Any, y: Any, x: Any) -> Any:
    """The angle of (|x|, |y|), which is turned by the signs, those of zeros included."""
    height, width = y.abs(), x.abs()
    ratio = torch.where(height == width, torch.ones_like(height), height / width)
    angle = torch.atan(torch.where((height == 0) & (width == width), torch.zeros_like(height), ratio))
    turned = torch.where(is_below(x), math.pi - angle, angle)
    signed = torch.where(is_below(y), -turned, turned)
    return torch.where(torch.isnan(x) | torch.isnan(y), math.nan, signed)


def is_below(x: Any) -> Any:
    """Whether the sign is negative."""
    return (x < 0) | ((x == 0) & (1 / x < 0))


def _sign(x: Any) -> Any:
    """0 of NaN."""
    return (x > 0).to(x.dtype) - (x < 0).to(x.dtype) if x.is_floating_point() else NotImplemented


def _between(torch: Any, a: Any, b: Any, weight: Any) -> Any:
    """From the nearer end."""
    if not hasattr(weight, "dtype"):
        return a + weight * (b - a) if abs(weight) < 0.5 else b - (b - a) * (1 - weight)
    return torch.where(weight.abs() < 0.5, a + weight * (b - a), b - (b - a) * (1 - weight))


def _times_logarithm(torch: Any, x: Any, y: Any) -> Any:
    """0 where x is 0 and y a number."""
    x, y = (v if v.is_floating_point() else v.to(torch.get_default_dtype()) for v in (x, y))
    return torch.where((x == 0) & (y == y), torch.zeros_like(x), x * torch.log(y))


def _logit(torch: Any, x: Any, eps: float | None) -> Any:
    x = x if x.is_floating_point() else x.to(torch.get_default_dtype())
    kept = x if eps is None else torch.clamp(x, eps, 1 - eps)
    return torch.log(kept / (1 - kept))


def _close(torch: Any, a: Any, b: Any, rtol: float = 1e-5, atol: float = 1e-8, equal_nan: bool = False) -> Any:
    is_close = a == b
    if a.is_floating_point():
        distance = (a - b).abs()
        is_close = is_close | ((distance <= atol + (rtol * b).abs()) & (distance < math.inf) & (b.abs() < math.inf))
        return is_close | (torch.isnan(a) & torch.isnan(b)) if equal_nan else is_close
    return is_close if rtol == atol == 0 else NotImplemented


def _added(torch: Any, a: Any, b: Any, power: Form, factor: float) -> Any:
    """The logarithm of a sum of powers; equal infinities stay."""
    a, b = _promoted(torch, a, b)
    more = torch.log1p(power(-(a - b).abs())) * factor
    return torch.where(a == b, a + math.log(2) * factor, torch.maximum(a, b) + more)


def _log_sigmoid(torch: Any, x: Any) -> Any:
    return torch.clamp(x, max=0) - torch.log1p(torch.exp(-x.abs()))


def _cross_entropy(
    torch: Any, x: Any, target: Any, weight: Any = None, positive: Any = None, reduction: int = 1
) -> Any:
    logarithm = _log_sigmoid(torch, x)
    if positive is not None:
        logarithm = logarithm * ((positive - 1) * target + 1)
    losses = (1 - target) * x - logarithm
    losses = losses if weight is None else losses * weight
    return {0: losses, 1: losses.mean(), 2: losses.sum()}[reduction]
