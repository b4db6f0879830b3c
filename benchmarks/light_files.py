"""Files that are smaller than those of floats: size, accuracy and time of each form, in netc and in LiteRT.

    python benchmarks/light_files.py [NET] [--pictures 1000] [--reference 20] [--threads 1]

The net is written as floats, with weights of half precision, with dynamic range, and as integers of 8 bits and of 16
(calibrated on 100 pictures). netc and LiteRT's default kernels run the file on pictures: top-1 of both, on how many
both say the same, and the largest difference of an output relative to the range of all outputs; then the difference
between netc and LiteRT's reference kernels, and between LiteRT's own, on `--reference` pictures. Times are medians of
single runs. Prints a table in Markdown. Needs ai-edge-litert and the reference data.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import time
import warnings
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from common import beside_data, parser, setting, table
from numpy.typing import NDArray

import netc
from netc.compiler.graph.ir import Graph
from netc.runtime.data.images import Preprocess
from netc.runtime.data.registry import open_source

Array = NDArray[Any]

FORMS = ("floats", "float16", "dynamic_range", "int8", "int16x8")
HEADERS = (
    "form", "bytes", "top-1: netc", "LiteRT", "same class", "outputs differ by", "from reference kernels by",
    "LiteRT's kernels by", "ms: netc", "LiteRT",
)  # fmt: skip
CALIBRATED = 100


def main() -> int:
    """Compare all forms of a net."""
    options = _options()
    data = open_source("imagenet-samples", "test")
    preprocess = Preprocess.of(netc.load(options.net))
    seen = [(preprocess(picture)[np.newaxis], label) for picture, label in islice(data, options.pictures)]
    rows = []
    for form in options.forms:
        rows.append(judged(form, options, seen))
        print(*rows[-1], file=sys.stderr, flush=True)
    print(setting("ai-edge-litert"), end="\n\n")
    print(table(HEADERS, rows))
    return 0


def _options() -> argparse.Namespace:
    p = parser(__doc__)
    p.add_argument("net", nargs="?", default="mobilenet_v2_tf")
    p.add_argument("--pictures", type=int, default=1000)
    p.add_argument("--reference", type=int, default=20, help="pictures for LiteRT's reference kernels")
    p.add_argument("--threads", type=int, default=1)
    p.add_argument("--forms", nargs="*", default=FORMS, metavar="FORM")
    return p.parse_args()


def in_form(form: str, net: str, seen: list[tuple[Array, int]]) -> Graph:
    """The net with its trained weights in a form; its inputs and outputs are floats."""
    weights = beside_data("weights", f"{net}.safetensors")
    if form == "floats":
        return netc.quantize(net, weights=weights, form="dynamic_range", keep_float=["*"])
    if form in ("float16", "dynamic_range"):
        return netc.quantize(net, weights=weights, form=form)
    with warnings.catch_warnings(action="ignore"):
        samples = [x for x, _ in seen[:: max(1, len(seen) // CALIBRATED)]]
        return netc.quantize(net, weights=weights, calibration=samples, inputs="f32", outputs="f32", form=form)


def judged(form: str, options: argparse.Namespace, seen: list[tuple[Array, int]]) -> list[str]:
    """The row of a form."""
    graph = in_form(form, options.net, seen)
    with tempfile.TemporaryDirectory() as scratch:
        path = Path(scratch) / "net.tflite"
        netc.write_tflite(graph, path)
        size = path.stat().st_size
        default, reference = (interpreter(path, options.threads, kind) for kind in ("AUTO", "BUILTIN_REF"))
        times: tuple[list[float], list[float]] = [], []
        with netc.compile(netc.load(path), threads=options.threads) as program:
            ours = [timed(program, x, times[0]) for x, _ in seen]
            theirs = [timed(default, x, times[1]) for x, _ in seen]
        exact = [reference(x) for x, _ in seen[: options.reference]]
    labels = np.array([label for _, label in seen])
    shift = ours[0].shape[-1] - 1000  # a background class comes first
    found = [np.array([y.argmax() for y in each]) - shift for each in (ours, theirs)]
    right = [f"{np.mean(classes == labels):.1%}" for classes in found]
    away = [distance(ours, theirs), distance(ours, exact), distance(theirs, exact)]
    same = f"{np.mean(found[0] == found[1]):.1%}"
    each = [f"{statistics.median(t) * 1e3:.1f}" for t in times]
    return [form, f"{size:,}", *right, same, *(f"{a:.1e}" for a in away), *each]


def interpreter(path: Path, threads: int, kind: str) -> Any:
    """LiteRT as a function of the only input."""
    from ai_edge_litert.interpreter import Interpreter, OpResolverType

    found = Interpreter(str(path), experimental_op_resolver_type=OpResolverType[kind], num_threads=threads)
    found.allocate_tensors()
    places = [details[0]["index"] for details in (found.get_input_details(), found.get_output_details())]

    def run(x: Array) -> Array:
        found.set_tensor(places[0], x)
        found.invoke()
        result: Array = found.get_tensor(places[1])
        return result

    return run


def timed(run: Any, x: Array, times: list[float]) -> Array:
    """What a run gives; its time goes into a list."""
    start = time.perf_counter()
    y = np.asarray(run(x))
    times.append(time.perf_counter() - start)
    return y


def distance(some: list[Array], others: list[Array]) -> float:
    """The largest difference relative to the range of all."""
    pairs = list(zip(some, others, strict=False))
    whole = np.stack([b for _, b in pairs])
    return float(max(np.abs(a - b).max() for a, b in pairs) / np.ptp(whole))


if __name__ == "__main__":
    sys.exit(main())
