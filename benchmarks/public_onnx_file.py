"""One public ONNX file in netc and in ONNX Runtime: the body of the processes that `public_onnx.py` makes.

    python benchmarks/public_onnx_file.py FILE [--memory 6] [--times] [--first]

Prints what is known of the file as a line of JSON, once more after each step; see `public_onnx.py` for the verdicts.
"""

from __future__ import annotations

import argparse
import contextlib
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from google.protobuf.message import DecodeError
from public_files import RIGHT, Record, file_parser, in_copy, run_steps
from public_onnx_case import Case, case_of, loaded, session_of
from public_onnx_choices import with_choices
from public_onnx_variants import halved_model, moved_model, moved_numbers
from public_verdicts import Array, Calls, are_equal, first_difference, judged, listed, reasons_of

import netc
from netc.compiler.errors import NetcError
from netc.runtime.measure import profile_rows

SLOW = 1.3
"""How many times as long as ONNX Runtime a file may take before what takes most is named."""
ROUNDING = 2.0**-22
"""What floats may always differ by: two units in the last place of 1, as far off as ONNX Runtime's sigmoids are."""
SECONDS, TURN = 1.5, 0.1
"""How long times are taken in all, and how long one runtime runs before it is the other's turn."""
BLAMED = 4


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
    case = in_copy(lambda: case_of(path), "ONNX Runtime")
    if isinstance(case, str):
        yield {"unjudged": case, "stage": "netc"}
        with contextlib.suppress(NetcError):
            netc.load(path)
        yield {"verdict": "unjudged", "stage": "done"}
        return
    yield {"stage": "netc", "sizes": dict(case.sizes)}
    try:
        start = time.perf_counter()
        case, graph = loaded(case)
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


# ---- verdicts -------------------------------------------------------------------------------------------------------


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
    calls = [[moved_numbers(draw, a) for a in row] for row in case.calls]
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
        session = session_of(model, optimized=False)
        outputs = session.run(None, dict(row))
        return {o.name: np.asarray(a) for o, a in zip(session.get_outputs(), outputs, strict=True)}

    found: dict[str, Array] | str = in_copy(run, "ONNX Runtime")
    return found


# ---- times ----------------------------------------------------------------------------------------------------------


def _times(case: Case, program: netc.Program) -> Record:
    """The shortest call of each runtime; they take turns."""
    session = session_of(case.path, optimized=True)
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
    model = onnx.load(case.path)
    names = [name for node in model.graph.node for name in node.output if name]
    kept = {output.name for output in model.graph.output}
    model.graph.output.extend(onnx.ValueInfoProto(name=name) for name in names if name not in kept)
    session = session_of(model.SerializeToString(), optimized=False)
    feeds = {x.name: a for x, a in zip(case.inputs, case.calls[0], strict=True)}
    outputs = session.run(None, feeds)
    found = zip((o.name for o in session.get_outputs()), outputs, strict=True)
    return {name: array for name, array in found if isinstance(array, np.ndarray)}


if __name__ == "__main__":
    main()
