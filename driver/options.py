"""Command-line options that several commands share."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import wraps
from inspect import signature
from typing import Any, TypeVar, cast

import click

from .compiler.errors import NetcError
from .compiler.precision import F32, PRECISIONS
from .compiler.text import shortened
from .frontend.roots import allowing
from .readings import LAYOUTS, reading_float_weights, reading_layout

Decorated = TypeVar("Decorated", bound=Callable[..., Any])


def combine(*decorators: Callable[[Decorated], Decorated]) -> Callable[[Decorated], Decorated]:
    """One decorator that applies several, so that options appear in the order given."""

    def apply(function: Decorated) -> Decorated:
        for decorator in reversed(decorators):
            function = decorator(function)
        return function

    return apply


def gathered(**kinds: Callable[..., object]) -> Callable[[Decorated], Decorated]:
    """A decorator that makes one argument of several options: `name=kind` of those that `kind` has as parameters."""

    def apply(function: Decorated) -> Decorated:
        @wraps(function)
        def call(*arguments: Any, **options: Any) -> Any:
            values = {
                name: kind(**{option: options.pop(option) for option in signature(kind).parameters})
                for name, kind in kinds.items()
            }
            return function(*arguments, **values, **options)

        return cast(Decorated, call)

    return apply


def _settings(context: click.Context, parameter: click.Parameter, values: Sequence[str]) -> dict[str, object]:
    option, example = parameter.opts[0], _EXAMPLES[parameter.opts[0]]
    settings: dict[str, object] = {}
    for value in values:
        name, equals, text = value.partition("=")
        if not equals or not name.isidentifier():
            raise NetcError(f"{option} takes NAME=VALUE, not `{value}`", hint=f"for example {option} {example}")
        settings[name] = _value(option, name, text)
    return settings


_EXAMPLES = {"--set": "classes=100", "--preprocess": "divide=127.5"}


def _value(option: str, name: str, text: str) -> object:
    """JSON as what it means, anything else as text; a list or record that is no JSON is a mistake."""
    try:
        return json.loads(text)
    except ValueError as e:
        if not text.startswith(("[", "{")):
            return text
        hint = "texts in lists and records stand in double quotes; quote the whole for the shell"
        raise NetcError(f"{option} {name}: `{shortened(text)}` is no JSON: {e}", hint=hint) from None
    except RecursionError:
        raise NetcError(f"{option} {name}: this is nested too deeply") from None


def _allow_import(context: click.Context, parameter: click.Parameter, folders: Sequence[str]) -> None:
    context.with_resource(allowing(folders))


def _float_weights(context: click.Context, parameter: click.Parameter, wanted: bool) -> None:
    context.with_resource(reading_float_weights(wanted))


def _layout(context: click.Context, parameter: click.Parameter, layout: str) -> None:
    context.with_resource(reading_layout(layout))


settings_option = click.option(
    "--set",
    "settings",
    multiple=True,
    metavar="NAME=VALUE",
    callback=_settings,
    help="A hyperparameter or free size.",
)

preprocess_option = click.option(
    "--preprocess",
    multiple=True,
    metavar="NAME=VALUE",
    callback=_settings,
    help="A setting of the net's `preprocess`, such as divide=127.5 or mean=[0.5,0.5,0.5]; may be repeated.",
)

allow_import_option = click.option(
    "--allow-import",
    multiple=True,
    metavar="DIR",
    expose_value=False,
    is_eager=True,
    callback=_allow_import,
    help="Networks may name files below DIR, too; else only in their own folder.",
)

float_weights_option = click.option(
    "--float-weights",
    is_flag=True,
    expose_value=False,
    is_eager=True,
    callback=_float_weights,
    help="Read 8-bit weights of a dynamic-range file as floats; else floats are quantized as LiteRT does it.",
)

layout_option = click.option(
    "--layout",
    type=click.Choice(LAYOUTS),
    default="file",
    show_default=True,
    expose_value=False,
    is_eager=True,
    callback=_layout,
    help="Inputs and outputs as the file has them, or channels-last.",
)

batch_option = click.option(
    "--batch", type=click.IntRange(1, 65536), default=1, show_default=True, help="Samples per call (the size N)."
)

size_options = combine(settings_option, batch_option)
"""What binds the sizes that a network leaves open."""

reading_options = combine(
    click.option("--net", metavar="NAME", help="Which net of the file; default: the one named like the file."),
    size_options,
    allow_import_option,
    float_weights_option,
    layout_option,
)
"""How a file is read: the same for all commands that take a network."""


@dataclass(frozen=True)
class NetworkOptions:
    """What names a network: a file or a shipped net, which net of the file, and sizes that it leaves open."""

    model: str
    net: str | None
    settings: dict[str, object]
    batch: int

    @property
    def reading(self) -> dict[str, Any]:
        """How the file is read: what `netc.load` and a `Request` take beside the model."""
        return {"net": self.net, "settings": self.settings, "batch": self.batch}


network_options = combine(click.argument("model"), reading_options, gathered(network=NetworkOptions))
"""The command gets a `network`, of `NetworkOptions`."""

target_options = combine(
    click.option("--threads", type=click.IntRange(1, 1024), help="Worker threads; default: one per core."),
    click.option("--cpu", metavar="NAME", help="Compile for this processor; default: this machine's."),
)

precision_option = click.option(
    "--precision",
    type=click.Choice(PRECISIONS),
    default=F32,
    show_default=True,
    help="As what weights, and where it pays what they multiply, are stored.",
)

weights_options = combine(
    click.option("--weights", metavar="FILE", help="Weights (safetensors); default: seeded He initialisation."),
    click.option("--seed", type=click.IntRange(0), default=0, show_default=True, help="Seed of initial weights."),
)

data_dir_option = click.option(
    "--data-dir", metavar="FOLDER", help="Where data sets lie; default: NETC_DATA, else ../shared/data."
)

objective_options = combine(
    click.option("--loss", metavar="TEXT", help="For example softmax_cross_entropy."),
    click.option("--optimizer", metavar="TEXT", help='For example "sgd(lr=0.1, momentum=0.9)".'),
    click.option("--schedule", metavar="TEXT", help='Of the learning rate: "cosine(epochs=12, warmup=1)".'),
)
"""Of training: what becomes small, and how."""

update_options = combine(
    click.option("--label-smoothing", type=click.FloatRange(0, 1, max_open=True), help="Share spread on all classes."),
    click.option("--weight-decay", type=click.FloatRange(0), help="Decay of all weights."),
    click.option("--clip-norm", type=click.FloatRange(0, min_open=True), help="Largest norm of the gradient."),
    click.option("--accumulate", type=click.IntRange(1), help="Batches per update."),
)
"""Of training: what else an update is made of."""

pattern_options = combine(
    click.option("--freeze", multiple=True, metavar="PATTERN", help="Parameters that stay, such as 'features.*'."),
    click.option("--lr", multiple=True, metavar="RATE", help="Learning rate of parameters by name: 'head.*=0.1'."),
)
"""Of training: what holds for some of the parameters."""

ema_option = click.option(
    "--ema", type=click.FloatRange(0, 1, max_open=True), help="Decay of the weights' moving average."
)

skip_option = click.option(
    "--skip", multiple=True, metavar="PATTERN", help="Draw these anew, whatever --weights has: 'head.*'."
)

background_option = click.option(
    "--background", is_flag=True, default=None, help="Output 0 is a background class, before those of the data."
)

json_option = click.option("--json", "as_json", is_flag=True, help="Write JSON for tools.")
output_option = click.option("-o", "--output", metavar="FILE", help="Write here instead of stdout.")
