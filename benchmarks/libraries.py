"""The same bytes everywhere: libraries of `netc build` on other processors against LiteRT's reference kernels.

    python benchmarks/libraries.py [NET|FILE.tflite ...] [--targets NAME,...] [--results FILE] [--floats]

Each net is made a file of 8-bit integers, with `../shared/weights` where there are some and random ones elsewhere, for
the smallest pictures that it takes of `--sizes`; TFLite files are taken as they are (default: all nets but the largest,
and all models beside the data). LiteRT's reference kernels and the library for each target run on the same random
input: in QEMU as a process of Linux, on one of QEMU's boards, in Node, or (`chromium`) in a browser. Integers must be
equal; floats may differ by 1e-5 of the largest one. With `--floats` the nets stay as they are. With `--native`
libraries for x86-64 run on this machine, which is faster than QEMU but doesn't refuse instructions that a level hasn't.
QEMU has no vectors of 512 bits: x86-64-v4 runs on this machine, if it can, else in Bochs (bochscpu-python). Targets
that nothing here runs are left out, and named with the reason. Findings are kept in `--results`; what is found there
isn't run again. Needs QEMU (8.1 or newer for riscv64-v), Node, Chromium, ziglang, ai-edge-litert, the reference data.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from bit_exact import litert
from browser import Comparison, answers, compared, in_browser, in_node, sample
from common import beside_data, parser, setting, table

import netc
from netc.compiler.backends import find_target
from netc.compiler.errors import NetcError
from netc.compiler.graph.ir import Array, Graph
from netc.frontend import shipped_nets
from netc.library import build_library
from netc.runtime.host import runs_here

sys.path.append(str(Path(__file__).resolve().parents[1]))
from tests.emulators import boards, processes
from tests.emulators.boards import BOARDS, emulate
from tests.emulators.processes import PROCESSES, emulator, run_library

LARGE = (
    *("alexnet", "amoebanet_a", "nasnet_large", "pnasnet", "vgg", "convnext_", "swin_", "vit_l", "vit_b_16"),
    *("densenet1", "densenet2", "efficientnet_b", "efficientnet_v2", "resnet101", "resnet152", "resnext"),
    *("deeplabv3_resnet50", "fcn_", "maskrcnn", "retinanet", "ssd300", "efficientnet_lite1", "efficientnet_lite2"),
    *("efficientnet_lite3", "efficientnet_lite4", "efficientnet_edgetpu_", "resnet110", "preact_resnet110"),
    "wide_resnet",
)
"""Beginnings of the names of nets that are left out unless they are named: they are many times the smaller ones."""
TARGETS = ("x86-64-v2", "x86-64-v3", "x86-64-v4", "aarch64-linux", "cortex-a76", "armv7", "riscv64", "riscv64-v")
WEB = {"wasm32": ("node", in_node), "chromium": ("chromium", in_browser)}
"""The program that runs libraries for WebAssembly, and how."""
BOARD_BYTES = 12 << 20
"""What weights, workspace, inputs and outputs may take on a board."""


@dataclass(frozen=True, kw_only=True)
class Finding(Comparison):
    """What a library answered."""

    net: str
    target: str
    problem: str = ""

    @property
    def is_right(self) -> bool:
        """There was an answer, and it is LiteRT's."""
        return not self.problem and super().is_right

    def __str__(self) -> str:
        return f"{self.net}, {self.target}: {self.problem or super().__str__()}"


@dataclass(frozen=True)
class Case:
    """A file, an input and LiteRT's answer."""

    path: Path
    inputs: Sequence[Array]
    expected: Sequence[Array]


class TooLargeError(Exception):
    """The library doesn't fit a board."""


def main() -> None:
    """Find out what isn't known yet, and print all as tables."""
    options = _options()
    results: Path = options.results
    lines = results.read_text().splitlines() if results.exists() else []
    found = [Finding(**json.loads(line)) for line in lines]
    nets = [n for n in shipped_nets() if not n.startswith(LARGE)]
    targets = options.targets.split(",")
    reasons = {target: reason for target in targets if (reason := missing(target))}
    sources = options.sources or [*map(str, sorted(beside_data("edgetpu", "models").glob("*.tflite"))), *nets]
    with results.open("a") as stream:
        for source in sources:
            name = Path(source).stem
            known = {f.target for f in found if f.net == name}
            wanted = [target for target in targets if target not in known | reasons.keys()]
            for finding in findings(source, name, wanted, options):
                found.append(finding)
                print(finding, file=sys.stderr, flush=True)
                print(json.dumps(asdict(finding)), file=stream, flush=True)
    print(setting("ai-edge-litert", "ziglang"), end="\n\n")
    print(report(found))
    print("\n".join([*_emulators(targets, reasons), *(f"not run: {t}, as {reasons[t]}" for t in reasons)]))


def missing(target: str) -> str | None:
    """What is needed to run code for a target and not there."""
    if target in WEB:
        program = WEB[target][0]
        return None if shutil.which(program) else f"{program} is not installed"
    if target in BOARDS:
        return boards.missing(target)
    return processes.missing(target) if target in PROCESSES else f"nothing is known that runs {target}"


def _emulators(targets: Sequence[str], reasons: Mapping[str, str]) -> Iterator[str]:
    """Where libraries for x86-64 ran, which differs from machine to machine."""
    for target in targets:
        if target.startswith("x86") and target not in reasons:
            command = " ".join(Path(word).name for word in emulator(target))
            yield f"{target}: by {command}" if command else f"{target}: on this machine"


def _options() -> argparse.Namespace:
    p = parser(__doc__)
    p.add_argument("sources", nargs="*", metavar="NET|FILE")
    p.add_argument("--targets", default=",".join((*TARGETS, *BOARDS, *WEB)), metavar="NAME,...")
    p.add_argument("--results", type=Path, default=Path("libraries.jsonl"), help="what is known")
    p.add_argument("--files", type=Path, default=Path("libraries"), help="a folder for the nets' TFLite files")
    p.add_argument("--sizes", default="32,64,96,128,224", help="of pictures, where the net leaves that open")
    p.add_argument("--floats", action="store_true", help="nets of floats")
    p.add_argument("--native", action="store_true", help="run libraries for x86-64 without QEMU")
    options = p.parse_args()
    if options.native:
        ours = [t for t in PROCESSES if t.startswith("x86") and runs_here(find_target(t))]
        PROCESSES.update({t: ((), *PROCESSES[t][1:]) for t in ours})
    return options


def findings(source: str, name: str, targets: Sequence[str], options: argparse.Namespace) -> Sequence[Finding]:
    """What the libraries of a net for all targets answer."""
    if not targets:
        return []
    try:
        case = prepared(source, options)
    except (NetcError, MemoryError) as error:
        return [Finding(net=name, target="all", problem=_message(error))]
    return [finding(name, case, target) for target in targets]


def _message(error: Exception) -> str:
    text = error.diagnostics[0].message if isinstance(error, NetcError) else str(error)
    return (text or type(error).__name__)[:500]


def prepared(source: str, options: argparse.Namespace) -> Case:
    """The file of a net, made unless it is there."""
    path = Path(source)
    if path.suffix != ".tflite":
        options.files.mkdir(exist_ok=True)
        path = options.files / f"{source}{'_float' if options.floats else ''}.tflite"
        if not path.exists():
            sizes = [int(size) for size in options.sizes.split(",")]
            graph = loaded(source, () if weights_of(source) else sizes)
            netc.write_tflite(graph if options.floats else integers(graph, source), path)
    random = np.random.default_rng(0)
    inputs = [sample(v.type, random) for v in netc.load(path).inputs]
    answer = litert(path, inputs, layers=False)
    if answer is None:
        raise NetcError("LiteRT refuses or aborts")
    return Case(path, inputs, answer[""])


def loaded(net: str, sizes: Sequence[int]) -> Graph:
    """The net for the smallest pictures that it takes."""
    for size in sizes:
        try:
            return netc.load(net, settings={"size": size})
        except NetcError:
            continue
    return netc.load(net)


def weights_of(net: str) -> Path | None:
    """The file of a net's weights, which fit the pictures that it takes unless it is told otherwise."""
    path = beside_data("weights") / f"{net}.safetensors"
    return path if path.exists() else None


def integers(graph: Graph, net: str) -> Graph:
    """The net in 8-bit integers."""
    random = np.random.default_rng(1)
    samples = [tuple(sample(v.type, random) for v in graph.inputs) for _ in range(2)]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return netc.quantize(graph, weights=weights_of(net), calibration=samples, threads=1)


def finding(net: str, case: Case, target: str) -> Finding:
    """What the library for a target answers."""
    try:
        with TemporaryDirectory() as folder:
            outputs = answered(case, target, Path(folder) / "net")
    except TooLargeError:
        return Finding(net=net, target=target, problem="too large")
    except Exception as error:
        return Finding(net=net, target=target, problem=_message(error))
    return Finding(net=net, target=target, **asdict(compared(case.expected, outputs)))


def answered(case: Case, target: str, folder: Path) -> Sequence[Array]:
    """The outputs of the library for a target."""
    is_board = target in BOARDS
    is_web = target in WEB
    choices: dict[str, Any] = {"prefix": "net", "selftest": is_web, **({"embed_weights": True} if is_board else {})}
    library = build_library(case.path, folder, target="wasm32" if is_web else target, **choices)
    interface = library.build.interface
    if is_board:
        sizes = [interface.weights_bytes, interface.workspace_bytes]
        if sum([*sizes, *(t.type.bytes for t in (*interface.inputs, *interface.outputs))]) > BOARD_BYTES:
            raise TooLargeError
        return emulate(target, folder / "net.o", interface, case.inputs).outputs
    if target in PROCESSES:
        return run_library(target, library, case.inputs)
    return answers(WEB[target][1], library, case.inputs)


def report(found: Sequence[Finding]) -> str:
    """A row for each target, and what went wrong."""
    rows = []
    for target in dict.fromkeys(f.target for f in found if f.target != "all"):
        mine = [f for f in found if f.target == target and f.problem != "too large"]
        floats = [f.floats for f in mine if f.floats is not None]
        rows.append(
            (
                target,
                f"{sum(f.is_right for f in mine)} of {len(mine)}",
                f"{sum(f.differing for f in mine):,} of {sum(f.elements for f in mine):,}",
                f"{max(floats):.1e}" if floats else "",
                f"{sum(f.target == target and f.problem == 'too large' for f in found)}",
            )
        )
    heads = ("target", "nets that are right", "integers that differ", "floats at most", "don't fit")
    wrong = [str(f) for f in found if not f.is_right and f.problem != "too large"]
    return "\n".join([table(heads, rows), "", *wrong])


if __name__ == "__main__":
    main()
