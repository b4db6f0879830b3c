"""Which output stands for which class: by name, by position, behind a background, or refused."""

from __future__ import annotations

import numpy as np
import pytest

from netc.compiler.errors import NetcError
from netc.compiler.graph.ir import Graph, Value
from netc.compiler.types import DType, TensorType
from netc.runtime.data.classes import Classes, ClassMap, Names, match_classes
from netc.runtime.data.labels import Labels


def match(
    columns: int,
    names: Names | None = None,
    labels: Names | None = None,
    *,
    count: int | None = None,
    highest: int = 0,
    background: bool = False,
) -> ClassMap:
    graph = Graph("net", (), (), (Value(TensorType(DType.F32, (2, columns))),))
    classes = Classes("pics", len(names) if names else count, names)
    return match_classes(graph, classes, highest, Labels(labels, background=background))


def numbers(found: ClassMap, count: int) -> list[int]:
    return found(np.arange(count, dtype=np.int32)).tolist()


def test_numbers_of_arrays_are_those_of_outputs() -> None:
    for columns, highest in ((3, 1), (3, 2), (10, 3), (1, 1), (2, 1)):
        assert numbers(match(columns, highest=highest), 2) == [0, 1]
    with pytest.raises(NetcError, match="pics has the label 3, but net net gives 3 classes, 0 to 2"):
        match(3, highest=3)
    with pytest.raises(NetcError, match="one score, for classes 0 and 1"):
        match(1, highest=2)


def test_a_class_fewer_is_no_background() -> None:
    with pytest.raises(NetcError, match="has 2 classes") as caught:
        match(3, count=2)
    assert "--background" in str(caught.value)
    with pytest.raises(NetcError, match="has 2 classes"):
        match(3, ("a", "b"))
    with pytest.raises(NetcError, match=r"has 2 classes \(a, b\)"):
        match(4, ("a", "b"))


def test_a_background_that_someone_names() -> None:
    assert numbers(match(3, count=2, background=True), 2) == [1, 2]
    assert numbers(match(3, highest=1, background=True), 2) == [1, 2]
    assert match(3, ("a", "b"), background=True).names == ("background", "a", "b")
    assert numbers(match(3, count=2, labels=("Background", "a", "b")), 2) == [1, 2]
    assert match(3, ("a", "b"), ("background", "a", "b")).notes == ()
    for options in ({"count": 3}, {"highest": 2}):
        with pytest.raises(NetcError, match="behind a background class net net gives 2 classes"):
            match(3, background=True, **options)


def test_names_decide() -> None:
    found = match(2, ("cat", "dog"), ("dog", "cat"))
    assert (numbers(found, 2), found.names) == ([1, 0], ("dog", "cat"))
    assert found.notes == ("pics has the classes of net net in another order: numbered as the net's labels are",)
    found = match(12, ("0", "1", "10", "11", "2"), tuple(map(str, range(12))))
    assert numbers(found, 5) == [0, 1, 10, 11, 2]
    assert "5 of the 12 classes" in found.notes[0]
    assert match(2, ("Golden_Retriever", "cat"), ("golden retriever", "cat")).notes == ()


def test_the_same_order_needs_no_word() -> None:
    for labels in (("cat", "dog"), None):
        found = match(2, ("cat", "dog"), labels)
        assert (numbers(found, 2), found.names, found.notes) == ([0, 1], ("cat", "dog"), ())


def test_other_names_are_said_and_contradicting_ones_refused() -> None:
    found = match(2, ("a", "b"), ("cat", "dog"))
    assert numbers(found, 2) == [0, 1]
    assert "calls its classes a, b, net net calls them cat, dog" in found.notes[0]
    with pytest.raises(NetcError, match="pics has `cat` as class 0, the labels of net net as class 1"):
        match(3, ("cat", "dog", "eel"), ("dog", "cat", "owl"))


def test_numbers_as_names_are_sorted_as_text() -> None:
    found = match(12, tuple(sorted(map(str, range(12)))))
    assert found.notes == ("classes of pics are numbered in the order of their names: `2` is class 4, after `11`",)
    assert match(10, tuple(map(str, range(10)))).notes == ()


def test_other_outputs_are_no_classes() -> None:
    graph = Graph("net", (), (), (Value(TensorType(DType.F32, (2, 4, 4, 3))),))
    with pytest.raises(NetcError, match=r"gives f32\[2,4,4,3\], but pics has 3 classes"):
        match_classes(graph, Classes("pics", 3), 2)
