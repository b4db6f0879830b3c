"""What the generators of ONNX models share: ONNX Runtime's results, and a run over seeds that counts what is wrong."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import onnxruntime

Array = np.ndarray[Any, Any]


def wanted_of(made: Any, inputs: Sequence[Array], *, rewritten: bool = True) -> list[Array] | str:
    """ONNX Runtime's results of a ModelProto, with its graph rewritten or as it stands, or why there are none."""
    onnxruntime.set_default_logger_severity(4)
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    options.intra_op_num_threads = 1
    if not rewritten:
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    try:
        session = onnxruntime.InferenceSession(made.SerializeToString(), options, providers=["CPUExecutionProvider"])
        given = {i.name: a for i, a in zip(session.get_inputs(), inputs, strict=True)}
        return [np.asarray(a) for a in session.run(None, given)]
    except Exception as error:  # whatever it says
        return str(error).splitlines()[0]


def count_wrong(seeds: range, problems: Callable[[int, Counter[str]], Sequence[str]]) -> int:
    """Print what is wrong for each seed and what was counted; the exit code, 1 if anything is wrong."""
    counts: Counter[str] = Counter()
    wrong = 0
    for seed in seeds:
        found = problems(seed, counts)
        wrong += bool(found)
        print("".join(f"seed {seed}: {problem}\n" for problem in found), end="", flush=True)
    for what, count in counts.most_common():
        print(f"{count:6} {what}")
    print(f"{wrong:6} WRONG")
    return int(wrong > 0)
