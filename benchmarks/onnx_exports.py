"""Exports of torchvision's and timm's nets to ONNX, by both exporters of PyTorch: do they give PyTorch's numbers?

    python benchmarks/onnx_exports.py [NAME ...] [--exporter old|new] [--keep DIR] [--meaning]

For each net: the largest difference from PyTorch, as a share of the range of its outputs, the transposes left, those
of inputs and outputs counted apart, and the time of reading. Exit code 1 if a net differs by more than 1e-4.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
import warnings
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import torch
from twins import FIXED_SIZE, TIMM, TORCHVISION, twin

from netc.compiler.errors import NetcError
from netc.compiler.graph.interpreter import evaluate
from netc.compiler.graph.ir import Graph
from netc.pipeline import compile_graph, load

LIMIT = 1e-4


def exported(name: str, exporter: str, folder: Path) -> tuple[Path, torch.Tensor, list[np.ndarray[Any, Any]]]:
    """A net's file, an input and PyTorch's outputs for it."""
    module = twin(name)
    x = torch.randn(_shape(name), generator=torch.Generator().manual_seed(1))
    path = folder / f"{name}_{exporter}.onnx"
    with torch.no_grad():
        outputs = module(x)
    outputs = list(outputs) if isinstance(outputs, tuple | list) else [outputs]
    if not path.exists():
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            torch.onnx.export(module, (x,), str(path), dynamo=exporter == "new", verbose=False)
    return path, x, [o.numpy() for o in outputs]


def _shape(name: str) -> tuple[int, ...]:
    if name.endswith("d_18"):
        return (1, 3, 8, 64, 64)
    if name == "inception_v3":
        return (1, 3, 128, 128)
    return (1, 3, 224, 224) if name.startswith(FIXED_SIZE) else (1, 3, 96, 96)


def transposes(graph: Graph) -> tuple[int, int]:
    """Transposes inside the graph, and those of inputs and outputs."""
    outer = {*graph.inputs, *graph.outputs}
    found = [op for op in graph.operations if op.name == "transpose"]
    edge = sum(op.operands[0] in outer or op.result in outer for op in found)
    return len(found) - edge, edge


def check(name: str, exporter: str, folder: Path, *, meaning: bool) -> bool:
    """Print a line about a net; True if it agrees."""
    path, x, wanted = exported(name, exporter, folder)
    start = time.perf_counter()
    try:
        graph = load(path)
    except NetcError as error:
        print(f"{name} {exporter}: REFUSED\n{error}", flush=True)
        return False
    took = time.perf_counter() - start
    if meaning:
        results = list(evaluate(graph, [x.numpy()]))
    else:
        result = compile_graph(graph)(x.numpy())
        results = list(result) if isinstance(result, tuple) else [result]
    far = max(float(np.abs(r - w).max() / max(np.ptp(w), 1e-30)) for r, w in zip(results, wanted, strict=True))
    inside, edge = transposes(graph)
    counts = Counter(op.name for op in graph.operations if op.name not in ("constant", "param"))
    common = ", ".join(f"{n} {k}" for k, n in counts.most_common(6))
    print(f"{name} {exporter}: {far:.1e}, transposes {inside} + {edge}, read in {took:.1f} s ({common})", flush=True)
    return far <= LIMIT


def main() -> int:
    """Check the nets."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", default=[*TORCHVISION, *TIMM])
    parser.add_argument("--exporter", choices=("old", "new"), action="append")
    parser.add_argument("--keep", type=Path, metavar="DIR", help="keep the files there, and take those that are there")
    parser.add_argument("--meaning", action="store_true", help="evaluate in NumPy instead of compiling")
    options = parser.parse_args()
    torch.set_num_threads(1)
    agrees = True
    with tempfile.TemporaryDirectory() as temporary:
        folder = options.keep or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        for name in options.names:
            for exporter in options.exporter or ("old", "new"):
                agrees &= check(name, exporter, folder, meaning=options.meaning)
    return int(not agrees)


if __name__ == "__main__":
    sys.exit(main())
