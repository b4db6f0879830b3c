"""Learning rates of their own for some parameters, chosen by patterns of names: `head.*=0.1`."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence

from ..errors import NetcError
from ..patterns import matching

Rates = Mapping[str, float]
"""Base learning rates by pattern; of several patterns that match a name, the last counts."""


def parse_rates(texts: Sequence[str]) -> Rates:
    """Read `PATTERN=RATE`, or `RATE` for all parameters; raises `NetcError`."""
    rates: dict[str, float] = {}
    for text in texts:
        pattern, equals, number = text.rpartition("=")
        pattern = pattern.strip() if equals else "*"
        try:
            rate = float(number)
        except ValueError:
            rate = math.nan
        if not pattern or not 0 <= rate < math.inf:
            hint = "write PATTERN=RATE, for example 'head.*=0.1', or a rate for all parameters"
            raise NetcError(f"`{text}` is no learning rate", hint=hint)
        rates.pop(pattern, None)
        rates[pattern] = rate
    return rates


def rates_of(rates: Rates, names: Iterable[str], default: float) -> dict[str, float]:
    """The base learning rate of each name; raises `NetcError` for a pattern that no name matches."""
    found = dict.fromkeys(names, default)
    for pattern, rate in rates.items():
        found |= dict.fromkeys(matching(pattern, found, "trained parameter"), rate)
    return found
