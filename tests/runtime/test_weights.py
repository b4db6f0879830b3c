"""Weights: layouts, messages about files that don't fit, damaged files, initial values."""

import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save_file

from netc.compiler.errors import NetcError
from netc.compiler.graph.builder import GraphBuilder
from netc.compiler.graph.ir import Graph
from netc.runtime.weights import MAX_HEADER, check_weights, initial_weights, read_metadata, read_weights, write_weights
from tests.surroundings import files_of_at_most

RNG = np.random.default_rng(0)


def graph_of(**params: tuple[tuple[int, ...], str | None]) -> Graph:
    builder = GraphBuilder("small")
    values = [
        builder.emit("param", name=name.replace("__", "."), shape=shape, checkpoint=order, init="he_normal")
        for name, (shape, order) in params.items()
    ]
    return builder.finish(values)


def floats(*shape: int) -> np.ndarray:
    return RNG.standard_normal(shape, np.float32)


def test_convolution_and_dense_are_transposed(tmp_path: Path) -> None:
    graph = graph_of(
        c1__weight=((3, 5, 6), "oiw"),
        c2__weight=((3, 4, 5, 6), "oihw"),
        c3__weight=((2, 3, 4, 5, 6), "oidhw"),
        fc__weight=((5, 6), "oi"),
        fc__bias=((6,), None),
    )
    stored = {
        "c1.weight": floats(6, 5, 3),
        "c2.weight": floats(6, 5, 3, 4),
        "c3.weight": floats(6, 5, 2, 3, 4),
        "fc.weight": floats(6, 5),
        "fc.bias": floats(6),
    }
    save_file(stored, tmp_path / "w.safetensors")
    weights = read_weights(tmp_path / "w.safetensors", graph)
    assert list(weights) == list(stored)
    assert weights["c2.weight"].shape == (3, 4, 5, 6)
    assert weights["c2.weight"][2, 1, 4, 3] == stored["c2.weight"][3, 4, 2, 1]
    assert weights["c1.weight"][2, 4, 3] == stored["c1.weight"][3, 4, 2]
    assert weights["c3.weight"][1, 2, 3, 4, 5] == stored["c3.weight"][5, 4, 1, 2, 3]
    np.testing.assert_array_equal(weights["fc.weight"], stored["fc.weight"].T)
    np.testing.assert_array_equal(weights["fc.bias"], stored["fc.bias"])


def test_write_then_read_is_the_same(tmp_path: Path) -> None:
    graph = graph_of(c__weight=((3, 4, 5, 6), "oihw"), d__weight=((5, 6), "oi"), b=((7,), None))
    arrays = dict(initial_weights(graph, seed=3))
    write_weights(tmp_path / "w.safetensors", graph, arrays)
    weights = read_weights(tmp_path / "w.safetensors", graph)
    for name, array in arrays.items():
        np.testing.assert_array_equal(weights[name], array)
    assert [p.name for p in tmp_path.iterdir()] == ["w.safetensors"]
    (tmp_path / "usual").touch()
    assert (tmp_path / "w.safetensors").stat().st_mode == (tmp_path / "usual").stat().st_mode


def test_write_refuses_missing_and_misshapen_values(tmp_path: Path) -> None:
    graph = graph_of(fc__weight=((5, 6), "oi"))
    with pytest.raises(NetcError, match=r"no value for parameter `fc.weight`"):
        write_weights(tmp_path / "w.safetensors", graph, {})
    with pytest.raises(NetcError, match=r"shape \[5, 6\], its value \[6, 5\]"):
        write_weights(tmp_path / "w.safetensors", graph, {"fc.weight": floats(6, 5)})
    with pytest.raises(NetcError, match="can't write"):
        write_weights(tmp_path / "none" / "w.safetensors", graph, {"fc.weight": floats(5, 6)})
    with pytest.raises(NetcError, match=r"can't write .*w\.safetensors: .*File too large"), files_of_at_most(100):
        write_weights(tmp_path / "w.safetensors", graph, {"fc.weight": floats(5, 6)})
    assert not list(tmp_path.iterdir())
    write_weights(os.devnull, graph, {"fc.weight": floats(5, 6)})
    assert not Path(os.devnull).is_file()


@pytest.mark.parametrize("dtype", [np.float16, np.float64])
def test_other_floats_are_converted(tmp_path: Path, dtype: type) -> None:
    stored: Any = floats(6).astype(dtype)
    save_file({"b": stored}, tmp_path / "w.safetensors")
    value = read_weights(tmp_path / "w.safetensors", graph_of(b=((6,), None)))["b"]
    assert value.dtype == np.float32
    np.testing.assert_array_equal(value, stored.astype(np.float32))


def write_raw(path: Path, header: bytes, data: bytes) -> None:
    path.write_bytes(len(header).to_bytes(8, "little") + header + data)


def test_bfloat16_is_converted(tmp_path: Path) -> None:
    exact = np.array([1.0, -2.5, 0.15625], np.float32)
    bits = (exact.view(np.uint32) >> 16).astype("<u2").tobytes()
    write_raw(tmp_path / "w.safetensors", b'{"b":{"dtype":"BF16","shape":[3],"data_offsets":[0,6]}}', bits)
    value = read_weights(tmp_path / "w.safetensors", graph_of(b=((3,), None)))["b"]
    np.testing.assert_array_equal(value, exact)


def test_one_message_lists_everything_that_does_not_fit(tmp_path: Path) -> None:
    graph = graph_of(
        conv1__weight=((3, 3, 1, 4), "oihw"), conv1__bias=((4,), None), fc__weight=((5, 6), "oi"), fc__bias=((6,), None)
    )
    stored = {
        "conv1.weight": floats(4, 1, 3, 3),
        "conv1.biass": floats(4),
        "fc.weight": floats(5, 6),
        "fc.bias": np.zeros(6, np.int32),
        "bn.num_batches_tracked": np.zeros((), np.int64),
        "attn.relative_position_index": np.zeros(6, np.int64),
    }
    save_file(stored, tmp_path / "w.safetensors")
    with pytest.raises(NetcError) as caught:
        read_weights(tmp_path / "w.safetensors", graph)
    (diagnostic,) = caught.value.diagnostics
    text = str(diagnostic)
    assert "1 missing, 1 surplus, 1 misshapen, 1 of an unsuitable type" in text
    assert "missing: conv1.bias (did you mean conv1.biass?)" in text
    assert "surplus: conv1.biass (did you mean conv1.bias?)" in text
    assert "fc.weight: found f32[5,6], the net needs [6,5]" in text
    assert "fc.bias: found i32[6], the net needs f32" in text
    assert "num_batches_tracked" not in text
    assert "relative_position_index" not in text


def test_given_arrays_are_checked_like_a_file() -> None:
    graph = graph_of(fc__weight=((5, 6), "oi"), fc__bias=((6,), None))
    arrays = {"fc.weight": floats(5, 6), "fc.bias": floats(6)}
    assert check_weights(arrays, graph) is arrays
    with pytest.raises(NetcError) as caught:
        check_weights({"fc.weight": floats(6, 5), "fc.bais": floats(6)}, graph)
    assert "missing: fc.bias (did you mean fc.bais?)" in str(caught.value)
    assert "fc.weight: found f32[6,5], the net needs [5,6]" in str(caught.value)


def test_message_about_a_wholly_other_file_is_bounded(tmp_path: Path) -> None:
    graph = graph_of(**{f"layer{i}": ((2,), None) for i in range(500)})
    save_file({f"other{i}": floats(1) for i in range(500)}, tmp_path / "w.safetensors")
    with pytest.raises(NetcError) as caught:
        read_weights(tmp_path / "w.safetensors", graph)
    assert len(str(caught.value).splitlines()) == 23
    assert "missing: ... and 490 more" in str(caught.value)


@pytest.mark.parametrize(
    "damage",
    [
        lambda data: b"",
        lambda data: b"PK\x03\x04 not at all",
        lambda data: data[:-1],
        lambda data: data[:20],
        lambda data: b"\xff" * 8 + data[8:],
        lambda data: data[:9] + b"\xff\xff" + data[11:],
        lambda data: data + b"more",
    ],
)
def test_damaged_file_gives_one_clear_message(tmp_path: Path, damage: Callable[[bytes], bytes]) -> None:
    path = tmp_path / "w.safetensors"
    save_file({"b": floats(6)}, path)
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(NetcError, match="damaged or truncated"):
        read_weights(path, graph_of(b=((6,), None)))


@pytest.mark.parametrize(
    "header",
    [
        b'{"b":{"dtype":"F32","shape":[6],"data_offsets":[0,24]},"c":{"dtype":"F32","shape":[6],"data_offsets":[0,24]}}',
        b'{"b":{"dtype":"F32","shape":[6],"data_offsets":[0,24]},"c":{"dtype":"F32","shape":[3],"data_offsets":[12,24]}}',
        b'{"b":{"dtype":"F32","shape":[6],"data_offsets":[4,28]}}',
        b'{"b":{"dtype":"F32","shape":[6],"data_offsets":[24,0]}}',
        b'{"b":{"dtype":"F32","shape":[6],"data_offsets":[0,18446744073709551615]}}',
        b'{"b":{"dtype":"F32","shape":[1000000000000],"data_offsets":[0,24]}}',
        b'{"b":{"dtype":"F32","shape":[4611686018427387904,4,6],"data_offsets":[0,24]}}',
        b'{"b":{"dtype":"F32","shape":[-6],"data_offsets":[0,24]}}',
        b'{"b":{"dtype":"F32","shape":[6.0],"data_offsets":[0,24]}}',
        b'{"b":{"dtype":"F99","shape":[6],"data_offsets":[0,24]}}',
        b'{"b":{"dtype":"F32","shape":6,"data_offsets":[0,24]}}',
        b'{"b":{"dtype":"F32","shape":[6]}}',
        b'{"b":7}',
        b'{"__metadata__":{"a":1},"b":{"dtype":"F32","shape":[6],"data_offsets":[0,24]}}',
        b"[" * 100000,
        b'{"b":' * 10000,
        b"[]",
        b"null",
        b"",
        b"\xff\xfe",
    ],
)
def test_headers_that_lie_give_one_clear_message(tmp_path: Path, header: bytes) -> None:
    path = tmp_path / "w.safetensors"
    write_raw(path, header, floats(6).tobytes())
    for read in (lambda: read_weights(path, graph_of(b=((6,), None))), lambda: read_metadata(path)):
        with pytest.raises(NetcError, match="damaged or truncated"):
            read()


def test_the_list_of_tensors_is_limited(tmp_path: Path) -> None:
    path = tmp_path / "w.safetensors"
    with path.open("wb") as file:
        file.write((MAX_HEADER + 1).to_bytes(8, "little") + b"{")
        file.truncate(2 * MAX_HEADER)
    with pytest.raises(NetcError, match="its header has 16,777,217 bytes, of which 16,777,216 may be read"):
        read_weights(path, graph_of(b=((6,), None)))


def test_what_is_no_regular_file_is_refused(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "loop").symlink_to("loop")
    for path in (tmp_path / "pipe", tmp_path / "loop", Path("/dev/zero")):
        with pytest.raises(NetcError, match=r"is a pipe or a device, not a weights file|can't read .*loop"):
            read_weights(path, graph_of(b=((6,), None)))


def test_missing_file_and_folder(tmp_path: Path) -> None:
    with pytest.raises(NetcError, match="there is no weights file"):
        read_weights(tmp_path / "none.safetensors", graph_of(b=((6,), None)))
    with pytest.raises(NetcError, match="is a folder"):
        read_weights(tmp_path, graph_of(b=((6,), None)))


def test_initial_weights_depend_on_seed_and_name_only() -> None:
    both = initial_weights(graph_of(a=((50, 40), None), b=((50, 40), None)), seed=1)
    alone = initial_weights(graph_of(b=((50, 40), None)), seed=1)
    np.testing.assert_array_equal(both["b"], alone["b"])
    assert not np.array_equal(both["a"], both["b"])
    other_seed = initial_weights(graph_of(b=((50, 40), None)), seed=2)
    assert not np.array_equal(other_seed["b"], alone["b"])


def test_initial_rules() -> None:
    builder = GraphBuilder("rules")
    for name, rule in [("h", "he_normal"), ("n", "normal(0.01)"), ("z", "zeros"), ("o", "ones")]:
        builder.emit("param", name=name, shape=(3, 3, 50, 100), init=rule)
    weights = initial_weights(builder.finish(()))
    assert weights["h"].std() == pytest.approx(np.sqrt(2 / 450), rel=0.02)
    assert weights["n"].std() == pytest.approx(0.01, rel=0.02)
    assert not weights["z"].any()
    assert (weights["o"] == 1).all()


def test_unknown_initialisation_is_refused() -> None:
    builder = GraphBuilder("rules")
    builder.emit("param", name="w", shape=(3,), init="xavier")
    with pytest.raises(NetcError, match="no initialisation `xavier`"):
        initial_weights(builder.finish(()))["w"]


def test_initial_weights_are_quick() -> None:
    graph = graph_of(w=((5000, 1000), None))
    started = time.process_time()
    initial_weights(graph)["w"]
    assert time.process_time() - started < 1  # 5 M parameters; about 0.05 s on an idle core


# ---- parts that are left out ----------------------------------------------------------------------------------------


def test_a_part_is_skipped_in_the_file_and_in_the_net(tmp_path: Path) -> None:
    stored = {"a.weight": floats(4, 3), "old.weight": floats(7, 4), "head.bias": floats(9)}
    save_file(stored, tmp_path / "w.safetensors")
    graph = graph_of(a__weight=((3, 4), "oi"), head__weight=((4, 5), "oi"), head__bias=((5,), None))
    with pytest.raises(NetcError, match="1 missing, 1 surplus, 1 misshapen") as caught:
        read_weights(tmp_path / "w.safetensors", graph)
    assert "--skip 'head.*' --skip 'old.*'" in str(caught.value)
    found = read_weights(tmp_path / "w.safetensors", graph, ("head.*", "old.*"))
    assert list(found) == ["a.weight"]
    np.testing.assert_array_equal(found["a.weight"], stored["a.weight"].T)
    given = check_weights({"a.weight": floats(3, 4), "head.bias": floats(9)}, graph, "head.*")
    assert list(given) == ["a.weight"]
    with pytest.raises(NetcError, match=r"no parameter matches `haed\.\*`"):
        read_weights(tmp_path / "w.safetensors", graph, "haed.*")


def test_a_file_of_another_net_gets_no_hint(tmp_path: Path) -> None:
    save_file({"x": floats(4, 3)}, tmp_path / "w.safetensors")
    with pytest.raises(NetcError, match="1 missing, 1 surplus") as caught:
        read_weights(tmp_path / "w.safetensors", graph_of(a__weight=((3, 4), "oi")))
    assert "--skip" not in str(caught.value)


def test_looking_for_a_name_reads_no_tensor(tmp_path: Path) -> None:
    graph = graph_of(fc__weight=((5, 6), "oi"))
    save_file({"fc.weight": floats(6, 5)}, tmp_path / "w.safetensors")
    weights = read_weights(tmp_path / "w.safetensors", graph)
    (tmp_path / "w.safetensors").unlink()
    assert "fc.weight" in weights
    assert "fc.bias" not in weights
    with pytest.raises(NetcError, match="can't read weights"):
        weights["fc.weight"]


def test_files_of_pytorch_are_told(tmp_path: Path) -> None:
    file = tmp_path / "w.pt"
    file.write_bytes(b"PK\3\4" + bytes(22) + b"\x0a\0\0\0w/data.pkl" + bytes(90))
    with pytest.raises(NetcError, match="not a safetensors file") as caught:
        read_weights(file, Graph("g", (), (), ()))
    assert "save_file(module.state_dict(), FILE)" in (caught.value.diagnostics[0].hint or "")
