import re
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from qtlib.config import DataConfig, Experiment, ModelConfig, TrainConfig
from qtlib.studies import precision_studies, study_losses, study_tables

VARIANTS = ("float", "8 bit", "4 bit")
SHORT = TrainConfig(epochs=1, qat_epochs=1, batch=64)


def chain(config, seed, variants=VARIANTS):
    model = ModelConfig(window=config.window, d_model=4)
    return precision_studies.Chain(
        "waves", variants, Experiment(data=config, model=model, quant=None, train=replace(SHORT, seed=seed))
    )


@pytest.fixture
def waves(tmp_path, monkeypatch):
    """A study of two seeds on a small file of its own; `chains` may be changed."""
    monkeypatch.setenv("QTLIB_PREPARED", str(tmp_path / "prepared"))
    t = np.arange(400)
    values = 50 + 20 * np.sin(t / 5) + np.random.default_rng(0).normal(size=400)
    pd.DataFrame({"flow": values}).to_csv(tmp_path / "waves.csv", index=False)
    config = DataConfig(dataset=str(tmp_path / "waves.csv"), window=5, features=("flow",), targets=("flow",))
    precision_studies.windows.cache_clear()
    chains = [chain(config, seed) for seed in (0, 1)]
    monkeypatch.setitem(precision_studies.STUDIES, "precision", lambda: chains)
    yield SimpleNamespace(file=tmp_path / "study.csv", config=config, chains=chains)
    precision_studies.windows.cache_clear()


@pytest.fixture
def trained(monkeypatch):
    """Runs that were asked for; none is trained, its errors are 10 in float and 10 + bits + seed else."""
    asked = []

    def train(experiment, prepared):
        asked.append((experiment.train.seed, experiment.quant.bits if experiment.quant else None))
        error = 10 + (experiment.quant.bits + experiment.train.seed + 0.1 if experiment.quant else 0.0)
        metrics = dict.fromkeys(("validation_rmse", "validation_mae", "test_rmse", "test_mae"), error)
        metrics |= {"best_epoch": 1} | ({"codes": 7, "codes_differ": 0} if experiment.quant else {})
        return SimpleNamespace(metrics=metrics)

    monkeypatch.setattr(study_tables, "train", train)
    return asked


def quiet(line):
    pass


def computed(waves, **options):
    return study_tables.run("precision", file=waves.file, workers=1, progress=quiet, **options)


def test_a_study_has_every_point_once_and_the_baselines_beside_them(waves, trained):
    table = computed(waves)
    runs = table[~table.variant.isin(precision_studies.BASELINES)]
    assert list(zip(runs.variant, runs.seed, strict=True)) == [(v, s) for v in VARIANTS for s in (0, 1)]
    assert list(table.variant[: len(precision_studies.BASELINES)]) == list(precision_studies.BASELINES)
    assert len(trained) == 6


def test_a_finished_study_computes_nothing(waves, trained):
    first = computed(waves)
    before = waves.file.stat().st_mtime_ns
    trained.clear()
    assert computed(waves).equals(first) and trained == [] and waves.file.stat().st_mtime_ns == before


def test_a_study_computes_only_the_points_that_its_table_lacks(waves, trained):
    computed(waves)
    whole = waves.file.read_text()
    lines = whole.splitlines(keepends=True)
    waves.file.write_text("".join(line for line in lines if not line.startswith("waves,4 bit,5,4,1,")))
    trained.clear()
    computed(waves)
    assert trained == [(1, 4)] and waves.file.read_text() == whole


def test_a_table_that_grows_keeps_its_lines(waves, trained, monkeypatch):
    both = list(waves.chains)
    del waves.chains[1]
    computed(waves)
    text = waves.file.read_text().replace(",10.0,", ",9.5070131,")  # digits that a fast parser does not keep
    waves.file.write_text(text)
    waves.chains[:] = both
    computed(waves)
    assert set(text.splitlines()) < set(waves.file.read_text().splitlines())


def test_the_file_does_not_depend_on_the_order_in_which_chains_finish(waves, trained, monkeypatch):
    computed(waves)
    text = waves.file.read_text()
    waves.file.unlink()
    monkeypatch.setattr(
        study_tables, "_computed", lambda chains, workers: (study_tables._measure(c) for c in reversed(chains))
    )
    computed(waves)
    assert waves.file.read_text() == text


def test_an_interrupted_study_keeps_its_finished_chains(waves, trained, monkeypatch):
    train = study_tables.train

    def interrupted(experiment, prepared):
        if experiment.train.seed == 1:
            raise KeyboardInterrupt
        return train(experiment, prepared)

    monkeypatch.setattr(study_tables, "train", interrupted)
    with pytest.raises(KeyboardInterrupt):
        computed(waves)
    table = study_tables.load("precision", waves.file)
    assert set(table.seed.dropna()) == {0} and len(table) == 3 + len(precision_studies.BASELINES)


def test_a_full_disk_leaves_the_earlier_table(waves, trained, monkeypatch):
    second = waves.chains.pop()
    computed(waves)
    text = waves.file.read_text()
    waves.chains.append(second)

    def full(descriptor):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(OSError, match="No space left on device"):
        computed(waves)
    assert waves.file.read_text() == text
    assert sorted(entry.name for entry in waves.file.parent.iterdir()) == ["study.csv", "waves.csv"]


def test_progress_says_what_was_finished_and_what_is_left(waves, trained):
    lines = []
    study_tables.run("precision", file=waves.file, workers=1, progress=lines.append)
    pattern = r"study precision: waves, seed 0: 1/2 chains, 3/6 points, [\d.]+ min, about \d+ min left"
    assert len(lines) == 2 and re.fullmatch(pattern, lines[0])


def test_counts_are_whole_numbers_in_the_file(waves, trained):
    computed(waves)
    line = next(line for line in waves.file.read_text().splitlines() if line.startswith("waves,8 bit"))
    assert line.startswith("waves,8 bit,5,4,0,18.1,18.1,18.1,18.1,1,7,0,")


def test_processes_do_not_change_a_study(waves):
    for c in waves.chains:
        waves.chains[waves.chains.index(c)] = c._replace(variants=("float", "4 bit"))
    computed(waves)
    text = waves.file.read_text()
    waves.file.unlink()
    study_tables.run("precision", file=waves.file, workers=2, progress=quiet)
    assert waves.file.read_text() == text


def test_an_absent_table_names_the_command_that_writes_it(tmp_path):
    text = f"study: {tmp_path / 'none.csv'} does not exist; python -m qtlib study precision writes it"
    with pytest.raises(FileNotFoundError, match=f"^{re.escape(text)}$"):
        study_tables.load("precision", tmp_path / "none.csv")


@pytest.mark.parametrize("content", [b"", b"\xff\xfe\x00", b'task,"variant\n'])
def test_a_file_that_is_no_table_is_refused(waves, content):
    waves.file.write_bytes(content)
    pattern = f"^study: {re.escape(str(waves.file))} is not a table \\(.*\\); delete it or restore it$"
    with pytest.raises(ValueError, match=pattern):
        study_tables.load("precision", waves.file)


def test_a_number_that_is_none_is_refused(waves, trained):
    computed(waves)
    waves.file.write_text(waves.file.read_text().replace("waves,float,5,4,0,", "waves,float,5,4,zero,"))
    with pytest.raises(ValueError, match=r"study\.csv is not a table \(.*\); delete it or restore it$"):
        study_tables.load("precision", waves.file)


def test_a_table_with_other_columns_is_refused(waves, trained):
    computed(waves)
    waves.file.write_text(waves.file.read_text().replace("task,variant", "series,variant", 1))
    expected = (
        f"has the columns series, {', '.join(study_tables.COLUMNS[1:])}, expected {', '.join(study_tables.COLUMNS)}"
    )
    with pytest.raises(ValueError, match=f"{re.escape(expected)}$"):
        study_tables.load("precision", waves.file)


def test_a_point_of_another_configuration_is_refused(waves, trained):
    computed(waves)
    old = waves.chains[0].experiment
    waves.chains[0] = waves.chains[0]._replace(experiment=replace(old, train=replace(old.train, epochs=2)))
    text = (
        f"study: {waves.file} holds waves, float, seed 0 of run {old.run_id}-{precision_studies.windows(waves.config).series.sha256[:8]}, "
        f"procedure {study_tables.PROCEDURE}; this version computes {waves.chains[0].experiment.run_id}, "
        f"procedure {study_tables.PROCEDURE}; move the file away to compute it again"
    )
    with pytest.raises(ValueError, match=f"^{re.escape(text)}$"):
        study_tables.load("precision", waves.file)


def test_a_point_that_the_study_no_longer_has_is_refused(waves, trained):
    computed(waves)
    del waves.chains[1]
    with pytest.raises(ValueError, match="seed 1 of run .* this version computes None, procedure"):
        study_tables.load("precision", waves.file)


def test_a_point_of_another_procedure_is_refused(waves, trained, monkeypatch):
    computed(waves)
    monkeypatch.setattr(study_tables, "PROCEDURE", 99)
    with pytest.raises(
        ValueError, match=r"procedure \d+; this version computes \w{10}, procedure 99; move the file away"
    ):
        study_tables.load("precision", waves.file)


def test_a_table_of_other_data_is_read_though_a_longer_series_is_trained_for_fewer_epochs(waves, trained):
    computed(waves)
    found = precision_studies.windows(waves.config).series.sha256[:8]
    waves.file.write_text(waves.file.read_text().replace(f"-{found}", "-00000000"))
    for k, c in enumerate(waves.chains):
        train = replace(c.experiment.train, epochs=c.experiment.train.epochs + 1)
        waves.chains[k] = c._replace(experiment=replace(c.experiment, train=train))
    assert len(study_tables.load("precision", waves.file)) == len(waves.file.read_text().splitlines()) - 1


def test_a_table_of_other_data_is_read_but_not_gone_on_with(waves, trained):
    computed(waves)
    found = precision_studies.windows(waves.config).series.sha256[:8]
    waves.file.write_text(waves.file.read_text().replace(f"-{found}", "-01234567"))
    assert len(study_tables.load("precision", waves.file)) == 6 + len(precision_studies.BASELINES)
    text = (
        f"study: {waves.file} holds waves on the data 01234567, the series here is {found}; "
        "move the file away to compute it on this one"
    )
    with pytest.raises(ValueError, match=f"^{re.escape(text)}$"):
        computed(waves)


@pytest.mark.parametrize("call", [study_tables.path, study_tables.load, study_tables.run])
def test_an_unknown_study_is_refused(call):
    with pytest.raises(ValueError, match="^study: name='depth' is not one of precision, grid, deployed$"):
        call("depth")


def rows(*found):
    table = pd.DataFrame(found, columns=["task", "variant", "seed", "test_rmse"])
    return table.assign(window=24, d_model=16)


def test_a_quantised_run_is_compared_with_the_float_run_of_its_seed():
    table = rows(
        ("a", "8 bit", 1, 22.0), ("a", "float", 0, 10.0), ("a", "float", 1, 20.0), ("a", "8 bit", 0, 10.1),
        ("b", "float", 0, 1.0), ("b", "8 bit", 0, 0.9), ("a", "naive", None, 5.0),
    )  # fmt: skip
    found = study_losses.against(table)
    assert list(zip(found.task, found.seed, found.difference.round(9), strict=True)) == [
        ("a", 1, 10.0), ("a", 0, 1.0), ("b", 0, -10.0),
    ]  # fmt: skip


def test_another_variant_may_be_the_reference():
    table = rows(("a", "8 bit", 0, 10.0), ("a", "4 bit", 0, 11.0), ("a", "float", 0, 9.0))
    found = study_losses.against(table, "8 bit").set_index("variant").difference
    assert found.round(9).to_dict() == {"4 bit": 10.0, "float": -10.0}


def test_t_is_the_mean_over_its_standard_error():
    table = rows(
        *(
            ("a", name, s, v)
            for name, values in (("float", (100, 100)), ("8 bit", (101, 103)))
            for s, v in enumerate(values)
        )
    )
    assert study_losses.losses(study_losses.against(table)).loc[("8 bit", "a"), "t"] == pytest.approx(2.0)


def test_a_run_without_its_float_run_is_left_out():
    assert study_losses.against(rows(("a", "8 bit", 0, 1.0), ("a", "float", 1, 1.0))).empty


def test_losses_are_taken_over_seeds_first_and_over_series_then():
    found = study_losses.losses(
        study_losses.against(
            rows(
                ("PeMS station", "float", 0, 100.0), ("PeMS station", "float", 1, 100.0), ("ETTh1", "float", 0, 100.0),
                ("PeMS station", "4 bit", 0, 101.0), ("PeMS station", "4 bit", 1, 104.0), ("ETTh1", "4 bit", 0, 100.5),
                ("ETTh1", "8 bit", 0, 100.1),
            )
        )
    )  # fmt: skip
    assert list(found.index) == [("8 bit", "ETTh1"), ("4 bit", "PeMS station"), ("4 bit", "ETTh1")]
    four = study_losses.over_series(found).loc["4 bit"]
    assert four[["mean", "worst_series", "worst_run"]].tolist() == pytest.approx([1.5, 2.5, 4.0])
    assert (four.series, four.runs) == (2, 3)
    assert four.missed_mean == pytest.approx(0.5) and four.missed_worst_series == pytest.approx(0.0)


def test_a_verdict_says_met_or_by_how_much_an_aim_is_missed():
    table = study_losses.over_series(
        study_losses.losses(
            study_losses.against(
                rows(
                    ("ETTh1", "float", 0, 100.0), ("ETTh1", "8 bit", 0, 100.1), ("ETTh1", "6 bit", 0, 100.1),
                    ("ETTh1", "4 bit", 0, 102.0),
                )
            )
        )
    )  # fmt: skip
    assert study_losses.verdicts(table) == [
        "8 bit, mean over 1 series: +0.10 %, aim +0.2 %: met",
        "4 bit, mean over 1 series: +2.00 %, aim +1.0 %: missed by 1.00 points",
        "4 bit, worst of 1 series: +2.00 %, aim +2.5 %: met",
    ]


def test_what_a_table_holds_of_an_experiment_is_found_by_its_run_and_its_data(waves, trained, monkeypatch):
    computed(waves)
    monkeypatch.setattr(study_tables, "path", lambda name: waves.file if name == "precision" else waves.file / "absent")
    prepared = precision_studies.windows(waves.config)
    asked = dict(waves.chains[1].experiments())
    other = replace(asked["8 bit"], train=replace(SHORT, seed=9))
    found = study_tables.held([*asked.values(), other], prepared)
    assert {e: row["test_rmse"] for e, row in found.items()} == {
        asked["float"]: 10.0, asked["8 bit"]: 19.1, asked["4 bit"]: 15.1,
    }  # fmt: skip
    assert found[asked["8 bit"]]["codes"] == 7 and "codes" not in found[asked["float"]]
    changed = replace(prepared, series=replace(prepared.series, sha256="0" * 64))
    assert study_tables.held(asked.values(), changed) == {}


def test_a_run_agrees_with_its_row_to_the_last_digit_on_the_same_kernels_and_nearly_on_others(monkeypatch):
    row = dict.fromkeys(study_tables.METRICS[:4], 9.475196) | {"procedure": study_tables.PROCEDURE}
    same, near, far = (dict.fromkeys(study_tables.METRICS[:4], value) for value in (9.4751961230856, 9.48, 9.9))
    monkeypatch.setattr(study_tables.processor, "note", lambda: "")
    assert [study_tables.agrees(metrics, row) for metrics in (same, near, far)] == [True, False, False]
    earlier = row | {"procedure": study_tables.EARLIER}
    assert [study_tables.agrees(metrics, earlier) for metrics in (same, near, far)] == [True, True, False]
    monkeypatch.setattr(study_tables.processor, "note", lambda: "others")
    assert [study_tables.agrees(metrics, row) for metrics in (same, near, far)] == [True, True, False]


def test_an_overview_has_baselines_first_and_a_spread_where_there_are_seeds():
    table = rows(
        ("a", "4 bit", 0, 1.0), ("a", "4 bit", 1, 3.0), ("a", "naive", None, 9.0), ("b", "float", 0, 5.0)
    ).assign(unit="m")  # fmt: skip
    found = study_losses.overview(table, ["a", "b", "absent"])
    assert list(found.index) == ["naive", "float", "4 bit"] and list(found) == ["a, m", "b, m"]
    assert found["a, m"].tolist() == ["9", "-", "2 ± 1.4"] and found["b, m"].tolist() == ["-", "5", "-"]


def test_the_float_model_beats_the_baselines_only_if_it_beats_both():
    table = rows(
        ("a", "float", 0, 8.0), ("a", "float", 1, 10.0), ("a", "naive", None, 10.0), ("a", "ridge", None, 12.0),
        ("b", "float", 0, 9.0), ("b", "naive", None, 10.0), ("b", "ridge", None, 8.0),
    )  # fmt: skip
    found = study_losses.float_against_baselines(table)
    assert found.loc["a"].tolist() == [pytest.approx(10), pytest.approx(25), True]
    assert found.loc["b"].tolist() == [pytest.approx(10), pytest.approx(-12.5), False]


def test_the_widths_of_every_variant_are_those_of_its_configuration():
    table = precision_studies.variant_bits()
    assert list(table.index) == [name for name in precision_studies.VARIANTS if name != "float"]
    assert table.loc["4 bit, residual 8"].tolist() == [4, 4, 8, 4, 8, 8, "learned", "float"]
    assert table.loc["4 bit, from 8 and 6"].tolist() == [4, 4, 4, 4, 8, 8, "learned", "6 bit"]
    assert table.loc["min-max 4 bit"].tolist() == [4, 4, 4, 4, 4, 4, "minmax", "float"]
