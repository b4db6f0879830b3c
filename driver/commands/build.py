"""`netc build`: a network as a library for programs in C."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import click

from ..compiler.errors import NetcError
from ..compiler.library.facts import describe
from ..compiler.training import parse_rates
from ..frontend import FORMATS, format_of, load_recipe
from ..library import Choices, Library, write_library
from ..notes import show_notes
from ..options import (
    NetworkOptions,
    combine,
    ema_option,
    json_option,
    network_options,
    objective_options,
    pattern_options,
    preprocess_option,
    skip_option,
    update_options,
    weights_options,
)
from ..output import echo
from ..pipeline import Request
from ..recipe import read_setting
from ..training import TrainingRequest

TRAINING = (
    *("loss", "optimizer", "schedule", "steps_per_epoch", "label_smoothing", "weight_decay", "clip_norm"),
    *("accumulate", "ema", "freeze", "lr", "skip"),
)
"""Options that `netc.compile_training` has as well."""

training_options = combine(
    click.option("--train", is_flag=True, help="A library that trains: PREFIX_train_step instead of PREFIX_run."),
    objective_options,
    click.option("--steps-per-epoch", type=click.FloatRange(0, min_open=True), help="For schedules that count epochs."),
    update_options,
    ema_option,
    pattern_options,
    skip_option,
)


@click.command("build")
@network_options
@weights_options
@preprocess_option
@click.option("--target", metavar="NAME", default="host", show_default=True, help="One of `netc targets`.")
@click.option("-o", "--output", metavar="DIR", required=True, help="The folder for the files of the library.")
@click.option("--prefix", metavar="NAME", help="Begins all names of the library; default: the net's name.")
@click.option(
    "--embed-weights/--no-embed-weights",
    default=None,
    help="Weights inside the object or in a file; default: a file where the target has files.",
)
@click.option("--weights-section", metavar="NAME", help="Weights in this section of the object, for a linker script.")
@click.option("--inputs-in-workspace", is_flag=True, help="Inputs lie in the workspace; a run overwrites them.")
@click.option("--ram", type=click.IntRange(1), metavar="BYTES", help="Refuse what needs more RAM than this.")
@click.option("--threads", type=click.IntRange(1, 1024), default=1, show_default=True, help="Most threads of a run.")
@click.option("--selftest/--no-selftest", default=True, show_default=True, help="A function that tests the library.")
@training_options
@json_option
def build_command(
    network: NetworkOptions, output: str, as_json: bool, target: str, train: bool, **options: Any
) -> None:
    """Write a net as a library for C, which needs neither Python nor netc.

    MODEL is a shipped model's name or the path of a .net, .tflite or .onnx file. DIR gets a header, an object, a static
    and a shared library, the weights, an example in C with a CMakeLists.txt, and a README.md.

    With --train the library makes training steps on batches of --batch samples. The loss is that of the net's own
    recipe, if it has one, the optimizer otherwise plain SGD with momentum.
    """
    given = {name: options[name] for name in ("threads", "weights", "seed", "preprocess")}
    given |= {**network.reading, "cpu": target, "inputs_in_arena": options["inputs_in_workspace"]}
    training = _training(network, train, options)
    request: Request = Request(network.model, **given)
    if training is not None:
        request = TrainingRequest(network.model, **given, **training)
    names = ("prefix", "embed_weights", "weights_section", "selftest", "ram")
    library = write_library(request, output, target, Choices(**{name: options[name] for name in names}))
    show_notes(*library.notes)
    echo(json.dumps(_summary(library), indent=1) if as_json else _report(library), nl=as_json)


def _training(network: NetworkOptions, train: bool, options: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """The settings of a training step; None if none is wanted."""
    given = {name: options[name] for name in TRAINING if options[name] not in (None, ())}
    if not train:
        if given:
            flag = next(iter(given)).replace("_", "-")
            raise NetcError(f"--{flag} is for training", hint="add --train, or leave it out")
        return None
    if "lr" in given:
        given["rates"] = parse_rates(given.pop("lr"))
    written = load_recipe(network.model, net=network.net) if format_of(network.model) is FORMATS["net"] else None
    if "loss" not in given and written is not None and "loss" in written.settings:
        given["loss"] = read_setting("loss", written.settings["loss"])
    return given


def _summary(library: Library) -> dict[str, object]:
    b = library.build
    facts = describe(b.interface, b.target, b.code, b.extras)
    return {**facts, "files": list(library.files), "object_bytes": library.code_bytes}


def _report(library: Library) -> str:
    i = library.build.interface
    rows = [
        ("header", f"{i.prefix}.h"),
        ("object", f"{library.code_bytes:,} bytes"),
        ("weights", f"{i.stored_bytes:,} bytes, {i.storage.value}"),
        ("workspace", f"{i.workspace_bytes:,} bytes"),
        ("self-test", "stored" if library.build.extras.answers else "none"),
        ("files", ", ".join(library.files)),
    ]
    title = f"{i.name} for {library.build.target}, in {library.folder}"
    return f"{title}\n\n" + "".join(f"{name:<12}{text}\n" for name, text in rows)
