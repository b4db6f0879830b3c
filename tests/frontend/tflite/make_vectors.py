"""Ask LiteRT's reference kernels about the models of `operators` and store the answers in `litert_vectors.npz`.

Run where ai-edge-litert is installed, from the repository's root: python -m tests.frontend.tflite.make_vectors
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from .operators import CASES, FLOAT_CASES, samples

VECTORS = Path(__file__).with_name("litert_vectors.npz")


def answers(data: bytes) -> list[Any]:
    """LiteRT's outputs on the samples of a model."""
    from ai_edge_litert.interpreter import Interpreter, OpResolverType

    with tempfile.NamedTemporaryFile(suffix=".tflite") as file:
        Path(file.name).write_bytes(data)
        interpreter = Interpreter(file.name, experimental_op_resolver_type=OpResolverType.BUILTIN_REF, num_threads=1)
        interpreter.allocate_tensors()
        inputs = interpreter.get_input_details()
        results = []
        for row in samples([(d["dtype"], tuple(d["shape"])) for d in inputs]):
            interpreter.reset_all_variables()  # which a recurrent layer would keep from run to run
            for details, array in zip(inputs, row, strict=True):
                interpreter.set_tensor(details["index"], array)
            interpreter.invoke()
            results.append(interpreter.get_tensor(interpreter.get_output_details()[0]["index"]))
        return results


def main() -> None:
    """Write the file."""
    cases = {**CASES, **{f"float {name}": make for name, make in FLOAT_CASES.items()}}
    np.savez_compressed(VECTORS, **{name: np.stack(answers(make())) for name, make in cases.items()})


if __name__ == "__main__":
    main()
