"""Nets of models/, exports of torchvision and other files as text and back: is the graph the same, are its weights?

    python benchmarks/import_round_trip.py [NAME ...] [--exports DIR] [--tflite FOLDER [--below BYTES]] [--keep DIR]

Without names all shipped nets. `--exports` takes ONNX files of both exporters of PyTorch instead, which lie in the
folder of `onnx_exports.py --keep DIR` or are put there; `--tflite` takes the files of a folder, each content once, the
smallest first. For each: operations, lines of the text, how many parameters keep their names, seconds of the processor.
What writes the text compares the graphs itself; weights are compared here. Exit code 1 if a net fails.
"""

from __future__ import annotations

import argparse
import hashlib
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from netc.compiler.errors import InternalError, NetcError
from netc.compiler.graph.ir import Graph
from netc.frontend.index import shipped_nets
from netc.frontend.writing import written
from netc.loading import load


def _sources(arguments: argparse.Namespace) -> Iterator[tuple[str, str | Path]]:
    if arguments.tflite:
        seen: set[bytes] = set()
        for path in sorted(Path(arguments.tflite).rglob("*.tflite"), key=lambda p: (p.stat().st_size, p)):
            digest = hashlib.sha256(path.read_bytes()).digest()
            if digest not in seen and path.stat().st_size < arguments.below:
                yield path.name, path
            seen.add(digest)
    elif arguments.exports:
        from onnx_exports import EXPORTERS, file_of
        from twins import TORCHVISION

        for name in arguments.names or TORCHVISION:
            for exporter in EXPORTERS:
                yield f"{name} ({exporter})", file_of(name, exporter, arguments.exports)
    else:
        for name in arguments.names or shipped_nets():
            yield name, name


def _for_two(source: str | Path, graph: Graph) -> Graph | None:
    try:
        two = load(source, batch=2)
    except NetcError:
        return None
    return two if [v.type for v in two.inputs] != [v.type for v in graph.inputs] else None


def _check(title: str, source: str | Path, keep: Path | None) -> str:
    """Print a line about a network; how it went in a word."""
    try:
        graph = load(source)
    except NetcError as error:
        print(f"{title}: not read: {str(error).splitlines()[0][:100]}", flush=True)
        return "not read"
    start = time.process_time()
    try:
        result = written(graph, None, _for_two(source, graph))
    except InternalError as error:
        print(f"{title}: FAILED {error}", flush=True)
        return "failed"
    except NetcError as error:
        print(f"{title}: refused: {str(error).splitlines()[0][:100]}", flush=True)
        return "refused"
    took = time.process_time() - start
    arrays = result.arrays()
    for name, array in arrays.items():
        (op,) = (p for p in result.graph.parameters if p.result.name == name)
        assert op.result.type.shape == array.shape
        assert op.result.type.dtype.numpy == array.dtype
        np.testing.assert_array_equal(array, result.sources[name].attributes["value"])
    kept = sum(name == op.result.name for name, op in result.sources.items())
    lines = result.text.count("\n")
    count = len(graph.operations) - len(result.sources)
    names = f"{kept} of {len(result.sources)} names kept"
    print(f"{title}: {count} operations, {lines} lines, {result.blocks} blocks, {names}, {took:.1f} s", flush=True)
    if keep is not None:
        (keep / f"{title.replace(' ', '_')}.net").write_text(result.text, encoding="utf-8")
    return "the same"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*")
    parser.add_argument("--exports", type=Path, metavar="DIR")
    parser.add_argument("--tflite", metavar="FOLDER")
    parser.add_argument("--below", type=float, metavar="BYTES", default=float("inf"))
    parser.add_argument("--keep", type=Path, metavar="DIR")
    arguments = parser.parse_args()
    if arguments.keep is not None:
        arguments.keep.mkdir(exist_ok=True)
    counts = Counter(_check(title, source, arguments.keep) for title, source in _sources(arguments))
    print(", ".join(f"{count} {word}" for word, count in counts.items()))
    return int(counts["failed"] > 0)


if __name__ == "__main__":
    sys.exit(main())
