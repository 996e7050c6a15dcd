"""The commands of the search."""

import json
import re

from qtlib import __main__ as cli
from qtlib.explore import commands


def test_explore_prints_its_progress_and_the_front_and_writes_the_tables(base, measured, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(commands, "make_base", lambda dataset, **_: base)
    file = tmp_path / "space.json"
    file.write_text(json.dumps({"window": [6], "d_model": [8], "groups": [1]}))
    assert cli.main(["explore", "--trials", "5", "--space", str(file), "--study", "mine"]) == 0
    printed = capsys.readouterr()
    assert re.search(
        r"^explore mine: trial 4 complete: validation rmse [\d.]+, \d+ clocks, 7 LUTs, weights of 5.0 bits; 5/5 trials$",
        printed.err,
        re.M,
    )
    assert "mean_weight_bits" in printed.out and "mine_front.tex" in printed.out
    assert cli.main(["export", "mine", "99"]) == 1
    assert capsys.readouterr().err.startswith("explore: trial 99 of 'mine' does not exist; on the front are ")


def test_a_misspelt_data_set_of_a_search_gets_a_suggestion(capsys):
    assert cli.main(["explore", "--dataset", "pesm"]) == 1
    assert capsys.readouterr().err.endswith("; did you mean 'pems'?\n")
