"""Shipped nets in 8-bit integers: each file's bytes against LiteRT's reference kernels, and what an Edge TPU would run.

    python benchmarks/integer_zoo.py [NET ...] [--results FILE] [--size 96] [--pictures 4]

Weights are drawn at random; pictures are ImageNet samples, of side `--size` where a net leaves that open. The file
that `netc quantize` writes is read again and compared with LiteRT: the outputs of the machine code for each picture,
and, for the first one, every tensor that the interpreter computes. Where the Edge TPU takes less than the whole file,
the file of `netc compile --target edgetpu` is counted, too. Findings are kept in `--results`; nets found there aren't
run again. Needs ai-edge-litert and the reference data.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from bit_exact import Array, as_bytes, litert, pictures
from common import parser, setting, table

import netc
from netc.compiler.edgetpu import predict, read_tflite
from netc.compiler.errors import NetcError
from netc.compiler.graph.interpreter import evaluate_operation
from netc.compiler.graph.ir import Graph
from netc.compiler.quantization import QuantizationWarning
from netc.compiler.tflite import to_tflite
from netc.edgetpu import edgetpu_model
from netc.frontend import shipped_nets
from netc.runtime.data.images import Preprocess
from netc.runtime.data.layout import as_input

LARGE = ("alexnet", "amoebanet_a", "nasnet_large", "pnasnet", "pnasnet5large", "vgg")
"""Beginnings of the names of nets that are left out unless they are named: they take minutes."""


@dataclass(frozen=True)
class Finding:
    """What is known of a net."""

    net: str
    operators: int = 0
    """In the TFLite file."""
    output_bytes: int = 0
    differing: int = 0
    """Bytes of the outputs that the machine code has otherwise than LiteRT."""
    tensors: int = 0
    differing_tensors: int = 0
    """Of the tensors, those that the interpreter has otherwise than LiteRT."""
    mapped: int = 0
    """Operators of the file on the Edge TPU."""
    legal: str = ""
    """Of the file made for the Edge TPU: operators on it, of how many."""
    problem: str = ""

    @property
    def row(self) -> list[str]:
        """A row of the table."""
        if self.problem:
            return [self.net, self.problem, "", "", "", ""]
        different = f"{self.differing:,} of {self.output_bytes:,}", f"{self.differing_tensors} of {self.tensors}"
        return [self.net, f"{self.operators}", *different, f"{self.mapped} of {self.operators}", self.legal]


def main() -> None:
    """Find out what isn't known yet, and print all as a table."""
    options = _options()
    path: Path = options.results
    lines = path.read_text().splitlines() if path.exists() else []
    known = {found.net: found for found in (Finding(**json.loads(line)) for line in lines)}
    for net in options.nets or [n for n in shipped_nets() if not n.startswith(LARGE)]:
        if net not in known:
            known[net] = finding(net, options.size, options.pictures)
            print(*known[net].row, sep=" | ", file=sys.stderr, flush=True)
            path.write_text("".join(f"{json.dumps(asdict(found))}\n" for found in known.values()))
    print(setting("ai-edge-litert", "pillow"), end="\n\n")
    headers = [
        "net",
        "operators",
        "output bytes that differ",
        "tensors that differ",
        "mapped",
        "mapped when made for it",
    ]
    print(table(headers, [known[net].row for net in sorted(known)]))


def _options() -> argparse.Namespace:
    p = parser(__doc__)
    p.add_argument("nets", nargs="*", metavar="NET", help="default: all but the largest")
    p.add_argument("--results", type=Path, default=Path("integer_zoo.jsonl"), help="what is known")
    p.add_argument("--size", type=int, default=96, help="of pictures, where the net leaves it open")
    p.add_argument("--pictures", type=int, default=4)
    return p.parse_args()


def finding(net: str, size: int, count: int) -> Finding:
    """Quantize a net, and compare what came out with LiteRT."""
    try:
        return _finding(net, _loaded(net, size), count)
    except NetcError as error:
        return Finding(net, problem=error.diagnostics[0].message)


def _loaded(net: str, size: int) -> Graph:
    try:
        return netc.load(net, settings={"size": size})
    except NetcError:
        return netc.load(net)


def _finding(net: str, graph: Graph, count: int) -> Finding:
    preprocess = Preprocess.of(graph)
    channels = graph.inputs[0].type.shape[-1]
    shown = [np.asarray(picture)[..., :channels] for picture in pictures(count)]
    samples = [preprocess(picture)[np.newaxis] for picture in shown]
    with warnings.catch_warnings(), tempfile.TemporaryDirectory() as folder:
        warnings.simplefilter("ignore", QuantizationWarning)
        data = to_tflite(netc.quantize(graph, calibration=samples, threads=1))
        path = Path(folder) / f"{net}.tflite"
        path.write_bytes(data)
        compared = _compared(path, samples)
        report = predict(read_tflite(data, net))
        whole = not report.on_cpu
        legal = "" if whole else _legal(net, graph, samples)
    return Finding(net, len(report.rows), *compared, len(report.mapped), legal)


def _compared(path: Path, samples: Sequence[Array]) -> tuple[int, int, int, int]:
    """Bytes of outputs, those that differ, tensors, those that differ."""
    graph = netc.load(path)
    counts = np.zeros(4, np.int64)
    with netc.compile(graph, threads=1) as program:
        for number, sample in enumerate(samples):
            x = as_input(sample, graph.inputs[0].type)
            expected = litert(path, [x], layers=number == 0)
            if expected is None:
                raise NetcError("LiteRT refuses or aborts")
            results = program(x)
            for want, got in zip(expected[""], results if isinstance(results, tuple) else (results,), strict=True):
                counts[:2] += want.nbytes, np.count_nonzero(as_bytes(want) != as_bytes(got))
            if number == 0:
                counts[2:] += _tensors(graph, x, expected)
    total, differing, tensors, differing_tensors = counts.tolist()
    return total, differing, tensors, differing_tensors


def _tensors(graph: Graph, x: Array, expected: Mapping[str, Array]) -> tuple[int, int]:
    """Tensors that LiteRT and the interpreter both have, and those that differ."""
    values = {graph.inputs[0]: x}
    seen = differing = 0
    for op in graph.operations:
        for value, array in zip(op.results, evaluate_operation(op, tuple(values[v] for v in op.operands)), strict=True):
            values[value] = np.asarray(array)
            want = expected.get(value.name or "")
            if op.name != "constant" and want is not None and want.shape == values[value].shape:
                seen += 1
                differing += not np.array_equal(want, values[value])
    return seen, differing


def _legal(net: str, graph: Graph, samples: Sequence[Array]) -> str:
    """What of the file made for the Edge TPU runs there."""
    report = predict(read_tflite(edgetpu_model(graph, samples, weights=None, threads=1).data, net))
    return f"{len(report.mapped)} of {len(report.rows)}"


if __name__ == "__main__":
    main()
