"""`netc quantize`: from a float network to a TFLite file of 8-bit integers."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import click

from ..calibration import Calibrated, calibrate, layer_noise
from ..classes import class_labels, usable_labels
from ..comparison import check_comparable, comparable, compare_accuracy, held_out_accuracy, show_what_is_guessed
from ..compiler.errors import NetcError
from ..compiler.files import write_bytes
from ..compiler.graph.ir import Graph
from ..compiler.quantization import METHODS, Noise, Ranges, states_scales
from ..compiler.quantization.adaround import AdaRound
from ..compiler.quantization.quantizer import Scheme
from ..compiler.quantization.report import Accuracy, report_on
from ..compiler.tflite import to_tflite
from ..data_help import DataCommand
from ..loading import load
from ..notes import open_noted, warnings_for_people
from ..options import NetworkOptions, network_options, preprocess_option, weights_options
from ..output import check_results, echo, progress_bar, progress_to
from ..quantization import WEIGHT_FORMS, as_given, frozen, lighter, quantized, refuse_settings, scheme_for
from ..recovery import Recovered, Recovery, recover
from ..report import ReportFile
from ..runtime.data.calibration import CalibrationSamples
from ..runtime.data.registry import labelled_source, open_source
from ..runtime.data.source import Source
from ..runtime.parallel.watch import Watch
from ..runtime.parallel.world import World, this_world
from ..together import agree, facts_of, together

_PATHS = {"network", "weights", "samples", "data", "ranges_file", "report", "output"}
"""Options that may be spelled differently on the machines of a job."""

SHOWN = 5
"""How many of the worst layers are printed."""


@click.command("quantize", cls=DataCommand)
@network_options
@preprocess_option
@weights_options
@click.option("--calibrate", "samples", metavar="PATH", help="Pictures, or data by NAME: see below.")
@click.option("--dynamic-range", is_flag=True, help="Weights of 8 bits, activations of floats; takes no samples.")
@click.option("--int16x8", is_flag=True, help="Activations of 16 bits, weights of 8; calibrated as those of 8.")
@click.option("--float16", is_flag=True, help="Weights of half precision; takes no samples.")
@click.option("--samples", "limit", type=click.IntRange(1), default=100, show_default=True, help="How many of them.")
@click.option("--method", type=click.Choice(list(METHODS)), default="mse", show_default=True, help="Choice of ranges.")
@click.option("--equalize", "equalized", is_flag=True, help="Rescale weights of neighbouring layers first.")
@click.option("--adaround", is_flag=True, help="Learn how to round weights so that layers' results change least.")
@click.option("--bias-correction", is_flag=True, help="Correct biases by the mean error of their layers.")
@click.option("--input", "inputs", metavar="TYPE", help="i8 (default), u8 or f32; of 16 bits i16 (default) or f32.")
@click.option("--output-type", "outputs", metavar="TYPE", help="As for --input.")
@click.option("--per-tensor", is_flag=True, help="One scale for each weight, not one for each of its filters.")
@click.option("--keep-float", multiple=True, metavar="PATTERN", help="Results that stay floats, such as head.*")
@click.option("--allow-float", is_flag=True, help="Operators without an integer form stay floats.")
@click.option("--ranges", "ranges_file", metavar="FILE", help="Write the ranges of activations here.")
@click.option(
    "--eval",
    "data",
    metavar="NAME",
    help="Measure accuracy before and after on a data set. With --report: on that of --calibrate, if it has labels.",
)
@click.option("--report", metavar="FILE", help="Write what happened to each layer here: FILE.html or FILE.json.")
@click.option("-o", "--output", required=True, metavar="FILE", help="The TFLite file.")
def quantize_command(**options: Any) -> None:
    """Turn a float network into a TFLite file of 8-bit integers, or with lighter weights.

    MODEL is a shipped model's name or the path of a .net, .tflite or .onnx file. An ONNX file that is quantized keeps
    its scales, and takes no --calibrate.
    """
    o = _Options(**options)
    world = this_world()
    if o.form in WEIGHT_FORMS or o.samples is None:
        if world.rank == 0:  # there is nothing to share out
            _lighten(o, o.form) if o.form in WEIGHT_FORMS else _without_samples(o)
        return
    with Watch(world):
        _quantize(o, world)


@dataclass(frozen=True)
class _Options:
    """What the command line says, in the order of its options."""

    network: NetworkOptions
    preprocess: dict[str, object]
    weights: str | None
    seed: int
    samples: str | None
    dynamic_range: bool
    int16x8: bool
    float16: bool
    limit: int
    method: str
    equalized: bool
    adaround: bool
    bias_correction: bool
    inputs: str | None
    outputs: str | None
    per_tensor: bool
    keep_float: Sequence[str]
    allow_float: bool
    ranges_file: str | None
    data: str | None
    report: str | None
    output: str

    @property
    def form(self) -> str:
        """What the network is quantized to."""
        chosen = [name for name in (*WEIGHT_FORMS, "int16x8") if getattr(self, name)]
        if len(chosen) > 1:
            flags = " and ".join("--" + name.replace("_", "-") for name in chosen)
            raise NetcError(f"{flags} are different forms of a network", hint="give one of them")
        return chosen[0] if chosen else "int8"

    @property
    def scheme(self) -> Scheme:
        """What becomes of the edges, of weights, and of what stays float."""
        return scheme_for(
            self.form,
            self.inputs,
            self.outputs,
            per_channel=not self.per_tensor,
            keep_float=self.keep_float,
            allow_float=self.allow_float,
        )


def _load(o: _Options) -> Graph:
    """Read the network, after a look at the files that are to be written."""
    check_results((o.output, o.report, o.ranges_file), (o.network.model, o.weights, o.samples))
    return load(o.network.model, **o.network.reading, preprocess=o.preprocess, with_parameters=o.weights is not None)


def _compared_on(o: _Options, network: Graph) -> Source | None:
    """The data of --eval, by whose classes networks can be compared."""
    data = open_source(o.data, "test") if o.data else None
    if data:
        _comparable(data, network, o)
    return data


def _note_drawn(o: _Options, network: Graph) -> None:
    """Say that weights are drawn, if they are."""
    if o.weights is None and network.parameters:
        echo(f"note: no --weights given: He initialisation with seed {o.seed}", err=True)


def _lighten(o: _Options, form: str) -> None:
    """Write the network with lighter weights."""
    _refuse_samples(o, form)
    network = _load(o)
    data = _compared_on(o, network)
    floats = frozen(network, o.weights, o.seed)
    _note_drawn(o, network)
    graph = lighter(floats, form, per_channel=not o.per_tensor, keep_float=o.keep_float)
    labels = class_labels(floats, o.network.model, o.weights).names
    file = to_tflite(graph, labels=labels)
    write_bytes(o.output, file)
    plain = len(to_tflite(floats, labels=labels))
    echo(f"{o.output}: {len(file):,} bytes, {len(file) / plain:.0%} of those with floats")
    if data:
        _show_accuracy(floats, graph, data, o)


def _refuse_samples(o: _Options, form: str) -> None:
    """Raise `NetcError` for options of calibration."""
    flags = {"--equalize": o.equalized, "--adaround": o.adaround, "--bias-correction": o.bias_correction}
    files = {"--calibrate": o.samples, "--ranges": o.ranges_file, "--report": o.report}
    edges = {"--input": o.inputs, "--output-type": o.outputs, "--allow-float": o.allow_float}
    refuse_settings("--" + form.replace("_", "-"), {**files, **flags, **edges})


def _show_accuracy(floats: Graph, graph: Graph, data: Source, o: _Options) -> None:
    """Evaluate both networks on a labelled data set under a bar."""
    labels = usable_labels(floats, o.network.model, o.weights)
    show_what_is_guessed(floats, data, labels)
    with progress_to(len(data), data.name) as progress:
        found = compare_accuracy(floats, graph, data, labels, progress)
    echo(
        f"{data.name}, {found.first.samples} samples: top-1 {found.first.top1:.2%} as floats, "
        f"{found.second.top1:.2%} in the file; both say the same on {found.agreement:.2%}"
    )


def _without_samples(o: _Options) -> None:
    if o.form == "int8":
        network = _load(o)
        if states_scales(network):
            _write_as_given(o, network)
            return
    hint = "add --calibrate PATH, or --dynamic-range, which takes none"
    raise NetcError("quantizing to 8-bit integers takes samples to calibrate with", hint=hint)


@dataclass(frozen=True)
class _Prepared:
    """What is known before the network runs."""

    report: ReportFile | None
    labelled: Source | None
    scheme: Scheme
    network: Graph
    samples: CalibrationSamples

    @staticmethod
    def of(o: _Options) -> _Prepared:
        """Open everything, and raise `NetcError` for what doesn't fit."""
        if o.form == "int16x8":
            flags = {"--adaround": o.adaround, "--bias-correction": o.bias_correction, "--report": o.report}
            refuse_settings("--int16x8", flags)
        report_file = ReportFile.named(o.report) if o.report else None
        labelled = _labelled(o)
        scheme = o.scheme
        network = _load(o)
        if labelled and not _comparable(labelled, network, o):
            labelled = None
        return _Prepared(report_file, labelled, scheme, network, open_noted(o.samples or "", o.limit, network))


def _quantize(o: _Options, world: World) -> None:
    """Ranks share the calibration; rank 0 does the rest."""
    prepared = together(world, lambda: _Prepared.of(o))
    report_file, labelled, scheme = prepared.report, prepared.labelled, prepared.scheme
    network, samples = prepared.network, prepared.samples
    if world.size > 1:
        choices = {name: value for name, value in asdict(o).items() if name not in _PATHS}
        files = facts_of(None, {"model": o.network.model, "weights": o.weights})
        agree(world, {**files, **o.network.reading, **choices, "samples of hash": samples.digest})
    calibrated = _calibrate(o, network, samples, world)
    if world.rank:
        return
    _note_drawn(o, network)
    if calibrated.calibration.samples == 1:
        echo("note: calibrated on one sample: ranges of activations are a guess; take 100 or so", err=True)
    ranges = calibrated.calibration.ranges(o.method)
    with warnings_for_people() as warnings:
        graph = quantized(calibrated.graph, ranges, scheme)
    recovery = _recover(calibrated, graph, o) if o.adaround or o.bias_correction else None
    if recovery:
        graph = recovery.graph
    noise = layer_noise(calibrated.graph, graph, samples)
    accuracy = _accuracy(calibrated, graph, labelled, samples, o) if labelled else None
    file = to_tflite(graph, labels=class_labels(calibrated.graph, o.network.model, o.weights).names)
    write_bytes(o.output, file)
    if o.ranges_file:
        write_bytes(o.ranges_file, ranges.to_json().encode())
    if report_file:
        report_file.write(report_on(calibrated.calibration, ranges, graph, noise, len(file), accuracy, warnings))
    echo(_summary(calibrated, ranges, noise, o.output, len(file), recovery))
    if accuracy:
        echo(_before_and_after(accuracy))


def _write_as_given(o: _Options, network: Graph) -> None:
    """Write a network that says its scales."""
    flags = {"--equalize": o.equalized, "--adaround": o.adaround, "--bias-correction": o.bias_correction}
    files = {"--ranges": o.ranges_file, "--report": o.report, "--per-tensor": o.per_tensor}
    refuse_settings("a network that says its scales", {**flags, **files})
    data = _compared_on(o, network)
    with warnings_for_people():
        graph = as_given(
            network, weights=o.weights, inputs=o.inputs, outputs=o.outputs, keep_float=o.keep_float, seed=o.seed
        )
    file = to_tflite(graph, labels=class_labels(network, o.network.model, o.weights).names)
    write_bytes(o.output, file)
    count = sum(op.name != "constant" for op in graph.operations)
    echo(f"{o.output}: {len(file):,} bytes, {count} operations, with the scales of {o.network.model}")
    if data:
        _show_accuracy(network, graph, data, o)


def _labelled(o: _Options) -> Source | None:
    """What to measure accuracy on, if anything."""
    if o.data:
        return open_source(o.data, "test")
    source = labelled_source(o.samples) if o.report and o.samples else None
    return source if source and len(source) > o.limit else None


def _comparable(data: Source, network: Graph, o: _Options) -> bool:
    """Whether accuracy can be measured on data; it is an error where someone asks for it, and it can't."""
    labels = usable_labels(network, o.network.model, o.weights)
    if o.data:
        check_comparable(network, data, labels)
    return comparable(network, data, labels)


def _calibrate(o: _Options, network: Graph, samples: CalibrationSamples, world: World) -> Calibrated:
    """Watch the network's activations under a bar."""
    with progress_to(o.limit, "calibrating") as progress:
        return calibrate(
            network,
            samples,
            weights=o.weights,
            limit=o.limit,
            equalized=o.equalized,
            seed=o.seed,
            progress=progress,
            world=world,
        )


def _recover(calibrated: Calibrated, quantized: Graph, o: _Options) -> Recovery:
    """Round weights anew and correct biases, layer by layer under a bar."""
    with progress_bar(1, "recovering") as bar:

        def progress(done: int, layers: int) -> None:
            bar.length = layers
            bar.update(done - bar.pos)

        return recover(
            calibrated.graph,
            quantized,
            calibrated.inputs,
            adaround=AdaRound() if o.adaround else None,
            bias_correction=o.bias_correction,
            seed=o.seed,
            progress=progress,
        )


def _accuracy(
    calibrated: Calibrated, quantized: Graph, data: Source, samples: CalibrationSamples, o: _Options
) -> Accuracy:
    """Evaluate floats and integers on a labelled data set under a bar."""
    labels = usable_labels(calibrated.graph, o.network.model, o.weights)
    show_what_is_guessed(calibrated.graph, data, labels)
    with progress_to(len(data), data.name) as progress:
        return held_out_accuracy(calibrated, quantized, data, samples, o.limit, labels, progress)


def _before_and_after(accuracy: Accuracy) -> str:
    left_out = f", without {accuracy.left_out} seen in calibration" if accuracy.left_out else ""
    return (
        f"{accuracy.data}, {accuracy.samples} samples{left_out}: top-1 {accuracy.float_top1:.2%} as floats, "
        f"{accuracy.integer_top1:.2%} as integers; both say the same on {accuracy.agreement:.2%}"
    )


def _summary(
    calibrated: Calibrated,
    ranges: Ranges,
    noise: Sequence[Noise],
    output: str,
    size: int,
    recovery: Recovery | None,
) -> str:
    lines = [
        f"{output}: {size:,} bytes, {len(calibrated.graph.operations)} operations",
        f"calibrated on {ranges.samples} samples by {ranges.method}: {len(ranges.ranges)} activations",
    ]
    if recovery and recovery.layers:
        lines.append(_recovered(recovery.layers))
    if noise:
        lines.append(f"signal to quantization noise of the output: {noise[-1].decibels:.1f} dB; worst layers:")
        lines += [f"  {n.decibels:5.1f} dB  {n.title}" for n in sorted(noise, key=lambda n: n.decibels)[:SHOWN]]
    return "\n".join(lines)


def _recovered(layers: Sequence[Recovered]) -> str:
    """What recovery did, in a line."""
    left = statistics.median(r.after / r.before if r.before > 0 else 1.0 for r in layers)
    moved = sum(r.moved for r in layers)
    return (
        f"recovery: squared error of {len(layers)} layers at {left:.0%} (median); {moved:,} weights rounded otherwise"
    )
