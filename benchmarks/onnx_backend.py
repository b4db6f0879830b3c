"""All tests of onnx.backend.test: each passes, or is refused with a reason; none gives wrong numbers.

    python benchmarks/onnx_backend.py [--compiled] [--only PATTERN] [--table FILE]

Runs what graphs mean in NumPy, or with --compiled the compiled programs. An input that decides on shapes, such as that
of Reshape, gets its value when the model is read; the table names such inputs. What is "nearer" differs from the
suite's numbers, but by less from the exact results than these do. Exit code 1 if a test fails.
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
from onnx.reference import ReferenceEvaluator

from netc.compiler.errors import NetcError
from netc.compiler.graph.interpreter import evaluate
from netc.compiler.graph.ir import Graph
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
    """Tensors in the form of protocol buffers as arrays, sequences as lists of them, absent optional ones as None."""
    return [_array(v) for v in values]


def _array(value: Any) -> Any:
    if isinstance(value, onnx.TensorProto):
        return numpy_helper.to_array(value)
    if isinstance(value, onnx.SequenceProto):
        return numpy_helper.to_list(value)
    if isinstance(value, onnx.OptionalProto):
        return numpy_helper.to_optional(value)
    return value


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
            _assert_similar(outputs, results, case)
    except NetcError as error:
        found.status = "refused"
        first = error.diagnostics[0]
        found.reason = re.sub(r"^node \d+( `[^`]*`)? ", "", first.message)
    except AssertionError as error:
        told = _nearer(case, model, sets, given)
        found.status = "nearer" if told else "WRONG"
        found.reason = told or " ".join(str(error).split())[:300]
    except Exception as error:  # each counts as a failure of netc
        found.status, found.reason = "CRASH", f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"
    return found


def _assert_similar(wanted: Sequence[Any], found: Sequence[Any], case: Any) -> None:
    """The suite's comparison, which takes tensors in a sequence apart, so that scalars fail: here they stay whole."""
    assert len(wanted) == len(found), f"{len(found)} outputs, not {len(wanted)}"
    for one, other in zip(wanted, found, strict=True):
        if isinstance(one, list):
            _assert_similar(one, other, case)
        else:
            Runner.assert_similar_outputs([one], [other], case.rtol, case.atol)


def _nearer(case: Any, model: Any, sets: Any, found: Sequence[Any]) -> str | None:
    """How far numbers outside the tolerances are from the exact results, if the suite's are farther; else None.

    The exact results are those of the reference evaluator where all floats are doubles. Where they are 0, the suite
    may want the noise of its own sum.
    """
    if len(sets) != 1:
        return None
    inputs, wanted = sets[0]
    known = {tensor.name for tensor in model.graph.initializer}
    names = [info.name for info in model.graph.input if info.name not in known]
    feed = {
        name: x.astype(np.float64) if x.dtype in (np.float16, np.float32) else x
        for name, x in zip(names, inputs, strict=True)
    }
    exact = ReferenceEvaluator(_doubled(model)).run(None, feed)
    own, theirs = [0.0], [0.0]
    for one, other, true in zip(wanted, found, exact, strict=True):
        if one.dtype != other.dtype or one.shape != other.shape or one.dtype.kind != "f":
            return None
        outside = ~np.isclose(other.astype(np.float64), one.astype(np.float64), case.rtol, case.atol, equal_nan=True)
        own.extend(np.abs(other - true)[outside])
        theirs.extend(np.abs(one - true)[outside])
    if not all(a <= b for a, b in zip(own, theirs, strict=True)):
        return None
    return f"{len(own) - 1} numbers: {max(own):.1e} from the exact result, the suite's {max(theirs):.1e}"


def _doubled(model: Any) -> Any:
    """A model all of whose floats are doubles."""
    made = onnx.ModelProto()
    made.CopyFrom(model)
    narrow, wide = (onnx.TensorProto.FLOAT16, onnx.TensorProto.FLOAT), onnx.TensorProto.DOUBLE
    waiting: list[Any] = [made]
    while waiting:
        message = waiting.pop()
        if isinstance(message, onnx.TensorProto) and message.data_type in narrow:
            message.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(message).astype(np.float64), message.name))
        elif isinstance(message, onnx.TypeProto.Tensor) and message.elem_type in narrow:
            message.elem_type = wide
        elif isinstance(message, onnx.AttributeProto) and message.name in ("to", "dtype") and message.i in narrow:
            message.i = wide
        for field_, value in message.ListFields():
            if field_.type == field_.TYPE_MESSAGE:
                waiting.extend([value] if hasattr(value, "ListFields") else value)
    return made


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
        return _whole(model, graph, evaluate(graph, rest))
    program = compile_graph(graph)
    result = program(*rest)
    return _whole(model, graph, result if isinstance(result, tuple) else (result,))


def _whole(model: Any, graph: Graph, results: Sequence[Any]) -> list[Any]:
    """The outputs as the file has them: sequences are lists."""
    found = dict(zip(graph.attributes["signature"]["outputs"], results, strict=True))
    return [
        found[info.name]
        if info.name in found
        else [result for name, result in found.items() if name.startswith(f"{info.name}.")]
        for info in model.graph.output
    ]


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
    if options.table:
        options.table.write_text(table(found, compiled=options.compiled))
    print(summary(found), f"\n{time.perf_counter() - start:.0f} s")
    return int(any(o.status in ("WRONG", "CRASH") for o in found))


def summary(found: list[Outcome]) -> str:
    """How many of each kind passed, were refused or failed."""
    lines = ["| kind | tests | pass | of these with known inputs | refused | nearer | wrong |", "| --- " * 7 + "|"]
    for kind in (*KINDS, "all"):
        rows = [o for o in found if kind in (o.kind, "all")]
        if rows:
            states = Counter(o.status for o in rows)
            passed = [o for o in rows if o.status == "pass"]
            wrong = states["WRONG"] + states["CRASH"]
            known = sum(bool(o.bound) for o in passed)
            share = f"{len(passed)} ({len(passed) / len(rows):.1%})"
            lines.append(
                f"| {kind} | {len(rows)} | {share} | {known} | {states['refused']} | {states['nearer']} | {wrong} |"
            )
    return "\n".join(lines)


def table(found: list[Outcome], *, compiled: bool) -> str:
    """All outcomes as a page."""
    command = f"benchmarks/onnx_backend.py {'--compiled ' if compiled else ''}--table FILE"
    head = f"# The ONNX backend suite\n\nWritten by `{command}`.\n\n"
    rows = "\n".join(o.row for o in found)
    return f"{head}{summary(found)}\n\n| kind | test | outcome | how, or why not |\n| --- | --- | --- | --- |\n{rows}\n"


if __name__ == "__main__":
    sys.exit(main())
