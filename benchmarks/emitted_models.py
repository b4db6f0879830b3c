"""Full-integer TFLite files that netc writes: netc against LiteRT, and LiteRT's kernels against each other.

    python benchmarks/emitted_models.py [NET ...] [--calibrate 8] [--seconds 8] [--pictures 100]

Each net is quantized (`netc.quantize`, with trained weights if `../shared/weights` has them, else with random ones),
written, and run on pictures that were not calibrated with:

- LiteRT's reference kernels (BUILTIN_REF) for `--seconds`, one picture at least: netc's machine code, and for the first
  picture its interpreter, must give the same bytes;
- LiteRT's default kernels for as long: how many steps of the output's scale they are away from the reference at most,
  and for how many of up to `--pictures` pictures the largest output stands in the same place. Where the reference is
  too slow, netc's machine code stands in for it, whose bytes are the same. With random weights outputs hardly differ
  from each other, so that agreement says little.

Prints a table in Markdown; the exit code is 1 if netc's bytes differ. Needs ai-edge-litert and the reference data.
"""

from __future__ import annotations

import argparse
import multiprocessing
import sys
import tempfile
import time
from collections.abc import Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from common import beside_data, parser, setting, table
from numpy.typing import NDArray

import netc
from netc.compiler.graph.interpreter import evaluate
from netc.compiler.graph.ir import Graph
from netc.runtime.data.images import Preprocess
from netc.runtime.data.layout import as_input
from netc.runtime.data.registry import open_source

Array = NDArray[Any]

NETS = (
    "perceptron", "mlp_mnist", "cnn_mnist", "cnn_cifar", "resnet20", "mobilenet_v2_tf", "mobilenet_v2",
    "efficientnet_edgetpu_s", "efficientnet_edgetpu_m", "efficientnet_edgetpu_l", "resnet18", "resnet34", "resnet50",
    "resnet101", "resnet152", "vgg16", "vgg19",
)  # fmt: skip
DATASETS = {
    "perceptron": "mnist",
    "mlp_mnist": "mnist",
    "cnn_mnist": "mnist",
    "cnn_cifar": "cifar10",
    "resnet20": "cifar10",
}
"""Where pictures come from; for all others: imagenet-samples."""
HEADERS = (
    "net", "weights", "file, bytes", "pictures", "output bytes", "interpreter differs in", "machine code differs in",
    "default kernels: steps away", "same top-1",
)  # fmt: skip


def main() -> int:
    """Compare all nets."""
    options = _options()
    rows, wrong = [], 0
    for net in options.nets:
        started = time.perf_counter()
        row, differing = compared(net, options)
        rows.append(row)
        wrong += differing
        print(*row, f"({time.perf_counter() - started:.0f} s)", file=sys.stderr, flush=True)
    print(setting("ai-edge-litert"), end="\n\n")
    print(table(HEADERS, rows))
    return int(wrong > 0)


def _options() -> argparse.Namespace:
    p = parser(__doc__)
    p.add_argument("nets", nargs="*", default=NETS, metavar="NET")
    p.add_argument("--calibrate", type=int, default=8, help="pictures to calibrate with")
    p.add_argument("--seconds", type=float, default=8, help="time for each net in each of LiteRT's two forms")
    p.add_argument("--pictures", type=int, default=100, help="most pictures for each net")
    return p.parse_args()


def compared(net: str, options: argparse.Namespace) -> tuple[list[str], int]:
    """The row of a net, and in how many bytes netc is wrong."""
    folder = beside_data("weights")
    weights = folder / f"{net}.safetensors"
    trained = weights.is_file()
    floats = pictures(net, options.calibrate + options.pictures)
    calibration = [x for x, _ in zip(floats, range(options.calibrate), strict=False)]
    graph = netc.quantize(net, calibration=calibration, weights=weights if trained else None, method="minmax")
    inputs = [as_input(x, graph.inputs[0].type) for x in floats[options.calibrate :]]
    with tempfile.TemporaryDirectory() as scratch:
        path = Path(scratch) / f"{net}.tflite"
        netc.write_tflite(graph, path)
        size = path.stat().st_size
        runs = [Litert(path, inputs, options.seconds, reference) for reference in (True, False)]
        reference, default = (run.outputs() for run in runs)
    machine = run_compiled(graph, inputs[: max(len(reference), len(default))])
    counts = [differing(reference, machine), differing(reference[:1], [evaluate(graph, inputs[:1])[0]])]
    known = [*reference, *machine[len(reference) :]]
    steps = [np.abs(a.astype(int) - b.astype(int)).max() for a, b in zip(default, known, strict=False)]
    agree = sum(int(a.argmax() == b.argmax()) for a, b in zip(default, known, strict=False))
    row = [net, "trained" if trained else "random", f"{size:,}", str(len(reference))]
    row += [f"{sum(r.nbytes for r in reference):,}", str(counts[1]), str(counts[0])]
    row += [str(max(steps)) if steps else "refused", f"{agree} of {len(steps)}"]
    return (row, sum(counts)) if reference else ([*row[:3], "refused", *row[4:]], 0)


def pictures(net: str, count: int) -> list[Array]:
    """Inputs f32 [1, H, W, C] of a net."""
    preprocess = Preprocess.of(netc.load(net))
    samples = open_source(DATASETS.get(net, "imagenet-samples"), "test")
    return [preprocess(picture)[np.newaxis] for picture, _ in islice(samples, count)]


def run_compiled(graph: Graph, inputs: Sequence[Array]) -> list[Array]:
    """What netc's machine code gives."""
    with netc.compile(graph) as program:
        return [np.asarray(program(x)) for x in inputs]


def differing(wanted: Sequence[Array], got: Sequence[Array]) -> int:
    """In how many bytes the first outputs differ."""
    return sum(int(np.count_nonzero(a != b)) for a, b in zip(wanted, got, strict=False))


class Litert:
    """A run of LiteRT in a process of its own, because some models make it abort; it starts at once."""

    def __init__(self, path: Path, inputs: Sequence[Array], seconds: float, reference: bool) -> None:
        context = multiprocessing.get_context("spawn")
        self.receiver, sender = context.Pipe(duplex=False)
        self.process = context.Process(target=run_litert, args=(str(path), inputs, seconds, reference, sender))
        self.process.start()
        sender.close()

    def outputs(self) -> list[Array]:
        """The first output for each input that there was time for; none if LiteRT refuses or aborts."""
        try:
            found: list[Array] = self.receiver.recv()
        except EOFError:
            found = []
        self.process.join()
        return found


def run_litert(path: str, inputs: Sequence[Array], seconds: float, reference: bool, sender: Any) -> None:
    """The body of the process that runs LiteRT."""
    from ai_edge_litert.interpreter import Interpreter, OpResolverType

    kind = OpResolverType.BUILTIN_REF if reference else OpResolverType.AUTO
    interpreter = Interpreter(path, experimental_op_resolver_type=kind, num_threads=1)
    interpreter.allocate_tensors()
    end = time.perf_counter() + seconds
    outputs: list[Array] = []
    for x in inputs:
        if outputs and time.perf_counter() > end:
            break
        interpreter.set_tensor(interpreter.get_input_details()[0]["index"], x)
        interpreter.invoke()
        outputs.append(interpreter.get_tensor(interpreter.get_output_details()[0]["index"]))
    sender.send(outputs)


if __name__ == "__main__":
    sys.exit(main())
