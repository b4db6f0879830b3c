"""A scoreboard of other people's TFLite files: netc's machine code against LiteRT's kernels, one line for each file.

    python benchmarks/public_tflite.py FOLDER [--results R.jsonl] [--seconds 120] [--memory 6] [--only TEXT]
                                              [--round-trip] [--edgetpu] [--first] [--again VERDICT ...]
    python benchmarks/public_tflite.py FOLDER --present [--missing]

Each file below FOLDER runs in a process of its own, with limits of time and memory. It gets two random inputs, and
the first of them again without a reset between the calls, so that state counts. Verdicts:

- `exact`: all outputs are the bytes of LiteRT's reference kernels (BUILTIN_REF; where these lack an operator, of its
  default ones);
- `close`: floats differ by at most 1e-4 of their range (the largest number, or the largest less the smallest), or by
  three times as much as LiteRT's reference kernels and its faster ones (without a delegate) differ from each other;
  integers that are made of floats may differ only where these two differ, too, and by no more (where only the default
  resolver runs a file, whose delegate approximates, by 3e-4 of the range);
- `differs`, `refused` (with the reasons), `slow` (over the limit), `crashed`;
- `unjudged`: LiteRT itself does not run the file.

`--round-trip` writes each file again and compares what LiteRT makes of it, byte by byte. `--edgetpu` runs `netc check
--target edgetpu` on each. `--first` names the first tensor that differs. Results are lines of JSON: a file that has one
is not run again, unless its verdict is named with `--again`. Files with equal bytes run once.

`benchmarks/public_tflite.json` names public files by source, version, path and checksum; `--present` tells how many of
them are in FOLDER, and says where the others come from with `--missing`. Needs ai-edge-litert.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import io
import json
import os
import pickle
import re
import resource
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from common import parser, setting, table
from numpy.typing import NDArray

import netc
from netc.compiler.errors import NetcError

Array = NDArray[Any]
Calls = list[list[Array]]
"""The outputs of each call."""

LIST = Path(__file__).with_suffix(".json")
REFERENCE, DEFAULT, PLAIN = "BUILTIN_REF", "AUTO", "BUILTIN_WITHOUT_DEFAULT_DELEGATES"
RESOLVERS = (REFERENCE, PLAIN, DEFAULT)
"""In the order in which they judge; only the default one, with its delegate, runs some custom operators."""
VERDICTS = ("exact", "close", "differs", "refused", "slow", "crashed", "unjudged")
RIGHT = ("exact", "close")
TOLERANCE = 1e-4
"""Of the range of an output, by which floats may differ; three times as much where only one resolver runs a file."""
PLACES = r"\(operator \d+(, tensor `[^`]*`)?\)|\(tensor `[^`]*`\)|(, )?tensor `[^`]*`"
"""What of a message differs from file to file."""
Record = dict[str, Any]


def main() -> int:
    """Run all files that have no result yet; print what all of them gave."""
    options = _options()
    if options.one:
        _run_one(options)
        return 0
    files = _files(options.folder, options.only)
    if options.present:
        return _present(files, options.missing)
    results = options.results or options.folder / "results.jsonl"
    known = {} if not results.is_file() else {r["sha256"]: r for r in map(json.loads, results.open())}
    rows: list[Record] = []
    with results.open("a") as log:
        for sum_, path in files.items():
            record = known.get(sum_)
            if record is None or record["verdict"] in options.again:
                record = {"file": str(path.relative_to(options.folder)), "sha256": sum_, **_in_process(path, options)}
                log.write(json.dumps(record) + "\n")
                log.flush()
                print(_line(record), flush=True)
            rows.append(record)
    _summary(rows)
    return int(any(r["verdict"] in ("differs", "crashed") for r in rows))


def _options() -> argparse.Namespace:
    p = parser(__doc__)
    p.add_argument("folder", type=Path)
    p.add_argument("--results", type=Path, help="lines of JSON, to which new ones are added [FOLDER/results.jsonl]")
    p.add_argument("--seconds", type=float, default=120, help="time for each file")
    p.add_argument("--memory", type=float, default=6, help="GiB for each file")
    p.add_argument("--only", default="", metavar="REGEX", help="files whose path it is found in")
    p.add_argument("--again", nargs="*", default=[], choices=VERDICTS, help="run files with these verdicts again")
    p.add_argument("--round-trip", action="store_true")
    p.add_argument("--edgetpu", action="store_true")
    p.add_argument("--first", action="store_true", help="name the first tensor that differs")
    p.add_argument("--present", action="store_true", help="tell which files of the list are in the folder")
    p.add_argument("--missing", action="store_true", help="with --present: name the others")
    p.add_argument("--one", action="store_true", help=argparse.SUPPRESS)
    return p.parse_args()


def _files(folder: Path, only: str) -> dict[str, Path]:
    """All files by checksum, the small ones first."""
    found: dict[str, Path] = {}
    paths = [p for p in folder.rglob("*") if p.suffix in (".tflite", ".lite") and p.is_file()]
    for path in sorted(paths, key=lambda p: (p.stat().st_size, p)):
        if re.search(only, str(path)):
            found.setdefault(hashlib.sha256(path.read_bytes()).hexdigest(), path)
    return found


def _present(files: Mapping[str, Path], name_missing: bool) -> int:
    """Print how many files of the list are there."""
    listed = json.loads(LIST.read_text())
    missing = [row for row in listed if row["sha256"] not in files]
    print(f"{len(listed) - len(missing)} of the {len(listed)} listed files are here, {len(files)} files in all")
    for row in missing if name_missing else ():
        print(f"{row['source']}@{row['version']} {row['path']} sha256 {row['sha256']}, {row['bytes']:,} bytes")
    return int(bool(missing))


# ---- one file, in a process of its own ------------------------------------------------------------------------------


def _in_process(path: Path, options: argparse.Namespace) -> Record:
    """What a file gives; the process says how far it has come, so that a time limit has a place."""
    asked = [f"--{name}" for name in ("round-trip", "edgetpu", "first") if getattr(options, name.replace("-", "_"))]
    command = [sys.executable, __file__, str(path), "--one", "--memory", str(options.memory), *asked]
    with tempfile.TemporaryFile("w+") as errors:
        process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=errors, text=True, start_new_session=True, cwd=path.parent
        )
        try:
            out, _ = process.communicate(timeout=options.seconds)
            code, late = process.returncode, False
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            out, _ = process.communicate()
            code, late = 0, True
        errors.seek(0)
        last = errors.read().strip().splitlines()[-1:]
    lines = [line for line in out.splitlines() if line.startswith("{")]
    record: Record = json.loads(lines[-1]) if lines else {"stage": "start"}
    if late:
        return {**record, "verdict": record.get("verdict", "slow"), "slow": record.get("stage")}
    if code or "verdict" not in record:
        return {**record, "verdict": record.get("verdict", "crashed"), "problem": f"exit code {code}: {' '.join(last)}"}
    return record


def _run_one(options: argparse.Namespace) -> None:
    """The body of that process: prints the record after each step."""
    limit = int(options.memory * 2**30)
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    record: Record = {}
    for update in _steps(options.folder, options):
        record.update(update)
        print(json.dumps(record), flush=True)


def _steps(path: Path, options: argparse.Namespace) -> Iterable[Record]:
    """Parts of the record of a file, one after the other."""
    yield {"bytes": path.stat().st_size, "kind": _kind(path), "stage": "LiteRT"}
    inputs, reference, resolver, problem = _reference(path)
    if inputs is None:
        yield {"unjudged": problem}
    yield {"stage": "netc", "resolver": resolver}
    start = time.perf_counter()
    try:
        graph = netc.load(path)
        yield {"load_s": round(time.perf_counter() - start, 2), "operations": len(graph.operations)}
        start = time.perf_counter()
        program = netc.compile(graph, threads=1)
        yield {"compile_s": round(time.perf_counter() - start, 2), "stage": "run"}
        got = [_listed(program(*row)) for row in inputs] if inputs is not None else []
    except NetcError as error:
        reasons = [_reason(d.message) for d in error.diagnostics]
        counted = [f"{reason} x{n}" if n > 1 else reason for reason, n in Counter(reasons).items()]
        yield {"verdict": "refused" if inputs is not None else "unjudged", "reasons": counted}
        graph = None
        with contextlib.suppress(NetcError):
            graph = netc.load(path)
    else:
        if inputs is None or reference is None:
            yield {"verdict": "unjudged", "reasons": []}
        else:
            default = _first_of(path, inputs, (PLAIN, DEFAULT))[0]
            judged = _judged(reference, default if resolver != DEFAULT else None, got)
            yield judged
            if judged["verdict"] == "differs" and options.first:
                yield {"stage": "first", "first": _first_difference(path, graph, inputs[0])}
    if options.round_trip and graph is not None and inputs is not None and reference is not None:
        yield {"stage": "round trip", "round_trip": _round_trip(graph, inputs, reference, resolver)}
    if options.edgetpu:
        yield {"stage": "edgetpu"}
        yield {"edgetpu": _edgetpu(path)}
    yield {"stage": "done"}


def _listed(outputs: Array | tuple[Array, ...]) -> list[Array]:
    return list(outputs) if isinstance(outputs, tuple) else [outputs]


def _reason(message: str) -> str:
    """A message without the names of tensors and numbers of operators."""
    message = message.removeprefix("netc can't run the operator ")
    message = re.sub(PLACES, "", message)
    message = re.sub(r"\b(tensors|operators)\[\d+\]", r"\1[]", message)
    return " ".join(message.split()).replace(" :", ":")[:200]


def _kind(path: Path) -> str:
    """How the numbers of the first subgraph are held."""
    from ai_edge_litert import schema_py_generated as schema

    model = schema.ModelT.InitFromObj(schema.Model.GetRootAs(path.read_bytes(), 0))
    types, names = schema.TensorType, {v: k for k, v in vars(schema.BuiltinOperator).items() if isinstance(v, int)}
    graph = model.subgraphs[0]
    codes = [names.get(max(c.builtinCode, c.deprecatedBuiltinCode), "?") for c in model.operatorCodes]
    constant = [bool(t.buffer) and model.buffers[t.buffer].data is not None for t in graph.tensors]
    activations, hybrid, plain = Counter[int](), False, False
    for operator in graph.operators or ():
        if codes[operator.opcodeIndex] in ("QUANTIZE", "DEQUANTIZE", "CAST"):
            continue
        for index in operator.outputs:
            t = graph.tensors[index]
            is_quantized = t.quantization is not None and t.quantization.scale is not None
            plain |= t.type == types.FLOAT32
            if is_quantized and t.type != types.FLOAT32:
                activations[t.type] += 1
        inputs = [i for i in operator.inputs if i >= 0]
        floats = any(graph.tensors[i].type == types.FLOAT32 for i in operator.outputs)
        hybrid |= floats and any(
            constant[i] and graph.tensors[i].type in (types.INT8, types.UINT8, types.INT4)
            and graph.tensors[i].quantization is not None and graph.tensors[i].quantization.scale is not None
            for i in inputs
        )  # fmt: skip
    halves = any(t.type == types.FLOAT16 and c for t, c in zip(graph.tensors, constant, strict=True))
    if hybrid:
        return "dynamic range"
    if activations[types.INT16] and activations[types.INT16] > activations[types.INT8]:
        return "16x8"
    if activations and plain and sum(activations.values()) > 2:
        return "mixed"
    for type_, name in ((types.INT8, "int8"), (types.UINT8, "uint8"), (types.INT16, "16x8")):
        if activations[type_]:
            return name
    return "float16" if halves else "float" if plain else "other"


# ---- LiteRT ---------------------------------------------------------------------------------------------------------


def _reference(path: Path) -> tuple[Calls | None, Calls | None, str, str]:
    """Inputs of three calls, the outputs of the reference, and which resolver gave them; or why LiteRT gives none."""
    inputs = _in_copy(lambda: _inputs(path))
    if isinstance(inputs, str):
        return None, None, "", inputs
    outputs, resolver = _first_of(path, inputs, RESOLVERS)
    return (None, None, "", resolver) if outputs is None else (inputs, outputs, resolver, "")


def _first_of(path: Path, inputs: Calls, resolvers: Sequence[str]) -> tuple[Calls | None, str]:
    """The outputs of the first resolver that runs the file, and its name; none, and the first one's reason."""
    problems = []
    for resolver in resolvers:
        outputs = _in_copy(lambda resolver=resolver: _litert(path, inputs, resolver))
        if not isinstance(outputs, str):
            return outputs, resolver
        problems.append(outputs)
    return None, problems[0]


def _in_copy(function: Any) -> Any:
    """What a function gives in a copy of this process, because LiteRT aborts on some files; its error as text."""
    reader, writer = os.pipe()
    child = os.fork()
    if not child:
        os.close(reader)
        os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
        os.dup2(2, 1)
        try:
            answer = function()
        except (RuntimeError, ValueError, MemoryError, NetcError) as error:
            answer = (" ".join(str(error).split()) or type(error).__name__)[-300:]
        with open(writer, "wb") as file:
            pickle.dump(answer, file)
        os._exit(0)
    os.close(writer)
    with open(reader, "rb") as file:
        data = file.read()
    _, status = os.waitpid(child, 0)
    return pickle.loads(data) if data else f"LiteRT aborts (status {status})"


def _interpreter(path: Path, resolver: str, **options: Any) -> Any:
    from ai_edge_litert.interpreter import Interpreter, OpResolverType

    interpreter = Interpreter(
        str(path), experimental_op_resolver_type=OpResolverType[resolver], num_threads=1, **options
    )
    interpreter.allocate_tensors()
    return interpreter


def _inputs(path: Path) -> Calls:
    """Inputs of three calls; the third are those of the first."""
    problem: Exception | None = None
    for resolver in RESOLVERS:
        try:
            interpreter = _interpreter(path, resolver)
        except (RuntimeError, ValueError) as error:
            problem = problem or error
        else:
            break
    else:
        raise problem or ValueError("no resolver")
    draw = np.random.default_rng(1)
    details = interpreter.get_input_details()
    first, second = ([_drawn(draw, d, number) for d in details] for number in range(2))
    return [first, second, first]


def _drawn(draw: np.random.Generator, details: Mapping[str, Any], number: int) -> Array:
    """An input: floats in [-1, 1] or [0, 1], all integers of quantized types, small ones of others."""
    shape, dtype = tuple(details["shape"]), np.dtype(details["dtype"])
    if dtype.kind == "f":
        return draw.uniform(number - 1, 1, shape).astype(dtype)
    if dtype.kind == "c":
        return (draw.uniform(-1, 1, shape) + 1j * draw.uniform(-1, 1, shape)).astype(dtype)
    if dtype.kind == "b":
        return draw.integers(0, 2, shape).astype(dtype)
    if dtype.kind not in "iu":
        raise ValueError(f"no numbers to draw for inputs of type {dtype}")
    if dtype.itemsize <= 2 and (details["quantization_parameters"]["scales"].size or dtype.itemsize == 1):
        bounds = np.iinfo(dtype)
        return draw.integers(bounds.min, bounds.max + 1, shape).astype(dtype)
    return draw.integers(0, 10, shape).astype(dtype)


def _litert(path: Path, inputs: Calls, resolver: str) -> Calls:
    """The outputs of LiteRT for one call after the other."""
    interpreter = _interpreter(path, resolver)
    results = []
    for row in inputs:
        for details, array in zip(interpreter.get_input_details(), row, strict=True):
            interpreter.set_tensor(details["index"], array)
        interpreter.invoke()
        results.append([interpreter.get_tensor(d["index"]) for d in interpreter.get_output_details()])
    return results


# ---- judging --------------------------------------------------------------------------------------------------------


def _judged(reference: Calls, default: Calls | None, got: Calls) -> Record:
    """The verdict on the outputs of all calls, and the largest difference relative to what is allowed."""
    worst, outputs, exact = 0.0, [], True
    for call, wanted in enumerate(reference):
        other = default[call] if default is not None else wanted
        tolerance = TOLERANCE if default is not None else 3 * TOLERANCE
        if len(wanted) != len(got[call]):
            return {"verdict": "differs", "problem": f"{len(got[call])} outputs, not {len(wanted)}"}
        for place, (a, b, c) in enumerate(zip(wanted, got[call], other, strict=True)):
            if a.shape != b.shape or a.dtype != b.dtype:
                return {
                    "verdict": "differs",
                    "problem": f"output {place} is {b.dtype}{b.shape}, not {a.dtype}{a.shape}",
                }
            if a.tobytes() == b.tobytes():
                continue
            exact, share = False, _share(a, b, c, tolerance)
            worst = max(worst, share)
            if share > 1:
                outputs.append(f"call {call + 1} output {place}: {_described(a, b)}")
    verdict = "exact" if exact else "close" if worst <= 1 else "differs"
    return {"verdict": verdict, "share": round(min(worst, 1e9), 4), **({"outputs": outputs[:6]} if outputs else {})}


def _share(wanted: Array, got: Array, other: Array, tolerance: float = TOLERANCE) -> float:
    """The largest difference as a part of the allowed one."""
    a, b, c = (x.astype(np.complex128 if x.dtype.kind == "c" else np.float64) for x in (wanted, got, other))
    with np.errstate(all="ignore"):
        error = np.where((a == b) | (np.isnan(a) & np.isnan(b)), 0, np.abs(a - b))
        own = np.where((a == c) | (np.isnan(a) & np.isnan(c)), 0, np.abs(a - c)) if a.shape == c.shape else np.zeros(1)
    finite = a[np.isfinite(a)]
    own_most = float(np.max(own, initial=0))
    if not np.all(np.isfinite(error)):
        return float("inf")
    if not error.any():
        return 0.0
    if wanted.dtype.kind not in "fc":
        is_more = np.count_nonzero(error) > 3 * np.count_nonzero(own)
        return float("inf") if is_more or not own_most else float(error.max()) / (3 * own_most)
    extent = float(max(np.abs(finite).max(), np.ptp(finite.real))) if finite.size else 0.0
    allowed = max(tolerance * extent, 3 * own_most if np.isfinite(own_most) else 0, 1e-30)
    return float(error.max()) / allowed


def _described(a: Array, b: Array) -> str:
    """How an output differs."""
    wrong = (a != b) & ~((a != a) & (b != b))
    with np.errstate(all="ignore"):
        most = np.nanmax(np.abs(a.astype(np.complex128) - b.astype(np.complex128)))
        extent = np.nanmax(np.abs(a.astype(np.complex128)))
    return (
        f"{a.dtype}{list(a.shape)}, {np.count_nonzero(wrong)} of {a.size} differ, by up to {most:.3g} (of {extent:.3g})"
    )


def _first_difference(path: Path, graph: Any, row: Sequence[Array]) -> str:
    """The first named tensor in which the interpreter and LiteRT's reference differ."""
    from netc.compiler.graph.interpreter import evaluate_operation
    from netc.compiler.ops.opaque import runnable

    tensors = _in_copy(lambda: _tensors(path, row))
    if isinstance(tensors, str):
        return tensors
    graph = runnable(graph)
    values = dict(zip(graph.inputs, row, strict=True))
    for op in graph.operations:
        for value, array in zip(op.results, evaluate_operation(op, tuple(values[v] for v in op.operands)), strict=True):
            values[value] = got = np.asarray(array)
            wanted = tensors.get(value.name or "")
            is_like = wanted is not None and wanted.shape == got.shape and wanted.dtype == got.dtype
            if wanted is not None and is_like and _share(wanted, got, wanted) > 1:
                types = ", ".join(str(v.type) for v in op.operands)
                return f"{op.name} `{value.name}` of {types}: {_described(wanted, got)}"
    return "none in the interpreter"


def _tensors(path: Path, row: Sequence[Array]) -> dict[str, Array]:
    interpreter = _interpreter(path, REFERENCE, experimental_preserve_all_tensors=True)
    for details, array in zip(interpreter.get_input_details(), row, strict=True):
        interpreter.set_tensor(details["index"], array)
    interpreter.invoke()
    found: dict[str, Array] = {}
    for details in interpreter.get_tensor_details():
        with contextlib.suppress(ValueError):  # a tensor without data
            found[details["name"]] = interpreter.get_tensor(details["index"])
    return found


# ---- other checks ---------------------------------------------------------------------------------------------------


def _round_trip(graph: Any, inputs: Calls, reference: Calls, resolver: str) -> str:
    """Whether LiteRT gives the same bytes for the file written again: `same`, or what is wrong."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "again.tflite"
        try:
            netc.write_tflite(graph, path)
        except NetcError as error:
            return f"not written: {_reason(error.diagnostics[0].message)}"
        outputs = _in_copy(lambda: _litert(path, inputs, resolver))
    if isinstance(outputs, str):
        return f"LiteRT: {outputs}"
    pairs = [(a, b) for x, y in zip(reference, outputs, strict=True) for a, b in zip(x, y, strict=False)]
    wrong = [_described(a, b) if a.shape == b.shape else "shapes" for a, b in pairs if a.tobytes() != b.tobytes()]
    return f"differs: {wrong[0]}" if wrong else "same"


def _edgetpu(path: Path) -> str:
    """What `netc check --target edgetpu` says: its exit code, and the error if it isn't one of netc's own."""
    from netc.cli import main as command

    out, errors = io.StringIO(), io.StringIO()
    code: Any
    try:
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(errors):
            sys.argv = ["netc", "check", "--target", "edgetpu", str(path)]
            code = command()
    except SystemExit as error:
        code = error.code
    except Exception as error:
        return f"crash: {type(error).__name__}: {error}"
    if code not in (0, 1, 2) or "Traceback" in errors.getvalue():
        return f"crash: code {code}: {errors.getvalue()[-300:]}"
    return f"{code}: {_reason(errors.getvalue().strip())}" if code == 2 else str(code)


# ---- printing -------------------------------------------------------------------------------------------------------


def _line(r: Record) -> str:
    """One file."""
    extra = [f"{r['compile_s']:.1f} s"] if "compile_s" in r else []
    extra += [f"share {r['share']:.2g}"] if r.get("share") else []
    extra += [str(r[key]) for key in ("slow", "problem", "unjudged", "first") if r.get(key)]
    extra += [*r.get("outputs", [])[:1], *r.get("reasons", [])[:4]]
    extra += [f"{key}: {r[key]}" for key in ("round_trip", "edgetpu") if r.get(key, "same") not in ("same", "0", "1")]
    return f"{r['verdict']:9} {r.get('kind', '?'):13} {r['file']}  {'; '.join(extra)}"


def _summary(rows: Sequence[Record]) -> None:
    """Counts by kind, then what is refused and differs, by operator."""
    print("\n" + setting("ai-edge-litert"), end="\n\n")
    of_kind: dict[str, list[Record]] = defaultdict(list)
    for r in rows:
        of_kind[r.get("kind", "?")].append(r)
    body = [_counts(kind, found) for kind, found in (*sorted(of_kind.items()), ("all", rows))]
    print(table(["kind", *VERDICTS, "right, %"], body))
    for verdict in ("differs", "crashed", "slow"):
        for r in (r for r in rows if r["verdict"] == verdict):
            print(_line(r))
    reasons: dict[str, set[str]] = defaultdict(set)
    for r in rows:
        for reason in r.get("reasons", []) if r["verdict"] == "refused" else ():
            reasons[re.sub(r" x\d+$", "", reason)].add(r["file"])
    print("\nRefused, by reason: files, reason, an example")
    for reason, names in sorted(reasons.items(), key=lambda item: (-len(item[1]), item[0])):
        print(f"{len(names):4} {reason}  [{min(names)}]")
    for key in ("round_trip", "edgetpu"):
        found = Counter(r[key] for r in rows if key in r)
        if found:
            print(f"\n{key}: " + ", ".join(f"{n} {what}" for what, n in found.most_common(30)))
    seconds = sorted(r["compile_s"] for r in rows if "compile_s" in r)
    if seconds:
        print(f"\ncompile seconds: median {seconds[len(seconds) // 2]:.1f}, most {seconds[-1]:.1f}")


def _counts(kind: str, rows: Sequence[Record]) -> list[str]:
    """A row of the table."""
    verdicts = Counter(r["verdict"] for r in rows)
    return [kind, *(str(verdicts[v]) for v in VERDICTS), _percent(rows)]


def _percent(rows: Sequence[Record]) -> str:
    """The share of files that are right, of those that LiteRT runs."""
    judged = [r for r in rows if r["verdict"] != "unjudged"]
    return f"{100 * sum(r['verdict'] in RIGHT for r in judged) / len(judged):.1f}" if judged else ""


if __name__ == "__main__":
    sys.exit(main())
