"""`netc run`: a net's answers about pictures."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import click

from ..answers import Answer, Choices, Outputs, Task, View, task_of
from ..answers.answer import drawn_on
from ..classes import class_labels
from ..compiler.errors import NetcError
from ..compiler.files import write_bytes
from ..compiler.precision import F32
from ..compiler.signature import Array, Network
from ..compiler.text import printable
from ..notes import show_notes, transposes_note
from ..options import (
    NetworkOptions,
    json_option,
    network_options,
    precision_option,
    preprocess_option,
    target_options,
    weights_options,
)
from ..output import echo
from ..picture import Chosen, Loaded, as_batch, at_once, choose_pictures, load_picture
from ..ready import ready
from ..runtime.data.images import assumption
from ..runtime.data.labels import Labels

ENGINES = ("netc", "litert", "litert-reference")
DEVICES = ("cpu", "edgetpu")

Run = Callable[[Array], Array | tuple[Array, ...]]


@click.command("run")
@network_options
@weights_options
@click.option(
    "--image",
    "images",
    multiple=True,
    metavar="PATH",
    help="A picture, or a folder of them; may be repeated. Default: a sample that ships with netc.",
)
@click.option("--top", type=click.IntRange(1), help="How much is listed at most; default: 5 classes, all else.")
@click.option(
    "--min-score",
    type=click.FloatRange(0, 1),
    default=0.5,
    show_default=True,
    help="Boxes with a lower score are left out.",
)
@click.option("-o", "--output", metavar="PATH", help="Write the picture with what was found; a folder for several.")
@click.option(
    "--engine", type=click.Choice(ENGINES), default="netc", show_default=True, help="Who runs a .tflite file."
)
@click.option("--device", type=click.Choice(DEVICES), default="cpu", show_default=True, help="edgetpu: through LiteRT.")
@preprocess_option
@target_options
@precision_option
@json_option
def run_command(**options: Any) -> int:
    """Run a net on pictures and print what it says.

    MODEL is a shipped model's name or the path of a .net, .tflite, .onnx, .ir or .netc file. A classifier names the
    most probable classes, a detector boxes and their scores, a network for segmentation the share of each class.
    """
    o = _Options(**options)
    made = _by_netc(o) if o.engine == "netc" and o.device == "cpu" else _by_litert(o)
    graph = made.network
    task = task_of(graph)
    chosen = choose_pictures(graph, o.images)
    drawings = _drawings(task, graph, chosen, o.output)
    if made.misfit is not None:
        raise made.misfit
    means_nothing = f"no --weights given: He initialisation with seed {made.drawn}, so the answer means nothing"
    guesses = task.guess(graph), assumption(graph)
    in_order = f"net {graph.name} keeps a state: each answer depends on the pictures before"
    kept = in_order if chosen.several and graph.states else None
    drawn = means_nothing if made.drawn is not None else None
    show_notes(made.note, *chosen.notes, made.labels.note, *guesses, drawn, kept)
    answers = _Answers(graph, made.run, task, Choices(made.labels, o.top, o.min_score))
    if not chosen.several:
        (answer,) = answers(chosen.paths, drawings)
        if isinstance(answer, NetcError):
            raise answer
        echo(json.dumps(answer.data(), indent=1) if o.as_json else answer.text(), nl=o.as_json)
        return 0
    return _several(answers, chosen.paths, drawings, o.as_json)


@dataclass(frozen=True)
class _Options:
    """What the command line says, in the order of its options."""

    network: NetworkOptions
    weights: str | None
    seed: int
    images: tuple[str, ...]
    top: int | None
    min_score: float
    output: str | None
    engine: str
    device: str
    preprocess: dict[str, object]
    threads: int | None
    cpu: str | None
    precision: str
    as_json: bool


@dataclass(frozen=True)
class _Made:
    """A network that can run."""

    network: Network
    run: Run
    labels: Labels
    note: str | None
    drawn: int | None = None
    """The seed by which its weights were drawn."""
    misfit: NetcError | None = None
    """Why pictures can't be what it takes."""


class _Answers:
    """What a net says about pictures."""

    def __init__(self, graph: Network, run: Run, task: type[Task], choices: Choices) -> None:
        self.graph, self.run, self.task, self.choices = graph, run, task, choices

    def __call__(self, paths: Sequence[str], drawings: Sequence[Path | None]) -> Iterator[Answer | NetcError]:
        """The answer about each picture, which is also drawn, or why there is none."""
        step = at_once(self.graph)
        for start in range(0, len(paths), step):
            group = slice(start, start + step)
            yield from self._group(paths[group], drawings[group])

    def _group(self, paths: Sequence[str], drawings: Sequence[Path | None]) -> Iterator[Answer | NetcError]:
        """The answers about pictures of one call."""
        loaded = [self._loaded(path) for path in paths]
        readable = [each for each in loaded if isinstance(each, Loaded)]
        outputs = self.run(as_batch(self.graph, [each.tensor for each in readable])) if readable else ()
        sample = 0
        for each, drawing in zip(loaded, drawings, strict=True):
            if isinstance(each, NetcError):
                yield each
                continue
            try:
                yield self._answer(Outputs.of(self.graph, outputs, sample), each, drawing)
            except NetcError as error:
                yield error
            sample += 1

    def _loaded(self, path: str) -> Loaded | NetcError:
        try:
            loaded = load_picture(self.graph, path)
        except NetcError as error:
            return error
        show_notes(loaded.note)
        return loaded

    def _answer(self, outputs: Outputs, loaded: Loaded, drawing: Path | None) -> Answer:
        answer = self.task.answer(outputs, View(loaded.picture, loaded.preprocess), self.choices)
        if drawing is not None:
            write_bytes(drawing, drawn_on(loaded.picture, answer.draw))
        return answer


def _about(path: str, error: NetcError) -> NetcError:
    """The error, which names the picture."""
    first, *others = error.diagnostics
    if path in first.message:
        return error
    return NetcError([replace(first, message=f"{path}: {first.message}"), *others])


def _several(answers: _Answers, paths: Sequence[str], drawings: Sequence[Path | None], as_json: bool) -> int:
    """Answers about all pictures; those that fail are named, and the exit code tells."""
    records: list[dict[str, Any]] = []
    failed = 0
    for path, answer in zip(paths, answers(paths, drawings), strict=True):
        if isinstance(answer, NetcError):
            failed += 1
            records.append({"picture": path, "error": answer.diagnostics[0].message})
            from ..frontend.diagnostics import render

            echo(render(_about(path, answer)).rstrip("\n"), err=True)
            continue
        records.append({"picture": path, "answer": answer.data()})
        if not as_json:
            echo(f"{printable(path)}\n{answer.text()}")
    if as_json:
        echo(json.dumps(records, indent=1))
    if failed:
        echo(f"error: {failed} of {len(paths)} pictures have no answer", err=True)
    return 2 if failed else 0


def _drawings(task: type[Task], graph: Network, chosen: Chosen, output: str | None) -> list[Path | None]:
    """Where the drawing of each picture goes: `output`, or a file in this folder if there are several."""
    if output is None:
        return [None] * len(chosen.paths)
    if not task.drawn:
        raise NetcError(f"net {graph.name} names classes: there is nothing to draw", hint="leave -o out")
    folder = Path(output)
    if chosen.several:
        if not folder.is_dir():
            raise NetcError(f"-o names no folder: {output}", hint="drawings of several pictures go to a folder")
        targets = [folder / f"{name}.png" for name in _names(chosen.paths)]
    else:
        targets = [folder]
        if folder.suffix.lower() != ".png":
            raise NetcError(f"a drawing is a .png file, not {output}")
    originals = {Path(path).resolve() for path in chosen.paths}
    for target in targets:
        if target.resolve() in originals:
            raise NetcError(f"the drawing would replace the picture {target}", hint="give -o another name or folder")
    return [*targets]


def _names(paths: Sequence[str]) -> list[str]:
    """A name for each drawing: that of the picture, numbered where it isn't the only one."""
    taken: dict[str, int] = {}
    names = []
    for path in paths:
        stem = Path(path).stem
        taken[stem] = taken.get(stem, 0) + 1
        names.append(stem if taken[stem] == 1 else f"{stem}_{taken[stem]}")
    return names


def _by_netc(o: _Options) -> _Made:
    """The network as netc compiles it."""
    made = ready(
        o.network.model,
        **o.network.reading,
        weights=o.weights,
        preprocess=o.preprocess,
        seed=o.seed,
        threads=o.threads,
        cpu=o.cpu,
        precision=o.precision,
    )
    return _Made(made.network, made.program, made.labels, made.note, made.drawn, made.misfit)


def _by_litert(o: _Options) -> _Made:
    """The file in LiteRT, on the CPU or on an Edge TPU, and what netc reads in it."""
    from ..loading import load
    from ..runtime.litert import LiteRT, needs_edgetpu

    _check_options(o)
    model = o.network.model
    graph = load(model, **o.network.reading, preprocess=o.preprocess)
    compiled = needs_edgetpu(graph)
    if o.device == "edgetpu" and not compiled:
        hint = f"`edgetpu_compiler {model}` writes a file that is"
        raise NetcError(f"{model} is not compiled for the Edge TPU", hint=hint)
    if o.device == "cpu" and compiled:
        raise NetcError(f"{model} is compiled for the Edge TPU, no CPU can run it", hint="add --device edgetpu")
    run = LiteRT(
        model,
        threads=o.threads,
        reference=o.engine == "litert-reference",
        edgetpu=o.device == "edgetpu",
        shapes=[v.type.shape for v in graph.inputs],
    )
    return _Made(graph, run, class_labels(graph, model), transposes_note(graph))


def _check_options(o: _Options) -> None:
    """What only netc's own engine has is an error with another one."""
    from ..frontend import FORMATS, format_of

    if format_of(o.network.model) is not FORMATS["tflite"]:
        raise NetcError(f"LiteRT runs .tflite files, not {o.network.model}", hint="`netc quantize` makes one")
    if o.weights or o.network.net or o.cpu or o.precision != F32:
        raise NetcError("--weights, --net, --cpu and --precision are for netc's own engine; a .tflite file is complete")
    if (o.engine, o.device) == ("litert-reference", "edgetpu"):
        raise NetcError("an Edge TPU has no reference kernels", hint="leave --engine or --device out")
