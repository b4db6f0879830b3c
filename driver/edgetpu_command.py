"""What `netc compile --target edgetpu` does and says."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path

from .compile_options import CompileOptions
from .compiler.edgetpu import LATEST, Release, Report, differences, predict, to_data, to_text
from .compiler.errors import NetcError
from .compiler.files import write_bytes
from .compiler.quantization import quantized_activation, states_scales
from .edgetpu import ABSENT, CompilerRun, edgetpu_model, facts_of_file, run_compiler, write_report
from .frontend import FORMATS, format_of
from .loading import load
from .notes import open_noted, warnings_for_people
from .output import echo, progress_to


def compile_for_edgetpu(o: CompileOptions) -> None:
    """Write the TFLite file, predict what the Edge TPU does with it, call the real compiler, and say all that."""
    _refuse_batch(o.network.batch)
    release = Release.parse(o.release) if o.release else LATEST
    if format_of(o.network.model) is FORMATS["tflite"]:
        file, rewritten, prediction = _ready_model(o, release)
    else:
        with warnings_for_people():
            file, rewritten, prediction = _quantized_model(o, release)
    run = run_compiler(file)
    more = {"file": str(file), "rewritten": dict(rewritten), "compiler": _run_data(prediction, run)}
    if o.report:
        write_report(prediction, o.report, more)
    if o.as_json:
        echo(json.dumps({**to_data(prediction), **more}, indent=1))
        return
    lines = [f"legalize-edgetpu: {name}, {count} rewritten" for name, count in rewritten.items()]
    lines += [f"{file}: {file.stat().st_size:,} bytes", "", to_text(prediction), *_run_lines(prediction, run)]
    echo("\n".join(lines))


def _refuse_batch(batch: int) -> None:
    if batch != 1:
        raise NetcError(f"the Edge TPU takes one sample at a time, not {batch}")


_Model = tuple[Path, Mapping[str, int], Report]


def _ready_model(o: CompileOptions, release: Release) -> _Model:
    """A TFLite file as it is."""
    model = o.network.model
    others = (o.output, o.network.net, o.network.settings, o.preprocess, o.weights, o.calibrate, o.equalize)
    if any(others):
        raise NetcError(f"{model} is a TFLite file: it is predicted and compiled as it is, without other options")
    return Path(model), {}, predict(facts_of_file(Path(model)), release)


def _quantized_model(o: CompileOptions, release: Release) -> _Model:
    """The TFLite file that is made of a float network, or of one that is quantized already."""
    network = load(o.network.model, **o.network.reading, preprocess=o.preprocess)
    _refuse_batch(network.attributes.get("batch", 1))
    is_quantized = states_scales(network) or quantized_activation(network) is not None
    for option, example, given, is_needed in (
        ("--weights", "FILE.safetensors", o.weights, bool(network.weights)),
        ("--calibrate", "FOLDER", o.calibrate, not is_quantized),
    ):
        if is_needed and not given:
            hint = "`netc check --target edgetpu` predicts without weights or samples"
            raise NetcError(f"quantizing for the Edge TPU needs {option} {example}", hint=hint)
        if given and not is_needed:
            raise NetcError(f"{o.network.model} has them already: it takes no {option}")
    samples = open_noted(o.calibrate, o.samples, network) if o.calibrate else None
    with progress_to(o.samples, "calibrating") as progress:
        made = edgetpu_model(
            network,
            samples,
            weights=o.weights,
            method=o.method,
            limit=o.samples,
            equalized=o.equalize,
            model=o.network.model,
            threads=o.threads,
            progress=progress,
        )
    file = Path(o.output or f"{made.graph.name}_int8.tflite")
    write_bytes(file, made.data)
    return file, made.rewritten, made.prediction(file.name, release)


def _run_lines(prediction: Report, run: CompilerRun | None) -> list[str]:
    """What the real compiler did, beside what was predicted."""
    if run is None:
        return [ABSENT]
    lines = [f"edgetpu_compiler {run.log.version} wrote {run.output}: {run.output.stat().st_size:,} bytes"]
    told = [("cached", run.log.cached), ("remaining", run.log.remaining), ("streamed", run.log.streamed)]
    lines.append("parameters: " + ", ".join(f"{what} {amount}" for what, amount in told if amount))
    lines += [f"  {kind:31}{count:<11}{status}" for kind, count, status in run.log.table]
    other = differences(prediction, run.log)
    return [*lines, "The prediction was right." if not other else "Other than predicted:", *(f"  {d}" for d in other)]


def _run_data(prediction: Report, run: CompilerRun | None) -> dict[str, object] | None:
    if run is None:
        return None
    return {**asdict(run.log), "output": str(run.output), "differences": list(differences(prediction, run.log))}
