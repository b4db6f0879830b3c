"""Instructions that networks take on AArch64, in QEMU: libraries of `netc build` beside LiteRT's XNNPACK.

    python benchmarks/aarch64.py FILE.tflite ... [--cpu cortex-a53,cortex-a76] [--litert ROOT]

Counts are those of two runs less those of one, by QEMU's plugin in tests/emulators, so that what is done once doesn't
count. ROOT is a folder with Debian's Python 3.11 and LiteRT's wheel for AArch64, made without installing anything:
`apt-get download` with `-o APT::Architecture=arm64` (and `Dir::State`, `Dir::Cache` of your own, filled by `apt-get
update`, where the system knows no packages of that kind) of python3.11-minimal, libpython3.11-minimal,
libpython3.11-stdlib, libc6, libgcc-s1, libstdc++6, zlib1g, libexpat1, libffi8, libbz2-1.0, liblzma5 and libssl3,
unpacked by `dpkg-deb -x`; `pip download --platform manylinux_2_27_aarch64 --only-binary=:all:` of ai-edge-litert and
what it needs, unpacked in ROOT/site. The script describes the processor in ROOT/proc and ROOT/sys, where XNNPACK looks.
"""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from browser import sample
from common import parser, setting, table

import netc
from netc.compiler.graph.analysis import macs_of
from netc.compiler.graph.ir import Array
from netc.library import build_library

sys.path.append(str(Path(__file__).resolve().parents[1]))
from tests.emulators.boards import built_plugin
from tests.emulators.processes import execute

LITERT = """
import sys
import numpy
from ai_edge_litert.interpreter import Interpreter
interpreter = Interpreter(sys.argv[1], num_threads=1)
interpreter.allocate_tensors()
for details in interpreter.get_input_details():
    interpreter.set_tensor(details["index"], numpy.load(sys.argv[2]))
for _ in range(int(sys.argv[3])):
    interpreter.invoke()
"""


SECONDS = 7200
"""What a large net takes in QEMU on a busy machine, at most."""
PARTS = {"cortex-a53": "0xd03", "cortex-a72": "0xd08", "cortex-a76": "0xd0b"}
"""Arm's numbers of processors."""


def main() -> None:
    """Print the table."""
    options = _options()
    rows = []
    for path in map(Path, options.files):
        graph = netc.load(path)
        macs = sum(map(macs_of, graph.operations))
        x = sample(graph.inputs[0].type, np.random.default_rng(0))
        for cpu in options.cpu.split(","):
            ours = of_netc(path, cpu, x)
            theirs = of_litert(path, cpu, x, options.litert) if options.litert else None
            ratio = ("", "") if theirs is None else (f"{theirs:,}", f"{ours / theirs:.2f}")
            rows.append((path.stem, cpu, f"{macs:,}", f"{ours:,}", f"{ours / macs:.3f}", *ratio))
            print(rows[-1], file=sys.stderr, flush=True)
    print(setting(), end="\n\n")
    print(table(("net", "processor", "multiplications", "instructions", "of them each", "XNNPACK", "ratio"), rows))


def _options() -> argparse.Namespace:
    p = parser(__doc__)
    p.add_argument("files", nargs="+", metavar="FILE")
    p.add_argument("--cpu", default="cortex-a53,cortex-a76", metavar="NAME,...")
    p.add_argument("--litert", type=Path, metavar="ROOT")
    return p.parse_args()


def of_netc(path: Path, cpu: str, x: Array) -> int:
    """Instructions of a run of netc's library."""
    with TemporaryDirectory() as folder:
        library = build_library(path, Path(folder) / "net", target=cpu, prefix="net", selftest=False)
        one, two = (
            counted(execute(cpu, library, [x], runs=runs, options=plugin(), seconds=SECONDS).stderr.decode())
            for runs in (1, 2)
        )
    return two - one


def of_litert(path: Path, cpu: str, x: Array, root: Path) -> int:
    """Instructions of a run of LiteRT."""
    with TemporaryDirectory() as folder:
        np.save(f"{folder}/x.npy", x)
        home = root.absolute()
        describe(home, cpu)
        command = ["qemu-aarch64", "-cpu", cpu, *plugin(), "-L", str(home)]
        command += ["-E", f"PYTHONPATH={home}/site", "-E", f"PYTHONHOME={home}/usr", f"{home}/usr/bin/python3.11"]
        counts = []
        for runs in (1, 2):
            given = [*command, "-S", "-c", LITERT, str(path.absolute()), f"{folder}/x.npy", str(runs)]
            done = subprocess.run(given, capture_output=True, text=True, check=True)
            counts.append(counted(done.stderr))
    return counts[1] - counts[0]


def describe(root: Path, cpu: str) -> None:
    """Write what Linux says of a machine with one core, as far as XNNPACK reads it."""
    proc, system = root / "proc", root / "sys/devices/system/cpu"
    for folder in (proc, system):
        folder.mkdir(parents=True, exist_ok=True)
    lines = ("processor\t: 0", "Features\t: fp asimd", "CPU implementer\t: 0x41", "CPU architecture: 8")
    more = ("CPU variant\t: 0x0", f"CPU part\t: {PARTS[cpu]}", "CPU revision\t: 1", "")
    (proc / "cpuinfo").write_text("\n".join((*lines, *more)))
    for name in ("possible", "present", "online", "kernel_max"):
        (system / name).write_text("0\n")


def plugin() -> list[str]:
    """QEMU's options that count instructions."""
    return ["-plugin", str(built_plugin()), "-d", "plugin"]


def counted(log: str) -> int:
    """The number that the plugin printed."""
    return int(re.findall(r"^instructions (\d+)$", log, re.MULTILINE)[-1])


if __name__ == "__main__":
    main()
