"""A number that a text states is the computed one, rounded as it is printed."""

import re

import pytest

from qtlib.compendium import stated_numbers
from qtlib.compendium.stated_numbers import check_stated


@pytest.fixture
def same(monkeypatch):
    """The kernels of the committed numbers."""
    monkeypatch.setattr(stated_numbers.processor, "note", lambda: "")


@pytest.mark.parametrize(
    ("stated", "found"), [(9.53, 9.5349), (45, 44.6), ("0.10", 0.0951), (4066, 4066), (22.6, 22.62)]
)
def test_a_number_agrees_when_it_is_the_computed_one_in_as_many_places(same, stated, found):
    check_stated((stated, found))


@pytest.mark.parametrize(("stated", "found"), [(9.53, 9.5351), (45, 44.4), ("0.10", 0.0949), (4066, 4067)])
def test_a_number_that_is_not_the_computed_one_is_refused(same, stated, found):
    with pytest.raises(ValueError, match=re.escape(f"stated numbers: {stated} is {found:.6g}")):
        check_stated((stated, found))


def test_all_that_differ_are_named_at_once(same):
    with pytest.raises(ValueError, match=r"^stated numbers: 9\.5 is 9\.61; 40 is 39\.4$"):
        check_stated((9.5, 9.61), (1, 1.2), (40, 39.4))


def test_where_other_kernels_computed_a_number_only_has_to_be_near(monkeypatch):
    monkeypatch.setattr(stated_numbers.processor, "note", lambda: "digits may differ")
    check_stated((9.53, 9.6), (45, 44.4))
    with pytest.raises(ValueError, match=r"^stated numbers: 9\.53 is 11$"):
        check_stated((9.53, 11.0))
