"""Command-line options that several commands share."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import click

from .compiler.errors import NetcError

Decorated = TypeVar("Decorated", bound=Callable[..., Any])


def combine(*decorators: Callable[[Decorated], Decorated]) -> Callable[[Decorated], Decorated]:
    """One decorator that applies several, so that options appear in the order given."""

    def apply(function: Decorated) -> Decorated:
        for decorator in reversed(decorators):
            function = decorator(function)
        return function

    return apply


def _settings(context: click.Context, parameter: click.Parameter, values: Sequence[str]) -> dict[str, object]:
    settings: dict[str, object] = {}
    for value in values:
        name, equals, text = value.partition("=")
        if not equals or not name.isidentifier():
            raise NetcError(f"--set takes NAME=VALUE, not `{value}`", hint="for example --set classes=100")
        try:
            settings[name] = json.loads(text)
        except ValueError:
            settings[name] = text
    return settings


settings_option = click.option(
    "--set",
    "settings",
    multiple=True,
    metavar="NAME=VALUE",
    callback=_settings,
    help="A hyperparameter or free size.",
)

network_options = combine(
    click.argument("model"),
    click.option("--net", metavar="NAME", help="Which net of the file; default: the one named like the file."),
    settings_option,
)

batch_option = click.option(
    "--batch", type=click.IntRange(1, 65536), default=1, show_default=True, help="Samples per call (the size N)."
)

target_options = combine(
    click.option("--threads", type=click.IntRange(1, 1024), help="Worker threads; default: one per core."),
    click.option("--cpu", metavar="NAME", help="Compile for this processor; default: this machine's."),
)

weights_options = combine(
    click.option("--weights", metavar="FILE", help="Weights (safetensors); default: seeded He initialisation."),
    click.option("--seed", type=click.IntRange(0), default=0, show_default=True, help="Seed of initial weights."),
)

background_option = click.option(
    "--background", is_flag=True, default=None, help="Output 0 is a background class, before those of the data."
)

json_option = click.option("--json", "as_json", is_flag=True, help="Write JSON for tools.")
output_option = click.option("-o", "--output", metavar="FILE", help="Write here instead of stdout.")
