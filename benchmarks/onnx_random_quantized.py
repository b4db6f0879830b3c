"""Random quantized ONNX models of a few layers against ONNX Runtime without its rewriting, on several processors.

    python benchmarks/onnx_random_quantized.py [--count 300] [--seed 0] [--cpu A,B] [--emulated A,B] [--litert]

Layers are spelt with floats between QuantizeLinear and DequantizeLinear, or as QLinear operators. In most of the
models all scales are powers of two and sums have less than 24 bits, so that floats round nothing: there all bytes must
be ONNX Runtime's. In the others they may be off by steps that grow with the depth, and few of them. On two processors
of those that run here (`--cpu`), and in emulators (`--emulated`, see tests/emulators), the program must give the bytes
that the optimized graph means. With `--litert`, LiteRT's reference kernels must give the bytes of the integer TFLite
file, too. Exit code 1 if a model gives other numbers; what netc refuses is counted by reason.
"""

from __future__ import annotations

import argparse
import re
import sys
import tempfile
import warnings
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from onnx_integers import differing, floats_left
from onnx_judge import count_wrong, wanted_of
from onnx_quantized_models import drawn
from onnx_quantized_parts import Model

from netc.compiler.backends import find_target, optimize
from netc.compiler.errors import NetcError
from netc.compiler.graph.interpreter import evaluate
from netc.compiler.graph.ir import Graph
from netc.compiler.passes import pipelines
from netc.compiler.quantization import quantize_as_given
from netc.compiler.tflite import to_tflite
from netc.frontend.onnx import graph_of
from netc.library import build_library
from netc.pipeline import compile_graph
from netc.runtime.host import runs_here

sys.path.append(str(Path(__file__).resolve().parents[1]))
from tests.emulators.processes import missing, run_library

Array = np.ndarray[Any, Any]
CPUS = "host,x86-64-v2,haswell,cascadelake,icelake-server,alderlake,sapphirerapids"


# ---- comparison ------------------------------------------------------------------------------------------------------


def far(found: Array, wanted: Array, m: Model) -> str | None:
    """What is wrong with a result."""
    if found.shape != wanted.shape or found.dtype != wanted.dtype:
        return f"{found.dtype}{found.shape}, not {wanted.dtype}{wanted.shape}"
    if wanted.dtype == np.float32:
        found, wanted = (np.rint(a / np.float32(m.tensors[-1].scale)) for a in (found, wanted))
    steps = np.abs(found.astype(np.int64) - wanted.astype(np.int64))
    share, most = float((steps > 0).mean()) if steps.size else 0.0, int(steps.max(initial=0))
    if m.is_exact:
        return f"{share:.1%} of the bytes, by up to {most}" if most else None
    few = (steps > 0).sum() <= 2 + 0.03 * m.depth * steps.size
    return None if few and most <= 1 + m.depth // 2 else f"{share:.1%} of the bytes, by up to {most} steps"


def problems(seed: int, options: argparse.Namespace, counts: Counter[str]) -> list[str]:
    """What is wrong with one model."""
    made, x, m = drawn(seed)
    wanted = wanted_of(made, [x], rewritten=False)
    if isinstance(wanted, str):
        counts["ONNX Runtime: " + re.sub(r"\d+", "#", wanted)[:120]] += 1
        return []
    try:
        graph = graph_of(made, "random")
        counts["exact" if m.is_exact else "near"] += 1
        pairs = enumerate(zip(evaluate(graph, [x]), wanted, strict=True))
        found = [f"meaning, output {i}: {p}" for i, (a, b) in pairs if (p := far(np.asarray(a), b, m))]
        here = [cpu for cpu in options.cpu.split(",") if cpu and runs_here(find_target(cpu))]
        for cpu in m.rng.sample(here, min(2, len(here))):
            found += compiled(graph, x, cpu, m, wanted)
        for cpu in filter(None, options.emulated.split(",")):
            found += emulated(graph, x, cpu, m, wanted)
        if options.litert and x.dtype != np.float32:
            found += of_litert(graph, x, counts)
    except NetcError as error:
        counts["refused: " + re.sub(r"\d+", "#", error.diagnostics[0].message)[:120]] += 1
        return []
    except RuntimeError as error:  # of an emulator, or of LiteRT
        return [str(error)]
    return found


def compiled(graph: Graph, x: Array, cpu: str, m: Model, wanted: Sequence[Array]) -> list[str]:
    """What is wrong with a program for a processor of this machine."""
    meant = evaluate(optimize(graph, pipelines.INFERENCE, find_target(cpu)), [x])
    with compile_graph(graph, cpu=cpu, threads=m.rng.randint(1, 3)) as program:
        results = program(x)
    return _judged(cpu, results if isinstance(results, tuple) else (results,), meant, wanted, m)


def _judged(cpu: str, results: Sequence[Any], meant: Sequence[Any], wanted: Sequence[Array], m: Model) -> list[str]:
    found = list[str]()
    for i, (result, own, theirs) in enumerate(zip(results, meant, wanted, strict=True)):
        if (problem := far(np.asarray(result), theirs, m)) is not None:
            found.append(f"{cpu}, output {i}: {problem}")
        if (problem := far(np.asarray(result), np.asarray(own), m)) is not None:
            found.append(f"{cpu}, output {i}, beside its own meaning: {problem}")
    return found


def emulated(graph: Graph, x: Array, cpu: str, m: Model, wanted: Sequence[Array]) -> list[str]:
    """What is wrong with a library for a processor that is emulated."""
    meant = evaluate(optimize(graph, pipelines.INFERENCE, find_target(cpu)), [x])
    with tempfile.TemporaryDirectory() as folder:
        library = build_library(graph, Path(folder) / "net", target=cpu, prefix="net", selftest=False)
        return _judged(cpu, run_library(cpu, library, [x]), meant, wanted, m)


def of_litert(graph: Graph, x: Array, counts: Counter[str]) -> list[str]:
    """What is wrong with the integer TFLite file."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        given = quantize_as_given(graph, {}).graph
        if len(given.outputs) > 1:
            return []
        differ, ours, theirs = differing(given, to_tflite(given), [x])
    floats = floats_left(given)
    counts["LiteRT, integers" if floats == "none" else "LiteRT, floats left"] += 1
    apart = float(np.abs(np.subtract(ours[0], theirs[0], dtype=np.float64)).max(initial=0))
    return [f"LiteRT: off by {apart}, floats left: {floats}"] if differ and (floats == "none" or apart > 1) else []


def main() -> int:
    """Draw and compare."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=300)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--cpu", default=CPUS, metavar="NAME,...")
    parser.add_argument("--emulated", default="", metavar="NAME,...")
    parser.add_argument("--litert", action="store_true")
    options = parser.parse_args()
    for cpu in filter(None, options.emulated.split(",")):
        if (lack := missing(cpu)) is not None:
            parser.error(f"{cpu}: {lack}")
    seeds = range(options.seed, options.seed + options.count)
    return count_wrong(seeds, lambda seed, counts: problems(seed, options, counts))


if __name__ == "__main__":
    sys.exit(main())
