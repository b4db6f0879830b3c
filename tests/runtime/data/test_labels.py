"""Class names: from a list or a file, counted, or numbers where there are none."""

from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from netc.compiler.errors import NetcError
from netc.compiler.graph.ir import Graph, Value
from netc.compiler.types import DType, TensorType
from netc.runtime.data.labels import read_labels, saved_labels


def net(**preprocess: object) -> Graph:
    return Graph("net", (), (), (Value(TensorType(DType.F32, (1, 3))),), {"preprocess": preprocess})


def test_file_is_found_in_the_first_folder_that_has_it(tmp_path: Path) -> None:
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "names.txt").write_text("\ufeffcat\r\ndog \nmaillot, tank suit\n", encoding="utf-8")
    labels = read_labels(net(labels="names.txt"), [tmp_path / "a", tmp_path / "b"])
    assert [labels[i] for i in range(3)] == ["cat", "dog", "maillot, tank suit"]
    assert labels.note is None


def test_names_in_the_declaration() -> None:
    assert read_labels(net(labels=("cat", "dog", "owl")), [])[2] == "owl"


def test_numbers_where_nothing_is_declared() -> None:
    labels = read_labels(net(), [])
    assert (labels[2], labels.note) == ("class 2", None)


def test_absent_file_gives_numbers_and_a_note(tmp_path: Path) -> None:
    labels = read_labels(net(labels="names.txt"), [tmp_path])
    assert labels[0] == "class 0"
    assert labels.note is not None
    assert str(tmp_path / "names.txt") in labels.note


def test_wrong_count_and_binary_file_are_refused(tmp_path: Path) -> None:
    (tmp_path / "names.txt").write_text("cat\ndog\n")
    with pytest.raises(NetcError, match="names 2 classes, but net net has 3"):
        read_labels(net(labels="names.txt"), [tmp_path])
    (tmp_path / "names.txt").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(NetcError, match="not UTF-8"):
        read_labels(net(labels="names.txt"), [tmp_path])


def test_names_beside_the_weights(tmp_path: Path) -> None:
    file = tmp_path / "w.safetensors"
    for text, names in (
        ('["cat", "dog", "owl"]', ("cat", "dog", "owl")),
        ('["cat", "dog"]', None),
        ("[1, 2, 3]", None),
        ("cats", None),
        ("[" * 50_000, None),
        (None, None),
    ):
        save_file({"a": np.zeros(1)}, file, {"classes": text} if text else None)
        found = saved_labels(file, net())
        assert (found and found.names) == names
