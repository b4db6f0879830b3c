"""Several processes with one network each: requests per second and latencies, netc against ONNX Runtime and OpenVINO.

    python processes.py FOLDER [--nets resnet50 ...] [--processes 4] [--threads 1] [--rounds 3] [--seconds 3]

FOLDER holds NAME.safetensors and NAME.onnx of each net, as `shared/bench/compare.py` writes them. The processes of an
engine load the same file and wait; then they run side by side, each calling its network again and again, for some
seconds. Engines take turns. Reported: requests of all processes per second, and the latency that half and 99 of 100
requests don't exceed, of all rounds together; memory is what each process is charged with (PSS) at the end.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
from common import NETS, parser, setting

import netc

LOAD = {
    "netc": """
import netc
p = netc.load_program(sys.argv[1], threads=int(sys.argv[2]))
x = random.standard_normal(p.module.inputs[0][1].shape, dtype=np.float32)
call = lambda: p(x)
""",
    "ort": """
import onnxruntime as ort
options = ort.SessionOptions()
options.intra_op_num_threads = int(sys.argv[2])
session = ort.InferenceSession(sys.argv[1], options, providers=["CPUExecutionProvider"])
entry = session.get_inputs()[0]
x = random.standard_normal(entry.shape, dtype=np.float32)
call = lambda: session.run(None, {entry.name: x})
""",
    "openvino": """
import openvino as ov
given = {"INFERENCE_NUM_THREADS": sys.argv[2], "PERFORMANCE_HINT": "LATENCY"}
model = ov.Core().compile_model(sys.argv[1], "CPU", given)
x = random.standard_normal(tuple(model.input(0).shape), dtype=np.float32)
request = model.create_infer_request()
call = lambda: request.infer([x])
""",
}
"""What makes `call` of a file and a number of threads."""
HEAD = "import sys, time, json\nimport numpy as np\nrandom = np.random.default_rng(0)\n"
SERVE = """
call()
for line in sys.stdin:
    seconds, latencies = float(line), []
    end = time.perf_counter() + seconds
    while (start := time.perf_counter()) < end:
        call()
        latencies.append(time.perf_counter() - start)
    lines = open("/proc/self/smaps_rollup").read().splitlines()
    pss = next(int(line.split()[1]) for line in lines if line.startswith("Pss:"))
    print(json.dumps({"latencies": latencies, "pss": pss}), flush=True)
"""
COLUMNS = "| net | engine | requests/s | ratio to the best peer | median, ms | p99, ms | memory of each, MB |"


def main() -> int:
    options = _options()
    print(f"{setting('onnxruntime', 'openvino')}; {options.processes} processes, {options.threads} thread(s) each\n")
    print(f"{COLUMNS}\n{'| --- ' * 7}|")
    for net in options.nets:
        with tempfile.TemporaryDirectory() as folder:
            found = _measured(_files(net, options, Path(folder)), options)
        rates = {engine: row["requests"] / row["seconds"] for engine, row in found.items()}
        peers = [rate for engine, rate in rates.items() if engine != "netc"]
        for engine, row in found.items():
            ratio = f"{rates[engine] / max(peers):.2f}" if engine == "netc" and peers else ""
            half, most = np.percentile(row["latencies"], [50, 99]) * 1e3
            times = f"{rates[engine]:.1f} | {ratio} | {half:.3g} | {most:.3g}"
            print(f"| {net} | {engine} | {times} | {row['pss'] / 1024:.0f} |", flush=True)
    return 0


def _options() -> argparse.Namespace:
    p = parser(__doc__)
    p.add_argument("folder", type=Path)
    p.add_argument("--nets", nargs="+", default=list(NETS))
    p.add_argument("--processes", type=int, default=4)
    p.add_argument("--threads", type=int, default=1)
    p.add_argument("--rounds", type=int, default=3)
    p.add_argument("--seconds", type=float, default=3.0)
    return p.parse_args()


def _files(net: str, options: argparse.Namespace, folder: Path) -> Mapping[str, Path]:
    """The file of each engine that has one."""
    program = folder / f"{net}.netc"
    netc.compile(net, weights=str(options.folder / f"{net}.safetensors"), threads=options.threads).save(str(program))
    onnx = options.folder / f"{net}.onnx"
    return {"netc": program, "ort": onnx, "openvino": onnx} if onnx.exists() else {"netc": program}


def _measured(files: Mapping[str, Path], options: argparse.Namespace) -> dict[str, dict[str, Any]]:
    """What each engine's processes did in all rounds."""
    found: dict[str, dict[str, Any]] = {}
    with ExitStack() as stack:
        crews = {engine: _crew(engine, path, options, stack) for engine, path in files.items()}
        for _ in range(options.rounds):
            for engine, crew in crews.items():
                row = found.setdefault(engine, {"requests": 0, "seconds": 0.0, "latencies": [], "pss": 0})
                said = _round(crew, options.seconds)
                latencies = [each for one in said for each in one["latencies"]]
                row["latencies"] += latencies
                row["requests"] += len(latencies)
                row["seconds"] += max(sum(one["latencies"]) for one in said)
                row["pss"] = max(one["pss"] for one in said)
    return found


def _crew(engine: str, path: Path, options: argparse.Namespace, stack: ExitStack) -> Sequence[subprocess.Popen[str]]:
    """Processes that have loaded the network and wait for a number of seconds."""
    command = [sys.executable, "-c", HEAD + LOAD[engine] + SERVE, str(path), str(options.threads)]
    given: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True, "env": os.environ}
    crew = [stack.enter_context(subprocess.Popen(command, **given)) for _ in range(options.processes)]
    for process in crew:
        stack.callback(process.kill)
    _round(crew, 0.2)
    return crew


def _round(crew: Sequence[subprocess.Popen[str]], seconds: float) -> list[dict[str, Any]]:
    """Let all run for some seconds, and read what they say."""
    for process in crew:
        assert process.stdin is not None
        process.stdin.write(f"{seconds}\n")
        process.stdin.flush()
    said: list[dict[str, Any]] = []
    for process in crew:
        assert process.stdout is not None
        line = process.stdout.readline()
        if not line:
            raise SystemExit("a process ended; what it said stands above")
        said.append(json.loads(line))
    return said


if __name__ == "__main__":
    raise SystemExit(main())
