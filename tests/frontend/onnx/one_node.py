"""Models of one node of ONNX Runtime's own domain, with drawn inputs, and their check against ONNX Runtime."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")

from onnx import helper  # noqa: E402

from .agreement import agrees  # noqa: E402
from .small_models import model  # noqa: E402

Array = np.ndarray[Any, Any]
KINDS = {"float32": 1, "float16": 10, "uint8": 2, "int8": 3, "int32": 6, "int64": 7, "bool": 9}
DRAW = np.random.default_rng(7)


def floats(*shape: int) -> Array:
    """Numbers of a normal distribution."""
    return DRAW.standard_normal(shape).astype(np.float32)


def of(
    operator: str,
    inputs: list[Array | None],
    known: dict[int, Array] | None = None,
    outputs: int = 1,
    domain: str = "com.microsoft",
    **attributes: Any,
) -> tuple[Any, list[Array]]:
    """A model of one node, whose inputs in `known` (by place) are weights; and the arrays of its other inputs."""
    known = known or {}
    count = max([len(inputs), *(place + 1 for place in known)])
    given = dict(enumerate([*inputs, *[None] * (count - len(inputs))]))
    names = [f"i{p}" if p in known or given[p] is not None else "" for p in range(count)]
    results = [f"o{i}" if i == 0 or outputs >> i & 1 else "" for i in range(max(outputs.bit_length(), 1))]
    node = helper.make_node(operator, names, results, domain=domain, **attributes)
    arrays = {f"i{p}": a for p, a in given.items() if a is not None and p not in known}
    made = model(
        [node],
        {name: a.shape for name, a in arrays.items()},
        [r for r in results if r],
        {f"i{p}": a for p, a in known.items()},
        opset=17,
        kinds={name: KINDS[str(a.dtype)] for name, a in arrays.items()},
        domains={"com.microsoft": 1},
    )
    return made, list(arrays.values())


def check(*arguments: Any, **options: Any) -> None:
    """Check the model that `of` makes of these arguments against ONNX Runtime."""
    made, arrays = of(*arguments, **options)
    agrees(made, *arrays)


def small_bytes(dtype: Any, *shape: int) -> Array:
    """Weights whose products ONNX Runtime adds up without loss on every processor."""
    return DRAW.integers(*((-64, 64) if dtype is np.int8 else (0, 128)), shape).astype(dtype)
