"""Resource variables of TFLite files: state of the program, with LiteRT's numbers call after call."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import netc
from netc.compiler.errors import NetcError
from netc.compiler.tflite.writer import to_tflite

from .calls import check, handle, initialization, read
from .small_models import Model

START = np.arange(6).reshape(2, 3)


def model(dtype: Any = np.float32, *, initialized: bool = True, once: int = 1) -> bytes:
    """sum += x; outputs (sum * old sum) before and after, through two handles of one name."""
    m = Model()
    for _ in range(once if initialized else 0):
        m.operator("CALL_ONCE", (), (), ("CallOnceOptions", {"InitSubgraphIndex": 1}))
    x, old, new, read, y = (m.tensor(name, (2, 3), dtype) for name in ("x", "old", "new", "read", "y"))
    first = handle(m, "sum")
    m.operator("READ_VARIABLE", (first,), (old,))
    m.operator("ADD", (old, x), (new,), ("AddOptions", {}))
    m.operator("ASSIGN_VARIABLE", (first, new), ())
    m.operator("READ_VARIABLE", (handle(m, "sum"),), (read,))
    m.operator("MUL", (read, old), (y,), ("MulOptions", {}))
    return m.data((x,), (y, read, old), [initialization(sum=START.astype(dtype))])


def queue(dtype: Any, **quantization: Any) -> bytes:
    """A window over the last four rows, as streaming networks keep it: drop the first row, append x."""
    m = Model()
    m.operator("CALL_ONCE", (), (), ("CallOnceOptions", {"InitSubgraphIndex": 1}))
    x, tail, window = (m.tensor(n, s, dtype, **quantization) for n, s in (("x", (1, 3)), ("t", (3, 3)), ("w", (4, 3))))
    held = m.tensor("held", (4, 3), dtype, **quantization)
    begin, size = (m.constant(n, np.array(v, np.int32)) for n, v in (("begin", (1, 0)), ("size", (3, 3))))
    place = handle(m, "window")
    m.operator("READ_VARIABLE", (place,), (held,))
    m.operator("SLICE", (held, begin, size), (tail,), ("SliceOptions", {}))
    m.operator("CONCATENATION", (tail, x), (window,), ("ConcatenationOptions", {"Axis": 0}))
    m.operator("ASSIGN_VARIABLE", (place, window), ())
    return m.data((x,), (window,), [initialization(window=np.full((4, 3), 5, dtype))])


@pytest.mark.parametrize("dtype", [np.float32, np.int32, np.int64])
def test_a_read_sees_what_was_assigned(dtype: Any) -> None:
    graph = check(model(dtype))
    assert [op.result.name for op in graph.states] == ["sum"]
    np.testing.assert_array_equal(graph.states[0].attributes["value"], START)


@pytest.mark.parametrize(("dtype", "given"), [(np.float32, {}), (np.int8, {"scale": 0.1, "zero": -3}), (np.int16, {})])
def test_a_window_moves_on(dtype: Any, given: dict[str, Any]) -> None:
    graph = check(queue(dtype, **given))
    assert (graph.states[0].result.type.quantization is not None) == bool(given)


def test_what_is_written_is_read_the_same() -> None:
    graph = read(queue(np.int8, scale=0.1, zero=-3))
    data = to_tflite(graph)
    assert to_tflite(read(data)) == data


def test_two_calls_of_one_initialization() -> None:
    check(model(once=2))


def test_assigned_before_it_is_read_is_no_state() -> None:
    m = Model()
    x, y = m.tensor("x", (3,), np.float32), m.tensor("y", (3,), np.float32)
    place = handle(m, "v")
    m.operator("ASSIGN_VARIABLE", (place, x), ())
    m.operator("READ_VARIABLE", (place,), (y,))
    assert not check(m.data((x,), (y,))).states


def test_a_variable_that_nothing_gives_a_value() -> None:
    with pytest.raises(NetcError, match=r"READ_VARIABLE.*variable `sum` is read before anything is assigned to it"):
        netc.compile(read(model(initialized=False)))


def test_another_shape_is_refused() -> None:
    m = Model()
    m.operator("CALL_ONCE", (), (), ("CallOnceOptions", {"InitSubgraphIndex": 1}))
    x, y = m.tensor("x", (4,), np.float32), m.tensor("y", (3,), np.float32)
    place = handle(m, "v")
    m.operator("READ_VARIABLE", (place,), (y,))
    m.operator("ASSIGN_VARIABLE", (place, x), ())
    graph = read(m.data((x,), (y,), [initialization(v=np.zeros(3, np.float32))]))
    with pytest.raises(NetcError, match=r"ASSIGN_VARIABLE.*variable `v` holds f32\[3\], and f32\[4\] is assigned"):
        netc.compile(graph)


def test_a_variable_tensor_begins_with_zeros() -> None:
    m = Model()
    x, v, y = m.tensor("x", (3,), np.float32), m.variable("v", (3,), np.float32), m.tensor("y", (3,), np.float32)
    m.operator("ADD", (x, v), (y,), ("AddOptions", {}))
    assert all(op.name != "param" for op in check(m.data((x,), (y,))).operations)


def test_what_nothing_assigns_is_a_constant() -> None:
    m = Model()
    m.operator("CALL_ONCE", (), (), ("CallOnceOptions", {"InitSubgraphIndex": 1}))
    x, v, y = (m.tensor(name, (3,), np.float32) for name in "xvy")
    m.operator("READ_VARIABLE", (handle(m, "sum"),), (v,))
    m.operator("MUL", (x, v), (y,), ("MulOptions", {}))
    graph = check(m.data((x,), (y,), [initialization(sum=np.arange(3, dtype=np.float32))]))
    assert not graph.states
    assert {op.name for op in graph.operations} == {"constant", "mul"}


def test_tables_are_refused_with_their_reason() -> None:
    m = Model()
    table, y = m.resource("table"), m.tensor("y", (1,), np.int64)
    m.operator("HASHTABLE", (), (table,), ("HashtableOptions", {}))
    m.operator("HASHTABLE_SIZE", (table,), (y,), ("HashtableSizeOptions", {}))
    with pytest.raises(NetcError, match=r"HASHTABLE .*netc has no tables from keys to values"):
        netc.compile(read(m.data((), (y,))))


@pytest.mark.parametrize("index", [0, 7])
def test_an_initialization_that_is_none(index: int) -> None:
    m = Model()
    x = m.tensor("x", (3,), np.float32)
    m.operator("CALL_ONCE", (), (), ("CallOnceOptions", {"InitSubgraphIndex": index}))
    with pytest.raises(NetcError, match=r"CALL_ONCE|there is no subgraph 7"):
        netc.compile(read(m.data((x,), (x,))))
