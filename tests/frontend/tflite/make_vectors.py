"""Ask LiteRT's reference kernels about the models of `operators` and store the answers in `litert_vectors.npz`.

Run where ai-edge-litert is installed, from the repository's root: python -m tests.frontend.tflite.make_vectors
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from .agreement import input_types
from .litert import run
from .operators import CASES, FLOAT_CASES, samples

VECTORS = Path(__file__).with_name("litert_vectors.npz")


def answers(data: bytes) -> list[Any]:
    """LiteRT's first output for each sample of a model."""
    return [outputs[0] for outputs in run(data, samples(input_types(data)))]


def main() -> None:
    """Write the file."""
    cases = {**CASES, **{f"float {name}": make for name, make in FLOAT_CASES.items()}}
    np.savez_compressed(VECTORS, **{name: np.stack(answers(make())) for name, make in cases.items()})


if __name__ == "__main__":
    main()
