"""All tests of onnx.backend.test: each passes, or is refused with a reason; none gives wrong numbers.

    python benchmarks/onnx_backend.py [--compiled] [--only PATTERN] [--table FILE]

Runs what graphs mean in NumPy, or with --compiled the compiled programs. An input that decides on shapes, such as that
of Reshape, gets its value when the model is read; the table names such inputs. "rounding" differs by no more than
four roundings of the largest element. Exit code 1 if a test fails.
"""

from __future__ import annotations

import argparse
import re
import sys
import time
import warnings
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import numpy_helper
from onnx.backend.test import loader
from onnx.backend.test.runner import Runner

from netc.compiler.errors import NetcError
from netc.compiler.graph.interpreter import evaluate
from netc.frontend.onnx.reader import UnknownInputsError, graph_of
from netc.pipeline import compile_graph

KINDS = ("node", "simple", "pytorch-converted", "pytorch-operator", "real")
"""What the loader calls the tests; the light models stand in "real"."""


@dataclass
class Outcome:
    """What became of a test: passed, refused with a reason, or failed."""

    kind: str
    name: str
    status: str
    reason: str = ""
    bound: list[str] = field(default_factory=list[str])
    """Inputs whose values were given when the model was read."""
    inputs: int = 0

    @property
    def row(self) -> str:
        """The row of the table."""
        told = self.reason.replace("|", "\\|").replace("\n", " ")
        if self.bound:
            told = f"with known {', '.join(f'`{name}`' for name in self.bound)}" + (f": {told}" if told else "")
        return f"| {self.kind} | {self.name} | {self.status} | {told} |"


def cases(kind: str) -> Iterator[tuple[Any, Any, list[tuple[list[Any], list[Any]]]]]:
    """Each test of a kind with its model and its data sets."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = sorted(loader.load_model_tests(kind=kind), key=lambda case: case.name)
    for case in found:
        if case.model is not None:
            yield case, case.model, [(_arrays(inputs), _arrays(outputs)) for inputs, outputs in case.data_sets]
        else:
            yield case, *_stored(case)


def _arrays(values: list[Any]) -> list[Any]:
    """Tensors in the form of protocol buffers as arrays."""
    return [numpy_helper.to_array(v) if isinstance(v, onnx.TensorProto) else v for v in values]


def _stored(case: Any) -> tuple[Any, list[tuple[list[Any], list[Any]]]]:
    """Model and data sets of a test that stands in files."""
    if case.model_dir is None:
        return _light(case)
    folder = Path(case.model_dir)
    model = onnx.load(folder / "model.onnx")
    sets = []
    for where in sorted(folder.glob("test_data_set_*")):
        inputs = [
            _loaded(where / f"input_{i}.pb", info)
            for i, info in enumerate(model.graph.input)
            if (where / f"input_{i}.pb").exists()
        ]
        outputs = [_loaded(where / f"output_{i}.pb", info) for i, info in enumerate(model.graph.output)]
        sets.append((inputs, outputs))
    return model, sets


def _light(case: Any) -> tuple[Any, list[tuple[list[Any], list[Any]]]]:
    """A light model, whose inputs are rising numbers and whose output lies beside it."""
    data = Path(onnx.__file__).parent / "backend" / "test" / "data" / "light"
    path = data / f"light_{case.model_name}.onnx"
    path = path if path.exists() else data / Path(case.url).name
    model = onnx.load(path)
    known = {tensor.name for tensor in model.graph.initializer}
    inputs = []
    for info in model.graph.input:
        if info.name not in known:
            shape = [d.dim_value for d in info.type.tensor_type.shape.dim]
            total = int(np.prod(shape))
            inputs.append((np.arange(total).astype(np.float32) / total).reshape(shape))
    output = _loaded(path.with_name(f"{path.stem}_output_0.pb"), model.graph.output[0])
    return model, [(inputs, [output])]


def _loaded(path: Path, info: Any) -> Any:
    kind = info.type.WhichOneof("value")
    if kind != "tensor_type":
        return None
    tensor = onnx.TensorProto()
    tensor.ParseFromString(path.read_bytes())
    return numpy_helper.to_array(tensor)


def outcome(kind: str, case: Any, model: Any, sets: list[tuple[list[Any], list[Any]]], *, compiled: bool) -> Outcome:
    """Run one test."""
    found = Outcome(kind, case.name, "pass")
    given: list[Any] = []
    try:
        for inputs, outputs in sets:
            results = given = _results(model, inputs, found, compiled=compiled)
            Runner.assert_similar_outputs(outputs, results, case.rtol, case.atol)
    except NetcError as error:
        found.status = "refused"
        first = error.diagnostics[0]
        found.reason = re.sub(r"^node \d+( `[^`]*`)? ", "", first.message)
    except AssertionError as error:
        found.status = "rounding" if _is_rounding(sets, given) else "WRONG"
        found.reason = " ".join(str(error).split())[:300]
    except Exception as error:  # each counts as a failure of netc
        found.status, found.reason = "CRASH", f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"
    return found


def _is_rounding(sets: list[tuple[list[Any], list[Any]]], results: list[Any]) -> bool:
    """Whether floats differ by no more than four roundings of the largest element.

    Where the exact result is 0, the suite demands the noise of its own sum; halves it rounds after each operation,
    which a kernel of netc doesn't.
    """
    if len(sets) != 1:
        return False
    for wanted, result in zip(sets[0][1], results, strict=True):
        if wanted.dtype != result.dtype or wanted.shape != result.shape or wanted.dtype.kind != "f":
            return False
        if not np.abs(wanted - result).max(initial=0) <= np.abs(wanted).max(initial=0) * 4 * np.finfo(wanted.dtype).eps:
            return False
    return True


def _results(model: Any, inputs: Sequence[Any], found: Outcome, *, compiled: bool) -> list[Any]:
    """The outputs of a model; where an input must be known, it gets its value as the model is read."""
    known = {tensor.name for tensor in model.graph.initializer}
    names = [info.name for info in model.graph.input if info.name not in known]
    given = dict(zip(names, inputs, strict=False))
    sizes = _sizes(model, given)
    bound: dict[str, Any] = {}
    while True:
        try:
            graph = graph_of(model, "test", settings={**sizes, **bound})
            break
        except UnknownInputsError as error:
            new = {n: given[n] for n in sorted(error.inputs) if n in given and n not in bound}
            if not new:
                raise
            bound.update(new)
            found.bound = list(bound)
    rest = [np.asarray(given[v.name]) for v in graph.inputs]
    found.inputs = len(names)
    if not compiled:
        return list(evaluate(graph, rest))
    program = compile_graph(graph)
    result = program(*rest)
    return list(result) if isinstance(result, tuple) else [result]


def _sizes(model: Any, given: dict[str, Any]) -> dict[str, int]:
    """The open sizes of the inputs, from what is given."""
    sizes: dict[str, int] = {}
    for info in model.graph.input:
        if info.name not in given or info.type.WhichOneof("value") != "tensor_type":
            continue
        for axis, dim in enumerate(info.type.tensor_type.shape.dim):
            if dim.WhichOneof("value") != "dim_value" and given[info.name] is not None:
                sizes[dim.dim_param or f"{info.name}_{axis}"] = int(np.shape(given[info.name])[axis])
    return sizes


def main() -> int:
    """Run the tests and write the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--compiled", action="store_true", help="run compiled programs")
    parser.add_argument("--only", default="", metavar="PATTERN", help="tests whose names match")
    parser.add_argument("--kind", choices=KINDS, action="append", help="kinds of tests (default: all)")
    parser.add_argument("--table", type=Path, metavar="FILE", help="write the table there")
    options = parser.parse_args()
    found: list[Outcome] = []
    start = time.perf_counter()
    for kind in options.kind or KINDS:
        for case, model, sets in cases(kind):
            if re.search(options.only, case.name):
                found.append(outcome(kind, case, model, sets, compiled=options.compiled))
                if found[-1].status in ("WRONG", "CRASH"):
                    print(found[-1].row, flush=True)
    text = table(found)
    if options.table:
        options.table.write_text(text)
    print(summary(found), f"\n{time.perf_counter() - start:.0f} s")
    return int(any(o.status in ("WRONG", "CRASH") for o in found))


def summary(found: list[Outcome]) -> str:
    """How many of each kind passed, were refused or failed."""
    lines = ["| kind | tests | pass | of these with known inputs | refused | rounding | wrong |", "| --- " * 7 + "|"]
    for kind in (*KINDS, "all"):
        rows = [o for o in found if kind in (o.kind, "all")]
        if rows:
            states = Counter(o.status for o in rows)
            passed = [o for o in rows if o.status == "pass"]
            wrong = states["WRONG"] + states["CRASH"]
            known = sum(bool(o.bound) for o in passed)
            share = f"{len(passed)} ({len(passed) / len(rows):.1%})"
            lines.append(
                f"| {kind} | {len(rows)} | {share} | {known} | {states['refused']} | {states['rounding']} | {wrong} |"
            )
    return "\n".join(lines)


def table(found: list[Outcome]) -> str:
    """All outcomes as a page."""
    head = "# The ONNX backend suite\n\nWritten by `benchmarks/onnx_backend.py --table FILE`.\n\n"
    rows = "\n".join(o.row for o in found)
    return f"{head}{summary(found)}\n\n| kind | test | outcome | how, or why not |\n| --- | --- | --- | --- |\n{rows}\n"


if __name__ == "__main__":
    sys.exit(main())
