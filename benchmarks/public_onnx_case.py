"""A public ONNX file with inputs that ONNX Runtime takes, for both runtimes."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from public_onnx_inputs import Input, calls_to_try, inputs_of, sizes_of_weights, sizes_to_try
from public_verdicts import Array, Calls

import netc
from netc.compiler.errors import Note
from netc.frontend.onnx.reader import UnknownInputsError


@dataclass(frozen=True)
class Case:
    """A file with inputs that ONNX Runtime takes."""

    path: Path
    inputs: Sequence[Input]
    sizes: Mapping[str, int]
    calls: Calls
    given: Mapping[str, Array]
    """Inputs that have their values when the file is read."""

    def run(self, *, optimized: bool, calls: Calls | None = None, model: bytes | None = None) -> Calls:
        """The outputs of ONNX Runtime for all calls, or for others, of the file or another model."""
        session = session_of(model or self.path, optimized=optimized)
        names = [x.name for x in self.inputs]
        rows = self.calls if calls is None else calls
        return [flat(session.run(None, dict(zip(names, row, strict=True)))) for row in rows]

    def load(self) -> netc.Graph:
        """The graph that netc reads."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Note)
            return netc.load(self.path, settings=self.settings)

    @property
    def settings(self) -> dict[str, Any]:
        """What netc is told: sizes that it finds open, and inputs that are given."""
        open_sizes = {s for x in self.inputs if x.name not in self.given for s in x.shape}
        return {**{name: n for name, n in self.sizes.items() if name in open_sizes}, **self.given}

    def knowing(self, names: Iterable[str]) -> Case:
        """The same with more inputs that are given, whose value then is that of the first call in all of them."""
        first = dict(zip((x.name for x in self.inputs), self.calls[0], strict=True))
        given = {**self.given, **{name: first[name] for name in names}}
        calls = [[given.get(x.name, a) for x, a in zip(self.inputs, row, strict=True)] for row in self.calls]
        return replace(self, calls=calls, given=given)

    def rows(self) -> Calls:
        """The inputs of netc's program for each call."""
        return [[a for x, a in zip(self.inputs, row, strict=True) if x.name not in self.given] for row in self.calls]


def case_of(path: Path) -> Case:
    """The file with the first inputs of which ONNX Runtime makes something. Raises what it says to the likeliest."""
    inputs = inputs_of(path)
    session = session_of(path, optimized=True)
    problem: Exception | None = None
    for sizes in sizes_to_try(inputs, sizes_of_weights(path)):
        for calls in calls_to_try(inputs, sizes):
            try:
                for row in calls[:2]:
                    outputs = session.run(None, {x.name: a for x, a in zip(inputs, row, strict=True)})
                    if not any(np.size(a) for a in flat(outputs)):
                        raise ValueError("all outputs are empty")
            except Exception as error:
                problem = problem or error
            else:
                return Case(path, inputs, sizes, calls, {})
    raise ValueError(str(problem))


def session_of(model: Path | bytes, *, optimized: bool) -> Any:
    """A session of ONNX Runtime of one thread. Raises `ValueError` for a model that it refuses."""
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 4
    level = ort.GraphOptimizationLevel
    options.graph_optimization_level = level.ORT_ENABLE_ALL if optimized else level.ORT_DISABLE_ALL
    try:
        return ort.InferenceSession(
            model if isinstance(model, bytes) else str(model), options, ["CPUExecutionProvider"]
        )
    except Exception as error:  # its errors have no base of their own
        raise ValueError(str(error)) from None


def flat(outputs: Iterable[Any]) -> list[Array]:
    """Outputs as arrays: sequences one by one, but maps from classes to scores as the rows of one."""
    found: list[Array] = []
    for output in outputs:
        if isinstance(output, list) and all(isinstance(item, dict) for item in output):
            found.append(np.array([list(item.values()) for item in output], np.float32))
        elif isinstance(output, list):
            found += flat(output)
        else:
            found.append(np.asarray(output))
    return found


def loaded(case: Case) -> tuple[Case, netc.Graph]:
    """The graph that netc reads; inputs without whose values the file can't be read get them."""
    while True:
        try:
            return case, case.load()
        except UnknownInputsError as error:
            case = case.knowing(error.inputs)
