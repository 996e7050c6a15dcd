"""The programs of notebook 02 are read back as what the index says, or refused."""

from types import SimpleNamespace

import pytest

from qtlib.compendium import program_index, results
from qtlib.config import DataConfig, Experiment, ModelConfig, QuantConfig, TrainConfig
from qtlib.program.file import save
from qtlib.training.lowering import lower
from qtlib.training.random_models import quantised


def run(bits, seed=0):
    model, quant = ModelConfig(window=6, d_model=8), QuantConfig(bits=bits)
    asked = Experiment(data=DataConfig(window=6), model=model, quant=quant, train=TrainConfig(seed=seed))
    return SimpleNamespace(
        experiment=asked, program=lower(quantised(model, quant), {"unit": "m"}), metrics={"test_rmse": 9.5}
    )


@pytest.fixture
def kept(tmp_path, monkeypatch):
    monkeypatch.setenv("QTLIB_PREPARED", str(tmp_path / "prepared"))
    monkeypatch.setenv("QTLIB_RESULTS", str(tmp_path / "results"))
    runs = [run(8), run(4)]
    results.save_json("02_programs", {"programs": [program_index.keep(one) for one in runs]})
    return tmp_path / "prepared" / "programs", runs


def test_programs_are_read_by_their_bits_the_widest_first(kept):
    _, runs = kept
    found = program_index.programs("pems", 8, 0)
    assert list(found) == [8, 4]
    assert [program.digest for program in found.values()] == [one.program.digest for one in runs]
    assert program_index.programs("pems", 8, 1) == program_index.programs("etth1", 8, 0) == {}


def test_the_index_says_what_each_program_is(kept):
    _, runs = kept
    entry = program_index.entries("pems", 8, 0)[1]
    assert (entry["name"], entry["file"]) == ("pems_n6_d8_4bit", "programs/pems_n6_d8_4bit.qtp")
    assert (entry["run_id"], entry["unit"], entry["test_rmse"]) == (runs[1].experiment.run_id, "m", 9.5)
    assert (entry["window"], entry["d_model"], entry["bits"], entry["macs"]) == (6, 8, 4, runs[1].program.macs)


def test_another_program_in_the_place_of_a_kept_one_is_refused(kept):
    folder, runs = kept
    save(runs[0].program, folder / "pems_n6_d8_4bit.qtp")
    text = r'^programs: programs/pems_n6_d8_4bit\.qtp has the digest \w+, the index of notebook 02 says \w+; run "python -m qtlib run 2"$'
    with pytest.raises(ValueError, match=text):
        program_index.programs("pems", 8, 0)


def test_a_float_model_has_no_program_to_hand_on():
    model = run(8)
    model.program = None
    with pytest.raises(ValueError, match=r"^programs: the run \w+ is a float model, which has no program$"):
        program_index.keep(model)
