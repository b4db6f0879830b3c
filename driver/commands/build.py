"""`netc build`: a network as a library for programs in C."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click

from ..compiler.library.facts import describe
from ..library import Choices, Library, write_library
from ..notes import show_notes
from ..options import batch_option, json_option, network_options, preprocess_option, weights_options
from ..output import echo
from ..pipeline import Request


@click.command("build")
@network_options
@batch_option
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
@click.option("--threads", type=click.IntRange(1, 1024), default=1, show_default=True, help="Most threads of a run.")
@click.option("--selftest/--no-selftest", default=True, show_default=True, help="A function that tests the library.")
@json_option
def build_command(model: str, output: str, as_json: bool, target: str, **options: Any) -> None:
    """Write a net as a library for C, which needs neither Python nor netc.

    MODEL is a shipped model's name or the path of a .net, .tflite or .onnx file. DIR gets a header, an object, a static
    and a shared library, the weights, an example in C with a CMakeLists.txt, and a README.md.
    """
    given = {name: options[name] for name in ("net", "batch", "settings", "threads", "weights", "seed", "preprocess")}
    request = Request(model, **given, cpu=target)
    names = ("prefix", "embed_weights", "weights_section", "selftest")
    library = write_library(request, Path(output), target, Choices(**{name: options[name] for name in names}))
    show_notes(*library.notes)
    echo(json.dumps(_summary(library), indent=1) if as_json else _report(library), nl=as_json)


def _summary(library: Library) -> dict[str, object]:
    b = library.build
    facts = describe(b.interface, b.target, b.code, b.extras)
    return {**facts, "files": list(library.files), "object_bytes": library.code_bytes}


def _report(library: Library) -> str:
    i = library.build.interface
    rows = [
        ("header", f"{i.prefix}.h"),
        ("object", f"{library.code_bytes:,} bytes"),
        ("weights", f"{library.build.weights_bytes:,} bytes, {i.storage.value}"),
        ("workspace", f"{i.workspace_bytes:,} bytes"),
        ("self-test", "stored" if library.build.extras.answers else "none"),
        ("files", ", ".join(library.files)),
    ]
    title = f"{i.name} for {library.build.target}, in {library.folder}"
    return f"{title}\n\n" + "".join(f"{name:<12}{text}\n" for name, text in rows)
