"""Libraries for WebAssembly on several threads: workers of Node and of a browser, and one thread without them."""

from __future__ import annotations

import http.server
import json
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest

import netc
from netc.compiler.graph.ir import Graph
from netc.library import build_library

from .libraries import STATE
from .test_web import CHROMIUM, in_node, integers, needs_chromium, needs_node

RUN = """
const type = inputs[0], size = type.shape.reduce((a, b) => a * b, 1);
const numbers = (run) => ({ [type.name]: Int8Array.from({ length: size }, (_, i) => (i * 37 + run * 11) % 256 - 128) });
const told = [network.threads, network.note], found = [];
for (let run = 0; run < 20; run++) found.push(Array.from(Object.values(await network.compute(numbers(run)))[0]));
"""


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> tuple[Graph, Path]:
    """A net of integers, built for three threads."""
    graph, folder = integers(1), tmp_path_factory.mktemp("threads") / "out"
    build_library(graph, folder, target="wasm32", prefix="net", threads=3)
    return graph, folder


def expected(graph: Graph) -> list[list[int]]:
    """What Python computes."""
    program = netc.compile(graph, threads=1)
    (type_,) = program.inputs.values()
    places = np.arange(type_.size)
    inputs = [((places * 37 + run * 11) % 256 - 128).astype(np.int8).reshape(type_.shape) for run in range(20)]
    return [np.asarray(program(x)).ravel().tolist() for x in inputs]


@needs_node
def test_workers_of_node_compute_the_same(library: tuple[Graph, Path]) -> None:
    graph, folder = library
    told, found, refusals = in_node(f"""
        import {{ load, inputs }} from "{folder}/net.mjs";
        const network = await load({{ threads: 3 }}), refusals = [];
        network.selftest();
        {RUN}
        const attempt = async (task) => {{ try {{ await task(); }} catch (error) {{ refusals.push(error.message); }} }};
        const first = network.compute(numbers(0));
        await attempt(() => network.compute(numbers(1)));
        await attempt(() => network.run(numbers(1)));
        await attempt(() => network.stop());
        await first;
        await attempt(() => network.compute({{}}));
        await network.stop();
        await network.stop();
        await attempt(() => network.compute(numbers(1)));
        console.log(JSON.stringify([told, found, refusals]));
    """)
    assert told == [3, ""]
    assert found == expected(graph)
    name = graph.name
    assert refusals == [
        *([f"{name}: a run is under way"] * 3),
        f"{name}: the input {graph.inputs[0].name} is missing",
        f"{name}: its threads have ended",
    ]


@needs_node
def test_a_mutex_that_is_waited_for_keeps_its_address(library: tuple[Graph, Path]) -> None:
    """Both kinds of Node's compilers have it: the word at address 0 is nobody's. Places are those of `runtime.ll`."""
    _, folder = library
    kept, count = in_node(f"""
        import {{ Worker }} from "node:worker_threads";
        import {{ load, inputs }} from "{folder}/net.mjs";
        const {{ Memory }} = WebAssembly, {{ postMessage }} = Worker.prototype;
        let memory, context;
        WebAssembly.Memory = class extends Memory {{ constructor(kind) {{ super(kind); memory = this; }} }};
        Worker.prototype.postMessage = function (message) {{
          if (message.call === "net_context_run") [context] = message.operands;
          return postMessage.call(this, message);
        }};
        const network = await load({{ threads: 3 }}), pause = (ms) => new Promise((done) => setTimeout(done, ms));
        {RUN}
        const words = new Int32Array(memory.buffer), mutex = (context + 304) >> 2, sleepers = (context + 176) >> 2;
        while (words[sleepers] < 2) await pause(10);
        Atomics.store(words, mutex, 2);
        const held = network.compute(numbers(0));
        await pause(100);
        Atomics.store(words, mutex, 0);
        Atomics.notify(words, mutex);
        const [output] = Object.values(await held);
        await network.stop();
        const kept = words[0] === 0 && found[0].every((value, i) => value === output[i]);
        console.log(JSON.stringify([kept, network.threads]));
    """)
    assert kept
    assert count == 3


@needs_node
def test_a_state_is_kept_and_reset(tmp_path: Path) -> None:
    graph, choices = netc.parse_graph(STATE), {"prefix": "net", "embed_weights": True}
    build_library(graph, tmp_path / "out", target="wasm32", threads=2, **choices)
    sums = in_node(f"""
        import {{ load }} from "{tmp_path}/out/net.mjs";
        const network = await load({{ threads: 2 }}), sums = [network.threads], x = new Float32Array(4).fill(1);
        const add = async () => sums.push((await network.compute({{ x }})).output0[3]);
        await add();
        await add();
        network.reset();
        await add();
        await network.stop();
        console.log(JSON.stringify(sums));
    """)
    assert sums == [2, 1.5, 2.5, 1.5]


@needs_node
@pytest.mark.parametrize(
    ("lacking", "reason"),
    [
        ("delete globalThis.SharedArrayBuffer", "there is no SharedArrayBuffer"),
        ("globalThis.crossOriginIsolated = false", "the page isn't cross-origin isolated"),
    ],
)
def test_without_shared_memory_there_is_one_thread(lacking: str, reason: str, library: tuple[Graph, Path]) -> None:
    graph, folder = library
    told, found = in_node(f"""
        {lacking};
        const {{ load, inputs }} = await import("{folder}/net.mjs");
        const network = await load({{ threads: 3 }});
        network.selftest();
        {RUN}
        console.log(JSON.stringify([told, found]));
    """)
    assert told == [1, f"{graph.name} runs on one thread: {reason}"]
    assert found == expected(graph)


@needs_chromium
def test_workers_of_a_browser(library: tuple[Graph, Path], tmp_path: Path) -> None:
    graph, folder = library
    page = f"""<script type="module">
        import {{ load, inputs }} from "./net.mjs";
        const send = (result) => fetch("/", {{ method: "POST", body: JSON.stringify(result) }});
        try {{
          const network = await load({{ threads: 3 }});
          {RUN}
          await network.stop();
          await send([told, found]);
        }} catch (error) {{ await send([String(error), []]); }}
    </script>"""
    told, found = in_browser(page, folder, tmp_path)
    assert told == [3, ""]
    assert found == expected(graph)


def in_browser(page: str, folder: Path, profile: Path) -> Any:
    """What a page posts to the server that it comes from."""
    done, received = threading.Event(), list[bytes]()
    with serving(page, folder, lambda body: (received.append(body), done.set())) as address:
        flags = ("--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking")
        command = [str(CHROMIUM), *flags, f"--user-data-dir={profile}", address]
        browser = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            assert done.wait(60), "the browser doesn't answer"
        finally:
            browser.terminate()
            browser.wait()
    return json.loads(received[0])


@contextmanager
def serving(page: str, folder: Path, result: Any) -> Iterator[str]:
    """A server for a page and for the files of a library, with the headers that isolate a page."""

    class Handler(http.server.SimpleHTTPRequestHandler):
        extensions_map: ClassVar = {
            ".mjs": "text/javascript",
            ".wasm": "application/wasm",
            "": "application/octet-stream",
        }

        def __init__(self, *arguments: Any) -> None:
            super().__init__(*arguments, directory=str(folder))

        def end_headers(self) -> None:
            self.send_header("Cross-Origin-Opener-Policy", "same-origin")
            self.send_header("Cross-Origin-Embedder-Policy", "require-corp")
            super().end_headers()

        def do_GET(self) -> None:
            if self.path != "/":
                return super().do_GET()
            self.send_response(200)
            self.send_header("Content-Type", "text/html")
            self.end_headers()
            self.wfile.write(page.encode())
            return None

        def do_POST(self) -> None:
            result(self.rfile.read(int(self.headers["Content-Length"])))
            self.send_response(204)
            self.end_headers()

        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 (the base class's own name)
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/"
    finally:
        server.shutdown()
        server.server_close()
