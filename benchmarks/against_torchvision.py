"""Compare shipped nets with their twins in torchvision, timm and `paper_nets.py`: results, a step of training, speed.

Each net takes its twin's own weights, drawn at random, by name, from a file. Compared are the results at batch 1 and 3
and, where a net allows, at two sizes of pictures, as the largest difference relative to the range of the twin's
results, zero included; the losses of two training steps (batch statistics, nothing dropped), of which the second shows
the gradients of the first, for nets with one output; numbers of trainable parameters and of multiply-accumulates. Times
are medians of calls that take turns with ONNX Runtime's, which runs the exported twin.

What is found is kept in a file, a line for each net, so that nets can be measured a few at a time, and a part of the
comparison on another day; the table shows all. Fails if something differs too much. Needs the extra `zoo`.
"""

from __future__ import annotations

import argparse
import copy
import json
import os
import statistics
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from common import parser, setting, table, without_dropout
from dense_twins import DENSE, DETECTION
from numpy.typing import NDArray
from safetensors.torch import save_file
from torch.nn import functional as F
from twins import FIXED_SIZE, TWINS, multiply_accumulates, training_mode, twin

import netc
from netc.compiler.graph.ir import Graph
from netc.summary import total_macs, trainable_parameters

Arrays = list[NDArray[Any]]
LIMIT = 1e-4
"""Largest difference of a result or a loss."""
OWN_ERRORS = 8
"""Times the twin's own error, that of a result may be."""


@dataclass
class Finding:
    """What one net showed; None where that was not looked at."""

    net: str
    parameters: int
    macs: int
    difference: float | None = None
    loss: float | None = None
    step: float | None = None
    compile_s: float | None = None
    """Processor time from the text to a program, nothing from the cache."""
    ms: float | None = None
    peer_ms: float | None = None
    own: float | None = None
    """Difference of the twin's results in single from those in double precision; None where `difference` is small."""
    own_step: float | None = None
    """The same of the second losses; None where `step` is small."""

    @property
    def sound(self) -> bool:
        """True if nothing differs too much: a deep net may make much of small errors, the twin's own among them."""
        results = (self.difference or 0) <= max(LIMIT, OWN_ERRORS * (self.own or 0))
        step = (self.step or 0) <= max(100 * LIMIT, OWN_ERRORS * (self.own_step or 0))
        return results and step and (self.loss or 0) <= LIMIT

    @property
    def ratio(self) -> float | None:
        """Time of netc over that of ONNX Runtime."""
        return self.ms / self.peer_ms if self.ms and self.peer_ms else None

    def over(self, older: Finding | None) -> Finding:
        """What is found now, and what only an older finding knows."""
        if older is None:
            return self
        return Finding(**asdict(older) | {key: v for key, v in asdict(self).items() if v is not None})

    def row(self) -> list[str]:
        """A line of the table."""
        return [
            self.net,
            f"{self.parameters:,}",
            f"{self.macs:,}",
            *(_text(error, ".1e") for error in (self.difference, self.loss, self.step)),
            _text(self.compile_s, ".1f"),
            _text(self.ms, ".1f"),
            _text(self.peer_ms, ".1f"),
            _text(self.ratio, ".2f"),
        ]


HEADERS = (
    "net",
    "parameters",
    "MACs",
    "results differ by",
    "first loss",
    "second loss",
    "compile, CPU s",
    "netc, ms",
    "ONNX Runtime, ms",
    "ratio",
)


def _text(number: float | None, form: str) -> str:
    return "" if number is None else format(number, form)


def main() -> int:
    """Compare the chosen nets, print what is known of all; 1 if one of them differs too much."""
    options = _options()
    torch.set_num_threads(options.threads)
    known = _read(options.results)
    for name in options.only or [name for name in TWINS if name not in known]:
        with tempfile.TemporaryDirectory() as folder:
            os.environ["NETC_CACHE_DIR"] = folder
            known[name] = _compare(name, Path(folder), options).over(known.get(name))
        print(*known[name].row(), "" if known[name].sound else "TOO MUCH", file=sys.stderr, flush=True)
        options.results.write_text("".join(f"{json.dumps(asdict(finding))}\n" for finding in known.values()))
    findings = [known[name] for name in TWINS if name in known]
    print(setting("torch", "torchvision", "timm", "onnxruntime"), end="\n\n")
    print(table(HEADERS, [finding.row() for finding in findings]))
    ratios = [finding.ratio for finding in findings if finding.ratio is not None]
    if ratios:
        print(f"\nRatios: median {statistics.median(ratios):.2f}, largest {max(ratios):.2f}")
    return int(not all(finding.sound for finding in findings))


def _options() -> argparse.Namespace:
    p = parser(__doc__)
    p.add_argument("--only", nargs="+", choices=TWINS, metavar="NET", help="these, known or not; default: all unknown")
    p.add_argument("--results", type=Path, default=Path("against_torchvision.jsonl"), help="what is known")
    p.add_argument("--threads", type=int, default=2)
    p.add_argument("--rounds", type=int, default=5, help="turns of both engines; 0: don't measure times")
    p.add_argument("--turn", type=float, default=0.4, help="seconds of a turn")
    p.add_argument("--training-size", type=int, default=96, help="side of the pictures of the training step")
    p.add_argument("--no-training", action="store_true")
    p.add_argument("--no-batch", action="store_true", help="don't compare results at batch 3 and another size")
    p.add_argument("--side", type=int, help="of the pictures at batch 1, where a net allows; no times then")
    return p.parse_args()


def _read(path: Path) -> dict[str, Finding]:
    lines = path.read_text().splitlines() if path.exists() else []
    findings = (Finding(**json.loads(line)) for line in lines)
    return {finding.net: finding for finding in findings}


def _compare(name: str, folder: Path, options: argparse.Namespace) -> Finding:
    module = twin(name)
    weights = folder / "twin.safetensors"
    fixed, given = name.startswith(FIXED_SIZE), DETECTION.get(name, {})
    graph = netc.load(name)
    whole, parameters = graph.inputs[0].type.shape[-2], trainable_parameters(graph)
    side = whole if fixed or not options.side else max(options.side, 128 * name.startswith("inception"))
    macs = total_macs(netc.load(name, settings=given))
    graph = netc.load(name, settings=given if fixed else {"size": side})
    used = {p.result.name for p in graph.parameters} if given else module.state_dict()
    save_file({key: value.contiguous() for key, value in module.state_dict().items() if key in used}, weights)
    _expect(name, "parameters", parameters, sum(p.numel() for p in module.parameters() if p.requires_grad))
    _expect(name, "multiply-accumulates", total_macs(graph), multiply_accumulates(module, _to_torch(_inputs(graph))))
    finding = Finding(name, parameters, macs, 0.0)
    other = side if fixed else side * 7 // 10 | 1
    for size, batch in ((side, 1), (other, 3))[: 2 - options.no_batch]:
        settings = given if fixed else {"size": size}
        x = _inputs(netc.load(name, batch=batch, settings=settings))
        started = time.process_time()
        program = netc.compile(name, weights=weights, batch=batch, threads=options.threads, settings=settings)
        elapsed = time.process_time() - started
        with program:
            found, expected = program(*x), _run_torch(module, x)
            difference = _difference(found if isinstance(found, tuple) else (found,), expected)
            if difference > LIMIT:
                wide = [a.astype(np.float64) if a.dtype.kind == "f" else a for a in x]
                exact = _run_torch(module.double(), wide)
                module.float()
                finding.own = _difference(expected, exact)
            finding.difference = max(finding.difference or 0, difference)
            if batch == 1 and options.rounds and side == whole:
                finding.compile_s = elapsed
                finding.ms, finding.peer_ms = _times(program, module, x, folder / "twin.onnx", options)
    if not options.no_training and name not in DENSE:
        finding.loss, finding.step, finding.own_step = _train(name, module, weights, options)
    return finding


def _expect(name: str, what: str, found: int, expected: int) -> None:
    if found != expected:
        raise SystemExit(f"{name} has {found:,} {what}, its twin {expected:,}")


def _difference(found: Sequence[NDArray[Any]], expected: Sequence[NDArray[Any]]) -> float:
    """The largest difference relative to the range of what is expected, zero included."""
    return max(
        float(np.abs(a - b).max() / max(np.ptp(b), np.abs(b).max())) for a, b in zip(found, expected, strict=True)
    )


def _inputs(graph: Graph) -> Arrays:
    """Numbers for each input, the same ones for the same shape."""
    rng = np.random.default_rng(graph.inputs[0].type.shape[0])
    return [
        rng.standard_normal(v.type.shape, np.float32)
        if v.type.dtype.is_float
        else rng.integers(0, 100, v.type.shape, v.type.dtype.numpy)
        for v in graph.inputs
    ]


def _to_torch(x: Arrays) -> tuple[torch.Tensor, ...]:
    """The same, with the channels of floats behind the batch."""
    planar = (np.moveaxis(a, -1, 1) if a.dtype.kind == "f" else a for a in x)
    return tuple(torch.from_numpy(a.copy()) for a in planar)


def _run_torch(module: torch.nn.Module, x: Arrays) -> Arrays:
    """The results, with the channels last."""
    with torch.no_grad():
        found = module(*_to_torch(x))
    return [np.moveaxis(y.numpy(), 1, -1) for y in (found if isinstance(found, tuple) else (found,))]


def _times(
    program: Any, module: torch.nn.Module, x: Arrays, path: Path, options: argparse.Namespace
) -> tuple[float, float]:
    """Median milliseconds of netc and of ONNX Runtime, which take turns; with one thread, of processor time."""
    import onnxruntime

    planar = _to_torch(x)
    feed = {f"x{i}": a.numpy() for i, a in enumerate(planar)}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(module, planar, str(path), dynamo=False, input_names=list(feed))
    settings = onnxruntime.SessionOptions()
    settings.intra_op_num_threads, settings.log_severity_level = options.threads, 3
    session = onnxruntime.InferenceSession(str(path), settings, providers=["CPUExecutionProvider"])
    engines: tuple[Callable[[], object], ...] = (lambda: program(*x), lambda: session.run(None, feed))
    times: tuple[list[float], list[float]] = ([], [])
    # Processor time leaves out the work of others on a busy machine, but adds up threads.
    clock = time.process_time if options.threads == 1 else time.perf_counter
    for _ in range(options.rounds):
        for engine, found in zip(engines, times, strict=True):
            end = clock() + options.turn
            count = 0
            while count < 2 or clock() < end:
                started = clock()
                engine()
                if count:  # the first call of a turn finds the caches full of the other's
                    found.append(1e3 * (clock() - started))
                count += 1
    return statistics.median(times[0]), statistics.median(times[1])


def _train(
    name: str, module: torch.nn.Module, weights: Path, options: argparse.Namespace
) -> tuple[float, float, float | None]:
    """Relative differences of the losses before and after an update, and the twin's own of the latter if that is large.

    Zeros where there is more than one output.
    """
    settings = (
        {} if name.startswith(FIXED_SIZE) else {"size": max(options.training_size, 128 * name.startswith("inception"))}
    )
    graph = without_dropout(netc.load(name, batch=4, settings=settings))
    if len(graph.outputs) > 1:
        return 0.0, 0.0, None
    x, classes = _inputs(graph), graph.outputs[0].type.shape[-1]
    rng = np.random.default_rng(0)
    labels = (
        rng.integers(0, classes, 4).astype(np.int32) if classes > 1 else rng.uniform(size=(4, 1)).astype(np.float32)
    )
    trainer = netc.compile_training(
        graph,
        weights=weights,
        threads=options.threads,
        optimizer="sgd(lr=0.01)",
        loss="softmax_cross_entropy" if classes > 1 else "mean_squared_error",
    )
    found = [float(trainer.step(*x, labels)) for _ in range(2)]
    expected = _losses(copy.deepcopy(module), _to_torch(x), torch.from_numpy(labels))
    first, second = (abs(a - b) / abs(b) for a, b in zip(found, expected, strict=True))
    own = None
    if second > 100 * LIMIT:
        wide = [t.double() if t.is_floating_point() else t for t in (*_to_torch(x), torch.from_numpy(labels))]
        exact = _losses(copy.deepcopy(module).double(), tuple(wide[:-1]), wide[-1])[1]
        own = abs(expected[1] - exact) / abs(exact)
        print(f"second loss: netc {found[1]}, twin {expected[1]}, in double precision {exact}", file=sys.stderr)
    return first, second, own


def _losses(module: torch.nn.Module, x: tuple[torch.Tensor, ...], labels: torch.Tensor) -> list[float]:
    losses = []
    optimizer = torch.optim.SGD(module.parameters(), lr=0.01)
    classes = not labels.is_floating_point()
    with training_mode(module):
        for _ in range(2):
            optimizer.zero_grad()
            y = module(*x)
            loss = F.cross_entropy(y, labels.long()) if classes else F.mse_loss(y, labels)
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
    return losses


if __name__ == "__main__":
    sys.exit(main())
