"""What schedules ask: whatever is chosen, results are the same."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest

import netc as library
from netc.compiler.graph.builder import GraphBuilder
from netc.compiler.lowering.choices import Choice, Chosen, NetworkChoices, Survey
from netc.compiler.types import DType, TensorType
from netc.pipeline import PROGRAM, Request, build, load_program

from .conftest import net_of


def survey_of(graph: library.Graph, choices: Mapping[str, Choice] | None = None) -> tuple[Survey, str]:
    survey = Survey(choices or {})
    c = build(Request(graph, threads=2, cpu="skylake-avx512", choices=survey), "loops")
    return survey, str(c.module)


def test_a_survey_changes_nothing(wide: library.Graph) -> None:
    survey, text = survey_of(wide)
    assert text == str(build(Request(wide, threads=2, cpu="skylake-avx512"), "loops").module)
    asked = {name for kernel in survey.kernels.values() for name in kernel.decisions}
    assert asked == {"algorithm", "tile", "outer loop", "sweeps", "blocks", "run"}
    decisions = [d for kernel in survey.kernels.values() for d in kernel.decisions.values()]
    assert all(d.default in d.alternatives and len(set(d.alternatives)) == len(d.alternatives) for d in decisions)
    assert sum(kernel.calls for kernel in survey.kernels.values()) == len(survey.calls)


def test_choices_that_no_longer_fit_are_passed_over(wide: library.Graph) -> None:
    survey, text = survey_of(wide)
    stale: dict[str, Choice] = {}
    for problem, kernel in survey.kernels.items():
        others = {name: Chosen("gone", d.others[0]) for name, d in kernel.decisions.items() if d.others}
        stale[problem] = Choice({**others, "tile": Chosen(kernel.decisions["tile"].default, (99, 99, 7))} if "tile" in
                                kernel.decisions else others)  # fmt: skip
    assert survey_of(wide, stale)[1] == text


@pytest.mark.parametrize("stride", [1, 2])
def test_sums_of_nothing_have_one_algorithm(stride: int) -> None:
    b = GraphBuilder("none")
    x, weight = b.input("x", TensorType(DType.F32, (1, 8, 8, 0))), b.constant(np.zeros((3, 3, 0, 16), np.float32))
    window: dict[str, Any] = {"strides": (stride, stride), "padding": "same", "dilations": (1, 1)}
    survey = Survey({})
    build(Request(b.finish([b.emit("conv2d", x, weight, **window)]), cpu="znver5", choices=survey), "loops")
    assert not any("algorithm" in kernel.decisions for kernel in survey.kernels.values())


def test_names_of_problems_leave_numbers_out(wide: library.Graph) -> None:
    problems = {"one": "", "two": ""}
    for name in problems:
        text = f"net a(x: f32[1, 8, 8, 16]) {{ return (x |> conv(16, 1)) * {len(name)}{'0' if name == 'two' else ''} }}"
        survey, _ = survey_of(net_of(text))
        problems[name] = next(p for p, k in survey.kernels.items() if "tile" in k.decisions)
    assert problems["one"] == problems["two"]


def every_choice(graph: library.Graph) -> list[NetworkChoices]:
    """For each rank the choices of that alternative, or the last one, for all decisions of all kernels."""
    survey = Survey({})
    build(Request(graph, threads=2, choices=survey), "loops")
    most = max(len(d.others) for k in survey.kernels.values() for d in k.decisions.values())
    found = []
    for rank in range(0, most, max(1, most // 4)):
        chosen = {
            problem: Choice(
                {
                    n: Chosen(d.default, d.others[min(rank, len(d.others) - 1)])
                    for n, d in k.decisions.items()
                    if d.others
                }
            )
            for problem, k in survey.kernels.items()
        }
        found.append(NetworkChoices(chosen))
    return found


def outputs(graph: library.Graph, choices: NetworkChoices, x: Any) -> Any:
    c = build(Request(graph, threads=2, choices=choices), PROGRAM)
    with load_program(c) as program:
        return program(x)


def test_floats_are_the_same_whatever_is_chosen(wide: library.Graph) -> None:
    x = np.random.default_rng(0).standard_normal((1, 28, 28, 32)).astype(np.float32)
    wanted = outputs(wide, NetworkChoices({}), x)
    for choices in every_choice(wide):
        direct = {p: c for p, c in choices.by_problem.items() if "algorithm" not in c.decisions}
        assert np.array_equal(outputs(wide, NetworkChoices(direct), x), wanted)
        np.testing.assert_allclose(outputs(wide, choices, x), wanted, atol=1e-4 * float(np.abs(wanted).max()))


def test_integers_are_the_same_whatever_is_chosen(wide: library.Graph) -> None:
    samples = np.random.default_rng(0).standard_normal((4, 28, 28, 32)).astype(np.float32)
    graph = library.quantize(wide, calibration=list(samples[:, None]), weights=None)
    x = np.random.default_rng(1).integers(-128, 128, (1, 28, 28, 32)).astype(np.int8)
    wanted = outputs(graph, NetworkChoices({}), x)
    found = every_choice(graph)
    assert len(found) > 1
    for choices in found:
        assert np.array_equal(outputs(graph, choices, x), wanted)
