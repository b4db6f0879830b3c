"""Pipelines as text, the pass manager and what it does between passes, and the registry of passes."""

from __future__ import annotations

import importlib
from dataclasses import dataclass, fields, replace

import pytest

from netc.compiler import passes
from netc.compiler.errors import InternalError, NetcError
from netc.compiler.graph import Graph, parse_graph
from netc.compiler.passes import AssignLayouts, FoldConstants, Pass, PassManager, Timing
from netc.compiler.passes.base import parse_pipeline

GRAPH = parse_graph("""\
graph @g(%x: f32[2]) -> (f32[2]) {
  %0 = exp(%x) : f32[2]
  %1 = relu(%x) : f32[2]
  return %1
}
""")


@dataclass(frozen=True)
class Options(Pass):
    """A pass with one option of each kind."""

    name = "options"
    needed: int
    ratio: float = 0.5
    kind_of: str = "min max"
    on: bool = True

    def run(self, graph: Graph) -> Graph:
        return graph


@dataclass(frozen=True)
class Break(Pass):
    """A pass that loses an operation."""

    name = "break"

    def run(self, graph: Graph) -> Graph:
        return replace(graph, operations=graph.operations[:-1])


@dataclass(frozen=True)
class Trip(Pass):
    """A pass that fails."""

    name = "trip"

    def run(self, graph: Graph) -> Graph:
        raise KeyError(graph.name)


REGISTRY: dict[str, type[Pass]] = {**passes.PASSES, "options": Options}


@pytest.mark.parametrize(
    "text",
    [
        "",
        "cse",
        "cse,dce,cse",
        "fold-constants{limit=8},assign-layouts{pitch=false}",
        "options{needed=3,ratio=0.25,kind-of=max,on=false}",
        'options{needed=3,kind-of="a, b"}',
        passes.pipelines.INFERENCE,
    ],
)
def test_pipelines_print_as_they_are_read(text: str) -> None:
    assert passes.format_pipeline(parse_pipeline(text, REGISTRY)) == text


def test_spaces_and_defaults_go() -> None:
    read = passes.parse_pipeline(" cse , fold-constants { limit = 65536 } , dce ")
    assert passes.format_pipeline(read) == "cse,fold-constants,dce"
    assert passes.parse_pipeline("assign-layouts{pitch=false}") == (AssignLayouts(pitch=False),)


WRONG = [
    ("fold-batchnorm", "there is no pass `fold-batchnorm`\n  hint: did you mean fold-batch-norm?"),
    ("fuse{limt=3}", "the pass fuse has no option `limt`\n  hint: did you mean limit?"),
    ("fuse{limit=many}", "option `limit` of fuse is a number of type int, not `many`"),
    ("assign-layouts{pitch=1}", "option `pitch` of assign-layouts is true or false, not `1`"),
    ("fuse{limit}", "`limit` is not a list of options of fuse"),
    ("cse dce", "`cse dce` is not a list of passes"),
    ("cse,{", "`{` is not a list of passes"),
    ("options", "the pass options needs the option `needed`"),
]


@pytest.mark.parametrize(("text", "message"), WRONG)
def test_wrong_pipelines(text: str, message: str) -> None:
    with pytest.raises(NetcError) as caught:
        parse_pipeline(text, REGISTRY)
    assert message in str(caught.value)


def test_a_pass_that_breaks_the_graph_is_named() -> None:
    with pytest.raises(InternalError) as caught:
        PassManager([passes.dce, Break()]).run(GRAPH)
    assert str(caught.value).startswith("after the pass break: graph @g is not sound: output 0 is not defined")
    assert "the graph before it:\ngraph @g" in str(caught.value)
    PassManager([Break()], verify=False).run(GRAPH)


def test_a_pass_that_fails_is_named() -> None:
    with pytest.raises(InternalError, match="the pass trip failed with KeyError: 'g'\nthe graph before it:\ngraph @g"):
        PassManager([Trip()]).run(GRAPH)


def test_a_broken_graph_is_refused_before_the_first_pass() -> None:
    with pytest.raises(InternalError, match=r"^graph @g is not sound"):
        passes.run(Break().run(GRAPH), "dce")


def test_observers() -> None:
    every: list[str] = []
    named: list[str] = []
    changed: list[str] = []
    timings: list[Timing] = []
    graph = passes.run(
        GRAPH,
        "cse,dce,fold-constants{limit=4}",
        observers=[
            passes.print_after(every.append),
            passes.print_after(named.append, ["dce"]),
            passes.print_changed(changed.append),
            passes.record_timings(timings),
        ],
    )
    after = f"// ----- after dce -----\n{graph}"
    assert every == [f"// ----- after cse -----\n{GRAPH}", after, after.replace("dce", "fold-constants{limit=4}")]
    assert named == [after]
    assert changed == ["// ----- cse: no change -----\n", after, "// ----- fold-constants{limit=4}: no change -----\n"]
    assert [(t.name, t.operations) for t in timings] == [("cse", 2), ("dce", 1), ("fold-constants{limit=4}", 1)]
    assert all(t.seconds >= 0 for t in timings)


@pytest.mark.parametrize("name", passes.PASSES)
def test_registry(name: str) -> None:
    kind = passes.PASSES[name]
    module = name.replace("-", "_")
    assert kind.name == name
    assert kind.__module__ == f"netc.compiler.passes.{module}"
    assert kind.__name__.lower() == name.replace("-", "")
    assert kind.__doc__, "a pass needs a docstring"
    if kind is not passes.Verify:
        assert "Before::" in kind.__doc__
        assert "After::" in kind.__doc__
    assert getattr(passes, module) == kind()
    assert getattr(importlib.import_module(kind.__module__), module) == kind()
    assert all(f.type in ("bool", "int", "float", "str") for f in fields(kind))


def test_passes_can_be_called() -> None:
    assert passes.dce(GRAPH).operations == GRAPH.operations[1:]
    assert FoldConstants(limit=1)(GRAPH) is GRAPH
