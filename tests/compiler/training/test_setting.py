"""The text form of losses, optimisers and schedules, and what it says about mistakes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from netc.compiler.errors import NetcError
from netc.compiler.training import (
    LOSSES,
    OPTIMIZERS,
    SCHEDULES,
    make_setting,
    parse_loss,
    parse_optimizer,
    parse_schedule,
)


@pytest.mark.parametrize("registry", [LOSSES, OPTIMIZERS, SCHEDULES])
def test_registries(registry: Any) -> None:
    for name, spec in registry.items():
        assert spec.name == name
        assert spec.__doc__.splitlines()[0].endswith((".", ",", ":", ";", "and"))


@pytest.mark.parametrize(
    ("parse", "text", "canonical"),
    [
        (parse_optimizer, "sgd(lr=0.1)", None),
        (parse_optimizer, " sgd( lr = 1e-1 ,momentum=.9, nesterov = true)", "sgd(lr=0.1, momentum=0.9, nesterov=true)"),
        (parse_optimizer, "sgd(lr=1, momentum=0)", "sgd(lr=1)"),
        (parse_optimizer, "adam", None),
        (parse_optimizer, "adam()", "adam"),
        (parse_optimizer, "adamw(weight_decay=5e-4)", "adamw(weight_decay=0.0005)"),
        (parse_schedule, "step(at=[30, 60, 80.5])", None),
        (parse_schedule, "step(at=30)", "step(at=[30])"),
        (parse_schedule, "cosine(epochs=12, warmup=1)", "cosine(warmup=1, epochs=12)"),
        (parse_loss, "softmax_cross_entropy(label_smoothing=0.1)", None),
    ],
)
def test_round_trip(parse: Callable[[str], Any], text: str, canonical: str | None) -> None:
    spec = parse(text)
    assert str(spec) == (canonical or text)
    assert parse(str(spec)) == spec


@pytest.mark.parametrize(
    ("parse", "text", "message"),
    [
        (parse_optimizer, "sdg(lr=0.1)", "there is no optimizer `sdg`\n  hint: did you mean sgd?"),
        (parse_optimizer, "frob(lr=0.1)", "there is no optimizer `frob`\n  hint: there are sgd, rmsprop, adam"),
        (parse_optimizer, "sgd(lr=0.1, momentun=0.9)", "no option `momentun`\n  hint: did you mean momentum?"),
        (parse_optimizer, "sgd", "the optimizer sgd needs the option `lr`\n  hint: write sgd(lr=...)"),
        (parse_optimizer, "sgd(lr=fast)", "option `lr` of sgd is a number, not fast"),
        (parse_optimizer, "sgd(lr=true)", "option `lr` of sgd is a number, not true"),
        (parse_optimizer, "sgd(lr=nan)", "option `lr` of sgd is a number, not nan"),
        (parse_optimizer, "sgd(lr=0.1, nesterov=1)", "option `nesterov` of sgd is true or false, not 1"),
        (parse_optimizer, "sgd(lr=0.1, lr=0.2)", "`lr` is given twice in `sgd(lr=0.1, lr=0.2)`"),
        (parse_optimizer, "sgd(0.1)", "`sgd(0.1)`: the options of sgd are given by name"),
        (parse_optimizer, "sgd(lr=0.1", "can't read `sgd(lr=0.1`\n  hint: write for example sgd(key=value)"),
        (parse_optimizer, f"sgd(lr={10**400})", "has a number that is too large"),
        (parse_optimizer, "sgd(lr=1e999)", "option `lr` of sgd is a finite number, not inf"),
        (parse_optimizer, "sgd(lr=-1)", "sgd: lr must not be negative"),
        (parse_optimizer, "sgd(lr=1, momentum=1)", "sgd: momentum must lie in 0 <= momentum < 1"),
        (parse_optimizer, "sgd(lr=1, nesterov=true)", "sgd: nesterov needs momentum above 0"),
        (parse_schedule, "cosine(epochs=2, warmup=2)", "cosine: epochs must be more than warmup"),
        (parse_schedule, "step", "step: give either `every` or `at`"),
        (parse_schedule, "constant(epochs=3)", "the schedule constant has no option `epochs`"),
        (parse_loss, "hinge(margin=[1, 2])", "option `margin` of hinge is a number, not [1, 2]"),
    ],
)
def test_mistakes(parse: Callable[[str], Any], text: str, message: str) -> None:
    with pytest.raises(NetcError) as caught:
        parse(text)
    assert message in str(caught.value)


def test_options_as_values() -> None:
    spec = make_setting("step", {"at": [1, 2], "gamma": 0.5}, "schedule", SCHEDULES)
    assert spec == parse_schedule("step(at=[1, 2], gamma=0.5)")
