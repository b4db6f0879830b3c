"""Exports of torchvision's and timm's nets to ONNX, by both exporters of PyTorch: do they give PyTorch's numbers?

    python benchmarks/onnx_exports.py [NAME ...] [--exporter old|new] [--size N] [--keep DIR] [--results R.jsonl]
                                      [--there] [--read] [--times] [--within MINUTES] [--again] [--meaning]
    python benchmarks/onnx_exports.py --results R.jsonl --table FILE

For each net: the largest difference from PyTorch, as a share of the range of its outputs; the transposes left inside,
those that rearrange split dimensions (shuffles of channels, windows), and those of inputs and outputs; the processor
time of reading. With --times netc and ONNX Runtime take turns on the same file: processor time on one thread, time of
the clock on two. Names are netc's, those of torchvision, or timm/NAME; by default all of torchvision that netc ships
and a net of each family of timm. What the exporter itself can't do is said.

With --keep files stay in DIR, beside each the picture and PyTorch's answer, so that a later run needs neither PyTorch's
net nor its exporter; --there takes what lies in DIR, the smallest files first. --results adds lines of JSON to a file,
and a net that has all that is asked for there isn't run again; --table writes them. --read only reads files and counts
their transposes; numbers and times that --results holds of a file stay. Where a net differs by more than 1e-4, PyTorch
and netc are compared with PyTorch in double precision. Exit code 1 if netc is four times as far from that as PyTorch,
or refuses a file.
"""

from __future__ import annotations

import gc
import statistics
import subprocess
import sys
import tempfile
import time
import warnings
from argparse import ArgumentParser, Namespace
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import torch
from common import parser, setting
from onnx_findings import LIMIT, OWN_ERRORS, Finding, Results
from twins import FIXED_SIZE, TIMM, TORCHVISION, torchvision, twin

from netc.compiler.errors import NetcError
from netc.compiler.graph.interpreter import evaluate
from netc.compiler.graph.ir import Graph
from netc.compiler.passes.axis_orders import transposes_left
from netc.loading import load
from netc.pipeline import compile_graph
from netc.runtime.program import Program

FAMILIES = (
    "beit_base_patch16_224 botnet26t_256 caformer_s18 cait_xxs24_224 coat_lite_tiny coatnet_pico_rw_224 "
    "convformer_s18 convit_tiny convmixer_768_32 convnextv2_atto crossvit_tiny_240 cspdarknet53 cspresnet50 darknet53 "
    "davit_tiny deit_tiny_patch16_224 dla34 dpn68 eca_nfnet_l0 edgenext_xx_small efficientformer_l1 "
    "efficientformerv2_s0 efficientvit_b0 efficientvit_m0 ese_vovnet19b_dw eva02_tiny_patch14_224 fastvit_t8 "
    "fbnetc_100 focalnet_tiny_srf gcvit_xxtiny gernet_s ghostnet_100 ghostnetv2_100 gmixer_24_224 gmlp_s16_224 "
    "halonet26t hardcorenas_a hgnetv2_b0 hiera_tiny_224 hrnet_w18_small inception_next_atto lambda_resnet26t "
    "lcnet_050 levit_128s mambaout_femto maxvit_rmlp_pico_rw_256 mixer_s32_224 mobilenetv3_rw mobilenetv4_conv_small "
    "mobilenetv4_hybrid_medium mobileone_s0 mobilevit_xxs mobilevitv2_050 mvitv2_tiny nest_tiny nextvit_small "
    "pit_ti_224 poolformer_s12 pvt_v2_b0 rdnet_tiny regnetz_b16 repghostnet_050 repvgg_a0 repvit_m0_9 "
    "res2net50_26w_4s resmlp_12_224 resnest14d resnetv2_50 rexnet_100 selecsls42b semnasnet_075 sequencer2d_s "
    "seresnet50 shvit_s1 skresnet18 starnet_s1 swiftformer_xs swinv2_tiny_window8_256 tiny_vit_5m_224 tinynet_e "
    "tnt_s_patch16_224 tresnet_m twins_pcpvt_small twins_svt_small visformer_tiny vit_tiny_patch16_224 "
    "vitamin_small_224 volo_d1_224 xception41 xcit_nano_12_p16_224 "
)
"""A small net of each family of timm."""
EXPORTERS = ("old", "new")
ROUNDS = 5
TURN = 0.2
"""Seconds that one of them runs before it is the other's turn."""
Arrays = list[np.ndarray[Any, Any]]


@dataclass(frozen=True)
class Subject:
    """A net of PyTorch, an input, and what the net makes of it."""

    name: str
    module: torch.nn.Module
    x: torch.Tensor
    wanted: Arrays

    @classmethod
    def of(cls, name: str, size: int) -> Subject:
        """A net with drawn weights."""
        if name.startswith("timm/"):
            TIMM[name] = name.removeprefix("timm/")
        module = twin(name)
        x = torch.randn(shape_of(name, size), generator=torch.Generator().manual_seed(1))
        with torch.no_grad():
            outputs = module(x)
        outputs = list(outputs) if isinstance(outputs, tuple | list) else [outputs]
        return cls(name, module, x, [o.numpy() for o in outputs])

    def exported(self, exporter: str, folder: Path) -> Path:
        """The net's file; the picture and the answer are kept beside it."""
        kept = Kept(folder, self.name, self.x.shape[-1])
        path = kept.model(exporter)
        if not path.exists():
            kept.write(self.x.numpy(), self.wanted)
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                torch.onnx.export(self.module, (self.x,), str(path), dynamo=exporter == "new", verbose=False)
        return path


@dataclass(frozen=True)
class Kept:
    """Files of a net in a folder."""

    folder: Path
    name: str
    size: int

    @property
    def stem(self) -> str:
        """How the names of the files begin."""
        return f"{self.name.replace('/', '_')}_{self.size}"

    @property
    def numbers(self) -> Path:
        """A picture, and what PyTorch makes of it."""
        return self.folder / f"{self.stem}.npz"

    def model(self, exporter: str) -> Path:
        """The model; the new exporter puts its weights beside it."""
        return self.folder / f"{self.stem}_{exporter}.onnx"

    def write(self, x: np.ndarray[Any, Any], wanted: Arrays) -> None:
        """Keep a picture and the answer."""
        if not self.numbers.exists():
            named: dict[str, Any] = {f"y{i}": y for i, y in enumerate(wanted)}
            np.savez(self.numbers, x=x, **named)

    def read(self) -> tuple[np.ndarray[Any, Any], Arrays]:
        """The picture and the answer."""
        with np.load(self.numbers) as arrays:
            return arrays["x"], [arrays[f"y{i}"] for i in range(len(arrays.files) - 1)]

    @classmethod
    def all_in(cls, folder: Path) -> Iterator[tuple[Kept, str]]:
        """What lies in a folder, the smallest first, and by which exporter."""

        def bytes_of(path: Path) -> int:
            return sum(p.stat().st_size for p in folder.glob(f"{path.name}*"))

        for path in sorted(folder.glob("*.onnx"), key=lambda p: (bytes_of(p), p.name)):
            name, size, exporter = path.stem.rsplit("_", 2)
            yield (
                cls(folder, name.replace("timm_", "timm/", 1) if name.startswith("timm_") else name, int(size)),
                exporter,
            )


def file_of(name: str, exporter: str, folder: Path, size: int = 224) -> Path:
    """A net's file in a folder; it is made if it isn't there."""
    folder.mkdir(parents=True, exist_ok=True)
    path = Kept(folder, name, shape_of(name, size)[-1]).model(exporter)
    return path if path.exists() else Subject.of(name, size).exported(exporter, folder)


def shape_of(name: str, size: int) -> tuple[int, ...]:
    """The shape of a net's input; `size` where the net takes any."""
    if name.startswith("timm/"):
        torchvision()  # timm imports it
        return (1, *import_module("timm").get_pretrained_cfg(TIMM[name]).input_size)
    if name.endswith(("d_18", "mc3_18")):
        return (1, 3, 8, 64, 64)
    if name == "inception_v3":
        return (1, 3, max(size, 128), max(size, 128))
    return (1, 3, 224, 224) if name.startswith(FIXED_SIZE) else (1, 3, size, size)


def times(program: Program, path: Path, x: np.ndarray[Any, Any], threads: int) -> tuple[float, float]:
    """Median milliseconds of netc and ONNX Runtime, which take turns; of processor time on one thread."""
    import onnxruntime

    settings = onnxruntime.SessionOptions()
    settings.intra_op_num_threads, settings.log_severity_level = threads, 3
    session = onnxruntime.InferenceSession(str(path), settings, providers=["CPUExecutionProvider"])
    feed = {session.get_inputs()[0].name: x}
    engines: tuple[Callable[[], object], ...] = (lambda: program(x), lambda: session.run(None, feed))
    found: tuple[list[float], list[float]] = ([], [])
    # Processor time leaves out the work of others on a busy machine, but adds up threads.
    clock = time.process_time if threads == 1 else time.perf_counter
    for _ in range(ROUNDS):
        for engine, calls in zip(engines, found, strict=True):
            engine()  # finds the caches full of the other's
            end, count = clock() + TURN, 0
            while not count or clock() < end:
                start = clock()
                engine()
                calls.append(1e3 * (clock() - start))
                count += 1
    return statistics.median(found[0]), statistics.median(found[1])


def read(kept: Kept, exporter: str) -> tuple[Finding, Graph | None]:
    """Read a file, and count what is in it."""
    finding = Finding(kept.name, exporter, kept.size, code=_commit())
    start = time.process_time()
    try:
        graph = load(kept.model(exporter))
    except NetcError as error:
        finding.problem = f"refused: {error}"
        return finding, None
    finding.read_s = round(time.process_time() - start, 2)
    left = transposes_left(graph)
    finding.inside, finding.rearranging, finding.outside = left.inside, left.rearranging, left.outside
    counts = Counter(op.name for op in graph.operations if op.name not in ("constant", "param"))
    finding.operations = ", ".join(f"{n} {k}" for k, n in counts.most_common(6))
    return finding, graph


def check(kept: Kept, exporter: str, *, meaning: bool, timed: bool) -> Finding:
    """Read, run and compare a file."""
    finding, graph = read(kept, exporter)
    if graph is None:
        return finding
    path, (x, wanted) = kept.model(exporter), kept.read()
    runs = [tuple(evaluate(graph, [x]))] if meaning else list(_compiled(finding, graph, path, x, timed))
    finding.differs = max(_difference(run, wanted) for run in runs)
    if finding.differs > LIMIT:
        _compare_exactly(finding, kept, runs[0], wanted)
    return finding


def _compiled(
    finding: Finding, graph: Graph, path: Path, x: np.ndarray[Any, Any], timed: bool
) -> Iterator[tuple[np.ndarray[Any, Any], ...]]:
    """What compiled programs give, whose times are noted."""
    for threads in (1, 2) if timed else (1,):
        with compile_graph(graph, threads=threads) as program:
            result = program(x)
            yield result if isinstance(result, tuple) else (result,)
            if timed and threads == 1:
                finding.ms, finding.peer_ms = times(program, path, x, threads)
            elif timed:
                finding.ms_2, finding.peer_ms_2 = times(program, path, x, threads)


def _compare_exactly(finding: Finding, kept: Kept, found: Sequence[np.ndarray[Any, Any]], wanted: Arrays) -> None:
    """Note how far PyTorch and netc are from the results in double precision: some nets make much of small errors."""
    subject = Subject.of(kept.name, kept.size)
    same = all(map(np.array_equal, subject.wanted, wanted))
    with torch.no_grad():
        outputs = subject.module.double()(subject.x.double())
    exact = [y.numpy() for y in (outputs if isinstance(outputs, tuple | list) else (outputs,))]
    finding.own, finding.exact = _difference(wanted, exact), _difference(found, exact)
    if not same or finding.exact > OWN_ERRORS * finding.own:
        finding.problem = "differs" if same else "differs, and from another PyTorch than this"


def _difference(found: Sequence[np.ndarray[Any, Any]], wanted: Arrays) -> float:
    return max(float(np.abs(r - w).max() / max(np.ptp(w), 1e-30)) for r, w in zip(found, wanted, strict=True))


def _commit() -> str | None:
    run = subprocess.run(
        ["git", "describe", "--always", "--dirty"],
        cwd=Path(__file__).parent,
        capture_output=True,
        text=True,
        check=False,
    )
    return run.stdout.strip() or None


def _first_line(error: BaseException) -> str:
    """What was wrong in the first place."""
    while error.__cause__ is not None:
        error = error.__cause__
    return f"{type(error).__name__}: {next(iter(str(error).strip().splitlines()), '')}"


def _exports(options: Namespace, folder: Path, results: Results) -> Iterator[tuple[Kept, str] | Finding]:
    """The files, which are made where they aren't there; or why there is none."""
    exporters = options.exporter or EXPORTERS
    if options.there:
        yield from (pair for pair in Kept.all_in(folder) if pair[1] in exporters)
        return
    for name in options.names:
        if name.startswith("timm/"):
            TIMM[name] = name.removeprefix("timm/")
        size = shape_of(name, options.size)[-1]
        kept, subject = Kept(folder, name, size), None
        for exporter in exporters:
            if not options.again and results.has(name, exporter, size, times=options.times):
                continue
            try:
                if not (kept.model(exporter).exists() and kept.numbers.exists()):
                    subject = subject or Subject.of(name, options.size)
                    subject.exported(exporter, folder)
            except Exception as error:  # whatever PyTorch raises
                yield Finding(name, exporter, size, problem=f"not exported: {_first_line(error)}")
                continue
            yield kept, exporter


def main() -> int:
    """Check the nets."""
    options = _options()
    results = Results(options.results)
    torch.set_num_threads(1)
    start, agrees = time.monotonic(), True
    with tempfile.TemporaryDirectory() as temporary:
        folder = options.keep or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        for found in () if options.table else _exports(options, folder, results):
            if options.within is not None and time.monotonic() - start > 60 * options.within:
                print("time is over", file=sys.stderr)
                break
            if not isinstance(found, Finding):
                kept, exporter = found
                if options.read:
                    found, _ = read(kept, exporter)
                elif not options.again and results.has(kept.name, exporter, kept.size, times=options.times):
                    continue
                else:
                    found = check(kept, exporter, meaning=options.meaning, timed=options.times)
            results.add(found)
            print(found.line(), flush=True)
            agrees &= found.is_sound or (options.read and found.problem is None)
            gc.collect()
            if not options.keep:
                for file in folder.iterdir():
                    file.unlink()
    if options.table:
        versions = setting("torch", "torchvision", "timm", "onnx", "onnxruntime")
        title = (
            "# Exports of PyTorch's nets\n\nWritten by `benchmarks/onnx_exports.py --results R.jsonl --table FILE`.\n\n"
        )
        options.table.write_text(f"{title}{versions}\n\n{results.text()}")
        print(results.text().partition("\n\n")[0])
    return int(not agrees)


def _options() -> Namespace:
    p: ArgumentParser = parser(__doc__)
    p.add_argument("names", nargs="*", default=[*TORCHVISION, *TIMM, *(f"timm/{n}" for n in FAMILIES.split())])
    p.add_argument("--exporter", choices=EXPORTERS, action="append")
    p.add_argument("--keep", type=Path, metavar="DIR", help="keep the files there, and take those that are there")
    p.add_argument("--there", action="store_true", help="take all files of --keep, and no others")
    p.add_argument("--size", type=int, default=224, help="height and width of pictures, where the net takes any")
    p.add_argument("--read", action="store_true", help="only read the files, and count their transposes")
    p.add_argument("--times", action="store_true", help="compare the time with ONNX Runtime's")
    p.add_argument("--within", type=float, metavar="MINUTES", help="begin no further net after this time")
    p.add_argument("--results", type=Path, metavar="FILE", help="lines of JSON; what stands there isn't run again")
    p.add_argument("--again", action="store_true", help="run what stands in --results, too")
    p.add_argument("--table", type=Path, metavar="FILE", help="write a table of --results")
    p.add_argument("--meaning", action="store_true", help="evaluate in NumPy instead of compiling")
    return p.parse_args()


if __name__ == "__main__":
    sys.exit(main())
