"""`netc build`: libraries that C programs link and Python loads back, and what is refused."""

from __future__ import annotations

import json
import shlex
import shutil
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import netc
from netc.compiler.errors import NetcError
from netc.compiler.graph.builder import GraphBuilder
from netc.compiler.graph.interpreter import evaluate
from netc.compiler.graph.ir import Value
from netc.compiler.graph.state import Session
from netc.compiler.library.elf import Elf
from netc.compiler.library.interface import Status
from netc.compiler.library.selftest import numbers, sample
from netc.compiler.types import DType, Quantization, TensorType, parse_type
from netc.library import build_library
from netc.loading import load
from netc.runtime.data.images import Preprocess
from netc.runtime.data.layout import as_input
from netc.runtime.weights import initial_weights
from netc.toolchain import has_ziglang
from tests.emulators.processes import PROCESSES, missing, run_library
from tests.quantized_nets import PICTURE, Net, integers, quantized

from .conftest import Call

CC = shutil.which("cc")
WARNINGS = ("-Wall", "-Wextra", "-Wpedantic", "-Wconversion", "-Wshadow", "-Wstrict-prototypes", "-Werror")
needs_cc = pytest.mark.skipif(CC is None, reason="no C compiler")
needs_ziglang = pytest.mark.skipif(not has_ziglang(), reason="ziglang is not installed")
STATE = """
graph @acc(%x: f32[1,4]) -> (f32[1,4], f32[1,4]) attributes {updates = ["sum"]} {
  %sum = param {trainable = false, value = dense<0.5>} : f32[1,4]
  %0 = add(%sum, %x) : f32[1,4]
  return %0, %0
}
"""


def cc(folder: Path, *arguments: str, warnings: bool = True) -> None:
    given = [str(CC), "-std=c99", "-O1", *(WARNINGS if warnings else ()), *arguments]
    done = subprocess.run(given, cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@needs_cc
@pytest.mark.parametrize("options", [(), ("--embed-weights",), ("--weights-section", ".lower"), ("--threads", "2")])
def test_the_example_links_and_tests_the_library(
    netc: Call, tiny: Path, tmp_path: Path, options: tuple[str, ...]
) -> None:
    done = netc("build", tiny, "-o", tmp_path / "out", *options)
    assert done.code == 0, done.err
    assert "drawn by seed 0" in done.err
    out = tmp_path / "out"
    cc(out, "example.c", "tiny_preprocess.c", "tiny.o", "-o", "example", "-lm", "-lpthread")
    printed = subprocess.run(["./example"], cwd=out, capture_output=True, text=True, check=True).stdout
    assert printed.startswith("the self-test gives the stored answer\n")
    cc(out, "-x", "c++", "-std=c++11", "-fsyntax-only", "tiny.h", warnings=False)
    names = {path.name for path in out.iterdir()} - {"example"}
    assert {"tiny.h", "tiny.o", "example.c", "CMakeLists.txt", "README.md", "tiny_preprocess.c"} <= names
    assert ("tiny.weights" in names) == (options in ((), ("--threads", "2")))
    elf = Elf.read((out / "tiny.o").read_bytes())
    assert ("--weights-section" in options) == any(section.name == ".lower" for section in elf.sections)
    if "--threads" not in options:
        assert set(elf.undefined) <= {"memcpy", "memset"}


@needs_cc
def test_two_networks_link_into_one_program(netc: Call, tiny: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    for prefix in ("one", "two"):
        assert netc("build", tiny, "-o", out, "--prefix", prefix, "--embed-weights").code == 0
    (out / "main.c").write_text(
        '#include "one.h"\n#include "two.h"\n'
        "static ONE_ALIGNED uint8_t a[ONE_WORKSPACE_BYTES], b[ONE_SELFTEST_BYTES];\n"
        "int main(void) { return one_selftest(a, b) != ONE_OK || two_selftest(a, b) != TWO_OK; }\n"
    )
    cc(out, "main.c", "one.o", "two.o", "-o", "both")
    subprocess.run(["./both"], cwd=out, check=True)


NAMES = """
net {name}(Image: f32[2, 3], image: f32[2, 3], NULL: f32[2, 3], linux: f32[2, 3], class: f32[2, 3]) {{
  return add(add(add(Image, image), add(NULL, linux)), class)
}}
"""


@needs_cc
@pytest.mark.parametrize(("name", "prefix"), [("double", "double"), ("math", "math_net"), ("test", "test")])
def test_names_that_mean_something_to_compilers(netc: Call, name: str, prefix: str, tmp_path: Path) -> None:
    (tmp_path / "a.net").write_text(NAMES.format(name=name))
    out = tmp_path / "out"
    assert netc("build", tmp_path / "a.net", "-o", out).code == 0
    cc(out, "-std=gnu99", "example.c", f"{prefix}.o", "-o", "example")
    assert "the self-test gives" in subprocess.run(["./example"], cwd=out, capture_output=True, text=True).stdout
    cc(out, "-x", "c++", "-std=c++11", "-Wpedantic", "-fsyntax-only", f"{prefix}.h", warnings=False)
    if shutil.which("cmake") and name == "test":
        subprocess.run(["cmake", "-B", "build"], cwd=out, check=True, capture_output=True)


REFUSALS = """
#include <stdio.h>
#include "net.h"
static NET_ALIGNED uint8_t workspace[NET_WORKSPACE_BYTES], buffers[NET_SELFTEST_BYTES + 64];
static NET_ALIGNED uint8_t weights[NET_WEIGHTS_BYTES];
static float image[NET_INPUT_IMAGE_SIZE], scores[NET_OUTPUT_OUTPUT0_SIZE];
int main(void) {
  const net_inputs inputs = {image};
  const net_outputs outputs = {scores};
  FILE *file = fopen("net.weights", "rb");
  if (file == NULL || fread(weights, 1, NET_WEIGHTS_BYTES, file) != NET_WEIGHTS_BYTES) return 1;
  printf("%d ", (int)net_bind(workspace, weights, NET_WEIGHTS_BYTES));
  printf("%d ", (int)net_run(workspace, &inputs, &outputs));
  printf("%d ", (int)net_selftest(workspace, buffers + 8));
  weights[NET_WEIGHTS_BYTES - 1] ^= 1;
  printf("%d ", (int)net_bind(workspace, weights, NET_WEIGHTS_BYTES));
  printf("%d", (int)net_run(workspace, &inputs, &outputs));
  return 0;
}
"""


@needs_cc
def test_weights_that_were_refused_are_not_used(netc: Call, tiny: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    assert netc("build", tiny, "-o", out, "--prefix", "net").code == 0
    (out / "main.c").write_text(REFUSALS)
    cc(out, "main.c", "net.o", "-o", "main")
    printed = subprocess.run(["./main"], cwd=out, capture_output=True, text=True, check=True).stdout
    assert [Status(int(word)) for word in printed.split()] == [
        *(Status.OK, Status.OK, Status.MISALIGNED, Status.DAMAGED_WEIGHTS, Status.NO_WEIGHTS),
    ]


STOPPED = """
#include <stdio.h>
#include "net.h"
static NET_ALIGNED uint8_t workspace[NET_WORKSPACE_BYTES];
static float image[NET_INPUT_IMAGE_SIZE], scores[NET_OUTPUT_OUTPUT0_SIZE];
int main(void) {
  const net_inputs inputs = {image};
  const net_outputs outputs = {scores};
  static net_context never, context;
  printf("%d ", (int)net_context_run(&never, &inputs, &outputs));
  net_context_stop(&never);
  printf("%d ", (int)net_context_start(&context, workspace, NET_MAX_THREADS + 1));
  printf("%d ", (int)net_context_run(&context, &inputs, &outputs));
  for (int32_t threads = 1; threads <= NET_MAX_THREADS; threads++) {
    printf("%d ", (int)net_context_start(&context, workspace, threads));
    printf("%d ", (int)net_context_run(&context, &inputs, &outputs));
    net_context_stop(&context);
    net_context_stop(&context);
    printf("%d ", (int)net_context_run(&context, &inputs, &outputs));
  }
  return 0;
}
"""


@needs_cc
def test_contexts_that_are_stopped_do_not_run(netc: Call, tiny: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    assert netc("build", tiny, "-o", out, "--prefix", "net", "--embed-weights", "--threads", "2").code == 0
    (out / "main.c").write_text(STOPPED)
    cc(out, "main.c", "net.o", "-o", "main", "-lpthread")
    printed = subprocess.run(["./main"], cwd=out, capture_output=True, text=True, check=True).stdout
    none = Status.NO_THREADS
    assert list(map(int, printed.split())) == [none, none, none, *([Status.OK, Status.OK, none] * 2)]


@needs_ziglang
def test_folders_may_be_called_anything(tiny: Path, tmp_path: Path) -> None:
    out = tmp_path / '100%s, 7%% "ü" @x'
    build_library(tiny, out, prefix="net")
    with netc.load_library(out / "net.so") as library:
        library.selftest()


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


TRAINING = {"optimizer": "adam(lr=0.01)", "freeze": "conv1.*", "clip_norm": 1.0}


def batch() -> tuple[np.ndarray[Any, Any], ...]:
    random = np.random.default_rng(0)
    return random.random((4, 12, 12, 1), np.float32), random.integers(0, 10, 4).astype(np.int32)


@needs_ziglang
def test_libraries_train_as_python_does(tiny: Path, tmp_path: Path) -> None:
    build_library(tiny, tmp_path / "out", prefix="net", batch=4, train=TRAINING)
    library = netc.load_library(tmp_path / "out/net.so")
    trainer = netc.compile_training(tiny, batch=4, threads=1, **TRAINING)
    library.selftest()
    library.reset()
    for _ in range(3):
        loss, *_ = library(*batch())
        assert float(loss) == trainer.step(*batch())
    state, expected = library.state(), trainer.state()
    assert set(state) == set(expected)
    assert not any(name.startswith("conv1") for name in state)
    for name, values in expected.items():
        np.testing.assert_array_equal(state[name], values)
    library.reset()
    library.load_state(state)
    assert float(library(*batch())[0]) == trainer.step(*batch())
    workspace = library._workspace.tobytes()
    netc.save_trained(tmp_path / "new.safetensors", tiny, tmp_path / "out/net.o", workspace)
    found = netc.compile(tiny, weights=tmp_path / "new.safetensors", batch=4, threads=1)(batch()[0])
    weights = {name: array for name, array in trainer.state().items() if not name.startswith("optimizer.")}
    frozen = {name: array for name, array in initial_weights(netc.load(tiny)).items() if name not in weights}
    expected_output = netc.compile(tiny, weights={**weights, **frozen}, batch=4, threads=1)(batch()[0])
    np.testing.assert_array_equal(found, expected_output)
    with pytest.raises(NetcError, match="has more than 9 bytes"):
        netc.save_trained(tmp_path / "new.safetensors", tiny, tmp_path / "out/net.o", workspace[:9])
    with pytest.raises(NetcError, match=r"did you mean fc\.weight"):
        library.load_state({"fc.wieght": state["fc.weight"]})


@needs_cc
def test_the_example_trains(netc: Call, tiny: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    options = ["--train", "--batch", "4", "--lr", "fc.*=0.02", "--freeze", "conv1.*", "--no-embed-weights"]
    assert netc("build", tiny, "-o", out, *options).code == 0
    cc(out, "example.c", "tiny_preprocess.c", "tiny.o", "-o", "example", "-lm")
    printed = subprocess.run(["./example"], cwd=out, capture_output=True, text=True, check=True).stdout.splitlines()
    losses = [float(line.removeprefix("loss ")) for line in printed[1:]]
    assert len(losses) == 20
    assert losses[-1] < losses[0] / 2
    assert "--train --lr 'fc.*=0.02'" in (out / "README.md").read_text().replace(" --freeze 'conv1.*'", "")


def test_training_on_another_processor(tiny: Path, tmp_path: Path) -> None:
    if reason := missing("aarch64-linux"):
        pytest.skip(reason)
    library = build_library(tiny, tmp_path / "out", target="aarch64-linux", prefix="net", batch=4, train=TRAINING)
    loss, *_ = run_library("aarch64-linux", library, batch(), runs=3)
    trainer = netc.compile_training(tiny, batch=4, threads=1, **TRAINING)
    expected = [trainer.step(*batch()) for _ in range(3)]
    assert abs(float(loss) - expected[-1]) < 1e-6 * expected[0]


def test_the_stack_of_a_training_step_is_certified(tiny: Path, tmp_path: Path) -> None:
    build_library(tiny, tmp_path / "out", target="cortex-m4", prefix="net", selftest=False, train=TRAINING)
    certificate = json.loads((tmp_path / "out/net.certificate.json").read_text())
    calls = [call["function"] for call in certificate["deepest_calls"]]
    assert calls[:2] == ["net_train_step", "netc.sequence"]
    assert certificate["ram"]["stack"] == sum(call["frame"] for call in certificate["deepest_calls"])
    page = (tmp_path / "out/README.md").read_text()
    assert "    arm-none-eabi-gcc -mcpu=cortex-m4 -mthumb -mfloat-abi=hard -std=c99 -O2 example.c " in page


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


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (("--no-embed-weights",), "--no-embed-weights --no-selftest"),
        (("--embed-weights",), "--prefix tiny --embed-weights --no-selftest"),
        (("--weights-section", ".flash"), "--weights-section .flash --no-selftest"),
    ],
)
def test_the_command_of_the_page_builds_the_same(
    netc: Call, tiny: Path, tmp_path: Path, options: tuple[str, ...], told: str
) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    assert netc("build", tiny, "--target", "cortex-m4", "--no-selftest", *options, "-o", first).code == 0
    (line,) = (line for line in (first / "README.md").read_text().splitlines() if line.startswith("    netc build"))
    assert told in line
    words = shlex.split(line.replace("DIR", str(second)))
    assert netc(*words[1:]).code == 0
    contents = [{path.name: path.read_bytes() for path in folder.iterdir()} for folder in (first, second)]
    assert contents[0] == contents[1]


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


def test_mistakes_are_said(netc: Call, tiny: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    cases = [
        (("--target", "cortex-a67"), "did you mean cortex-a76?"),
        (("--prefix", "2nets"), "can't begin names in C"),
        (("--target", "cortex-m4", "--threads", "2"), "runs on one thread"),
        (("--inputs-in-workspace", "--threads", "2"), "only code for one thread has its inputs in the workspace"),
        (("--target", "cortex-m4", "--ram", "50"), "doesn't fit in 50 bytes of RAM: the least is"),
        (("--weights-section", "", "--embed-weights"), "no name of a section"),
        (("--weights-section", ".x", "--no-embed-weights"), "weights in a section are embedded"),
        (("--weights-section", ".bss.weights"), "means something else to linkers"),
        (("--weights-section", ".symtab", "--target", "cortex-m4"), "means something else to linkers"),
        (("--weights-section", ".flash", "--target", "aarch64-macos"), "a segment and a section, as macOS has them"),
        (("--prefix", "string"), "string.h would hide a header of C"),
        (("--set", "sizes=3"), "sizes"),
        (("--freeze", "fc.*"), "--freeze is for training"),
        (("--train", "--target", "wasm32"), "libraries for WebAssembly don't train"),
        (("--weights", str(tiny)), "tiny.net"),
    ]
    for options, message in cases:
        done = netc("build", tiny, "-o", out, *options)
        assert done.code == 2
        assert message in done.err, done.err
        assert not out.exists()
    done = netc("build", tiny, "-o", tiny)
    assert done.code == 2
    assert "no folder" in done.err
    done = netc("build", tiny, "-o", "")
    assert done.code == 2
    assert "the name of the folder is empty" in done.err


@needs_ziglang
def test_nothing_is_half_written(netc: Call, tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out = tmp_path / "out"
    assert netc("build", tiny, "-o", out).code == 0
    before = {path.name: path.read_bytes() for path in out.iterdir()}

    def fail(*arguments: Any) -> None:
        raise NetcError("the linker is out of order")

    monkeypatch.setattr("netc.library_files.link_shared", fail)
    for folder in (out, tmp_path / "new"):
        assert netc("build", tiny, "-o", folder, "--seed", "1").code == 2
    assert {path.name: path.read_bytes() for path in out.iterdir()} == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out", "tiny.net"]


def test_without_a_linker_objects_and_texts_are_written(
    netc: Call, tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("netc.library_files.has_ziglang", lambda: False)
    done = netc("build", tiny, "-o", tmp_path / "out", "--json", "--no-selftest")
    assert "no .a and .so without a linker: pip install 'netc[build]'" in done.err
    files = json.loads(done.out)["files"]
    assert "tiny.o" in files
    assert "tiny.so" not in files


def test_targets_are_listed(netc: Call) -> None:
    rows = json.loads(netc("targets", "--json").out)
    known = {row["name"]: row for row in rows}
    assert known["host"]["runner_present"]
    assert known["cortex-m4"]["threads"] is False
    assert known["cortex-a76"]["dot_product"] == "neon"
    assert known["wasm32"]["linker"] is None
    assert known["x86-64-v4"]["runner"] in (None, "a processor with AVX-512")  # not QEMU
    assert known["alderlake"]["runner"] in (None, "a processor with AVX-VNNI")
    table = netc("targets").out.splitlines()
    assert len(table) == len(rows) + 2
    assert table[0].split()[:2] == ["target", "triple"]


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
