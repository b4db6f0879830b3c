"""Where the integers of a quantized ONNX file leave ONNX Runtime's, layer by layer, and what one layer's rounding does.

    python benchmarks/onnx_rounding.py FILE [--input FILE.npy]

A QDQ file computes in floats between roundings; netc's integer form has TFLite's arithmetic in fixed point. Compared
with ONNX Runtime without its rewriting, for each rounded result: how many elements differ and by how many steps when
both run from the input (*whole*); the same when netc's operators get ONNX Runtime's integers (*alone*), so that only
their own rounding counts; and by how many steps ONNX Runtime's output changes when that result alone is replaced by
netc's (*passed on*). Exit code 1 if an operator alone is off by more than one step.
"""

from __future__ import annotations

import argparse
import sys
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx

import netc
from netc.against import by_runtime
from netc.compiler.graph.interpreter import evaluate_operation
from netc.compiler.graph.ir import Graph, Operation, Scales, Value
from netc.compiler.graph.names import value_names
from netc.compiler.quantization import quantize_as_given
from netc.compiler.types import Quantization

Array = np.ndarray[Any, Any]
LAST = (0, 2, 3, 1)
"""Channels behind, as netc computes."""


@dataclass(frozen=True)
class Rounded:
    """A rounded result of the file: the node that gives it, its scale, and ONNX Runtime's integers."""

    node: Any
    scale: Quantization
    integers: Array

    @property
    def values(self) -> Array:
        """The integers as netc has them: i8, channels behind."""
        x = self.integers
        x = (x.astype(np.int16) - 128).astype(np.int8) if x.dtype == np.uint8 else x
        return x.transpose(LAST) if x.ndim == 4 else x

    def as_given(self, x: Array) -> Array:
        """Integers of netc as the file has them."""
        x = x.transpose(np.argsort(LAST)) if x.ndim == 4 else x
        return (x.astype(np.int16) + 128).astype(np.uint8) if self.integers.dtype == np.uint8 else x


def without(model: Any, node: Any, x: Array) -> Any:
    """A model that takes what a node gives as an input."""
    made = onnx.ModelProto()
    made.CopyFrom(model)
    made.graph.node.remove(node)
    kind = onnx.helper.np_dtype_to_tensor_dtype(x.dtype)
    made.graph.input.append(onnx.helper.make_tensor_value_info(node.output[0], kind, x.shape))
    return made


def rounded(model: Any, feeds: Mapping[str, Array]) -> list[Rounded]:
    """The rounded activations of a QDQ file in order."""
    known = {t.name: onnx.numpy_helper.to_array(t) for t in model.graph.initializer}
    constants = [n for n in model.graph.node if n.op_type == "Constant"]
    known |= {n.output[0]: onnx.numpy_helper.to_array(n.attribute[0].t) for n in constants}
    nodes = [n for n in model.graph.node if n.op_type == "QuantizeLinear" and n.input[0] not in known]
    nodes = [n for n in nodes if known[n.input[1]].size == 1]
    results = by_runtime(model, feeds, [n.output[0] for n in nodes])
    found = []
    for node, x in zip(nodes, results, strict=True):
        less = 128 if x.dtype == np.uint8 else 0
        scale = Quantization.of(float(known[node.input[1]]), int(known[node.input[2]]) - less)
        found.append(Rounded(node, scale, x))
    return found


def pairs(graph: Graph, results: Sequence[Rounded]) -> dict[Operation, Rounded]:
    """The rounded results that operations of netc give, both in order; what only moves integers is left out."""
    found: dict[Operation, Rounded] = {}
    waiting = list(results)
    for op in graph.operations:
        type_ = op.results[0].type
        if type_.quantization is None or op.name in ("constant", "param"):
            continue
        fitting = (i for i, r in enumerate(waiting) if r.scale == type_.quantization and r.values.shape == type_.shape)
        if op.name != "quantize" and op.operator.scales is Scales.OPERAND:
            continue
        if (place := next(fitting, None)) is not None:
            found[op] = waiting[place]
            del waiting[: place + 1]
    return found


def evaluated(graph: Graph, inputs: Sequence[Array], given: Mapping[Operation, Rounded]) -> dict[Operation, Array]:
    """What each operation gives; `given` results, not netc's own, are what others read."""
    values: dict[Value, Array] = dict(zip(graph.inputs, inputs, strict=True))
    found: dict[Operation, Array] = {}
    for op in graph.operations:
        results = evaluate_operation(op, tuple(values[v] for v in op.operands))
        values.update(zip(op.results, results, strict=True))
        found[op] = results[0]
        if op in given:
            values[op.results[0]] = given[op].values
    return found


def told(ours: Array, theirs: Array) -> str:
    """How many elements differ, and by how many steps at most."""
    far = np.abs(ours.astype(int) - theirs)
    return f"{(far > 0).mean():.2%}, {far.max()}" if far.any() else "0"


def main() -> int:
    """Print the table of a file."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file", type=Path)
    parser.add_argument("--input", type=Path, help="an array (.npy); default: drawn numbers")
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    graph = quantize_as_given(netc.load(options.file), {}).graph
    shape = graph.inputs[0].type.shape
    drawn = np.random.default_rng(3).standard_normal(shape).astype(np.float32)
    x = np.load(options.input) if options.input else drawn
    model = onnx.load(options.file)
    feeds = {model.graph.input[0].name: x}
    results = rounded(model, feeds)
    matched = pairs(graph, results)
    whole, alone = evaluated(graph, [x], {}), evaluated(graph, [x], matched)
    last, names = results[-1], value_names(graph)
    print(f"{len(matched)} of {len(results)} rounded results; elements that differ, and by how many steps at most:")
    print("| operator | result | whole | alone | passed on |\n" + "| --- " * 5 + "|")
    most = 0
    for op, result in matched.items():
        own = result.as_given(alone[op])
        changed = np.abs(own.astype(int) - result.integers).max()
        most = max(most, int(changed))
        passed = "0"
        if changed and result is not last:
            changed_feeds = {**feeds, result.node.output[0]: own}
            (after,) = by_runtime(without(model, result.node, own), changed_feeds, [last.node.output[0]])
            passed = told(after, last.integers)
        cells = op.name, names[op.results[0]], told(whole[op], result.values), told(alone[op], result.values), passed
        print("| " + " | ".join(cells) + " |", flush=True)
    return int(most > 1)


if __name__ == "__main__":
    sys.exit(main())
