"""What `netc compile --target edgetpu` does and says."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from .compiler.edgetpu import LATEST, Release, Report, differences, predict, to_data, to_text
from .compiler.errors import NetcError
from .compiler.files import write_bytes
from .compiler.quantization import quantized_activation, states_scales
from .edgetpu import ABSENT, CompilerRun, edgetpu_model, facts_of_file, run_compiler, write_report
from .frontend import FORMATS, format_of
from .loading import load
from .notes import open_noted, warnings_for_people
from .options import NetworkOptions
from .output import echo, progress_to


def compile_for_edgetpu(network: NetworkOptions, output: str | None, as_json: bool, options: Mapping[str, Any]) -> None:
    """Write the TFLite file, predict what the Edge TPU does with it, call the real compiler, and say all that."""
    _refuse_batch(network.batch)
    release = Release.parse(options["release"]) if options["release"] else LATEST
    if format_of(network.model) is FORMATS["tflite"]:
        file, rewritten, prediction = _ready_model(network, output, options, release)
    else:
        with warnings_for_people():
            file, rewritten, prediction = _quantized_model(network, output, options, release)
    run = run_compiler(file)
    more = {"file": str(file), "rewritten": dict(rewritten), "compiler": _run_data(prediction, run)}
    if options["report"]:
        write_report(prediction, options["report"], more)
    if as_json:
        echo(json.dumps({**to_data(prediction), **more}, indent=1))
        return
    lines = [f"legalize-edgetpu: {name}, {count} rewritten" for name, count in rewritten.items()]
    lines += [f"{file}: {file.stat().st_size:,} bytes", "", to_text(prediction), *_run_lines(prediction, run)]
    echo("\n".join(lines))


def _refuse_batch(batch: int) -> None:
    if batch != 1:
        raise NetcError(f"the Edge TPU takes one sample at a time, not {batch}")


_Model = tuple[Path, Mapping[str, int], Report]


def _ready_model(asked: NetworkOptions, output: str | None, options: Mapping[str, Any], release: Release) -> _Model:
    """A TFLite file as it is."""
    others = (options[name] for name in ("preprocess", "weights", "calibrate", "equalize"))
    if output or asked.net or asked.settings or any(others):
        raise NetcError(f"{asked.model} is a TFLite file: it is predicted and compiled as it is, without other options")
    file = Path(asked.model)
    return file, {}, predict(facts_of_file(file), release)


def _quantized_model(asked: NetworkOptions, output: str | None, options: Mapping[str, Any], release: Release) -> _Model:
    """The TFLite file that is made of a float network, or of one that is quantized already."""
    network = load(asked.model, **asked.reading, preprocess=options["preprocess"])
    _refuse_batch(network.attributes.get("batch", 1))
    needed = [("weights", "--weights FILE.safetensors", bool(network.weights))]
    is_quantized = states_scales(network) or quantized_activation(network) is not None
    needed.append(("calibrate", "--calibrate FOLDER", not is_quantized))
    for name, what, is_needed in needed:
        if is_needed and not options[name]:
            hint = "`netc check --target edgetpu` predicts without weights or samples"
            raise NetcError(f"quantizing for the Edge TPU needs {what}", hint=hint)
        if options[name] and not is_needed:
            raise NetcError(f"{asked.model} has them already: it takes no --{name}")
    count = options["samples"]
    samples = open_noted(options["calibrate"], count, network) if options["calibrate"] else None
    with progress_to(count, "calibrating") as progress:
        made = edgetpu_model(
            network,
            samples,
            weights=options["weights"],
            method=options["method"],
            limit=count,
            equalized=options["equalize"],
            model=asked.model,
            threads=options["threads"],
            progress=progress,
        )
    file = Path(output or f"{made.graph.name}_int8.tflite")
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
