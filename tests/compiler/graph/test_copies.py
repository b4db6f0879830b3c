"""Graphs and errors can be copied and pickled: for other processes, and to be kept."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable
from types import MappingProxyType
from typing import Any

import numpy as np
import pytest

from netc.compiler import passes
from netc.compiler.errors import Diagnostic, Location, NetcError, ShapeError
from netc.compiler.graph import GraphBuilder, evaluate, verify
from netc.compiler.graph.ir import walk
from netc.compiler.types import parse_type
from netc.frontend import load_text
from netc.frontend.diagnostics import SourceError, render
from tests.random_networks import random_case

COPIES = {"pickle": lambda value: pickle.loads(pickle.dumps(value)), "copy": copy.copy, "deepcopy": copy.deepcopy}
copies = pytest.mark.parametrize("copied", COPIES.values(), ids=COPIES)


@copies
@pytest.mark.parametrize("seed", range(4))
def test_copied_graphs_mean_the_same(copied: Callable[[Any], Any], seed: int) -> None:
    case = random_case(seed)
    graph = passes.run(case.graph, "fuse,assign-layouts")
    again = copied(graph)
    verify(again)
    assert str(again) == str(graph)
    assert [op.location for op in walk(again)] == [op.location for op in walk(graph)]
    assert all(a.operator is b.operator for a, b in zip(walk(again), walk(graph), strict=True))
    wanted = evaluate(case.graph, case.inputs, case.params)
    for a, b in zip(evaluate(copied(case.graph), case.inputs, case.params), wanted, strict=True):
        np.testing.assert_array_equal(a, b)


@copies
def test_attributes_stay_read_only(copied: Callable[[Any], Any]) -> None:
    b = GraphBuilder("g", {"preprocess": MappingProxyType({"mean": (0.5, 1.0), "inner": MappingProxyType({"a": 1})})})
    again = copied(b.finish([b.emit("relu", b.input("x", parse_type("f32[2]")))]))
    assert again.attributes["preprocess"] == {"mean": (0.5, 1.0), "inner": {"a": 1}}
    with pytest.raises(TypeError, match="does not support item assignment"):
        again.attributes["more"] = 1
    assert again.producers[again.outputs[0]] is again.operations[-1]


@copies
@pytest.mark.parametrize("kind", [NetcError, ShapeError])
def test_copied_errors_say_the_same(copied: Callable[[Any], Any], kind: type[NetcError]) -> None:
    error = kind([Diagnostic("wrong", Location("a.net", 1, 2), "do it right"), Diagnostic("more")])
    again = copied(error)
    assert type(again) is kind
    assert again.diagnostics == error.diagnostics
    assert str(again) == str(error) == "a.net:1:2: error: wrong\n  hint: do it right\nerror: more"


@copies
def test_copied_errors_show_their_source(copied: Callable[[Any], Any]) -> None:
    with pytest.raises(SourceError) as caught:
        load_text("net n(x: f32[N, 2]) {\n  return x |> dens(3)\n}\n")
    assert "return x |> dens(3)" in render(caught.value)
    assert render(copied(caught.value)) == render(caught.value)
    assert str(copied(caught.value)) == str(caught.value)
