"""The published shapes beside their estimates."""

import pandas as pd

from qtlib.studies import published_shapes


def test_estimates_stand_beside_the_counts_and_clocks_and_memories_are_exact():
    rows = pd.read_csv(published_shapes.FILE).query("d_model == 16")
    found = published_shapes.beside_estimates(rows)
    assert found[list(rows.columns)].equals(rows.reset_index(drop=True)) and len(found) > 1
    for name in ("latency", "dsp", "ramb18"):
        assert found[f"{name}_estimated"].tolist() == rows[name].tolist()
    assert (abs(found.lut_estimated / found.lut - 1) < 0.1).all()
