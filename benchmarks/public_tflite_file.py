"""One public TFLite file in netc and in LiteRT: the body of the processes that `public_tflite.py` makes.

    python benchmarks/public_tflite_file.py FILE [--memory 6] [--round-trip] [--edgetpu] [--show] [--first]

Prints what is known of the file as a line of JSON, once more after each step; see `public_tflite.py` for the verdicts.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from public_files import Record, file_parser, in_copy, run_steps
from public_tflite_places import with_places
from public_verdicts import (
    Array,
    Calls,
    are_equal,
    described,
    first_difference,
    judged,
    listed,
    reason,
    reasons_of,
    share,
)

import netc
from netc.compiler.errors import NetcError

REFERENCE, DEFAULT, PLAIN = "BUILTIN_REF", "AUTO", "BUILTIN_WITHOUT_DEFAULT_DELEGATES"
RESOLVERS = (REFERENCE, PLAIN, DEFAULT)
"""In the order in which they judge; only the default one, with its delegate, runs some custom operators."""


def main() -> None:
    """Run one file."""
    p = file_parser(__doc__)
    p.add_argument("--round-trip", action="store_true")
    p.add_argument("--edgetpu", action="store_true")
    p.add_argument("--show", action="store_true")
    options = p.parse_args()
    run_steps(options.file, options, steps)


def steps(path: Path, options: argparse.Namespace) -> Iterable[Record]:
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
        start = time.process_time()
        program = netc.compile(graph, threads=1)
        yield {"compile_s": round(time.process_time() - start, 2), "stage": "run"}
        got = [listed(program(*row)) for row in inputs] if inputs is not None else []
    except NetcError as error:
        yield {"verdict": "refused" if inputs is not None else "unjudged", "reasons": reasons_of(error)}
        graph = None
        with contextlib.suppress(NetcError):
            graph = netc.load(path)
    else:
        if inputs is None or reference is None:
            yield {"verdict": "unjudged", "reasons": []}
        else:
            others = () if are_equal(reference, got) else RESOLVERS[RESOLVERS.index(resolver) + 1 :]
            verdict = judged(reference, _first_of(path, inputs, others)[0] if others else None, got)
            if verdict["verdict"] == "differs" and _kind(path) == "dynamic range":
                verdict = _operators_judged(path, graph, inputs, reference, got) or verdict
            if verdict["verdict"] == "differs":
                verdict = _places_judged(path, inputs, reference, resolver) or verdict
            yield verdict
            if verdict["verdict"] == "differs" and options.first:
                yield {"stage": "first", "first": _first_difference(path, graph, inputs[0])}
    if options.round_trip and graph is not None and inputs is not None and reference is not None:
        yield {"stage": "round trip", "round_trip": _round_trip(graph, inputs, reference, resolver)}
    if options.edgetpu:
        yield {"stage": "edgetpu"}
        yield {"edgetpu": _command("check", "--target", "edgetpu", str(path))}
    if options.show:
        yield {"stage": "show"}
        yield {"show": _command("show", str(path))}
    yield {"stage": "done"}


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
        is_custom = codes[operator.opcodeIndex] == "CUSTOM"
        hybrid |= floats and not is_custom and any(constant[i] and _is_byte(graph.tensors[i]) for i in inputs)
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


def _has_blocks(path: Path) -> bool:
    """True for a file with weights that are scaled block by block, which the reference kernels take for zeros."""
    from ai_edge_litert import schema_py_generated as schema

    model = schema.ModelT.InitFromObj(schema.Model.GetRootAs(path.read_bytes(), 0))
    details = (t.quantization.detailsType for g in model.subgraphs for t in g.tensors if t.quantization is not None)
    return schema.QuantizationDetails.BlockwiseQuantization in details


def _is_byte(tensor: Any) -> bool:
    """True for a quantized tensor of integers of at most 8 bits."""
    from ai_edge_litert import schema_py_generated as schema

    types = schema.TensorType
    is_small = tensor.type in (types.INT8, types.UINT8, types.INT4)
    return bool(is_small and tensor.quantization is not None and tensor.quantization.scale is not None)


# ---- LiteRT ---------------------------------------------------------------------------------------------------------


def _reference(path: Path) -> tuple[Calls | None, Calls | None, str, str]:
    """Inputs of three calls, the outputs of the reference, and which resolver gave them; or why LiteRT gives none."""
    inputs = in_copy(lambda: _inputs(path), "LiteRT")
    if isinstance(inputs, str):
        return None, None, "", inputs
    outputs, resolver = _first_of(path, inputs, RESOLVERS[1:] if _has_blocks(path) else RESOLVERS)
    return (None, None, "", resolver) if outputs is None else (inputs, outputs, resolver, "")


def _first_of(path: Path, inputs: Calls, resolvers: Sequence[str]) -> tuple[Calls | None, str]:
    """The outputs of the first resolver that runs the file, and its name; none, and the first one's reason."""
    problems = []
    for resolver in resolvers:
        outputs = in_copy(partial(_litert, path, inputs, resolver), "LiteRT")
        if not isinstance(outputs, str):
            return outputs, resolver
        problems.append(outputs)
    return None, problems[0]


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


def _operators_judged(path: Path, graph: Any, inputs: Calls, reference: Calls, got: Calls) -> Record | None:
    """The verdict on a network of dynamic range, in which the rounding of one sum of floats moves all that follows.

    It is close if it is no farther from LiteRT's reference kernels than the default ones are, and if each operator
    gives LiteRT's numbers for LiteRT's operands; those of dynamic range as machine code.
    """
    default, _ = _first_of(path, inputs, (DEFAULT,))
    if default is None:
        return None
    triples = [t for row in zip(reference, got, default, strict=True) for t in zip(*row, strict=True)]
    if any(np.abs(a - b).max() > np.abs(a - c).max() for a, b, c in triples):
        return None
    worst = _worst_operator(path, graph, inputs[0])
    return {"verdict": "close", "share": round(worst, 4), "by": "operators"} if worst <= 1 else None


def _places_judged(path: Path, inputs: Calls, reference: Calls, resolver: str) -> Record | None:
    """The verdict on a network that chooses places, with LiteRT's choices: close where its own differ in ties alone."""
    found = with_places(path, inputs, lambda file, rows: in_copy(lambda: _litert(file, rows, resolver), "LiteRT"))
    if found is None:
        return None
    outputs, flipped, total = found
    verdict = judged(reference, None, outputs)
    is_right = verdict["verdict"] in ("exact", "close")
    return {**verdict, "verdict": "close", "by": f"LiteRT's places: {flipped} ties of {total}"} if is_right else None


def _worst_operator(path: Path, graph: Any, row: Sequence[Array]) -> float:
    """The largest difference of an operator's results from LiteRT's for the same operands, of what is allowed."""
    from netc.compiler.graph.interpreter import evaluate_operation
    from netc.compiler.ops.opaque import runnable

    tensors, worst = in_copy(lambda: _tensors(path, row), "LiteRT"), 0.0
    if isinstance(tensors, str):
        return float("inf")
    graph = runnable(graph)
    values = dict(zip(graph.inputs, row, strict=True))
    for op in graph.operations:
        operands = [values[v] for v in op.operands]
        results = evaluate_operation(op, tuple(operands))
        if op.name.startswith("hybrid_"):
            results = _compiled(op, operands)
        for value, array in zip(op.results, results, strict=True):
            wanted = tensors.get(value.name or "")
            is_like = wanted is not None and wanted.shape == array.shape and wanted.dtype == array.dtype
            if wanted is not None and is_like and op.name not in ("constant", "param"):
                worst = max(worst, share(wanted, np.asarray(array), wanted))
            values[value] = wanted if wanted is not None and is_like else np.asarray(array)
    return worst


def _compiled(op: Any, operands: Sequence[Array]) -> tuple[Array, ...]:
    """The results of an operation as machine code; its first operand is an input, the others are constants."""
    from netc.compiler.graph.builder import GraphBuilder

    b = GraphBuilder("alone")
    x = b.input("x", op.operands[0].type)
    rest = [b.constant(a, quantization=v.type.quantization) for v, a in zip(op.operands, operands, strict=True)][1:]
    program = netc.compile(b.finish(b.operation(op.operator, [x, *rest], op.attributes).results), threads=1)
    return tuple(listed(program(operands[0])))


def _first_difference(path: Path, graph: Any, row: Sequence[Array]) -> str:
    """The first named tensor in which the interpreter and LiteRT's reference differ."""
    tensors = in_copy(lambda: _tensors(path, row), "LiteRT")
    return tensors if isinstance(tensors, str) else first_difference(tensors, graph, row)


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
            return f"not written: {reason(error.diagnostics[0].message)}"
        except Exception as error:
            return f"crash: {type(error).__name__}: {error}"
        outputs = in_copy(lambda: _litert(path, inputs, resolver), "LiteRT")
    if isinstance(outputs, str):
        return f"LiteRT: {outputs}"
    pairs = [(a, b) for x, y in zip(reference, outputs, strict=True) for a, b in zip(x, y, strict=False)]
    wrong = [described(a, b) if a.shape == b.shape else "shapes" for a, b in pairs if a.tobytes() != b.tobytes()]
    return f"differs: {wrong[0]}" if wrong else "same"


def _command(*arguments: str) -> str:
    """What a command of netc gives: its exit code, and the error if it isn't one of netc's own."""
    from netc.cli import main as command

    out, errors = io.StringIO(), io.StringIO()
    code: Any
    try:
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(errors):
            sys.argv = ["netc", *arguments]
            code = command()
    except SystemExit as error:
        code = error.code
    except Exception as error:
        return f"crash: {type(error).__name__}: {error}"
    if code not in (0, 1, 2) or "Traceback" in errors.getvalue():
        return f"crash: code {code}: {errors.getvalue()[-300:]}"
    return f"{code}: {reason(errors.getvalue().strip())}" if code == 2 else str(code)


if __name__ == "__main__":
    main()
