"""Files with several subgraphs: the signature chooses the one that is read."""

from __future__ import annotations

from pathlib import Path

import flatbuffers
import numpy as np
import pytest

import netc
from netc.compiler.errors import NetcError
from netc.compiler.graph import evaluate
from netc.compiler.tflite.reading import read_model

from .small_models import Model


def one(operator: str) -> bytes:
    """A model of one operator on its input, which its signature calls by the operator's name."""
    m = Model()
    x, y = m.tensor(f"{operator}_x", (1, 4), np.float32), m.tensor(f"{operator}_y", (1, 4), np.float32)
    m.operator(operator, (x,), (y,))
    m.signatures.append((operator.lower(), {"x": x}, {"y": y}))
    return m.data((x,), (y,))


@pytest.fixture
def both(tmp_path: Path) -> Path:
    """RELU and NEG in one file."""
    schema = pytest.importorskip("ai_edge_litert.schema_py_generated", reason="LiteRT is not installed")
    model, other = (schema.ModelT.InitFromPackedBuf(one(name), 0) for name in ("RELU", "NEG"))
    other.subgraphs[0].operators[0].opcodeIndex = 1
    other.signatureDefs[0].subgraphIndex = 1
    model.operatorCodes += other.operatorCodes
    model.subgraphs += other.subgraphs
    model.signatureDefs += other.signatureDefs
    builder = flatbuffers.Builder(1024)
    builder.Finish(model.Pack(builder), file_identifier=b"TFL3")
    path = tmp_path / "both.tflite"
    path.write_bytes(bytes(builder.Output()))
    return path


def test_subgraphs_and_signatures_are_kept(both: Path) -> None:
    model = read_model(both.read_bytes())
    assert [[op.name for op in subgraph.operators] for subgraph in model.subgraphs] == [["RELU"], ["NEG"]]
    assert [(s.key, s.subgraph) for s in model.signatures] == [("relu", 0), ("neg", 1)]
    assert model.operators is model.subgraphs[0].operators
    assert model.at(1).operators is model.subgraphs[1].operators
    assert model.signature is model.signatures[0]
    assert model.at(1).signature is model.signatures[1]


def test_a_signature_is_chosen_by_its_key(both: Path) -> None:
    x = np.array([[-1, 0, 2, -3]], np.float32)
    wanted = {None: np.maximum(x, 0), "relu": np.maximum(x, 0), "neg": -x}
    for key, result in wanted.items():
        graph = netc.load(both, net=key)
        np.testing.assert_array_equal(evaluate(graph, [x])[0], result)
    signature = netc.load(both, net="neg").attributes["signature"]
    assert signature == {"key": "neg", "inputs": ("x",), "outputs": ("y",)}
    with pytest.raises(NetcError, match="the file has no signature `sub`"):
        netc.load(both, net="sub")


def test_signatures_of_one_subgraph_have_names_of_their_own(tmp_path: Path) -> None:
    m = Model()
    x, y, z = (m.tensor(name, (2,), np.float32) for name in ("x", "y", "z"))
    m.operator("SUB", (x, y), (z,), ("SubOptions", {}))
    m.signatures += [("less", {"a": x, "b": y}, {"c": z}), ("more", {"b": x, "a": y}, {"d": z})]
    path = tmp_path / "two.tflite"
    path.write_bytes(m.data((x, y), (z,)))
    for key, inputs, outputs in (
        (None, ("a", "b"), ("c",)),
        ("less", ("a", "b"), ("c",)),
        ("more", ("b", "a"), ("d",)),
    ):
        signature = netc.load(path, net=key).attributes["signature"]
        assert signature == {"key": key or "less", "inputs": inputs, "outputs": outputs}
