"""What is found once for operations that are alike: the work grows with their kinds, and results stay as they are."""

from __future__ import annotations

import weakref
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import netc
from netc.compiler.backends import lower, optimize
from netc.compiler.backends.cpu import choose_algorithms
from netc.compiler.backends.cpu.codegen.host import host_target
from netc.compiler.errors import Location
from netc.compiler.graph import inference, interpreter, registry, verifier
from netc.compiler.graph.alike import OncePerKind, likeness
from netc.compiler.graph.builder import GraphBuilder, Rewriter, TrackingRewriter, rewritten
from netc.compiler.graph.inference import completed
from netc.compiler.graph.interpreter import evaluate_outputs
from netc.compiler.graph.ir import Array, Graph, Operation, Operator, Value
from netc.compiler.graph.registry import lookup
from netc.compiler.lowering import reuse
from netc.compiler.modules.printer import print_module
from netc.compiler.ops.windows import winograd
from netc.compiler.passes import bodies, fuse, pipelines
from netc.compiler.types import DType, TensorType

assign_layouts, skip_padding = (  # the package's attributes of these names are passes
    import_module(f"netc.compiler.passes.{name}") for name in ("assign_layouts", "skip_padding")
)
TARGET = host_target()
DEEP = """net deep(x: f32[N, 32, 32, 16], units = 2) {
  for i in range(units) { x = relu(x + (x |> conv(16, 3) |> batch_norm |> relu |> conv(16, 3) |> batch_norm)) }
  return x
}
"""
X = TensorType(DType.F32, (4, 6))


@pytest.fixture
def deep(tmp_path: Path) -> Callable[[int], Graph]:
    """A residual net of so many units, read and compiled as if nothing had been before."""
    file = tmp_path / "deep.net"
    file.write_text(DEEP)

    def read(units: int) -> Graph:
        for known in (inference._known, inference._complete, inference._types):
            known.clear()
        return netc.load(file, settings={"units": units})

    return read


@pytest.mark.parametrize(
    ("holder", "name"),
    [
        (Operator, "result_types"),
        (Operator, "complete"),
        (verifier, "_check_operation"),
        (bodies.Bodies, "_body"),
        (skip_padding, "_cuts"),
        (assign_layouts, "_wants"),
        (assign_layouts, "_rebuilt_body"),
        (choose_algorithms, "_for_convolution"),
        (reuse, "group_key"),
    ],
)
def test_depth_takes_no_more_of(
    holder: Any, name: str, deep: Callable[[int], Graph], monkeypatch: pytest.MonkeyPatch
) -> None:
    counts: Counter[int] = Counter()
    whole = getattr(holder, name)
    units = 0

    def counted(*args: Any, **given: Any) -> Any:
        counts[units] += 1
        return whole(*args, **given)

    monkeypatch.setattr(holder, name, counted)
    for units in (4, 12):
        lower(optimize(deep(units), pipelines.INFERENCE, TARGET), TARGET, 2)
    assert 0 < counts[4] == counts[12]


@pytest.mark.parametrize("model", ["resnet18", "mobilenet_v2", "densenet121", "cnn_mnist"])
def test_the_module_is_the_one_without_sharing(model: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def lowered() -> tuple[str, str]:
        graph = optimize(netc.load(model), pipelines.INFERENCE, TARGET)
        return str(graph), print_module(lower(graph, TARGET, 2))

    shared = lowered()
    monkeypatch.setattr(inference, "_attributes_key", lambda given: None)
    monkeypatch.setattr(inference, "shared", lambda type_: type_)
    monkeypatch.setattr(OncePerKind, "__call__", lambda self, op: self._find(op))
    monkeypatch.setattr(
        bodies.Bodies, "of", lambda self, members: (seen := self._seen(members)[0], self._body(members, seen))
    )
    monkeypatch.setattr(assign_layouts._Bodies, "rebuilt", lambda self, *given: assign_layouts._rebuilt_body(*given))
    decided = choose_algorithms._decided
    monkeypatch.setattr(
        choose_algorithms, "_decided", lambda graph, kinds, choose, static=None: decided(graph, kinds, choose)
    )
    monkeypatch.setattr(reuse, "_alike_key", lambda group: None)
    assert lowered() == shared


# ---- attributes and types ----


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ({"low": 0.0, "high": 6.0}, {"low": -0.0, "high": 6.0}),
        ({"low": 1, "high": 6.0}, {"low": 1.0, "high": 6.0}),
    ],
)
def test_attributes_that_are_equal_but_differ_are_kept_apart(one: Mapping[str, Any], other: Mapping[str, Any]) -> None:
    for given in (one, other, one):
        found = completed(lookup("clamp"), given)
        assert [repr(found[name]) for name in given] == [*map(repr, given.values())]
    assert completed(lookup("clamp"), one) is completed(lookup("clamp"), dict(one))


def test_items_of_attributes_that_are_equal_but_differ_are_kept_apart() -> None:
    for shape in ((1, 24), (True, 24), (1, 24)):
        assert repr(completed(lookup("reshape"), {"shape": shape})["shape"]) == repr(shape)


def test_arrays_that_may_change_are_not_shared() -> None:
    b = GraphBuilder("net")
    first = np.array(1.0, np.float32)
    b.constant(first)
    b.constant(np.array(1.0, np.float32))
    one, other = b.operations
    first[...] = 2
    assert other.attributes["value"] == 1
    assert one.attributes is not other.attributes
    b.scalar(1.0, DType.F32)
    b.scalar(1.0, DType.F32)
    assert b.operations[2].attributes is b.operations[3].attributes
    b.scalar(1.0, DType.F64)
    assert b.operations[4].result.type.dtype is DType.F64
    assert [str(b.emit("neg", b.scalar(z, DType.F32)).type) for z in (0.0, -0.0)] == ["f32[]", "f32[]"]
    assert [np.signbit(op.attributes["value"]) for op in b.operations if op.name == "constant"][-2:] == [False, True]


def test_views_are_not_kept() -> None:
    """What they are views of may be a whole file, and may change."""
    file = np.zeros(100, np.float32)
    view = file[3:4].reshape(())
    view.flags.writeable = False
    b = GraphBuilder("net")
    b.constant(view)
    file[3] = 7
    number = np.zeros((), np.float32)
    number.flags.writeable = False
    b.constant(number)
    assert b.operations[1].attributes["value"] == 0
    kept = weakref.ref(view)
    del b, view
    assert kept() is None


def test_shared_types_have_sizes_of_python(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inference, "_types", {})
    first = inference.shared(TensorType(DType.F32, (np.int64(3), True)))
    assert [*map(type, first.shape)] == [int, int]
    assert inference.shared(TensorType(DType.F32, (3, 1))) is first


def test_an_operator_is_given_when_all_have_been_imported(monkeypatch: pytest.MonkeyPatch) -> None:
    """Another thread may still be importing the others, and the rules for this one."""
    imported: list[str] = []
    monkeypatch.setattr(registry, "_load", lambda: imported.append("all"))
    assert lookup("relu").name == "relu"
    assert imported


def test_more_kinds_than_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inference, "_MOST", 3)
    b = GraphBuilder("net")
    x = b.input("x", X)
    for _ in range(2):
        for axis in (0, 1):
            for name in ("reduce_sum", "reduce_max", "reduce_mean"):
                assert b.emit(name, x, axes=(axis,)).type.shape == (X.shape[1 - axis],)
    assert len(inference._known) <= 3


# ---- likeness, bodies, layouts ----


def test_operations_are_alike_that_differ_in_values_alone() -> None:
    b = GraphBuilder("net")
    x, y = b.input("x", X), b.input("y", X)
    half = b.input("half", TensorType(DType.F32, (4, 3)))
    for operands in ((x, y), (y, x), (x, x)):
        b.emit("add", *operands)
    b.emit("mul", x, y)
    b.emit("concat", half, half, axis=1)
    b.emit("concat", x, x, axis=0)
    b.emit("concat", x, x, axis=1)
    keys = list(map(likeness, b.operations))
    assert keys[0] == keys[1] == keys[2]
    assert len({*keys}) == 5


Place = tuple[str, int, int]
"""An operator, and the inputs that it reads."""


@pytest.mark.parametrize(
    ("second", "is_shared"),
    [(("sub", 1, 0), True), (("sub", 1, 2), True), (("sub", 0, 0), False), (("add", 0, 1), False)],
)
def test_groups_share_a_body_where_they_read_and_do_the_same(second: Place, is_shared: bool) -> None:
    b = GraphBuilder("net")
    x = [b.input(name, X) for name in "xyz"]
    outputs = [b.emit("relu", b.emit(name, x[i], x[j])) for name, i, j in (("sub", 0, 1), second)]
    one, other = (op.body for op in fuse(b.finish(outputs)).operations)
    assert one is not None
    assert (one is other) is is_shared


def test_groups_of_other_places_in_the_text_have_bodies_of_their_own() -> None:
    b = GraphBuilder("net")
    x = b.input("x", X)
    places = [Location("net.net", line, 1) for line in (1, 1, 2)]
    outputs = [b.emit("relu", b.emit("exp", x, location=place), location=place) for place in places]
    found = [op.body for op in fuse(b.finish(outputs)).operations]
    assert len({*map(id, found)}) == 3, "these have three locations"
    outputs = [b.emit("relu", b.emit("exp", x, location=places[0]), location=places[0]) for _ in range(2)]
    one, other = (op.body for op in fuse(netc.passes.dce(b.finish(outputs))).operations)
    assert one is other


def test_margins_are_for_the_operand_that_wants_them() -> None:
    b = GraphBuilder("net")
    inputs = [b.input(name, TensorType(DType.F32, (1, 6, 6, 4))) for name in "ab"]
    x, y = (b.emit("relu", value) for value in inputs)
    window = {"kernel": (3, 3), "strides": (1, 1), "padding": "same", "dilations": (1, 1)}
    gradients = [b.emit("conv2d_weight_gradient", *of, **window) for of in ((x, x), (y, inputs[1]))]
    placed = netc.passes.assign_layouts(b.finish(gradients))
    x, y = (op.result for op in placed.operations[:2])
    assert x.type == y.type
    assert x.type.margins[1:3] == ((1, 1), (1, 1))
    assert "relayout" not in [op.name for op in placed.operations]


# ---- rewriting ----


def chain(length: int) -> Graph:
    b = GraphBuilder("net")
    value = b.input("x", X)
    for _ in range(length):
        value = b.emit("neg", value)
    return b.finish([value])


@pytest.mark.parametrize("place", [0, 3, 5])
def test_what_stands_before_a_change_stays(place: int) -> None:
    graph = chain(6)
    target = graph.operations[place]

    def rule(b: Rewriter, op: Operation) -> Value | None:
        return b.emit("abs", b[op.operands[0]]) if op is target else None

    found = rewritten(graph, rule)
    verifier.verify(found)
    assert [op.name for op in found.operations] == ["abs" if i == place else "neg" for i in range(6)]
    assert found.operations[:place] == graph.operations[:place]


def test_what_a_rule_adds_without_a_change_stays_in_order() -> None:
    graph = chain(3)

    def rule(b: Rewriter, op: Operation) -> Value | None:
        if op is graph.operations[1]:
            b.emit("exp", b[op.operands[0]])
        return b.emit("abs", b[op.operands[0]]) if op is graph.operations[2] else None

    found = rewritten(graph, rule)
    verifier.verify(found)
    assert [op.name for op in found.operations] == ["neg", "exp", "neg", "abs"]
    assert rewritten(graph, lambda b, op: None) is graph


def test_a_tracking_rewriter_knows_what_is_there() -> None:
    graph = chain(3)
    b = TrackingRewriter(graph)
    first, second, third = graph.operations
    b.copy(first)
    b.replace(second.result, first.result)
    assert [v in b for v in (graph.inputs[0], first.result, second.result, third.result)] == [True, True, True, False]


# ---- packing ----


class Watched(Mapping[str, Array]):
    """Parameters, and those of them that still live."""

    def __init__(self, names: list[str]) -> None:
        self.names = names
        self.drawn: dict[str, weakref.ref[Array]] = {}

    def __getitem__(self, name: str) -> Array:
        array = np.ones((4, 6), np.float32)
        self.drawn[name] = weakref.ref(array)
        return array

    def __iter__(self) -> Iterator[str]:
        return iter(self.names)

    def __len__(self) -> int:
        return len(self.names)

    @property
    def living(self) -> list[str]:
        """Names of those that somebody holds."""
        return [name for name, array in self.drawn.items() if array() is not None]


def test_what_one_operation_reads_is_let_go_even_if_it_is_small() -> None:
    b = GraphBuilder("setup")
    names = [f"p{i}" for i in range(4)]
    params = [b.emit("param", name=n, shape=X.shape, dtype="f32", init="ones", trainable=True) for n in names]
    outputs = [b.emit("neg", b.emit("add", params[0], p)) for p in params]
    watched = Watched(names)
    for number, array in enumerate(evaluate_outputs(b.finish(outputs), watched)):
        np.testing.assert_array_equal(array, np.full((4, 6), -2, np.float32))
        assert watched.living == ["p0"], f"output {number}"


def test_outputs_that_are_kept_are_not_made_again(monkeypatch: pytest.MonkeyPatch) -> None:
    b = GraphBuilder("setup")
    large = b.emit("neg", b.constant(np.ones((3, 50_000), np.float32)))
    small = b.emit("reduce_sum", large, axes=(1,))
    made: list[str] = []
    evaluated = interpreter._evaluated
    monkeypatch.setattr(interpreter, "_evaluated", lambda op, *given: made.append(op.name) or evaluated(op, *given))
    assert len([*evaluate_outputs(b.finish([b.emit("neg", small), small, small]))]) == 3
    assert made == ["constant", "neg", "reduce_sum", "neg"]


def test_filters_of_small_groups_come_to_their_points_together(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = 0
    multiply = winograd._multiply

    def counted(*given: Any) -> None:
        nonlocal calls
        calls += 1
        multiply(*given)

    monkeypatch.setattr(winograd, "_multiply", counted)
    weight = np.random.default_rng(0).standard_normal((64, 3, 3, 8, 4), np.float32)
    operator, attributes = lookup("winograd_filter"), {"tile": 4, "stride": 1, "flip": False, "stage": "points"}
    (together,) = operator.evaluate((weight,), attributes)
    assert calls == 2
    alone = [operator.evaluate((part,), attributes)[0] for part in weight]
    np.testing.assert_array_equal(together, np.stack(alone))


def test_a_graph_is_searched_for_dead_operations_once(monkeypatch: pytest.MonkeyPatch) -> None:
    b = GraphBuilder("net")
    x = b.input("x", X)
    b.emit("exp", x)
    graph = b.finish([b.emit("neg", x)])
    clean = netc.passes.dce(graph)
    assert [op.name for op in clean.operations] == ["neg"]
    monkeypatch.setattr(Graph, "states", property(lambda self: pytest.fail("searched again")))
    assert netc.passes.dce(clean) is clean
