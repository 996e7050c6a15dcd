"""Lanes fold a window."""

import pytest

from qtlib.hardware.lane_shape import legal_lanes


@pytest.mark.parametrize(
    ("window", "legal"), [(1, [1]), (6, [1, 2, 3, 6]), (7, [1, 2, 3, 4, 7]), (24, [1, 2, 3, 4, 5, 6, 8, 12, 24])]
)
def test_lanes_are_legal_where_fewer_would_need_more_groups(window, legal):
    assert legal_lanes(window) == legal
