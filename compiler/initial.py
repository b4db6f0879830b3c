"""Rules that draw the initial values of parameters, as text: `zeros`, `normal(0.02)`, `xavier_uniform`, ..."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from types import MappingProxyType
from typing import Any

import numpy as np

from .errors import NetcError, near_miss

Array = np.ndarray[Any, np.dtype[Any]]

_LARGEST = 1e30
_RULE = re.compile(r"([a-z_]+)(?:\(([-+.0-9e]+)\))?")


@dataclass(frozen=True, slots=True)
class Initial:
    """A rule with its number, if it takes one."""

    name: str
    number: float = 0.0

    def draw(self, shape: Sequence[int], dtype: np.dtype[Any], generator: Callable[[], np.random.Generator]) -> Array:
        """Values of a shape, random ones mostly as f32; `generator` is called for these."""
        if self.name == "zeros":
            return np.zeros(shape, dtype)
        if self.name in ("ones", "constant"):
            return np.full(shape, 1.0 if self.name == "ones" else self.number, dtype)
        kind, scale = _RANDOM[self.name](self.number, shape)
        return _KINDS[kind](generator(), tuple(shape), scale)


@lru_cache(maxsize=256)
def parse_initial(text: str) -> Initial:
    """Read a rule; raises `NetcError`."""
    match = _RULE.fullmatch(text)
    name, number = (match[1], match[2]) if match else (text.partition("(")[0], None)
    if name not in RULES:
        raise NetcError(f"there is no initialisation `{text}`", hint=near_miss(name, RULES) or _known())
    if match is None or RULES[name] is not (number is not None):
        takes = "takes a number, such as" if RULES[name] else "takes no number: write"
        raise NetcError(f"the initialisation {name} {takes} `{name}{'(0.02)' if RULES[name] else ''}`")
    try:
        value = float(number or 0)
    except ValueError:
        value = math.nan
    if not abs(value) <= _LARGEST or (value < 0 and name != "constant"):
        raise NetcError(f"`{text}` is no initialisation: {number} is not a number that it can take")
    return Initial(name, value)


def _known() -> str:
    return "there are " + ", ".join(f"{name}(number)" if number else name for name, number in RULES.items())


# ---- distributions --------------------------------------------------------------------------------------------------


def _normal(generator: np.random.Generator, shape: tuple[int, ...], deviation: float) -> Array:
    values = generator.standard_normal(shape, np.float32)
    values *= np.float32(deviation)
    return values


def _uniform(generator: np.random.Generator, shape: tuple[int, ...], deviation: float) -> Array:
    values = generator.random(shape, np.float32) * 2 - 1
    return values * np.float32(deviation * math.sqrt(3))


def _truncated(generator: np.random.Generator, shape: tuple[int, ...], deviation: float) -> Array:
    """What lies beyond two deviations is drawn again."""
    values = generator.standard_normal(shape, np.float32)
    while (beyond := np.abs(values) > 2).any():
        values[beyond] = generator.standard_normal(int(beyond.sum()), np.float32)
    return values * np.float32(deviation)


_KINDS: Mapping[str, Callable[[np.random.Generator, tuple[int, ...], float], Array]] = MappingProxyType(
    {"normal": _normal, "uniform": _uniform, "trunc_normal": _truncated}
)
"""Each takes the deviation of what it draws, but for trunc_normal, which takes that before it is cut off."""


def _fans(shape: Sequence[int]) -> tuple[int, int]:
    """Inputs and outputs of an element: the last dimensions are input and output channels, those before the filter."""
    window = math.prod(shape[:-2])
    fan_in = window * math.prod(shape[-2:-1])
    return max(fan_in, 1), max(window * math.prod(shape[-1:]), 1)


Scaled = Callable[[float, Sequence[int]], tuple[str, float]]
"""From the rule's number and a shape to a kind of distribution and its deviation."""


def _by_fans(kind: str, variance: Callable[[int, int], float]) -> Scaled:
    return lambda number, shape: (kind, math.sqrt(variance(*_fans(shape))))


_RANDOM: Mapping[str, Scaled] = MappingProxyType(
    {
        "normal": lambda number, shape: ("normal", number),
        "uniform": lambda number, shape: ("uniform", number / math.sqrt(3)),
        "trunc_normal": lambda number, shape: ("trunc_normal", number),
        "he_normal": _by_fans("normal", lambda i, o: 2 / i),
        "he_uniform": _by_fans("uniform", lambda i, o: 2 / i),
        "xavier_normal": _by_fans("normal", lambda i, o: 2 / (i + o)),
        "xavier_uniform": _by_fans("uniform", lambda i, o: 2 / (i + o)),
        "lecun_normal": _by_fans("normal", lambda i, o: 1 / i),
        "lecun_uniform": _by_fans("uniform", lambda i, o: 1 / i),
    }
)

RULES: Mapping[str, bool] = MappingProxyType(
    {
        "zeros": False,
        "ones": False,
        "constant": True,
        **{name: name in _KINDS for name in _RANDOM},
    }
)
"""All rules, and whether they take a number.

`normal(s)` and `trunc_normal(s)` take a standard deviation, the latter before values beyond two of it are drawn again;
`uniform(b)` goes from -b to b. He et al. (2015) have a variance of 2 / fan-in, Glorot and Bengio (2010; "xavier")
2 / (fan-in + fan-out), LeCun et al. (1998) 1 / fan-in.
"""
