"""The headline compares like with like, and the README prints it and nothing that was typed."""

import re

import numpy as np
import pandas as pd
import pytest

from qtlib import paths
from qtlib.compendium import readme_headline, results

ERRORS = {"float": (9.5, 9.7, 9.6), "8 bit": (9.4, 9.8, 9.3), "4 bit": (10.0, 10.2, 10.4)}
RUNS = [
    {"model": model, "seed": seed, "test_rmse": error, "run_id": "0123456789"}
    for model, found in ERRORS.items()
    for seed, error in enumerate(found)
]
ACCELERATORS = pd.DataFrame(
    {
        "bits": [8, 4],
        "test_rmse": [9.4, 10.0],  # of one seed: it must not stand beside means
        "clocks": [4066, 4066],
        "windows simulated": [4184.0, np.nan],
        "lut": [3624.0, np.nan],
        "ff": [4636.0, np.nan],
        "dsp": [18.0, np.nan],
        "ramb18": [9.0, np.nan],
        "energy_low_uj": [2.56158, 2.5],
        "energy_high_uj": [3.21214, 3.0],
    }
)


def test_errors_are_means_over_the_same_seeds_for_programs_and_float_models():
    errors = readme_headline.over_seeds(RUNS)
    assert list(errors.index) == list(ERRORS) and set(errors["seeds"]) == {(0, 1, 2)}
    for model, found in ERRORS.items():
        assert errors["mean"][model] == pytest.approx(np.mean(found))
        assert errors["std"][model] == pytest.approx(np.std(found, ddof=1))


def test_the_order_of_the_runs_does_not_matter_for_the_seeds():
    assert set(readme_headline.over_seeds(RUNS[::-1])["seeds"]) == {(0, 1, 2)}


def test_means_over_different_seeds_are_refused():
    text = (
        "headline: means over different seeds cannot be compared: float has 0, 1, 2; 8 bit has 0, 1, 2; 4 bit has 0, 1"
    )
    with pytest.raises(ValueError, match=f"^{re.escape(text)}$"):
        readme_headline.over_seeds(RUNS[:-1])


def test_one_seed_has_no_standard_deviation_to_print():
    errors = readme_headline.over_seeds([run for run in RUNS if run["seed"] == 0])
    assert readme_headline.spelled(errors, "8 bit") == "9.40"


def test_the_table_has_the_errors_over_seeds_and_leaves_empty_what_no_tool_counted():
    table = readme_headline.table(ACCELERATORS, readme_headline.over_seeds(RUNS), "m")
    columns = ["bits", "test RMSE, m", "clocks", "windows simulated", "LUT", "FF", "DSP", "RAMB18", "energy, µJ"]
    assert list(table) == columns
    assert table.to_numpy().tolist() == [
        [8, "9.50 ± 0.26", 4066, 4184, 3624, 4636, 18, 9, "2.56 to 3.21"],
        [4, "10.20 ± 0.20", 4066, None, None, None, None, None, "2.50 to 3.00"],
    ]


def test_the_headline_is_written_between_its_marks_and_nowhere_else():
    readme = "before\n" + readme_headline.HEADLINE[0] + "\nold\n" + readme_headline.HEADLINE[1] + "\nafter\n"
    headline = {"answer": "42.", "columns": ["bits", "LUT"], "rows": [[8, 3565], [4, None]], "caption": "Of seed 0."}
    lines = "42.\n\n| bits | LUT |\n| --- | --- |\n| 8 | 3565 |\n| 4 |  |\n\nOf seed 0."
    expected = f"before\n{readme_headline.HEADLINE[0]}\n{lines}\n{readme_headline.HEADLINE[1]}\nafter\n"
    assert readme_headline.with_headline(readme, headline) == expected
    assert readme_headline.with_headline(expected, headline) == expected


def test_the_readme_prints_the_headline_of_the_results():
    readme = (paths.ROOT / "README.md").read_text(encoding="utf-8")
    assert readme_headline.with_headline(readme, results.load_json("00_headline")) == readme
