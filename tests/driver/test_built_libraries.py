"""Libraries of `netc build` that Python loads back, and on other processors."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import netc
from netc.compiler.errors import NetcError
from netc.compiler.graph.builder import GraphBuilder
from netc.compiler.graph.interpreter import evaluate
from netc.compiler.graph.ir import Value
from netc.compiler.graph.state import Session
from netc.compiler.library.elf import Elf
from netc.compiler.library.selftest import numbers, sample
from netc.compiler.types import DType, Quantization, TensorType, parse_type
from netc.library import build_library
from netc.loading import load
from netc.runtime.data.images import Preprocess
from netc.runtime.data.layout import as_input
from tests.emulators.processes import PROCESSES, missing, run_library
from tests.quantized_nets import PICTURE, Net, integers, quantized

from .libraries import STATE, needs_ziglang


@needs_ziglang
@pytest.mark.parametrize("threads", [1, 2])
def test_libraries_load_back(tiny: Path, tmp_path: Path, threads: int) -> None:
    build_library(tiny, tmp_path / "out", prefix="net", threads=threads)
    x = np.random.default_rng(0).random((1, 12, 12, 1), np.float32)
    with netc.load_library(tmp_path / "out/net.so", threads=threads) as library:
        library.selftest()
        expected = netc.compile(tiny, threads=1)(x)
        for _ in range(3):
            np.testing.assert_array_equal(library(x), expected)
        np.testing.assert_array_equal(library(image=x), expected)
        with pytest.raises(NetcError, match=r"takes a NumPy array float32\[1,12,12,1\]"):
            library(x[0])
        with pytest.raises(NetcError, match="tiny takes image"):
            library(picture=x)
    with pytest.raises(NetcError, match=f"runs on 1 to {threads} threads"):
        netc.load_library(tmp_path / "out/net.so", threads=threads + 1)
    with pytest.raises(NetcError, match="no library of `netc build`"):
        netc.load_library(tmp_path / "out/net.h")
    data = (tmp_path / "out/net.so").read_bytes()
    facts = data.index(b'{"netc_library"')
    for length in (len(data) - 300, data.index(b"\0", facts) + 1):
        (tmp_path / "out/half.so").write_bytes(data[:length])
        with pytest.raises(NetcError, match="its end is missing"):
            netc.load_library(tmp_path / "out/half.so")


@needs_ziglang
@pytest.mark.parametrize(
    ("true", "false"),
    [
        (b'"netc_library":1', b'"netc_library":7'),
        (b'"shape":[1,12,12,1]', b'"shape":[1,-2,12,1]'),
        (b'"shape":[1,12,12,1]', b'"shape":[1,92,12,1]'),
        (b'"dtype":"f32"', b'"dtype":"f33"'),
        (b'"code":"', b'"code":"\xff'),
        (b'"threads":', b'"threats":'),
        (b'{"netc_library"', b'{"netc_library\0'),
        (b'"checksum":"', b'"checksun":"'),
    ],
)
def test_false_facts_are_refused(tiny: Path, tmp_path: Path, true: bytes, false: bytes) -> None:
    build_library(tiny, tmp_path / "out", prefix="net", embed_weights=True, selftest=False)
    path = tmp_path / "out/net.so"
    data = path.read_bytes()
    place = data.index(true)
    path.write_bytes(data[:place] + false + data[place + len(false) :])
    with pytest.raises(NetcError, match=r"damaged: its facts are not those|no library of `netc build`"):
        netc.load_library(path)


@needs_ziglang
def test_other_weights_are_refused(tiny: Path, tmp_path: Path) -> None:
    build_library(tiny, tmp_path / "out", prefix="net", selftest=False)
    build_library(tiny, tmp_path / "more", prefix="net", settings={"classes": 100}, selftest=False)
    build_library(tiny, tmp_path / "again", prefix="net", seed=1, selftest=False)
    path, weights = tmp_path / "out/net.so", tmp_path / "out/net.weights"
    with pytest.raises(NetcError, match="another size"):
        netc.load_library(path, weights=tmp_path / "more/net.weights")
    x = np.random.default_rng(0).random((1, 12, 12, 1), np.float32)
    retrained = netc.load_library(path, weights=tmp_path / "again/net.weights")  # of the same code
    np.testing.assert_array_equal(retrained(x), netc.compile(tiny, seed=1, threads=1)(x))
    data = bytearray(weights.read_bytes())
    data[-9] ^= 1
    weights.write_bytes(data)
    with pytest.raises(NetcError, match="damaged"):
        netc.load_library(path)
    data[8] ^= 1
    weights.write_bytes(data)
    with pytest.raises(NetcError, match="belong to other code"):
        netc.load_library(path)


@needs_ziglang
def test_states_are_kept_and_reset(tmp_path: Path) -> None:
    graph = netc.parse_graph(STATE)
    build_library(graph, tmp_path / "out", prefix="net")
    library, session = netc.load_library(tmp_path / "out/net.so"), Session(graph)
    for _ in range(2):
        for value in (1, 2, 3):
            x = np.full((1, 4), value, np.float32)
            np.testing.assert_array_equal(library(x), session([x])[0])
        library.selftest()
        library.reset()
        session.reset()


@needs_ziglang
@pytest.mark.parametrize("resize", ["nearest", "box", "bilinear", "bicubic", "lanczos"])
def test_pictures_are_prepared_as_in_python(resize: str, tmp_path: Path) -> None:
    text = f"""
net small(image: f32[N, 7, 9, 3]) {{
  return image |> relu
}}
preprocess small {{ crop = 0.875, resize = "{resize}", divide = 255, mean = [0.485, 0.456, 0.406], std = 0.25 }}
"""
    (tmp_path / "small.net").write_text(text)
    build_library(tmp_path / "small.net", tmp_path / "out")
    library, graph = netc.load_library(tmp_path / "out/small.so"), load(tmp_path / "small.net")
    for shape in ((7, 9, 3), (50, 31, 3), (5, 3, 1), (1, 1, 3), (20, 20, 3)):
        pixels = np.random.default_rng(1).integers(0, 256, shape, np.uint8)
        expected = as_input(Preprocess.of(graph)(pixels)[np.newaxis], graph.inputs[0].type)
        np.testing.assert_array_equal(library.preprocess(pixels), expected)


def network(n: Net, x: Value) -> Value:
    y = n.b.emit("relu6", n.conv(x, 3, 3, 8, 13))
    y = n.b.emit("relu", n.conv(y, 3, 3, 1, 13, groups=13))
    y = n.conv(y, 1, 1, 13, 12, strides=(2, 2))
    y = n.b.emit("reduce_mean", n.b.emit("sigmoid", y), axes=(1, 2))
    return n.b.emit("dense", y, n.constant(12, 10, scale=0.5), n.constant(10))


@pytest.mark.parametrize("target", ["aarch64-linux", "armv7"])
def test_products_that_dont_fit_sixteen_bits(target: str, tmp_path: Path) -> None:
    """Of two times -128 * -128, and of runs of all lengths, which are cut into parts."""
    if reason := missing(target):
        pytest.skip(reason)
    b = GraphBuilder("net")
    zero_points = {"x_zero": -128, "weight_zero": 0}
    window = {"strides": (1, 1), "padding": "valid", "dilations": (1, 1)}
    random = np.random.default_rng(0)
    inputs, results = [], []
    for channels, groups in ((4, 1), (8, 1), (12, 1), (15, 1), (16, 1), (23, 1), (27, 1), (48, 1), (17, 17)):
        kind = TensorType(DType.I8, (1, 3, 4, channels), quantization=Quantization.of(1.0, -128))
        weight = random.integers(-128, 127, (2, 2, 1 if groups > 1 else channels, max(groups, 7)), np.int8)
        weight[..., :3] = -128
        inputs.append(np.where(random.random(kind.shape) < 0.5, -128, 127).astype(np.int8))
        x = b.input(f"x{channels}", kind)
        results.append(b.emit("conv2d_sum", x, b.constant(weight), groups=groups, **window, **zero_points))
    graph = b.finish(results)
    library = build_library(graph, tmp_path / "out", target=target, prefix="net")
    for found, expected in zip(run_library(target, library, inputs), evaluate(graph, inputs, {}), strict=True):
        np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize(
    "target", ["x86-64-v2", "x86-64-v4", "aarch64-linux", "cortex-a76", "armv7", "riscv64", "riscv64-v"]
)
def test_emulated_processors_give_the_same_bytes(target: str, tmp_path: Path) -> None:
    assert target in PROCESSES
    if reason := missing(target):
        pytest.skip(reason)
    net = Net(PICTURE, network)
    graph = quantized(net)
    inputs = [integers(net.samples(), v.type) for v in graph.inputs]
    library = build_library(graph, tmp_path / "out", target=target, prefix="net")
    (found,) = run_library(target, library, inputs)
    np.testing.assert_array_equal(found, evaluate(graph, inputs, {})[0])
    assert found.std() > 0
    assert set(Elf.read((tmp_path / "out/net.o").read_bytes()).undefined) <= {"memcpy", "memset"}


@pytest.mark.parametrize("text", ["u8[2,3]", "i8[7]", "i16[5]", "f32[9]", "f16[4]", "i32[6]", "i1[6]", "f64[]"])
def test_samples_are_what_the_formula_says(text: str) -> None:
    type_: TensorType = parse_type(text)
    x, drawn = 1, []
    for _ in range(type_.size):
        x = (x * 1664525 + 1013904223) % 2**32
        drawn.append(x)
    np.testing.assert_array_equal(numbers(type_.size), drawn)
    values = sample(type_)
    assert values.dtype == type_.dtype.numpy
    assert values.shape == type_.shape
