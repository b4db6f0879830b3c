"""Compare gradients with PyTorch's: of softmax cross-entropy, batch norm in training mode, dropout left out.

The reference is PyTorch in float64. The error of a parameter's gradient is the norm of the difference relative to the
norm of the reference. Compiled for float64, nothing but mistakes could differ: the benchmark fails if an error exceeds
the limit. In float32 an activation that rounding carries across the corner of a ReLU changes gradients in any engine,
and batch norm over few values amplifies that: one such activation more or less decides an error. Hence several draws of
weights and data; the table has the geometric means over them of the largest and of the median error over all
parameters, and those of PyTorch in float32 to judge them by. PyTorch's modules come from a Python file as for
`against_pytorch.py`. Needs torch in the environment that holds netc.
"""

from __future__ import annotations

import argparse
import copy
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import torch
from common import NETS, beside_data, in_float64, load_module, parser, setting, table, without_dropout
from numpy.typing import NDArray
from safetensors.numpy import load_file
from safetensors.torch import save_file

import netc
from netc.compiler.graph.ir import Graph
from netc.compiler.passes import differentiate
from netc.compiler.training import loss_graph
from netc.runtime.weights import read_weights, write_weights

Arrays = Mapping[str, NDArray[Any]]


def main() -> int:
    """Compare all nets; 1 if one of them differs too much."""
    options = _options()
    torch.set_num_threads(options.threads)
    reference = load_module(options.reference or beside_data("bench", "reference_nets.py"))
    rows, sound = [], True
    for name in options.nets:
        draws = np.array([_errors(reference, name, options, draw) for draw in range(options.draws)])
        double = float(draws[:, 0, 0].max())
        sound &= double <= options.limit
        rows.append([name, *(f"{error:.1e}" for error in (double, *np.exp(np.log(draws[:, 1:]).mean(axis=0)).flat))])
        print(*rows[-1], file=sys.stderr)
    print(setting("torch"), end="\n\n")
    print(table(["net", "float64: largest", "float32: largest", "median", "PyTorch float32: largest", "median"], rows))
    print(f"\n{'All' if sound else 'NOT all'} within {options.limit:.0e} in float64.")
    return int(not sound)


def _options() -> argparse.Namespace:
    p = parser(__doc__)
    p.add_argument("--reference", type=Path, help="file of PyTorch's modules; default: beside the data")
    p.add_argument("--nets", nargs="+", default=NETS, choices=NETS, metavar="NET")
    p.add_argument("--batch", type=int, default=2)
    p.add_argument("--draws", type=int, default=3, help="how often weights and data are drawn")
    p.add_argument("--threads", type=int, default=2)
    p.add_argument("--limit", type=float, default=1e-10, help="largest error in float64")
    return p.parse_args()


def _errors(reference: ModuleType, name: str, options: argparse.Namespace, draw: int) -> list[tuple[float, float]]:
    """Largest and median error of netc in float64, of netc in float32, of PyTorch in float32."""
    torch.manual_seed(draw)
    module, shape = reference.build(name)
    net = without_dropout(netc.load(name, batch=options.batch))
    random = np.random.default_rng(draw)
    x = random.standard_normal((options.batch, *shape)).astype(np.float32)
    labels = random.integers(0, net.outputs[0].type.shape[-1], options.batch).astype(np.int32)
    with tempfile.TemporaryDirectory() as folder:
        weights = Path(folder) / f"{name}.safetensors"
        save_file({key: value.contiguous() for key, value in module.state_dict().items()}, weights)
        values = {key: np.array(value) for key, value in read_weights(weights, net).items()}
    rounded = _torch_gradients(copy.deepcopy(module), x, labels)
    exact = _torch_gradients(module.double(), x.astype(np.float64), labels)
    single = _netc_gradients(net, values, x, labels, options.threads)
    double = _netc_gradients(in_float64(net), values, x, labels, options.threads)
    return [_compare(found, exact) for found in (double, single, rounded)]


def _torch_gradients(module: torch.nn.Module, x: NDArray[Any], labels: NDArray[np.int32]) -> Arrays:
    module.train()
    for part in module.modules():
        if isinstance(part, torch.nn.Dropout):
            part.eval()
    scores = module(torch.from_numpy(x.transpose(0, 3, 1, 2).copy()))
    torch.nn.functional.cross_entropy(scores, torch.from_numpy(labels.astype(np.int64))).backward()
    return {key: p.grad.numpy() for key, p in module.named_parameters() if p.grad is not None}


def _netc_gradients(net: Graph, values: Arrays, x: NDArray[Any], labels: NDArray[np.int32], threads: int) -> Arrays:
    """Gradients under the names and in the order of dimensions of published weights, in the net's own element type."""
    dtype = net.inputs[0].type.dtype.numpy
    values = {name: value.astype(dtype) for name, value in values.items()}
    graph = differentiate(loss_graph(net, loss="softmax_cross_entropy"), "0")
    used = {name: values[name] for name in _names(graph)}
    with netc.compile(graph, weights=used, threads=threads) as program:
        _, _, *gradients = program(x.astype(dtype), labels)
    found = dict(zip(_names(net, trained=True), gradients, strict=True))
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "gradients.safetensors"
        write_weights(file, net, {**values, **found})
        return {key: value for key, value in load_file(file).items() if key in found}


def _names(graph: Graph, trained: bool = False) -> list[str]:
    """Names of the parameters."""
    return [p.result.name or "" for p in graph.parameters if p.attributes["trainable"] or not trained]


def _compare(found: Arrays, exact: Arrays) -> tuple[float, float]:
    """Largest and median error.

    A gradient may be zero in exact arithmetic, such as that of a shift before batch norm; one that is next to nothing
    is therefore compared with the largest of the net.
    """
    if found.keys() != exact.keys():
        raise SystemExit(f"not the same parameters: {sorted(found.keys() ^ exact.keys())}")
    norms = {key: float(np.linalg.norm(value)) for key, value in exact.items()}
    largest = max(norms.values())
    errors = [
        float(np.linalg.norm(found[key] - exact[key])) / (norm if norm > 1e-9 * largest else largest)
        for key, norm in norms.items()
    ]
    return max(errors), float(np.median(errors))


if __name__ == "__main__":
    sys.exit(main())
