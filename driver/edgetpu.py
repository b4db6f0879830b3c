"""From a float network to a TFLite file for the Edge TPU, and Google's compiler, where it is installed."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from .calibration import Samples, calibrate
from .compiler.edgetpu import CompilerLog, ModelFacts, Release, Report, predict, read_tflite, to_data, to_html
from .compiler.errors import NetcError
from .compiler.graph.ir import Graph
from .compiler.graph.names import value_names
from .compiler.passes import legalize_edgetpu
from .compiler.quantization import quantized_activation, states_scales
from .compiler.reading import read_bytes
from .export import tflite_bytes
from .loading import Source, Weights, load
from .output import write_result
from .quantization import as_given, quantize

COMPILER = "edgetpu_compiler"
COMPILER_SECONDS = 300
"""The compiler itself gives up after 180 seconds."""
ABSENT = (
    f"{COMPILER} is not on PATH: it runs on x86-64 Debian (package edgetpu-compiler) and in Google Colab, "
    "see https://coral.ai/docs/edgetpu/compiler/"
)


def facts_of_file(path: Path) -> ModelFacts:
    """What the prediction needs to know of a TFLite file, shapes that it leaves out included."""
    from .frontend.tflite import with_shapes  # its readers take a while to import

    return read_tflite(read_bytes(path), path.name, with_shapes)


@dataclass(frozen=True)
class EdgeTpuModel:
    """A full-integer TFLite file, and what was done on the way: how many operators of each name were rewritten."""

    data: bytes
    rewritten: Mapping[str, int]
    graph: Graph

    def prediction(self, name: str, release: Release) -> Report:
        """What the Edge TPU compiler will do with the file, called `name`, in terms of the network's text."""
        return predict(_placed(read_tflite(self.data, name), self.graph), release)


def edgetpu_model(
    source: Source,
    samples: Samples | None,
    *,
    weights: Weights,
    method: str = "mse",
    limit: int = 100,
    equalized: bool = False,
    model: str = "",
    threads: int | None = None,
    progress: Callable[[int], None] | None = None,
) -> EdgeTpuModel:
    """Rewrite a float network for the Edge TPU (see the pass legalize-edgetpu) and quantize it to 8-bit integers.

    Labels are looked for beside `model`, the path that a graph came from. `samples`, `limit`, `equalized` and
    `progress` are those of `calibrate`. Raises `NetcError` for operators without an integer form. A network that says
    its scales is taken with them, and one of integers as it is: they need no samples.
    """
    given = load(source)
    model = model if isinstance(source, Graph) else os.fspath(source)
    if states_scales(given):
        graph = as_given(given, weights=weights, integer_edges=True)
        return EdgeTpuModel(tflite_bytes(graph, model=model), {}, graph)
    if quantized_activation(given) is not None:
        return EdgeTpuModel(tflite_bytes(given, weights, model=model), {}, given)
    if samples is None:
        raise NetcError("quantizing takes samples to calibrate with", hint="give them, unless the file is quantized")
    legal = legalize_edgetpu(given)
    calibrated = calibrate(
        legal, samples, weights=weights, limit=limit, equalized=equalized, threads=threads, progress=progress
    )
    graph = quantize(legal, calibration=calibrated, method=method)
    return EdgeTpuModel(tflite_bytes(graph, model=model), _rewritten(given, legal), graph)


def _rewritten(before: Graph, after: Graph) -> Mapping[str, int]:
    """How many operators of each name are gone."""
    counts = Counter(op.name for op in before.operations)
    counts.subtract(op.name for op in after.operations)
    return {name: count for name, count in sorted(counts.items()) if count > 0}


def _placed(facts: ModelFacts, graph: Graph) -> ModelFacts:
    """The facts of a file, whose operators know where the operations that they come from were written."""
    names = value_names(graph)
    makers = {names[result]: op for op in graph.operations for result in op.results}
    operators = []
    for operator in facts.operators:
        made = makers.get(operator.outputs[0].name) if operator.outputs else None
        if made is not None and made.location is not None:
            called = made.name.removeprefix("q_")
            operator = replace(operator, location=str(made.location), written_as=called)
        operators.append(operator)
    return replace(facts, operators=tuple(operators))


def write_report(report: Report, path: str, more: Mapping[str, object] | None = None) -> None:
    """Write a prediction as data, with `more` entries, if the path ends in .json, else as an HTML page.

    The file appears complete or not at all; raises `NetcError` if it can't be written.
    """
    if path.endswith(".json"):
        text = json.dumps({**to_data(report), **(more or {})}, indent=1) + "\n"
    else:
        text = to_html(report)
    write_result(text, path)


@dataclass(frozen=True)
class CompilerRun:
    """What the compiler said, and the file that it wrote beside the model."""

    log: CompilerLog
    output: Path


def run_compiler(model: Path, seconds: float = COMPILER_SECONDS) -> CompilerRun | None:
    """Run `edgetpu_compiler` on a TFLite file; None where it isn't installed. Raises `NetcError` if it fails."""
    executable = shutil.which(COMPILER)
    if executable is None:
        return None
    model = model.resolve()
    text = _output_of([executable, "-s", "-o", str(model.parent), str(model)], seconds)
    log = CompilerLog.parse(text)
    output = model.with_name(f"{model.stem}_edgetpu.tflite")
    if not log.succeeded or not output.is_file():
        said = "; ".join(log.errors) or " ".join(text.split())[-300:] or "it said nothing"
        raise NetcError(f"{COMPILER} didn't compile {model.name}: {said}")
    return CompilerRun(log, output)


def _output_of(command: list[str], seconds: float) -> str:
    """All that a command prints. It gets a process group of its own: the compiler is a script that starts a program."""
    try:
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, start_new_session=True
        )
    except OSError as error:
        raise NetcError(f"can't start {command[0]}: {error.strerror or error}") from None
    with process:
        try:
            printed, _ = process.communicate(timeout=seconds)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            raise NetcError(f"{command[0]} took longer than {seconds:g} seconds") from None
    return printed.decode("utf-8", "replace")
