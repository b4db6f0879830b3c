"""The four networks of MLPerf Tiny as libraries for a microcontroller, run on an emulated board.

    python benchmarks/tiny.py [--target cortex-m4] [NET ...]

Each network gets random weights and is made one of 8-bit integers, whose file LiteRT's reference kernels run. The
library runs on the same inputs in QEMU; bytes must be equal. The table has the instructions that a run executes, beside
those that a processor of 120 MHz would have time for at the published rate of X-CUBE-AI (closed division,
NUCLEO-L4R5ZI) if each took one cycle; and what the library takes of flash and RAM. Needs qemu-system-arm, ziglang,
a C compiler and ai-edge-litert.
"""

from __future__ import annotations

import argparse
import sys
import warnings
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from common import parser, setting, table

import netc
from netc.compiler.graph.analysis import macs_of
from netc.compiler.graph.ir import Graph
from netc.compiler.library.elf import Elf
from netc.library import build_library
from netc.runtime.litert import LiteRT

sys.path.append(str(Path(__file__).resolve().parents[1]))
from tests.emulators.boards import BOARDS, emulate

HERTZ = 120_000_000
RATES = {"tiny_resnet8": 6.06, "tiny_mobilenet": 11.2, "tiny_ds_cnn": 23.2, "tiny_autoencoder": 190}
"""Inferences a second of X-CUBE-AI."""
SAMPLES = 8
HEADS = ("net", "multiplications", "instructions", "of them each", "at the published rate", "ratio", "code", "weights")


def main() -> None:
    """Print the table; fails if bytes differ."""
    arguments = options()
    rows = [row(name, arguments.target, arguments.inputs_in_workspace) for name in arguments.nets or RATES]
    print(setting("ai-edge-litert", "ziglang"))
    print(
        f"\nTarget: {arguments.target}, on {BOARDS[arguments.target].machine}; bytes are those of LiteRT's reference\n"
    )
    print(table((*HEADS, "workspace", "stack"), rows))


def options() -> argparse.Namespace:
    """The options of the command line."""
    p = parser(__doc__)
    p.add_argument("nets", nargs="*", metavar="NET", help=f"of {', '.join(RATES)}; default: all")
    p.add_argument("--target", default="cortex-m4", choices=BOARDS)
    p.add_argument("--inputs-in-workspace", action="store_true", help="a run may overwrite them")
    return p.parse_args()


def row(name: str, target: str, in_workspace: bool) -> list[str]:
    """What is measured of one network."""
    graph = integers(name)
    random = np.random.default_rng(1)
    x = random.integers(-128, 128, graph.inputs[0].type.shape).astype(np.int8)
    with TemporaryDirectory() as folder:
        home = Path(folder)
        netc.write_tflite(graph, home / "net.tflite")
        expected = LiteRT(home / "net.tflite", reference=True)(x)
        library = build_library(
            graph,
            home / "net",
            target=target,
            prefix="net",
            embed_weights=True,
            selftest=False,
            inputs_in_workspace=in_workspace,
        )
        interface = library.build.interface
        found = emulate(target, home / "net/net.o", interface, [x], counts=True)
        elf = Elf.read((home / "net/net.o").read_bytes())
    if found.outputs[0].tobytes() != np.asarray(expected).tobytes():
        raise SystemExit(f"{name}: other bytes than LiteRT's reference")
    assert found.instructions is not None
    code = sum(s.size for s in elf.sections if s.is_code)
    budget = HERTZ / RATES[name]
    macs = multiplications(graph)
    cells = (
        f"{macs:,}",
        f"{found.instructions:,}",
        f"{found.instructions / macs:.2f}",
        f"{budget:,.0f}",
        f"{found.instructions / budget:.2f}",
        *(f"{size:,}" for size in (code, interface.weights_bytes, interface.workspace_bytes, found.stack)),
    )
    return [name, *cells]


def integers(name: str) -> Graph:
    """The network in 8-bit integers, with random weights."""
    size = netc.load(name).inputs[0].type.shape[1:]
    samples = np.random.default_rng(0).standard_normal((SAMPLES, 1, *size)).astype(np.float32)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return netc.quantize(name, calibration=[(x,) for x in samples])


def multiplications(graph: Graph) -> int:
    """Multiply-adds of convolutions and dense layers."""
    return sum(map(macs_of, graph.operations))


if __name__ == "__main__":
    main()
