"""Widths of what softmax and LayerNorm look up, and the rules that would choose them."""

import numpy as np
import pandas as pd
import pytest

from qtlib.config import BITS
from qtlib.studies import table_precision, table_widths
from qtlib.training.random_models import SHAPES, WIDTHS, codes, encoder, program, windows

PROGRAMS = {bits: program(SHAPES["one-layer"], WIDTHS[f"{bits}-bit"]) for bits in (8, 4)}
X = PROGRAMS[8].input.values(codes(PROGRAMS[8]))
KEYS = ["study", "bits", "codes"]


def rng():
    return np.random.default_rng(0)


@pytest.fixture(scope="module")
def cases():
    config = SHAPES["one-layer"]
    return table_widths.norm_cases(encoder(config), windows(config).numpy(), [8, 4])


def all_errors(cases):
    parts = [table_widths.exponentials(PROGRAMS, X, rng()), table_widths.reciprocals(PROGRAMS[8], X, rng())]
    parts += [table_widths.norm_sums(cases, rng()), table_widths.norm_reciprocals(cases, rng())]
    return pd.concat(parts, ignore_index=True)


def test_every_study_tries_every_width_once_and_marks_the_one_of_the_program(cases):
    errors = all_errors(cases)
    assert not errors.duplicated([*KEYS, "width"]).any()
    assert (errors.groupby(KEYS).chosen.sum() == 1).all()
    assert set(errors.study) == {
        "exponentials", "reciprocal", "norm_bits", "norm_bits, against the sums themselves", "reciprocal of the root",
        "limit of the root",
    }  # fmt: skip
    chosen = errors[errors.chosen & (errors.study == "exponentials")]
    assert (chosen.width == chosen.bits).all()


def test_wider_exponentials_and_reciprocals_are_nearer(cases):
    errors = all_errors(cases)
    for study in ("exponentials", "reciprocal", "norm_bits", "reciprocal of the root"):
        for _, part in errors[errors.study == study].groupby(KEYS):
            assert part["mean"].iloc[-1] < part["mean"].iloc[0] and (part["mean"] <= part.largest).all()


def test_the_hardest_rows_stay_below_the_bound_that_the_width_of_the_reciprocal_was_chosen_by():
    errors = table_widths.reciprocals(PROGRAMS[8], X, rng())
    hardest = errors[errors.codes.str.startswith("hardest")]
    assert (hardest.largest <= table_precision.context_bound(256, 8, hardest.width - 1)).all()
    assert 0.4 < hardest[hardest.chosen].largest.item() < 0.5


def test_codes_of_the_sums_stand_for_the_real_sums(cases):
    assert list(cases.coded) == list(BITS) and list(cases.factors) == [8, 4]
    assert all(codes.shape == cases.sums.shape for codes in cases.coded.values())
    fine, coarse = (np.corrcoef(cases.coded[width].ravel(), cases.sums.ravel())[0, 1] for width in (8, 2))
    assert fine > 0.9999 > coarse


def test_the_rules_take_the_smallest_width_or_say_that_none_is_enough():
    rows = [("a", 8, "x", width, width == 3, 1.0 / width, 0.3 / width) for width in (1, 2, 3, 4)]
    rows += [("b", 8, "x", width, width == 2, 2.0, 0.2) for width in (1, 2)]
    errors = pd.DataFrame(rows, columns=[*KEYS, "width", "chosen", "largest", "mean"])
    found = table_widths.rules(errors)
    assert found.loc["a", 8, "x"].tolist() == ["3", "2", 3, pytest.approx(1 / 3), pytest.approx(0.1)]
    assert found.loc["b", 8, "x"].tolist() == ["above 2", "1", 2, 2.0, 0.2]
