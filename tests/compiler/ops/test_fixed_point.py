"""Fixed-point factors: those of an array are the ones of its elements."""

from __future__ import annotations

import re

import numpy as np
import pytest

from netc.compiler.errors import ScaleError
from netc.compiler.ops.quantized.fixed_point import quantize_multiplier, quantize_multipliers


def test_factors_of_an_array_are_those_of_its_elements() -> None:
    rng = np.random.default_rng(0)
    real = np.concatenate([rng.random(2000) * 2.0 ** rng.integers(-40, 31, 2000), [0.0, 0.5, 1.0, 1 - 2.0**-40, -0.3]])
    multipliers, shifts = quantize_multipliers(real)
    assert list(zip(multipliers.tolist(), shifts.tolist(), strict=True)) == [quantize_multiplier(r) for r in real]


@pytest.mark.parametrize("large", [2.0**31, np.inf, np.nan])
def test_an_array_with_a_factor_that_is_too_large_is_refused(large: float) -> None:
    with pytest.raises(ScaleError, match=re.escape(f"a factor of {large:.4g} between scales")):
        quantize_multipliers(np.array([0.5, large, 0.25]))
