"""What the verifier knows of indices: a range that holds at one place is not taken for one that holds everywhere."""

from __future__ import annotations

from netc.compiler.loops.interval import UNKNOWN
from netc.compiler.loops.linear import Knowledge, Linear


def test_remainders_have_the_range_of_their_place() -> None:
    knowledge = Knowledge()
    x, y = (knowledge.of(knowledge.atom((name,), (0, 100))) for name in "xy")
    form, sixteen = x.times(3).plus(y), Linear(16)
    for highest in (7, 15, 3):
        with knowledge.assuming(Linear(highest).plus(form, -1)):
            bounded = knowledge.binary("min", form, Linear(highest))
            assert bounded.key == form.key
            assert knowledge.range(knowledge.binary("mod", bounded, sixteen)) == (0, highest)
            assert knowledge.binary("floordiv", bounded, sixteen).key == Linear(0).key
    assert knowledge.range(knowledge.binary("mod", form, sixteen)) == (0, 15)


def test_conditions_hold_inside_their_block_only() -> None:
    knowledge = Knowledge()
    x = knowledge.of(knowledge.atom(("x",), (0, 100)))
    quotient = knowledge.binary("floordiv", x, Linear(10))
    with knowledge.assuming(quotient.shifted(-4), Linear(5).plus(quotient, -1)) as possible:  # 4 <= x // 10 <= 5
        assert possible
        assert knowledge.range(x) == (40, 59)
        with knowledge.assuming(Linear(39).plus(x, -1)) as both:
            assert not both
    assert knowledge.range(x) == (0, 100)


def test_conditions_on_numbers_of_any_size() -> None:
    knowledge = Knowledge()
    x = knowledge.fresh()
    quotient = knowledge.binary("floordiv", x, Linear(4))
    with knowledge.assuming(Linear(2).plus(quotient, -1)):  # x // 4 <= 2
        assert knowledge.range(x)[1] == 11
        assert not knowledge.proves(x)


def test_conditions_on_sums_limit_their_multiples() -> None:
    knowledge = Knowledge()
    x, y = (knowledge.of(knowledge.atom((name,), (0, 4))) for name in "xy")
    form = x.times(8).plus(y, 4)
    with knowledge.assuming(Linear(35).plus(form, -1), form.shifted(-5)):  # 5 <= 8 x + 4 y <= 35
        assert knowledge.limits(form.terms) == (5, 35)
        assert knowledge.limits(x.times(2).plus(y).terms) == (2, 8)
        assert knowledge.limits(x.plus(y).terms) == UNKNOWN
    assert knowledge.limits(form.terms) == UNKNOWN
