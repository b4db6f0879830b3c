"""One public ONNX file in netc and in ONNX Runtime: the body of the processes that `public_onnx.py` makes.

    python benchmarks/public_onnx_file.py FILE [--memory 6] [--times] [--first]

Prints what is known of the file as a line of JSON, once more after each step; see `public_onnx.py` for the verdicts.
"""

from __future__ import annotations

import argparse
import contextlib
import tempfile
import time
import warnings
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from google.protobuf.message import DecodeError
from public_files import RIGHT, Record, file_parser, in_copy, run_steps
from public_onnx_choices import with_choices
from public_onnx_inputs import Input, calls_to_try, inputs_of, sizes_of_weights, sizes_to_try
from public_verdicts import Array, Calls, are_equal, first_difference, judged, listed, reasons_of

import netc
from netc.compiler.errors import NetcError, Note
from netc.frontend.onnx.reader import UnknownInputsError
from netc.runtime.measure import profile_rows

SLOW = 1.3
"""How many times as long as ONNX Runtime a file may take before what takes most is named."""
MOVES = {"f2": 2.0**-11, "f4": 2.0**-20}
"""By how much of themselves numbers are moved, by type: as much as roundings move sums."""
WEIGHTED = ("Conv", "ConvTranspose", "Gemm", "MatMul", "LSTM", "GRU", "DequantizeLinear")
"""Operators whose second operand is moved."""
ROUNDING = 2.0**-22
"""What floats may always differ by: two units in the last place of 1, as far off as ONNX Runtime's sigmoids are."""
SECONDS, TURN = 1.5, 0.1
"""How long times are taken in all, and how long one runtime runs before it is the other's turn."""
BLAMED = 4


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
        session = _session(model or self.path, optimized=optimized)
        names = [x.name for x in self.inputs]
        rows = self.calls if calls is None else calls
        return [_flat(session.run(None, dict(zip(names, row, strict=True)))) for row in rows]

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


def main() -> None:
    """Run one file."""
    p = file_parser(__doc__)
    p.add_argument("--times", action="store_true")
    options = p.parse_args()
    run_steps(options.file, options, steps)


def steps(path: Path, options: argparse.Namespace) -> Iterable[Record]:
    """Parts of the record of a file, one after the other."""
    try:
        yield {"bytes": path.stat().st_size, "stage": "ONNX Runtime", **_described_file(path)}
    except DecodeError:
        yield {"verdict": "unjudged", "unjudged": "no ONNX file", "stage": "done"}
        return
    case = in_copy(lambda: _case(path), "ONNX Runtime")
    if isinstance(case, str):
        yield {"unjudged": case, "stage": "netc"}
        with contextlib.suppress(NetcError):
            netc.load(path)
        yield {"verdict": "unjudged", "stage": "done"}
        return
    yield {"stage": "netc", "sizes": dict(case.sizes)}
    try:
        start = time.perf_counter()
        case, graph = _loaded(case)
        yield {"load_s": round(time.perf_counter() - start, 2), "operations": len(graph.operations)}
        yield {"given": sorted(case.given)} if case.given else {}
        start = time.process_time()
        program = netc.compile(graph, threads=1)
        yield {"compile_s": round(time.process_time() - start, 2), "stage": "run"}
        got = [listed(program(*row)) for row in case.rows()]
    except NetcError as error:
        yield {"verdict": "refused", "reasons": reasons_of(error), "stage": "done"}
        return
    verdict = _verdict(case, got)
    yield verdict
    if verdict["verdict"] == "differs" and options.first:
        yield {"stage": "first", "first": _first_difference(case, graph)}
    if verdict["verdict"] in RIGHT and options.times:
        yield {"stage": "times"}
        yield _times(case, program)
    yield {"stage": "done"}


def _described_file(path: Path) -> Record:
    """Operator set, producer, and how the numbers of a file are held."""
    model = onnx.load(path, load_external_data=False)
    opset = next((o.version for o in model.opset_import if o.domain in ("", "ai.onnx")), 0)
    return {"kind": _kind(model), "opset": opset, "producer": model.producer_name}


def _kind(model: Any) -> str:
    nodes = [*model.graph.node, *(n for f in model.functions for n in f.node)]
    names = Counter(node.op_type for node in nodes)
    if any(node.domain == "ai.onnx.ml" for node in nodes):
        return "ai.onnx.ml"
    for kind, marks in (
        ("dynamic range", ("DynamicQuantizeLinear", "DynamicQuantizeLSTM", "MatMulIntegerToFloat", "MatMulNBits")),
        ("QOperator", ("QLinearConv", "QLinearMatMul", "QGemm")),
        ("QDQ", ("DequantizeLinear",)),
    ):
        if any(names[mark] for mark in marks):
            return kind
    halves = any(tensor.data_type == onnx.TensorProto.FLOAT16 for tensor in model.graph.initializer)
    return "float16" if halves else "recurrent" if names["LSTM"] + names["GRU"] + names["RNN"] else "float"


# ---- both runtimes --------------------------------------------------------------------------------------------------


def _case(path: Path) -> Case:
    """The file with the first inputs of which ONNX Runtime makes something. Raises what it says to the likeliest."""
    inputs = inputs_of(path)
    session = _session(path, optimized=True)
    problem: Exception | None = None
    for sizes in sizes_to_try(inputs, sizes_of_weights(path)):
        for calls in calls_to_try(inputs, sizes):
            try:
                for row in calls[:2]:
                    outputs = session.run(None, {x.name: a for x, a in zip(inputs, row, strict=True)})
                    if not any(np.size(a) for a in _flat(outputs)):
                        raise ValueError("all outputs are empty")
            except Exception as error:
                problem = problem or error
            else:
                return Case(path, inputs, sizes, calls, {})
    raise ValueError(str(problem))


def _session(model: Path | bytes, *, optimized: bool) -> Any:
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


def _flat(outputs: Iterable[Any]) -> list[Array]:
    """Outputs as arrays: sequences one by one, but maps from classes to scores as the rows of one."""
    found: list[Array] = []
    for output in outputs:
        if isinstance(output, list) and all(isinstance(item, dict) for item in output):
            found.append(np.array([list(item.values()) for item in output], np.float32))
        elif isinstance(output, list):
            found += _flat(output)
        else:
            found.append(np.asarray(output))
    return found


def _loaded(case: Case) -> tuple[Case, netc.Graph]:
    """The graph that netc reads; inputs without whose values the file can't be read get them."""
    while True:
        try:
            return case, case.load()
        except UnknownInputsError as error:
            case = case.knowing(error.inputs)


def _verdict(case: Case, got: Calls) -> Record:
    """The verdict on netc's numbers."""
    plain, fast = (in_copy(partial(case.run, optimized=o), "ONNX Runtime") for o in (False, True))
    reference = fast if isinstance(plain, str) else plain
    if isinstance(reference, str):
        return {"verdict": "unjudged", "unjudged": reference}
    if are_equal(reference, got):
        return {"verdict": "exact"}
    verdict = judged(reference, None if isinstance(fast, str) else fast, got, ROUNDING)
    if verdict["verdict"] == "differs":
        verdict = _moved_verdict(case, reference, got) or _halved_verdict(case) or _chosen_verdict(case) or verdict
    return verdict


def _moved_verdict(case: Case, reference: Calls, got: Calls) -> Record | None:
    """The verdict where ONNX Runtime's numbers for inputs and weights that are moved a little may differ as much."""
    draw = np.random.default_rng(2)
    calls = [[_moved(draw, a) for a in row] for row in case.calls]
    moved = in_copy(lambda: case.run(optimized=False, calls=calls, model=moved_model(case.path)), "ONNX Runtime")
    if isinstance(moved, str):
        return None
    verdict = judged(reference, moved, got, ROUNDING)
    return {**verdict, "by": "moved numbers"} if verdict["verdict"] in RIGHT else None


def _halved_verdict(case: Case) -> Record | None:
    """The verdict on a file with weights of 7 bits: without instructions for products of bytes, ONNX Runtime adds two
    products in 16 bits, which saturate with 8.
    """
    model = halved_model(case.path)
    if model is None:
        return None
    with tempfile.TemporaryDirectory() as folder:
        halved = replace(case, path=Path(folder) / "halved.onnx")
        halved.path.write_bytes(model)
        wanted, fast = (in_copy(partial(halved.run, optimized=o), "ONNX Runtime") for o in (False, True))
        if isinstance(wanted, str) or isinstance(fast, str):
            return None
        try:
            program = netc.compile(halved.load(), threads=1)
        except NetcError:
            return None
        got = [listed(program(*row)) for row in case.rows()]
        verdict = judged(wanted, fast, got, ROUNDING)
        if verdict["verdict"] == "differs":
            verdict = _moved_verdict(halved, wanted, got) or verdict
    return {**verdict, "by": "weights of 7 bits"} if verdict["verdict"] in RIGHT else None


def halved_model(path: Path) -> bytes | None:
    """A file whose weights of bytes are half as large, those of the main graph; None if it has none.

    Unsigned ones are taken to be around 128, so that another zero point makes them other weights, for both runtimes.
    """
    model = onnx.load(path)
    arrays = [(t, onnx.numpy_helper.to_array(t)) for t in model.graph.initializer]
    weights = [(t, a) for t, a in arrays if a.dtype in (np.int8, np.uint8) and a.ndim > 1]
    for tensor, array in weights:
        middle = 0 if array.dtype == np.int8 else 128
        half = ((array.astype(np.int32) - middle) // 2 + middle).astype(array.dtype)
        tensor.CopyFrom(onnx.numpy_helper.from_array(half, tensor.name))
    return bytes(model.SerializeToString()) if weights else None


def _chosen_verdict(case: Case) -> Record | None:
    """The verdict on a network that chooses, with ONNX Runtime's choices."""
    rows = [dict(zip((x.name for x in case.inputs), row, strict=True)) for row in case.calls[:2]]
    try:
        found = with_choices(case.path, rows, case.settings, _named)
    except NetcError:
        return None
    if found is None:
        return None
    wanted, got, count = found
    verdict = judged(wanted, None, got, ROUNDING)
    return {**verdict, "by": f"choices of {count} nodes"} if verdict["verdict"] in RIGHT else None


def _named(model: bytes, row: Mapping[str, Array]) -> dict[str, Array] | str:
    """The outputs of ONNX Runtime by name; or why there are none."""

    def run() -> dict[str, Array]:
        session = _session(model, optimized=False)
        outputs = session.run(None, dict(row))
        return {o.name: np.asarray(a) for o, a in zip(session.get_outputs(), outputs, strict=True)}

    found: dict[str, Array] | str = in_copy(run, "ONNX Runtime")
    return found


def moved_model(path: Path) -> bytes:
    """A file whose weights and scales of floats are moved a little, those of the main graph."""
    model, draw = onnx.load(path), np.random.default_rng(3)
    names = {n.input[1] for n in model.graph.node if n.op_type in WEIGHTED and len(n.input) > 1}
    constants = [n for n in model.graph.node if n.op_type == "Constant" and n.output[0] in names]
    tensors = [t for t in model.graph.initializer if t.name in names]
    for tensor in (*tensors, *(a.t for n in constants for a in n.attribute if a.name == "value")):
        array = onnx.numpy_helper.to_array(tensor)
        tensor.CopyFrom(onnx.numpy_helper.from_array(_moved(draw, array), tensor.name))
    return bytes(model.SerializeToString())


def _moved(draw: np.random.Generator, x: Array) -> Array:
    move = MOVES.get(x.dtype.str[1:], 0.0)
    return (x * (1 + draw.uniform(0, 2 * move, x.shape))).astype(x.dtype) if move else x


# ---- times ----------------------------------------------------------------------------------------------------------


def _times(case: Case, program: netc.Program) -> Record:
    """The shortest call of each runtime; they take turns."""
    session = _session(case.path, optimized=True)
    row = case.rows()[0]
    feeds = {x.name: a for x, a in zip(case.inputs, case.calls[0], strict=True)}
    both: tuple[Callable[[], object], ...] = (lambda: program(*row), lambda: session.run(None, feeds))
    best = [min(_turn(run)) for run in both]
    end = time.perf_counter() + SECONDS
    while time.perf_counter() < end:
        best = [min(least, *_turn(run)) for least, run in zip(best, both, strict=True)]
    netc_ms, other_ms = (1e3 * seconds for seconds in best)
    ratio = netc_ms / other_ms
    found: Record = {"netc_ms": round(netc_ms, 4), "other_ms": round(other_ms, 4), "ratio": round(ratio, 3)}
    return {**found, "blame": _blame(program, row)} if ratio > SLOW else found


def _turn(run: Callable[[], object]) -> Iterator[float]:
    """The times of calls for a while, one at least."""
    end = time.perf_counter() + TURN
    while True:
        start = time.perf_counter()
        run()
        now = time.perf_counter()
        yield now - start
        if now > end:
            return


def _blame(program: netc.Program, row: Sequence[Array]) -> list[str]:
    """The calls that take most of the time, with their shares."""
    rows = sorted(profile_rows(program, row, 5), key=lambda r: -r.seconds)
    return [f"{r.label} {r.share:.0%} ({r.gflops:.0f} GFLOP/s)" for r in rows[:BLAMED]]


# ---- where it differs -----------------------------------------------------------------------------------------------


def _first_difference(case: Case, graph: netc.Graph) -> str:
    """The first named tensor in which the interpreter and ONNX Runtime without optimizations differ."""
    tensors = in_copy(lambda: _tensors(case), "ONNX Runtime")
    return tensors if isinstance(tensors, str) else first_difference(tensors, graph, case.rows()[0])


def _tensors(case: Case) -> dict[str, Array]:
    """All tensors of the main graph that ONNX Runtime gives for the first call."""
    import onnxruntime as ort

    model = onnx.load(case.path)
    names = [name for node in model.graph.node for name in node.output if name]
    kept = {output.name for output in model.graph.output}
    model.graph.output.extend(onnx.ValueInfoProto(name=name) for name in names if name not in kept)
    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.log_severity_level = 4
    session = ort.InferenceSession(model.SerializeToString(), options, ["CPUExecutionProvider"])
    feeds = {x.name: a for x, a in zip(case.inputs, case.calls[0], strict=True)}
    outputs = session.run(None, feeds)
    found = zip((o.name for o in session.get_outputs()), outputs, strict=True)
    return {name: array for name, array in found if isinstance(array, np.ndarray)}


if __name__ == "__main__":
    main()
