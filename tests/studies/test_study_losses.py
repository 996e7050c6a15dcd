"""What a study says of designs with mixed widths."""

import pandas as pd

from qtlib.studies import study_losses


def test_mixed_widths_stand_beside_one_width_of_the_same_shape():
    rows = [
        ("8 bit", 6, 8, 0, 10.0), ("8 bit", 6, 8, 1, 12.0), ("8 bit, weights 5, feed-forward 4", 6, 8, 0, 11.0),
        ("8 bit, weights 5, feed-forward 4", 6, 8, 1, 13.0), ("8 bit", 12, 8, 0, 99.0), ("naive", 6, 8, 0, 1.0),
    ]  # fmt: skip
    table = pd.DataFrame(rows, columns=["variant", "window", "d_model", "seed", "test_rmse"])
    columns = ["window", "d_model", "bits", "weight_bits", "feed_forward_bits"]
    designs = pd.DataFrame([(6, 8, 8, 5, 4), (12, 8, 8, 5, 4)], columns=columns, index=[3, 7])
    found = study_losses.mixed_errors(table, designs)
    assert found.loc[3].tolist() == [12.0, 11.0] and found.index.tolist() == [3, 7]
    assert found.loc[7].isna().tolist() == [True, False]
