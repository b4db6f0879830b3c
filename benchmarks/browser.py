"""Networks in Node and in a browser: the same answers as elsewhere, and times beside onnxruntime-web.

    python benchmarks/browser.py check FILE.tflite ...
    python benchmarks/browser.py speed --ort node_modules/onnxruntime-web --integers FILE.tflite

`check` builds each file for WebAssembly and compares all bytes of the outputs, in Node and in Chromium, with those of
LiteRT's reference kernels (floats: the largest difference, in units of the largest number). `speed` measures
MobileNetV2 (1.0, 224) with one thread beside onnxruntime-web, one run of each in turn: floats, and 8-bit integers,
there in the form of QDQ with a scale for each channel. In Node the processor's time is measured, in the browser the
clock's.
`npm install onnxruntime-web` brings that package; torch, onnx and onnxruntime write its files. Node, Chromium and
ai-edge-litert must be there.
"""

from __future__ import annotations

import argparse
import http.server
import json
import statistics
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

import netc
from netc.compiler.graph.ir import Array
from netc.library import Library, build_library
from netc.runtime.litert import LiteRT

sys.path.append(str(Path(__file__).resolve().parents[1]))
from tests.emulators.tensors import joined, outputs_of

HERE = Path(__file__).parent
TOLERANCE = 1e-5
CHROMIUM = [
    "chromium",
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
]
"""Flags that keep it from looking for other hosts."""

NODE = """
import { readFile } from "node:fs/promises";
import { %(what)s } from "%(script)s";
const clock = () => { const t = process.cpuUsage(); return (t.user + t.system) / 1000; };
const tools = { read: (path) => readFile(path), load: (path) => import(path), clock };
console.log(JSON.stringify(await %(what)s(tools, %(job)s)));
"""
PAGE = """<!doctype html><script type="module">
import { %(what)s } from "/%(script)s";
const read = async (path) => (await fetch(path)).arrayBuffer();
const tools = { read, load: (path) => import(path), clock: () => performance.now() };
const send = (body) => fetch("/result", { method: "POST", body: JSON.stringify(body) });
%(what)s(tools, %(job)s).then((result) => send({ result }), (error) => send({ error: String(error) }));
</script>"""


def in_node(what: str, job: dict[str, Any]) -> Any:
    """What a function of browser.mjs gives in Node."""
    text = NODE % {"what": what, "script": HERE / "browser.mjs", "job": json.dumps(job)}
    run = subprocess.run(
        ["node", "--input-type=module", "-e", text], capture_output=True, text=True, check=False, timeout=600
    )
    if run.returncode:
        raise RuntimeError(f"node: {run.stderr}")
    return json.loads(run.stdout)


def in_browser(what: str, job: dict[str, Any]) -> Any:
    """The same in Chromium, from a server on this machine."""
    page = PAGE % {"what": what, "script": str(HERE / "browser.mjs").lstrip("/"), "job": json.dumps(job)}
    done = threading.Event()
    received: list[Any] = []

    def result(body: bytes) -> None:
        received.append(json.loads(body))
        done.set()

    with serving(page.encode(), result) as address, tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        browser = subprocess.Popen(
            [*CHROMIUM, f"--user-data-dir={profile}", address], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        try:
            if not done.wait(600):
                raise RuntimeError("chromium: no answer")
        finally:
            browser.terminate()
            browser.wait()
    if "error" in received[0]:
        raise RuntimeError(f"chromium: {received[0]['error']}")
    return received[0]["result"]


@contextmanager
def serving(page: bytes, result: Callable[[bytes], None]) -> Iterator[str]:
    """A server for a page, for this machine's files, and for one result."""
    kinds = {".mjs": "text/javascript", ".wasm": "application/wasm"}

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            path = Path(self.path)
            content = page if self.path == "/" else path.read_bytes() if path.is_file() else None
            self.send_response(200 if content is not None else 404)
            self.send_header("Content-Type", kinds.get(path.suffix, "text/html" if self.path == "/" else "text/plain"))
            self.end_headers()
            self.wfile.write(content or b"")

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


def built(source: str, folder: Path) -> Library:
    """A library for WebAssembly."""
    library = build_library(source, folder, target="wasm32", prefix="net")
    size = (folder / "net.wasm").stat().st_size
    print(f"{source}: {size:,} bytes of code, {library.build.interface.stored_bytes:,} of weights", flush=True)
    return library


def files_of(library: Library) -> dict[str, str]:
    """Its files as the scripts name them."""
    stem = library.folder / "net"
    return {"module": f"{stem}.mjs", "code": f"{stem}.wasm", "weights": f"{stem}.weights"}


# ---- answers --------------------------------------------------------------------------------------------------------


def sample(type_: Any, random: np.random.Generator) -> Array:
    """An input: all integers of a type, or floats from -1 to 1."""
    if type_.dtype.is_float:
        return np.asarray(random.uniform(-1, 1, type_.shape), type_.dtype.numpy)
    limits = np.iinfo(str(type_.dtype.numpy))
    return np.asarray(random.integers(limits.min, limits.max, type_.shape, type_.dtype.numpy, endpoint=True))


def answers(run: Callable[[str, dict[str, Any]], Any], library: Library, inputs: Sequence[Array]) -> tuple[Array, ...]:
    """The outputs of a library where `run` runs it: in Node or in Chromium."""
    given = library.folder / "inputs"
    given.write_bytes(joined(inputs))
    texts = run("answers", {**files_of(library), "inputs": str(given)})
    return outputs_of(library.build.interface, bytes.fromhex("".join(texts)))


def check(paths: Sequence[str]) -> None:
    """A line for each file."""
    failed = 0
    for path in paths:
        graph = netc.load(path)
        random = np.random.default_rng(0)
        arrays = [sample(v.type, random) for v in graph.inputs]
        wanted = LiteRT(path, reference=True)(*arrays)
        wanted = wanted if isinstance(wanted, tuple) else (wanted,)
        with tempfile.TemporaryDirectory() as name:
            library = built(path, Path(name) / "out")
            for place, run in (("Node", in_node), ("Chromium", in_browser)):
                found = compared(wanted, answers(run, library, arrays))
                failed += not found.is_right
                print(f"  {place}: {found}", flush=True)
    sys.exit(failed)


@dataclass(frozen=True)
class Comparison:
    """How close outputs are to those that are wanted."""

    elements: int = 0
    """Integers of the outputs."""
    differing: int = 0
    """Of them, those that aren't equal."""
    floats: float | None = None
    """The largest difference of a float, in units of the largest one; None where there are no floats."""

    @property
    def is_right(self) -> bool:
        """All integers are equal, and floats close enough."""
        return not self.differing and (self.floats is None or self.floats <= TOLERANCE)

    def __str__(self) -> str:
        parts = []
        if self.elements:
            parts.append(f"{self.differing} of {self.elements} integers differ")
        if self.floats is not None:
            parts.append(f"floats within {self.floats:.1e}{'' if self.floats <= TOLERANCE else ', they differ'}")
        return "; ".join(parts)


def compared(wanted: Sequence[Array], found: Sequence[Array]) -> Comparison:
    """A comparison; a float that is no number, or infinite, on one side only differs by infinity."""
    elements, differing, floats = 0, 0, None
    for want, got in zip(wanted, found, strict=True):
        if want.dtype.kind != "f":
            elements += want.size
            differing += int(np.count_nonzero(want != got))
            continue
        scale = float(np.abs(want[np.isfinite(want)]).max(initial=0.0)) or 1.0
        same = (want == got) | (np.isnan(want) & np.isnan(got))
        with np.errstate(invalid="ignore"):
            apart = np.where(same, 0.0, np.abs(want - got))
        worst = float(np.nan_to_num(apart, nan=np.inf, posinf=np.inf).max(initial=0.0)) / scale
        floats = max(floats or 0.0, worst)
    return Comparison(elements, differing, floats)


# ---- times ----------------------------------------------------------------------------------------------------------


def onnx_files(folder: Path) -> dict[str, Path]:
    """MobileNetV2 with random weights, as floats and quantized."""
    import torch
    from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static

    class Noise(CalibrationDataReader):
        def __init__(self) -> None:
            self.left = 4

        def get_next(self) -> dict[str, Array] | None:
            self.left -= 1
            shape = (1, 3, 224, 224)
            return (
                {"x": np.random.default_rng(self.left).standard_normal(shape, np.float32)} if self.left >= 0 else None
            )

    paths = {"float": folder / "float.onnx", "int8": folder / "int8.onnx"}
    torch.manual_seed(0)
    torch.onnx.export(
        mobilenet_v2().eval(), torch.randn(1, 3, 224, 224), paths["float"], input_names=["x"], dynamo=False
    )
    kinds = {"activation_type": QuantType.QUInt8, "weight_type": QuantType.QInt8}
    quantize_static(paths["float"], paths["int8"], Noise(), quant_format=QuantFormat.QDQ, per_channel=True, **kinds)
    return paths


def mobilenet_v2() -> Any:
    """The network of torchvision (Sandler and others, 2018)."""
    from torch import nn

    def conv(inputs: int, filters: int, size: int = 3, stride: int = 1, groups: int = 1, relu: bool = True) -> Any:
        layers = [nn.Conv2d(inputs, filters, size, stride, size // 2, groups=groups, bias=False)]
        return nn.Sequential(*layers, nn.BatchNorm2d(filters), *([nn.ReLU6()] if relu else []))

    class Residual(nn.Module):
        def __init__(self, inputs: int, filters: int, stride: int, factor: int) -> None:
            super().__init__()
            wide = inputs * factor
            first = [conv(inputs, wide, 1)] if factor > 1 else []
            self.body = nn.Sequential(*first, conv(wide, wide, 3, stride, wide), conv(wide, filters, 1, relu=False))
            self.adds = stride == 1 and inputs == filters

        def forward(self, x: Any) -> Any:
            return x + self.body(x) if self.adds else self.body(x)

    layers, inputs = [conv(3, 32, 3, 2)], 32
    stages = [(1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1)]
    for factor, filters, count, stride in stages:
        for number in range(count):
            layers.append(Residual(inputs, filters, 1 if number else stride, factor))
            inputs = filters
    head = [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(1280, 1000)]
    return nn.Sequential(*layers, conv(320, 1280, 1), *head)


def speed(ort: Path, integers: str, rounds: int) -> None:
    """A table: medians, the fastest, and the ratio of the medians."""
    dist = ort.resolve() / "dist"
    print("| MobileNetV2 224 | place | netc ms | onnxruntime-web ms | fastest | ratio |\n" + "| --- " * 6 + "|")
    with tempfile.TemporaryDirectory() as name:
        onnx = onnx_files(Path(name))
        sources = {"float": "mobilenet_v2", "int8": integers}
        for kind, source in sources.items():
            files = files_of(built(source, Path(name) / kind))
            job = {
                **files,
                "onnx": str(onnx[kind]),
                "ort": f"{dist}/ort.wasm.min.mjs",
                "dims": [1, 3, 224, 224],
                "rounds": rounds,
            }
            for place, run in (("Node", in_node), ("Chromium", in_browser)):
                where = {"wasmPaths": f"{'file://' if place == 'Node' else ''}{dist}/"}
                report(kind, place, run("times", {**job, **where}))


def report(kind: str, place: str, measured: Sequence[Sequence[float]]) -> None:
    """A row of the table."""
    ours, theirs = zip(*measured, strict=True)
    a, b = statistics.median(ours), statistics.median(theirs)
    fastest = f"{min(ours):.1f} / {min(theirs):.1f}"
    print(f"| {kind} | {place} | {a:.1f} | {b:.1f} | {fastest} | {a / b:.2f} |", flush=True)


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("check").add_argument("files", nargs="+")
    timing = commands.add_parser("speed")
    timing.add_argument("--ort", type=Path, required=True, help="the folder of the package onnxruntime-web")
    timing.add_argument("--integers", required=True, help="a TFLite file of MobileNetV2 in 8-bit integers")
    timing.add_argument("--rounds", type=int, default=30)
    given = parser.parse_args()
    if given.command == "check":
        check(given.files)
    speed(given.ort, given.integers, given.rounds)


if __name__ == "__main__":
    main()
