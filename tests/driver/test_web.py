"""Libraries for WebAssembly: the module in Node, and the page in a browser, as it is opened from disk."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import netc
from netc.compiler.backends import find_target
from netc.compiler.backends.cpu.codegen import machine
from netc.compiler.errors import InternalError
from netc.compiler.graph.ir import Graph
from netc.compiler.graph.parser import parse_graph
from netc.compiler.library.wasm import link
from netc.library import build_library
from netc.runtime.data.images import Preprocess
from tests.quantized_nets import Net, quantized

NODE, CHROMIUM = shutil.which("node"), shutil.which("chromium")
needs_node = pytest.mark.skipif(NODE is None, reason="Node isn't installed")
needs_chromium = pytest.mark.skipif(CHROMIUM is None, reason="Chromium isn't installed")

FLOATS = """
graph @floats(%x: f32[1,9,9,3]) -> (f32[1,10]) {
  %w = param : f32[3,3,3,10]
  %d = param : f32[3,3,1,10]
  %0 = conv2d(%x, %w) {strides = [2,2], padding = "same", dilations = [1,1]} : f32[1,5,5,10]
  %1 = relu(%0) : f32[1,5,5,10]
  %2 = conv2d(%1, %d) {strides = [1,1], padding = "same", dilations = [1,1], groups = 10} : f32[1,5,5,10]
  %3 = reduce_mean(%2) {axes = [1,2]} : f32[1,10]
  %4 = softmax(%3) : f32[1,10]
  return %4
}
"""

DRAW = """
ready.then(() => {
  const canvas = document.getElementById("drawing"), box = canvas.getBoundingClientRect();
  const at = (kind, x, y) => canvas.dispatchEvent(
    new PointerEvent(kind, { clientX: box.left + x, clientY: box.top + y, bubbles: true }));
  at("pointerdown", 140, 40);
  for (let y = 40; y <= 240; y += 8) at("pointermove", 140, y);
  at("pointerup", 140, 240);
});
"""


def in_node(script: str) -> Any:
    run = subprocess.run(
        [str(NODE), "--input-type=module", "-e", script], capture_output=True, text=True, check=False, timeout=120
    )
    assert run.returncode == 0, run.stderr
    return json.loads(run.stdout)


def opened(page: Path, profile: Path) -> str:
    """The page in a browser, as it is when its scripts have ended."""
    flags = "--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking"
    more = ["--disable-component-update", "--disable-sync", "--virtual-time-budget=20000", "--dump-dom"]
    command = [str(CHROMIUM), *flags.split(), *more, f"--user-data-dir={profile}", page.as_uri()]
    return subprocess.run(command, capture_output=True, text=True, check=True, timeout=120).stdout


def integers(groups: int) -> Graph:
    """Bytes by bytes: a convolution with bias and relu, all channels or each by itself."""
    shape = (3, 3, 1, 12) if groups == 12 else (3, 3, 12, 10)
    return quantized(Net((1, 7, 9, 12), lambda n, x: n.b.emit("relu", n.conv(x, *shape, groups=groups))))


@needs_node
@pytest.mark.parametrize("case", ["floats", "dense integers", "depthwise integers"])
def test_the_module_computes_what_the_program_computes(case: str, tmp_path: Path) -> None:
    graph = parse_graph(FLOATS) if case == "floats" else integers(12 if "depthwise" in case else 1)
    build_library(graph, tmp_path / "out", target="wasm32", prefix="net")
    program = netc.compile(graph, threads=1)
    random = np.random.default_rng(3)
    (type_,) = program.inputs.values()
    if type_.dtype.is_float:
        x = random.standard_normal(type_.shape).astype(np.float32)
    else:
        x = random.integers(-128, 127, type_.shape, np.int8, endpoint=True)
    (found,) = in_node(f"""
        import {{ load, inputs }} from "{tmp_path}/out/net.mjs";
        const network = await load();
        network.selftest();
        const kind = inputs[0].dtype === "f32" ? Float32Array : Int8Array;
        const results = network.run({{ [inputs[0].name]: kind.from({x.ravel().tolist()}) }});
        console.log(JSON.stringify(Object.values(results).map((values) => Array.from(values))));
    """)
    wanted = np.asarray(program(x)).ravel()
    if wanted.dtype.kind == "f":
        np.testing.assert_allclose(found, wanted, rtol=1e-5, atol=1e-6)
    else:
        assert found == wanted.tolist()
        assert len(set(found)) > 10


@needs_node
def test_wrong_inputs_and_weights_are_refused(tmp_path: Path) -> None:
    build_library(parse_graph(FLOATS), tmp_path / "out", target="wasm32", prefix="net")
    messages = in_node(f"""
        import {{ readFileSync }} from "node:fs";
        import {{ load }} from "{tmp_path}/out/net.mjs";
        const network = await load(), messages = [];
        const attempt = async (task) => {{ try {{ await task(); }} catch (error) {{ messages.push(error.message); }} }};
        await attempt(() => network.run({{}}));
        await attempt(() => network.run({{ x: new Float32Array(3) }}));
        const weights = readFileSync("{tmp_path}/out/net.weights");
        weights[100] ^= 1;
        await attempt(() => load({{ weights }}));
        console.log(JSON.stringify(messages));
    """)
    assert messages == [
        "floats: the input x is missing",
        "floats: x has 243 elements, not 3",
        "floats: the weights are damaged",
    ]


@needs_node
def test_weights_inside_the_code(tmp_path: Path) -> None:
    library = build_library(parse_graph(FLOATS), tmp_path / "out", target="wasm32", prefix="net", embed_weights=True)
    assert "net.weights" not in library.files
    assert in_node(f"""
        import {{ load }} from "{tmp_path}/out/net.mjs";
        (await load()).selftest();
        console.log("true");
    """)


@needs_node
@pytest.mark.parametrize("resize", ["nearest", "box", "bilinear", "bicubic", "lanczos"])
def test_pictures_are_prepared_as_python_does_it(resize: str, tmp_path: Path) -> None:
    source = tmp_path / "net.net"
    settings = f'crop = 0.9, resize = "{resize}", mean = [0.4, 0.5, 0.6], std = 0.25'
    net = "net small(image: f32[N, 11, 13, 3]) {\n  return image |> relu\n}\n"
    source.write_text(f"preprocess small {{ {settings} }}\n{net}")
    build_library(str(source), tmp_path / "out", target="wasm32", prefix="net", selftest=False)
    picture = np.random.default_rng(4).integers(0, 256, (37, 29, 3), np.uint8)
    wanted = Preprocess.of(netc.load(str(source)))(picture)
    rgba = np.concatenate([picture, np.full((37, 29, 1), 255, np.uint8)], axis=2)
    found = in_node(f"""
        import {{ preprocess }} from "{tmp_path}/out/net.mjs";
        const data = {rgba.ravel().tolist()};
        console.log(JSON.stringify(Array.from(preprocess({{ data, width: 29, height: 37 }}))));
    """)
    np.testing.assert_array_equal(np.float32(found), wanted.ravel())


def test_files_say_what_they_are(tmp_path: Path) -> None:
    library = build_library(parse_graph(FLOATS), tmp_path / "out", target="wasm32", prefix="net")
    assert {"net.wasm", "net.mjs", "net.d.mts", "net.d.ts", "net.data.js", "index.html"} <= set(library.files)
    types = (tmp_path / "out/net.d.mts").read_text()
    assert "/** f32[1, 9, 9, 3], row by row */\n  x: Float32Array;" in types
    assert (tmp_path / "out/net.wasm").read_bytes().startswith(b"\0asm\1\0\0\0")
    page = (tmp_path / "out/index.html").read_text()
    assert page.count("</script>") == 2
    assert not re.search(r'(src|href)="http', page)


def test_code_that_needs_its_surroundings_is_refused() -> None:
    target = find_target("wasm32")
    text = machine.header(target) + "declare void @other()\ndefine void @net_run() { call void @other() ret void }\n"
    with pytest.raises(InternalError, match="calls other, which it doesn't have"):
        link(machine.object_code(text, target), ["net_run"])
    with pytest.raises(InternalError, match="no function net_stop"):
        link(machine.object_code(text.replace("call void @other() ", ""), target), ["net_stop"])


@needs_chromium
def test_the_page_is_drawn_on(tmp_path: Path) -> None:
    source = tmp_path / "net.net"
    source.write_text(
        'preprocess digits { labels = ["a<b", "c", "d"] }\n'
        "net digits(image: f32[N, 28, 28, 1]) {\n  return image |> flatten |> dense(3)\n}\n"
    )
    build_library(str(source), tmp_path / "out", target="wasm32", prefix="net")
    page = tmp_path / "out" / "index.html"
    assert 'data-state="ready"' in opened(page, tmp_path / "first")
    page.write_text(page.read_text().replace("</body>", f"<script>{DRAW}</script></body>"))
    shown = opened(page, tmp_path / "second").split("<script", 1)[0]
    assert 'data-state="done"' in shown
    assert set(re.findall(r'class="label">([^<]*)<', shown)) == {"a&lt;b", "c", "d"}
    assert re.search(r'<span id="time">[\d.]+ ms', shown)
    (tmp_path / "out/net.data.js").unlink()
    shown = opened(page, tmp_path / "third").split("<script", 1)[0]
    assert 'role="alert">net.data.js, which has code and weights, isn\'t beside this page<' in shown
