"""Start and peak memory: from the shell to the answer about a picture, netc against ONNX Runtime and others.

    python start.py FOLDER [--nets resnet50 ...] [--rounds 7] [--threads 2]

FOLDER holds NAME.safetensors and NAME.onnx of each net, as `shared/bench/compare.py` writes them; for int8 also
NAME.qdq.onnx and NAME.tflite. Every run is a process of its own that loads a network, runs it on one picture and prints
five classes; engines take turns. Reported: the median of wall-clock and processor time, the peak of resident memory
(VmHWM), and that of `import numpy` alone. `--shared` also has two processes hold the same network, and tells the
memory that each is charged with (PSS).
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from common import NETS, parser, setting

import netc
from netc.frontend import models_folder

PICTURE = """
import sys, numpy as np
from PIL import Image
def picture(height, width, channels):
    image = Image.open(sys.argv[2]).convert("L" if channels == 1 else "RGB").resize((width, height))
    return (np.asarray(image, np.float32).reshape(height, width, channels) / 255)[None]
def show(scores):
    scores = np.asarray(scores).reshape(-1)
    for i in np.argsort(-scores)[:5]:
        print(i, scores[i])
"""
SCRIPTS = {
    "netc": """
import netc
p = netc.load_program(sys.argv[1], threads=int(sys.argv[3]))
show(p(picture(*p.module.inputs[0][1].shape[1:])))
""",
    "ort": """
import onnxruntime as ort
options = ort.SessionOptions()
options.intra_op_num_threads = int(sys.argv[3])
session = ort.InferenceSession(sys.argv[1], options, providers=["CPUExecutionProvider"])
entry = session.get_inputs()[0]
_, c, h, w = entry.shape
show(session.run(None, {entry.name: np.ascontiguousarray(picture(h, w, c).transpose(0, 3, 1, 2))})[0])
""",
    "openvino": """
import openvino as ov
model = ov.Core().compile_model(sys.argv[1], "CPU", {"INFERENCE_NUM_THREADS": sys.argv[3]})
_, c, h, w = model.input(0).shape
show(model(np.ascontiguousarray(picture(h, w, c).transpose(0, 3, 1, 2)))[0])
""",
    "litert": """
from ai_edge_litert.interpreter import Interpreter
t = Interpreter(sys.argv[1], num_threads=int(sys.argv[3]))
t.allocate_tensors()
i, o = t.get_input_details()[0], t.get_output_details()[0]
t.set_tensor(i["index"], picture(*i["shape"][1:]).astype(i["dtype"]))
t.invoke()
show(t.get_tensor(o["index"]))
""",
}
"""What each engine runs: a file, a picture, and the number of threads are its arguments."""
PEAK = """
lines = open("/proc/self/status").read().splitlines()
print("peak", next(line.split()[1] for line in lines if line.startswith("VmHWM")), file=sys.stderr)
"""
COMMAND = f"""
import atexit, sys
from netc.__main__ import command
atexit.register(exec, {PEAK!r}, globals())
command()
"""
"""`netc run`, as the command runs it, in a process that says its peak at the end."""
HOLD = """
print("ready", flush=True)
sys.stdin.readline()
lines = open("/proc/self/smaps_rollup").read().splitlines()
print(next(line.split()[1] for line in lines if line.startswith("Pss:")), flush=True)
"""
HEAD = "| net | engine | start, s | processor, s | ratio to ONNX Runtime | peak, MB | weights, MB |"


def main() -> int:
    options = _options()
    with tempfile.TemporaryDirectory() as folder:
        os.environ["NETC_CACHE_DIR"] = folder
        print(setting("onnxruntime", "openvino", "ai-edge-litert"))
        base = _measured({"numpy": [sys.executable, "-c", PICTURE + PEAK, "", ""]}, options.rounds)["numpy"]
        costs = f"{base['wall']:.3f} s, {base['cpu']:.3f} s of processor time, {base['peak']:.0f} MB"
        print(f"import numpy and Pillow: {costs}\n\n{HEAD}\n{'| --- ' * 7}|")
        for net in options.nets:
            commands, weights = _commands(net, options, Path(folder))
            rows = _measured(commands, options.rounds)
            for engine, row in rows.items():
                peer = "ort int8" if engine.endswith("int8") else "ort"
                ratio = f"{row['wall'] / rows[peer]['wall']:.2f}" if peer in rows and engine != peer else ""
                size = f"{weights[engine]:.0f}" if engine in weights else ""
                times = f"{row['wall']:.3f} | {row['cpu']:.3f} | {ratio}"
                print(f"| {net} | {engine} | {times} | {row['peak']:.0f} | {size} |", flush=True)
            if options.shared:
                print(f"{net}: memory of each of two processes: {_shared(commands)}", flush=True)
    return 0


def _options() -> argparse.Namespace:
    p = parser(__doc__)
    p.add_argument("folder", type=Path)
    p.add_argument("--nets", nargs="+", default=list(NETS))
    p.add_argument("--rounds", type=int, default=7)
    p.add_argument("--threads", type=int, default=2)
    p.add_argument("--shared", action="store_true")
    return p.parse_args()


def _commands(
    net: str, options: argparse.Namespace, folder: Path
) -> tuple[dict[str, Sequence[str]], Mapping[str, float]]:
    """The command of each engine that has a file, and megabytes of netc's packed weights."""
    picture, given, weights = str(models_folder() / "sample.png"), options.folder, dict[str, float]()
    file = given / f"{net}.safetensors"
    first = folder / f"{net}.netc"
    _save(net, first, {"weights": str(file), "threads": options.threads})
    files = {"netc": first, "ort": given / f"{net}.onnx", "openvino": given / f"{net}.onnx"}
    if (integers := given / f"{net}.tflite").exists():
        _save(str(integers), folder / f"{net}.int8.netc", {"threads": options.threads})
        files["netc int8"] = folder / f"{net}.int8.netc"
        files |= {"litert int8": integers, "ort int8": given / f"{net}.qdq.onnx"}
    for engine in ("netc", "netc int8"):
        if engine in files:
            weights[engine] = netc.load_program(files[engine]).packed_weights.nbytes / 1e6
    commands: dict[str, Sequence[str]] = {}
    for engine, path in files.items():
        if path.exists():
            code = PICTURE + SCRIPTS[engine.split()[0]] + PEAK
            commands[engine] = [sys.executable, "-c", code, str(path), picture, str(options.threads)]
    asked = ["run", net, "--weights", str(file), "--threads", str(options.threads)]
    commands["netc run"] = [sys.executable, "-c", COMMAND, *asked]
    subprocess.run(commands["netc run"], check=True, capture_output=True)
    return commands, weights


def _save(source: str, path: Path, given: Mapping[str, object]) -> None:
    """Write a saved program in a process of its own, so that this one stays small."""
    code = "import json, sys, netc; netc.compile(sys.argv[1], **json.loads(sys.argv[3])).save(sys.argv[2])"
    subprocess.run([sys.executable, "-c", code, source, str(path), json.dumps(given)], check=True)


def _measured(commands: Mapping[str, Sequence[str]], rounds: int) -> dict[str, dict[str, float]]:
    """Medians of several rounds, in which the commands take turns; what fails is left out."""
    found: dict[str, list[tuple[float, float, float]]] = {name: [] for name in commands}
    for _ in range(rounds):
        for name, command in commands.items():
            start = time.perf_counter()
            process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
            assert process.stderr is not None
            said = process.stderr.read()
            _, status, usage = os.wait4(process.pid, 0)
            seconds = time.perf_counter() - start
            process.returncode = status
            if status:
                print(f"{name} failed: {said[-300:]}", file=sys.stderr)
                continue
            peaks = [float(line.split()[1]) for line in said.splitlines() if line.startswith("peak ")]
            found[name].append((seconds, usage.ru_utime + usage.ru_stime, peaks[0] / 1024))
    columns = {name: zip(*rows, strict=True) for name, rows in found.items() if rows}
    names = ("wall", "cpu", "peak")
    return {name: dict(zip(names, map(statistics.median, each), strict=True)) for name, each in columns.items()}


def _shared(commands: Mapping[str, Sequence[str]]) -> str:
    """Megabytes that each of two processes with the same network is charged with, by engine."""
    texts = []
    for name, command in commands.items():
        if name == "netc run":
            continue
        held = [*command]
        held[2] = held[2].replace(PEAK, HOLD)
        pair = [subprocess.Popen(held, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) for _ in range(2)]
        for process in pair:
            assert process.stdout is not None
            while "ready" not in (line := process.stdout.readline()) and line:
                pass
        sizes = [int(process.communicate("\n")[0].split()[-1]) / 1024 for process in pair[:1]]
        pair[1].communicate("\n")
        texts.append(f"{name} {sizes[0]:.0f} MB")
    return ", ".join(texts)


if __name__ == "__main__":
    raise SystemExit(main())
