"""The table of exponentials."""

import math

from qtlib.training.random_models import SHAPES, WIDTHS, quantised, windows
from qtlib.training.softmax_table import exponential_table


def test_the_exponential_table_is_at_the_scale_of_the_scores():
    model, x = quantised(SHAPES["two-heads"], WIDTHS["8-bit"]), windows(SHAPES["two-heads"])
    kept, scale = model.trace(x), model.scales()["0.scores"]
    scores = kept["0.scores"] * scale
    expected = (scores - scores.amax(-1, keepdim=True)).exp()
    assert (kept["0.exponentials"] / 255 - expected).abs().max() <= 0.5 / 255 + 1e-6


def test_the_exponential_table_starts_full_falls_and_rounds_half_up():
    table = exponential_table(math.log(2), 4, 16).tolist()
    assert table[:6] == [15, 8, 4, 2, 1, 0]  # 15, 7.5, 3.75, 1.875, 0.94, 0.47
    assert table == sorted(table, reverse=True)
