"""Each operator has a rule of each consumer, or a reason why it has none."""

import pytest

import netc.compiler.edgetpu.from_graph
import netc.compiler.quantization.rules
import netc.compiler.tflite.writer
import netc.frontend.tflite.reader  # noqa: F401 (these register the rules)
from netc.compiler.graph.ir import Operator
from netc.compiler.graph.registry import operators
from netc.compiler.ops.facets import EDGETPU, INTEGER, PERMUTED, TFLITE, Facet, readers

STRUCTURAL = {"param", "constant", "fused", "if", "while", "scan", "map"}
"""Operators that are no arithmetic: what makes graphs of the others."""
SETUP = {
    "pack_dot4",
    "pack_groups",
    "pack_depthwise",
    "pack_wide",
    "winograd_words",
    "dot4_correction",
    "rescale_table",
}
"""Operators that are computed in NumPy, when weights are loaded."""


def overrides(operator: Operator, method: str) -> bool:
    return getattr(type(operator), method) is not getattr(Operator, method)


@pytest.mark.parametrize("facet", [INTEGER, PERMUTED, TFLITE], ids=lambda facet: facet.title)
@pytest.mark.parametrize("name", operators())
def test_rules(name: str, facet: Facet[object]) -> None:
    operator = operators()[name]
    assert (facet.of(operator) is None) == bool(facet.reason(operator)), f"{name} needs a rule, or a reason for none"


@pytest.mark.parametrize("name", operators())
def test_the_edge_tpu_compiler_is_told_of_what_is_written(name: str) -> None:
    operator = operators()[name]
    form = TFLITE.of(operator)
    assert (
        form is None
        or len(form.kinds) == 1
        or EDGETPU.of(operator)
        or operator.name.startswith(("q_", "hybrid_", "opaque"))
    )


@pytest.mark.parametrize("name", operators())
def test_what_is_written_can_be_read(name: str) -> None:
    form = TFLITE.of(operators()[name])
    assert form is None or set(form.kinds) <= readers().keys()


@pytest.mark.parametrize("name", operators())
def test_meaning_lowering_and_gradient(name: str) -> None:
    operator = operators()[name]
    assert operator.procedural == overrides(operator, "procedure")
    lowered = any(overrides(operator, method) for method in ("compute", "decompose", "procedure"))
    assert lowered or name in STRUCTURAL | SETUP
    silent = operator.piecewise_constant or operator.non_differentiable
    assert overrides(operator, "gradient") or silent or name in STRUCTURAL


def test_a_rule_of_a_class_holds_for_those_derived_from_it() -> None:
    class Base(type(operators()["relu"])):
        pass

    class Derived(Base):
        pass

    class Other(Derived):
        pass

    facet = Facet[str]("test")
    facet.add("rule", Base)
    facet.none("reason", Other)
    derived, other = Derived(), Other()
    assert facet.of(derived) == "rule"
    assert facet.reason(derived) is None
    assert facet.of(other) is None
    assert facet.reason(other) == "reason"
    with pytest.raises(ValueError, match="Base has a rule, or a reason for none, already"):
        facet.none("another", Base)


def test_a_rule_by_trait_holds_unless_a_class_says_otherwise() -> None:
    relu, add, concat, exp = (operators()[name] for name in ("relu", "add", "concat", "exp"))
    facet = Facet[str]("test")
    facet.by_trait(lambda operator: operator.elementwise, "by trait")
    facet.add("own", type(add))
    facet.none("reason", type(exp))
    assert facet.of(relu) == "by trait"
    assert facet.of(add) == "own"
    assert facet.of(exp) is None
    assert facet.of(concat) is None
