"""torch.compile(backend="netc") against eager PyTorch and Inductor, on PyTorch's modules of the benchmark nets.

Each net has a process of its own with empty caches, batch 1, NCHW pictures, gradients off. Printed are the time of the
first call, in which all is compiled, and the least processor time of a later call, engines taking turns; then netc's
over the better of eager and Inductor (below 1 is ahead). Exit code 1 if an output differs by more than 1e-4 of its
range. Inductor needs a C++ compiler.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
import warnings
from importlib import import_module
from pathlib import Path
from typing import Any

import torch
from common import NETS, beside_data, parser, setting, table

ENGINES = ("eager", "inductor", "netc")
LIMIT = 1e-4
ROUNDS = 12


def main() -> int:
    """Measure all nets; 1 if one of them differs too much."""
    p = parser(__doc__)
    p.add_argument("--reference", type=Path, help="file of PyTorch's modules; default: beside the data")
    p.add_argument("--nets", nargs="+", default=NETS, choices=NETS, metavar="NET")
    p.add_argument("--threads", type=int, default=1)
    p.add_argument("--one", help=argparse.SUPPRESS)
    options = p.parse_args()
    reference = options.reference or beside_data("bench", "reference_nets.py")
    if options.one:
        print(json.dumps(measured(reference, options.one, options.threads)))
        return 0
    rows, agrees = [], True
    for name in options.nets:
        found = _apart(name, reference, options.threads)
        agrees &= found["far"] <= LIMIT
        ratio = found["later"]["netc"] / min(t for e, t in found["later"].items() if e != "netc")
        firsts = [f"{found['first'][e]:.1f}" for e in ENGINES]
        laters = [f"{1000 * found['later'][e]:.2f}" for e in ENGINES]
        rows.append([name, *firsts, *laters, f"{ratio:.2f}", f"{found['far']:.1e}"])
        print(*rows[-1], file=sys.stderr, flush=True)
    print(setting("torch", "onnx", "onnxscript"), end="\n\n")
    heads = [f"{e}: first call, s" for e in ENGINES] + [f"{e}: ms" for e in ENGINES]
    print(table(["net", *heads, "netc / better", "netc differs by"], rows))
    return int(not agrees)


def _apart(name: str, reference: Path, threads: int) -> Any:
    """What a process of its own measures, with empty caches."""
    with tempfile.TemporaryDirectory() as folder:
        own = {"TORCHINDUCTOR_CACHE_DIR": f"{folder}/inductor", "NETC_CACHE_DIR": f"{folder}/netc"}
        command = [sys.executable, __file__, "--one", name, "--reference", str(reference), "--threads", str(threads)]
        done = subprocess.run(command, env={**os.environ, **own}, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{name}: {done.stderr[-2000:]}")
    return json.loads(done.stdout.splitlines()[-1])


def measured(reference: Path, name: str, threads: int) -> dict[str, Any]:
    """Seconds of the first call and the fewest of later ones, by engine, and how far netc's outputs are off."""
    torch.set_num_threads(threads)
    sys.path.insert(0, str(reference.parent))  # Dynamo imports the modules of what it captures by name
    module, (height, width, channels) = import_module(reference.stem).build(name)
    x = torch.randn(1, channels, height, width, generator=torch.Generator().manual_seed(1))
    first, later, results, engines = {}, dict[str, float](), {}, {}
    warnings.simplefilter("error", category=_eager_warning())
    with torch.inference_mode():
        for engine in ENGINES:
            engines[engine] = _engine(engine, module)
            start = time.perf_counter()
            results[engine] = engines[engine](x)
            first[engine] = time.perf_counter() - start
        for _ in range(ROUNDS):
            for engine, run in engines.items():
                later[engine] = min(later.get(engine, 1e9), _time(run, x))
    wanted = results["eager"]
    far = float((results["netc"] - wanted).abs().max() / (wanted.max() - wanted.min()))
    return {"first": first, "later": later, "far": far}


def _time(run: Any, x: torch.Tensor) -> float:
    """Processor seconds of a call: the mean over a tenth of a second."""
    run(x)
    count, start = 0, time.process_time()
    while time.process_time() - start < 0.1:
        run(x)
        count += 1
    return (time.process_time() - start) / count


def _engine(name: str, module: torch.nn.Module) -> Any:
    """A module as an engine runs it; those of different engines share nothing."""
    if name == "eager":
        return module

    def run(x: torch.Tensor) -> Any:  # a function of its own, so that PyTorch keeps what it compiles apart
        return module(x)

    return torch.compile(run, backend=name)


def _eager_warning() -> type[Warning]:
    from netc.torch_backend import EagerWarning

    return EagerWarning


if __name__ == "__main__":
    sys.exit(main())
