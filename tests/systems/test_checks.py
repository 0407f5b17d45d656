import math

import pytest

from dynarium.errors import UserError
from dynarium.systems.checks import check_choice, check_not_negative, check_positive, check_positive_range, check_range


def test_good_values_pass():
    check_positive(a=1.0, b=2)
    check_not_negative(a=0.0)
    check_range("a", (1.0, 1.0))
    check_choice("a", 3, (1, 3))


@pytest.mark.parametrize(
    "call",
    [
        lambda: check_positive(fine=1.0, a=0.0),
        lambda: check_positive(a=math.nan),
        lambda: check_not_negative(a=-1e-9),
        lambda: check_positive_range(fine=(1.0, 1.0), a=(0.0, 1.0)),
        lambda: check_range("a", (2.0, 1.0)),
        lambda: check_range("a", (-1.0, 1.0), low=0.0),
        lambda: check_range("a", (0.0, math.inf)),
    ],
)
def test_bad_values_are_named(call):
    with pytest.raises(UserError, match=r"^a: expected"):
        call()


def test_an_unknown_choice_is_refused():
    with pytest.raises(UserError, match="rendering: expected 'hard' or 'antialiased', got 'soft'"):
        check_choice("rendering", "soft", ("hard", "antialiased"))
