"""How to train a net: the `train` block of its file, overridden by flags, completed by defaults.

A resolved recipe is plain text and numbers. It is kept with the run, so that the run can be continued or repeated
without the file or the flags.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Mapping
from dataclasses import asdict, dataclass, fields, replace
from typing import Any

from .compiler.errors import Location, NetcError, near_miss
from .compiler.graph.ir import Graph
from .compiler.spec import Spec, Value, format_value, parse_spec
from .compiler.training import LOSSES
from .frontend import Recipe, ast


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingRecipe:
    """Everything that decides the result of training a net."""

    data: str
    epochs: int
    loss: str = "softmax_cross_entropy"
    optimizer: str = "sgd(lr=0.1, momentum=0.9)"
    schedule: str = "constant"
    batch: int = 128
    augment: str = ""
    seed: int = 0
    label_smoothing: float | None = None
    weight_decay: float | None = None
    """In place of the options of loss and optimiser; None leaves them as they are."""
    clip_norm: float | None = None
    accumulate: int = 1
    base_batch: int | None = None
    """Samples of an update for which learning rates are given: for others they change in proportion."""
    shards: int = 1
    """Parts of a batch whose gradients are made one by one, by whichever rank, and added in a fixed order."""
    ema: float | None = None
    freeze: tuple[str, ...] = ()
    """Patterns of parameters that stay as they are."""
    lr: tuple[str, ...] = ()
    """Learning rates of their own by pattern, `PATTERN=RATE`."""
    background: bool = False
    """Whether output 0 stands for none of the data's classes."""
    qat: str | None = None
    """Train with fake quantization; what ranges do: moving or learned."""

    @property
    def rate_factor(self) -> float:
        """What learning rates are multiplied by: the linear scaling rule of Goyal et al., "Accurate, large minibatch
        SGD", 2017.
        """
        return 1.0 if self.base_batch is None else self.batch * self.accumulate / self.base_batch

    def in_one_step(self, samples: int) -> TrainingRecipe:
        """The recipe with the batches of an update as shards of one large batch, where an epoch has some of these.

        So ranks can share them, and one tree adds all that an update is made of. `samples` are those of an epoch: what
        is left of it after the last large batch is dropped. Quantization-aware training takes batches as wholes.
        """
        whole = self.batch * self.accumulate
        if self.accumulate == 1 or self.qat is not None or samples < _LEAST_UPDATES * whole:
            return self
        return replace(self, batch=whole, shards=self.shards * self.accumulate, accumulate=1)

    def as_json(self) -> dict[str, Any]:
        """The settings by name."""
        return asdict(self)

    @staticmethod
    def from_json(settings: Mapping[str, Any]) -> TrainingRecipe:
        """The recipe that a run keeps; raises `NetcError` if it is incomplete."""
        names = {f.name for f in fields(TrainingRecipe)}
        kept = {name: value for name, value in settings.items() if name in names}
        try:
            return TrainingRecipe(**kept | {name: tuple(kept.get(name, ())) for name in _LISTS})
        except TypeError:
            raise NetcError("the run's recipe is incomplete: it was written by another version of netc") from None


_DEFAULT_EPOCHS = 10
_SHARDS = 8
_LEAST_SAMPLES, _LEAST_NORMALISED, _MOST_SAMPLES = 8, 32, 128
"""Of a shard: at least, at least where statistics are taken of it, and at most."""
_LEAST_UPDATES = 4
"""Updates in an epoch, at least, for whose sake what is left of it may be dropped."""
FINE_TUNING: Mapping[str, Any] = {
    "epochs": 2,
    "optimizer": "adam(lr=0.0001)",
    "schedule": "cosine(epochs=2)",
}
"""What quantization-aware training takes in place of a net's own recipe, which trains from nothing."""


@dataclass(frozen=True, slots=True)
class _Kind:
    expected: str
    accepts: Callable[[Value], bool]


def _is_number(value: Value) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _whole(least: int) -> _Kind:
    return _Kind(
        f"a whole number from {least} on", lambda v: isinstance(v, int) and not isinstance(v, bool) and v >= least
    )


_SHARE = _Kind("a number from 0 up to, but not including, 1", lambda v: _is_number(v) and 0 <= v < 1)  # type: ignore[operator]
_NOT_NEGATIVE = _Kind("a number from 0 on", lambda v: _is_number(v) and v >= 0)  # type: ignore[operator]
_TEXTS = ("data", "loss", "optimizer", "schedule", "augment")
_LISTS = ("freeze", "lr")
_NUMBERS: Mapping[str, _Kind] = {
    "epochs": _whole(1),
    "batch": _whole(1),
    "seed": _whole(0),
    "accumulate": _whole(1),
    "base_batch": _whole(1),
    "shards": _whole(1),
    "label_smoothing": _SHARE,
    "weight_decay": _NOT_NEGATIVE,
    "clip_norm": _NOT_NEGATIVE,
    "ema": _SHARE,
}


def overridden(flags: Mapping[str, Any]) -> set[str]:
    """The settings of a file that flags replace."""
    return {name for name, value in flags.items() if _is_given(value)} | set(FINE_TUNING if flags.get("qat") else ())


def resolve_recipe(written: Recipe | None, flags: Mapping[str, Any], graph: Graph | None = None) -> TrainingRecipe:
    """Combine a net's own recipe, if it has one, with what the flags give (None: not given).

    `--epochs` stretches or shrinks the schedule of the file, its warm-up included; without it, training lasts as long
    as the schedule. `graph`, the net for one sample, decides how small shards may be. With `qat`, `FINE_TUNING`
    replaces what the file says. Raises `NetcError` for unknown or unsuitable settings, and if nothing says what to
    train on.
    """
    given = {name: value for name, value in flags.items() if _is_given(value)}
    settings = _read(written, overridden(flags) - {"epochs", "schedule"}) if written is not None else {}
    if flags.get("qat") is not None:
        settings |= FINE_TUNING
    schedule = parse_spec(given.get("schedule") or settings.get("schedule") or "constant")
    length = settings.get("epochs", _length(schedule)) if "schedule" not in given else _length(schedule)
    epochs = given.get("epochs") or length or _DEFAULT_EPOCHS
    if "schedule" not in given and length and epochs != length:
        schedule = _scaled(schedule, epochs / length)
    combined = settings | given | {"epochs": epochs, "schedule": str(schedule)}
    if "data" not in combined:
        net = f"net {written.net} has a recipe without `data`" if written is not None else "the net has no recipe"
        raise NetcError(f"{net}: nothing says what to train on", hint="give --data, for example --data mnist")
    recipe = TrainingRecipe(**combined)
    return recipe if "shards" in combined else replace(recipe, shards=_shards(recipe, graph))


def _shards(recipe: TrainingRecipe, graph: Graph | None) -> int:
    """How many shards a batch has unless a recipe says so: a power of two, 8 or more.

    More than 8, where these would have more than 128 samples; fewer, where they would have fewer than 8, or than 32 in
    a net with batch_norm, whose statistics of fewer samples are worse (Wu, He: Group normalization, 2018). A loss of
    the user's own may be no mean over samples, fake quantization sees the ranges of a whole batch: these have one.

    It doesn't depend on the number of ranks, so that a run on one process gives the same bits as one on several.
    """
    if recipe.qat is not None or parse_spec(recipe.loss).name not in LOSSES:
        return 1
    normalised = graph is None or any(op.name == "batch_norm" for op in graph.operations)
    least = _LEAST_NORMALISED if normalised else _LEAST_SAMPLES
    shards = _SHARDS
    while recipe.batch // shards > _MOST_SAMPLES:
        shards *= 2
    while shards > 1 and (recipe.batch % shards or recipe.batch // shards < least):
        shards //= 2
    return shards


def check_same(kept: TrainingRecipe, flags: Mapping[str, Any]) -> TrainingRecipe:
    """The recipe with which a run goes on: the one it was started with, from which flags must not differ.

    Only the epochs may, if the schedule doesn't depend on them. Raises `NetcError` for all others that differ.
    """
    for name, value in flags.items():
        old = getattr(kept, name)
        if not _is_given(value) or value == old or (isinstance(value, str) and _same_text(value, old)):
            continue
        if name == "epochs" and _length(parse_spec(kept.schedule)) is None:
            kept = replace(kept, epochs=value)
            continue
        flag = name.replace("_", "-")
        hint = f"leave --{flag} out, or start a new run"
        raise NetcError(f"this run was started with {name} = {old}, it can't go on with {value}", hint=hint)
    return kept


def _is_given(value: object) -> bool:
    return value is not None and value != ()


def _same_text(one: str, other: object) -> bool:
    return isinstance(other, str) and "".join(one.split()) == "".join(other.split())


def _length(schedule: Spec) -> int | None:
    epochs = schedule.named.get("epochs")
    return math.ceil(epochs) if isinstance(epochs, int | float) and abs(epochs) < math.inf else None


def _scaled(schedule: Spec, factor: float) -> Spec:
    """A schedule with everything that it counts in epochs multiplied."""

    def scaled(value: Value) -> Value:
        if isinstance(value, tuple):
            return tuple(map(scaled, value))
        if isinstance(value, int | float):
            product = value * factor
            return int(product) if product == int(product) else product
        return value

    counted = ("epochs", "warmup", "every", "at")
    named = {key: scaled(value) if key in counted else value for key, value in schedule.named.items()}
    return replace(schedule, named=named)


# ---- the train block ------------------------------------------------------------------------------------------------


def read_setting(name: str, expression: ast.Expr) -> Any:
    """One setting of a recipe as text or value; raises `NetcError` for unknown and unsuitable ones."""
    if name in _TEXTS:
        return _text(expression)
    if name in _LISTS:
        return _list(name, expression)
    if name not in _NUMBERS:
        known = (*_TEXTS, *_LISTS, *_NUMBERS)
        hint = near_miss(name, known) or "there are " + ", ".join(known)
        raise NetcError(f"a recipe has no setting `{name}`", location=expression.location, hint=hint)
    value, kind = _value(expression), _NUMBERS[name]
    if not kind.accepts(value):
        message = f"`{name}` must be {kind.expected}, not {format_value(value)}"
        raise NetcError(message, location=expression.location)
    return value


def _text(expression: ast.Expr) -> str:
    """A setting that names something: a word, a call, a list of them, or a text that holds the same."""
    match expression:
        case ast.String() | ast.Literal(value=None):
            value = _value(expression)
            return "" if value is None else str(value)
        case ast.Sequence(items=items):
            return ", ".join(str(_spec(item)) for item in items)
    return str(_spec(expression))


def _list(name: str, expression: ast.Expr) -> tuple[str, ...]:
    value = _value(expression)
    items = value if isinstance(value, tuple) else (value,)
    if name == "lr":
        items = tuple(format_value(item) if _is_number(item) else item for item in items)
    if not all(isinstance(item, str) for item in items):
        example = "pattern of names" + (' with a rate, "head.*=0.1"' if name == "lr" else ' such as "features.*"')
        raise NetcError(f"`{name}` must be a {example}, or a list of them", location=expression.location)
    return tuple(map(str, items))


def _spec(expression: ast.Expr) -> Spec:
    match expression:
        case ast.Name(id=name):
            return Spec(name)
        case ast.Call(callee=ast.Name(id=name), label=None, arguments=arguments):
            positional = tuple(_value(a.value) for a in arguments if a.name is None)
            return Spec(name, positional, {a.name: _value(a.value) for a in arguments if a.name is not None})
    raise _unsuitable(expression.location)


def _value(expression: ast.Expr) -> Value:
    match expression:
        case ast.Literal(value=value):
            return value
        case ast.Name(id=name):
            return name
        case ast.String(parts=parts) if all(isinstance(p, str) for p in parts):
            return "".join(p for p in parts if isinstance(p, str))
        case ast.Unary(operator="-", operand=ast.Literal(value=int() | float() as number)):
            return -number
        case ast.Sequence(items=items):
            return tuple(map(_value, items))
    raise _unsuitable(expression.location)


def _read(written: Recipe, overridden: Collection[str]) -> dict[str, Any]:
    items = written.settings.items()
    return {name: read_setting(name, expression) for name, expression in items if name not in overridden}


def _unsuitable(location: Location) -> NetcError:
    hint = "a recipe holds numbers, texts, names and calls such as sgd(lr = 0.1)"
    return NetcError("this can't stand in a recipe", location=location, hint=hint)
