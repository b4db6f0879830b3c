"""Networks that choose, judged with ONNX Runtime's choices.

Where two scores differ by less than sums are rounded by, either may come first; where a number lies between two steps
of a scale, it may become either. All that follows then differs by more than roundings. So the nodes that choose are cut
out: netc's program gets what they give in ONNX Runtime as inputs, and all that they take, and the file's outputs, are
compared. Each of them by itself must give the same for the same operands; an LSTM that chooses in each of its steps,
in the first of them. Normalisations of pictures are cut out, too: ONNX Runtime sums them in single precision, and is
off by more than netc is; by themselves they may differ by 1e-3 of the range.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import helper, numpy_helper
from public_verdicts import Array, listed, share

import netc
from netc.compiler.graph.interpreter import evaluate
from netc.frontend.onnx import graph_of

CHOOSING = (
    *("ArgMax", "ArgMin", "TopK", "NonMaxSuppression"),
    *("QuantizeLinear", "DynamicQuantizeLinear", "DynamicQuantizeLSTM", "Round", "Floor", "Ceil"),
    "InstanceNormalization",
)
MOST = 600
"""Most nodes that are cut out."""
FAR = 1e-3
"""Of the range, by which normalisations may differ."""
STEPS = 4
"""How many steps of an LSTM are compared."""
Row = dict[str, Array]
"""Tensors by name."""


@dataclass(frozen=True)
class Cut:
    """A file's model, and the nodes of its main graph that choose."""

    model: Any
    nodes: Sequence[Any]

    @classmethod
    def of(cls, path: Path) -> Cut | None:
        """The cut through a file; None where nothing is chosen, or too often."""
        model = onnx.load(path)
        known = {t.name for t in model.graph.initializer}
        nodes = [n for n in model.graph.node if n.op_type in CHOOSING and n.input[0] not in known]
        return cls(model, nodes) if 0 < len(nodes) <= MOST else None

    @property
    def taken(self) -> list[str]:
        """What the nodes choose by."""
        count = {"NonMaxSuppression": 2}
        return list(dict.fromkeys(i for n in self.nodes for i in n.input[: count.get(n.op_type, 1)]))

    @property
    def given(self) -> list[str]:
        """What they give."""
        return [name for n in self.nodes for name in n.output if name]

    def shown(self) -> bytes:
        """The model with all that the nodes take and give, and their other operands, as outputs."""
        model = _copy(self.model)
        known = {o.name for o in model.graph.output} | {t.name for t in model.graph.initializer}
        names = dict.fromkeys([*(i for n in self.nodes for i in n.input if i), *self.given])
        inputs = {i.name for i in model.graph.input}
        model.graph.output.extend(onnx.ValueInfoProto(name=n) for n in names if n not in known | inputs)
        return bytes(model.SerializeToString())

    def fixed(self, row: Row) -> Any:
        """The model in which what the nodes give is an input, and what they take an output."""
        model, given = _copy(self.model), set(self.given)
        nodes = [n for n in model.graph.node if n.op_type not in CHOOSING or n.output[0] not in given]
        outputs = [o for o in model.graph.output if o.name not in given]
        known = {o.name for o in outputs} | {i.name for i in model.graph.input} | given
        outputs += [_info(n, row[n]) for n in self.taken if n not in known]
        for field, new in (("node", nodes), ("output", outputs)):
            kept = [_copy(item) for item in new]
            del getattr(model.graph, field)[:]
            getattr(model.graph, field).extend(kept)
        model.graph.input.extend(_info(name, row[name]) for name in self.given)
        return model

    def alone(self, node: Any, row: Row) -> list[Array]:
        """What a node by itself is in netc, for ONNX Runtime's operands."""
        wanted = [onnx.ValueInfoProto(name=name) for name in node.output]
        known = [numpy_helper.from_array(row[name], name) for name in dict.fromkeys(node.input[1:]) if name]
        graph = helper.make_graph([node], "alone", [_info(node.input[0], row[node.input[0]])], wanted, known)
        model = helper.make_model(graph, opset_imports=self.model.opset_import, ir_version=self.model.ir_version)
        return list(evaluate(graph_of(model, "alone"), [row[node.input[0]]]))


def with_choices(
    path: Path, rows: Sequence[Row], settings: Mapping[str, Any], run: Callable[[bytes, Row], Row | str]
) -> tuple[list[list[Array]], list[list[Array]], int] | None:
    """ONNX Runtime's outputs and netc's for each call with its choices, and how many nodes choose.

    `run` is ONNX Runtime, or says why it gives nothing. None then, where nothing is chosen, and where a node by itself
    chooses otherwise.
    """
    cut = Cut.of(path)
    if cut is None:
        return None
    wanted, got, shown = [], [], cut.shown()
    program: netc.Program | None = None
    for row in rows:
        found = run(shown, row)
        if isinstance(found, str):
            return None
        values = {**_constants(cut.model), **row, **found}
        if not all(_is_same(n, cut.alone(n, values), values) for n in cut.nodes):
            return None
        fixed = cut.fixed(values)
        if program is None:
            program = _compiled(fixed, path, settings)
        inputs = {i.name for i in fixed.graph.input} - {t.name for t in fixed.graph.initializer} - set(settings)
        got.append(listed(program(*(values[i.name] for i in fixed.graph.input if i.name in inputs))))
        wanted.append([values[o.name] for o in fixed.graph.output])
    return wanted, got, len(cut.nodes)


def _compiled(model: Any, path: Path, settings: Mapping[str, Any]) -> netc.Program:
    sizes = {
        d.dim_param or f"{i.name}_{a}" for i in model.graph.input for a, d in enumerate(i.type.tensor_type.shape.dim)
    }
    names = sizes | {i.name for i in model.graph.input}
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / path.name
        onnx.save(model, file)
        return netc.compile(netc.load(file, settings={k: v for k, v in settings.items() if k in names}), threads=1)


def _is_same(node: Any, own: Sequence[Array], values: Row) -> bool:
    """True if a node by itself gives what it gives in ONNX Runtime."""
    pairs = [(a, values[name]) for a, name in zip(own, node.output, strict=False) if name]
    if node.op_type == "DynamicQuantizeLSTM":
        return _begin_alike(node, own[0], values[node.output[0]])
    if node.op_type == "InstanceNormalization":
        return all(share(b, a, b, FAR) <= 1 for a, b in pairs)
    return all(a.shape == b.shape and np.array_equal(a, b) for a, b in pairs)


def _begin_alike(node: Any, own: Array, other: Array) -> bool:
    """True if the first steps of a recurrent layer [steps, directions, ...] are close in all directions."""
    word = next((a.s.decode() for a in node.attribute if a.name == "direction"), "forward")
    names = ["forward", "reverse"] if word == "bidirectional" else [word]
    parts = [np.s_[:STEPS, d] if name == "forward" else np.s_[-STEPS:, d] for d, name in enumerate(names)]
    return own.shape == other.shape and all(share(other[p], own[p], other[p]) <= 1 for p in parts)


def _constants(model: Any) -> Row:
    return {t.name: numpy_helper.to_array(t) for t in model.graph.initializer}


def _info(name: str, array: Array) -> Any:
    return helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(array.dtype), array.shape)


def _copy(message: Any) -> Any:
    copy = type(message)()
    copy.CopyFrom(message)
    return copy
