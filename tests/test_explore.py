import contextlib
import fcntl
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import optuna
import pandas as pd
import pytest

from qtlib import __main__ as cli
from qtlib import explore, study
from qtlib import program as programs
from qtlib.config import DataConfig, Experiment, HardwareConfig, ModelConfig, QuantConfig, TrainConfig
from qtlib.explore import search, storage, trial
from qtlib.explore.trial import Infeasible, Job, Pruned
from qtlib.quantise import widths
from qtlib.resources import estimate
from qtlib.sensitivity import SOFTMAX
from qtlib.train import train

FIXED = {"multiplier": ["auto"], "activations": ["auto"], "weights": ["auto"], "parameters": ["auto"], "tables": ["auto"]}
SMALL = explore.Space(
    window=[6], d_model=[8], activation_bits=[4, 8], weight_bits=[4, 8], softmax_bits=[8], input_bits=[8], head_bits=[8],
    groups=[1, 2], unroll=[1], **FIXED,
)  # fmt: skip
SHORT = TrainConfig(epochs=1, qat_epochs=1, batch=64)
# Debian and Ubuntu keep the server out of PATH, each version in a folder of its own.
POSTGRES = [*sorted(map(str, Path("/usr/lib/postgresql").glob("*/bin/initdb"))), *filter(None, [shutil.which("initdb")])]

ANOTHER_PROCESS = """
import json, sys
from qtlib import explore
from qtlib.config import DataConfig, Experiment, ModelConfig, TrainConfig
if __name__ == "__main__":
    data, space, config, call = map(json.loads, sys.argv[1:])
    data["features"] = data["targets"] = ("flow",)
    base = Experiment(data=DataConfig(**data), model=ModelConfig(window=6, d_model=8), train=TrainConfig(**config))
    explore.run(base, explore.Space(**space), progress=lambda line: print(line, flush=True), **call)
"""


def make(folder):
    """An experiment on a small file of its own, which worker processes can read, too."""
    t = np.arange(400)
    values = 50 + 20 * np.sin(t / 5) + np.random.default_rng(0).normal(size=400)
    pd.DataFrame({"flow": values}).to_csv(folder / "waves.csv", index=False)
    data = DataConfig(dataset=str(folder / "waves.csv"), window=6, features=("flow",), targets=("flow",))
    study.windows.cache_clear()
    return Experiment(data=data, model=ModelConfig(window=6, d_model=8), train=SHORT)


@pytest.fixture
def base(tmp_path, monkeypatch):
    monkeypatch.setenv("QTLIB_PREPARED", str(tmp_path / "prepared"))
    return make(tmp_path)


def quiet(line):
    pass


def searched(base, trials, space=SMALL, **options):
    return explore.run(base, space, trials=trials, **{"name": "s", "progress": quiet, **options})


@pytest.fixture
def measured(monkeypatch):
    """Points that were asked for; none is trained: error and clocks are sums of widths unless ``how`` says otherwise by number."""
    asked, how = [], {}

    def measure(point, job, record, say):
        number = len(asked)
        asked.append(dict(point))
        if number in how:
            raise how[number]
        bits = sum(value for name, value in point.items() if "." in name)
        record |= dict.fromkeys(("lut", "lut_memory", "ff", "dsp", "ramb18", "interval"), 7)
        record |= {"validation_rmse": 1000.0 / bits, "clocks": bits, "energy_low_uj": bits / 2, "energy_high_uj": float(bits)}
        record |= {"mean_weight_bits": 5.0, "run_id": "0123456789"}

    monkeypatch.setattr(trial, "measure", measure)
    return SimpleNamespace(asked=asked, how=how)


def outcomes(found):
    return explore.trials(found).outcome.value_counts().to_dict()


# a search that really trains


@pytest.fixture(scope="module")
def real(tmp_path_factory):
    """One study with trained trials, shared by the tests that only read it."""
    folder = tmp_path_factory.mktemp("real")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("QTLIB_PREPARED", str(folder / "prepared"))
        made = make(folder)
        found = searched(made, 8, name="real", hopeless=100.0)
    return SimpleNamespace(base=made, folder=folder / "prepared", table=explore.trials(found))


@pytest.fixture(autouse=True)
def _prepared_of_the_real_study(request, monkeypatch):
    if "real" in request.fixturenames:
        monkeypatch.setenv("QTLIB_PREPARED", str(request.getfixturevalue("real").folder))


def test_a_complete_trial_holds_the_validation_error_and_the_estimate_of_its_trained_program(real):
    done = real.table[real.table.outcome == "complete"]
    assert len(done) >= 4
    for row in done.to_dict("records"):
        experiment, hardware = explore.design(row, real.base, SMALL)
        kept = train(experiment, study.windows(experiment.data))
        found = estimate(kept.program, hardware)
        assert row["run_id"] == experiment.run_id
        assert row["validation_rmse"] == kept.metrics["validation_rmse"] != kept.metrics["test_rmse"]
        assert (row["clocks"], row["lut"], row["dsp"]) == (found.clocks, round(found.total.lut), found.total.dsp)
        assert row["lanes"] == hardware.lanes == 6 // row["groups"]


def test_no_test_error_is_read_in_a_search(base, monkeypatch):
    def without_test(*args, **options):
        run = train(*args, **options)
        return run._replace(metrics={key: value for key, value in run.metrics.items() if not key.startswith("test")})

    monkeypatch.setattr(trial, "train", without_test)
    found = searched(base, 1, hopeless=100.0)
    assert outcomes(found)["complete"] == 1
    assert "test" not in json.dumps([t.user_attrs for t in found.get_trials()])


def test_all_trials_start_from_one_float_model_of_their_shape(real):
    folders = [f for f in os.listdir(real.folder / "runs") if not f.startswith(".")]
    quantised = set(real.table.run_id.dropna())
    assert len([f for f in folders if f.partition("-")[0] not in quantised]) == 1


def test_every_width_of_a_point_reaches_the_program(real):
    row = real.table[real.table.outcome == "complete"].iloc[-1]
    experiment, _ = explore.design(row, real.base, SMALL)
    codes, layers = widths(experiment.model, experiment.quant)
    assert codes == {name: row[name] for name in codes} and experiment.quant.softmax == row[SOFTMAX]
    assert layers == {name: row[f"{name}.weight"] for name in layers}


def test_the_average_width_is_weighted_by_the_number_of_weights(base):
    point = explore.anchors(SMALL, base)[0] | {"0.hidden.weight": 4}
    job = Job("s", "", base, SMALL, ("validation_rmse", "clocks"), 100.0)
    record = {}
    trial.measure(point, job, record)
    hidden, others = 8 * 32, 8 + 3 * 64 + 64 + 32 * 8 + 8
    assert record["mean_weight_bits"] == pytest.approx((4 * hidden + 8 * others) / (hidden + others))


def test_what_exceeds_the_device_is_infeasible_before_it_is_trained(base, monkeypatch):
    asked = []
    monkeypatch.setattr(trial, "train", lambda e, *args, **options: asked.append(e.quant) or train(e, *args, **options))
    large = replace(SMALL, multiplier=["dsp"], unroll=[6], groups=[1])
    with pytest.raises(ValueError, match="none of the 1 designs tried fits"):
        searched(base, 1, large)
    row = explore.trials(explore.load("s")).iloc[0]
    assert row["outcome"] == "infeasible" and re.search(r"^it exceeds an xc7s15 by \d+ DSP blocks \(\d+ of 20\)", row["why"])
    assert row["dsp"] > 20 and np.isnan(row["validation_rmse"]) and set(asked) == {None}


def test_what_the_engine_refuses_is_infeasible_and_the_sampler_is_told(base):
    odd = replace(SMALL, window=[6], groups=[1, 2], unroll=[1, 2])  # 2 does not divide 3 lanes
    job = Job("s", "", base, odd, ("validation_rmse", "clocks"), 100.0)
    with pytest.raises(Infeasible, match=r"^schedule: unroll=2 does not divide lanes=3; legal: 1, 3$") as caught:
        trial.measure(explore.anchors(odd, base)[0] | {"groups": 2, "unroll": 2}, job, {})
    assert caught.value.excess == trial.ILLEGAL


def test_a_hopeless_training_stops_after_its_first_epoch_and_is_not_kept(base):
    job = Job("s", "", replace(base, train=replace(SHORT, qat_epochs=3)), SMALL, ("validation_rmse", "clocks"), 1e-3)
    seen, record = [], {}
    text = r"^validation rmse [\d.]+ after the first epoch is above [\d.]+, 0.001 times the larger of the naive and the float error$"
    with pytest.raises(Pruned, match=text):
        trial.measure(explore.anchors(SMALL, base)[0], job, record, lambda *epoch: seen.append(epoch[:2]))
    assert seen == [(1, 1), (1, 3)]
    assert not list((storage.paths.prepared() / "runs").glob(f"{record['run_id']}-*"))


def test_the_naive_error_is_that_of_the_last_value(base):
    held = study.windows(base.data).validation
    truth = study.windows(base.data).truth(held)
    assert trial.naive(study.windows(base.data)) == pytest.approx(np.sqrt(np.mean((held.anchor - truth) ** 2)))


# the record


def test_the_record_tells_the_outcomes_apart(base, measured):
    measured.how |= {0: Infeasible("too big", 2.0), 1: Pruned("too bad"), 2: RuntimeError("boom")}
    table = explore.trials(searched(base, 5))
    assert list(table.outcome) == ["infeasible", "pruned", "failed", "complete", "complete"]
    assert list(table.why) == ["too big", "too bad", "RuntimeError: boom", "", ""]
    assert table.validation_rmse.notna().tolist() == [False, False, False, True, True]


def test_running_and_waiting_trials_are_in_the_record(base, measured):
    found = searched(base, 1)
    found.ask()
    assert list(explore.trials(found).outcome[:3]) == ["complete", "running", "waiting"]


def test_infeasible_trials_tell_the_sampler_how_far_they_are_from_fitting(base, measured):
    measured.how |= {0: Infeasible("too big", 2.0)}
    first, second = searched(base, 2).get_trials()[:2]
    assert (first.state.name, first.constraints, second.constraints) == ("PRUNED", {"device": 2.0}, {})


def test_a_point_that_has_ended_is_not_measured_again(base, measured):
    one = replace(SMALL, activation_bits=[8], weight_bits=[8], groups=[1, 2])
    table = explore.trials(searched(base, 4, one))
    assert len(measured.asked) == 2 and outcomes(explore.load("s")) == {"complete": 2, "pruned": 2}
    assert re.fullmatch(r"the same choices as trial [01]", table.why[3])


def test_the_first_trials_are_uniform_widths_on_the_default_hardware_and_the_cheapest_corner(base):
    space = explore.Space()
    eight, six, four, corner = explore.anchors(space, Experiment())
    assert explore.design(eight, Experiment(), space)[1] == replace(HardwareConfig(), lanes=24)
    for point, bits in ((eight, 8), (six, 6), (four, 4)):
        assert widths(ModelConfig(), explore.design(point, Experiment(), space)[0].quant) == widths(ModelConfig(), QuantConfig(bits=bits))
    assert (corner["window"], corner["d_model"], corner["groups"], corner["0.q.weight"]) == (12, 8, 4, 2)


def test_the_table_has_a_column_for_every_dimension_also_for_a_fixed_one(base, measured):
    table = explore.trials(searched(base, 2))
    assert set(SMALL.choices(base)) < set(table.columns)
    assert (table.window[0], table["0.q"].dtype, table.multiplier[0]) == (6, "Int64", "auto")


def table_of(*rows):
    columns = ["number", "outcome", "validation_rmse", "clocks", "lut"]
    return pd.DataFrame(rows, columns=columns)


def test_the_front_holds_what_nothing_complete_beats():
    found = explore.front(
        table_of(
            (0, "complete", 9.0, 100, 5), (1, "complete", 8.0, 200, 5), (2, "complete", 9.0, 150, 1), (3, "complete", 9.5, 100, 5),
            (4, "infeasible", 1.0, 10, 1), (5, "complete", 8.0, 200, 4),
        )
    )  # fmt: skip
    assert found.number.tolist() == [0, 5]


def test_a_third_objective_widens_the_front():
    rows = table_of((0, "complete", 9.0, 100, 5), (1, "complete", 9.0, 150, 1), (2, "complete", 9.0, 150, 2))
    assert explore.front(rows, ("validation_rmse", "clocks", "lut")).number.tolist() == [0, 1]


def test_the_front_is_written_as_csv_and_latex(base, measured):
    found = searched(base, 6)
    files = {file.name: file for file in explore.save(found)}
    assert sorted(files) == ["s_front.csv", "s_front.tex", "s_study.json", "s_trials.csv"]
    best = explore.front(explore.trials(found))
    assert pd.read_csv(files["s_front.csv"]).number.tolist() == best.number.tolist()
    text = files["s_front.tex"].read_text()
    assert text.startswith("% s: written by qtlib") and r"\toprule" in text and r"validation\_rmse" in text


@pytest.mark.parametrize(
    ("options", "values"),
    [({}, 2), ({"objective": "energy"}, 2), ({"lut": True}, 3)],
    ids=["latency", "energy", "lut"],
)
def test_the_objectives_can_be_chosen(base, measured, options, values):
    found = searched(base, 1, **options)
    row = explore.trials(found).iloc[0]
    assert found.get_trials()[0].values == [row[name] for name in explore.objectives(found)]
    assert len(explore.objectives(found)) == values


# resuming


STORAGES = {"journal": "journal://{}/s.log", "sqlite": "sqlite:///{}/s.db"}


@pytest.mark.parametrize("url", STORAGES.values(), ids=STORAGES)
def test_a_study_is_read_back_and_goes_on_where_it_stopped(base, measured, tmp_path, url):
    url = url.format(tmp_path / "new")
    first = explore.trials(searched(base, 4, storage=url))
    assert explore.trials(explore.load("s", url)).equals(first)
    whole = explore.trials(searched(base, 6, storage=url))
    assert whole[:4].equals(first) and len(whole) == 6
    asked = len(measured.asked)
    assert explore.trials(searched(base, 6, storage=url)).equals(whole) and len(measured.asked) == asked


def test_a_resumed_study_does_not_repeat_what_it_drew(base, measured):
    for trials in range(5, 9):  # below the sampler's first model every draw is random
        searched(base, trials)
    assert len({json.dumps(point) for point in measured.asked}) == len(measured.asked) == 8


def test_the_same_calls_give_the_same_trials(base, measured, tmp_path):
    tables = [explore.trials(searched(base, 8, storage=f"journal://{tmp_path}/{name}.log")) for name in "ab"]
    assert tables[0].equals(tables[1])


def test_an_interrupted_study_is_consistent_and_takes_the_trial_up_again(base, measured):
    measured.how |= {2: KeyboardInterrupt()}
    with pytest.raises(KeyboardInterrupt):
        searched(base, 6)
    table = explore.trials(explore.load("s"))
    assert table.outcome[2] == "failed" and table.why[2] == "interrupted; its parameters were enqueued again"
    assert "running" not in set(table.outcome)
    found = searched(base, 6)
    assert outcomes(found) == {"complete": 6, "failed": 1} and measured.asked[2] in measured.asked[3:]


def test_a_trial_is_not_taken_up_for_ever(base, measured):
    measured.how |= {number: KeyboardInterrupt() for number in range(20)}
    space = replace(SMALL, activation_bits=[8], weight_bits=[8], groups=[1])
    for _ in range(3):
        with pytest.raises(KeyboardInterrupt):
            searched(base, 1, space)
    table = explore.trials(searched(base, 1, space))
    assert table.why.iloc[-1] == "interrupted; given up after 3 attempts" and len(measured.asked) == 3


def test_a_part_of_a_line_at_the_end_of_a_journal_is_cut_off(base, measured, tmp_path):
    url = f"journal://{tmp_path}/s.log"
    searched(base, 3, storage=url)
    with open(tmp_path / "s.log", "ab") as stream:
        stream.write(b'{"op_code":5,"wor')
    assert outcomes(searched(base, 5, storage=url)) == {"complete": 5}


def test_the_lock_of_a_journal_dies_with_its_process(tmp_path):
    file = tmp_path / "s.log"
    code = "import sys, os, fcntl; stream = open(sys.argv[1], 'ab'); fcntl.flock(stream, fcntl.LOCK_EX); os.kill(os.getpid(), 9)"
    assert subprocess.run([sys.executable, "-c", code, str(file)]).returncode == -signal.SIGKILL
    started = time.monotonic()
    lock = storage.Lock(file)
    assert lock.acquire() and time.monotonic() - started < 5
    with pytest.raises(BlockingIOError), open(file, "ab") as stream:
        fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)  # held
    lock.release()


def test_a_lock_that_a_killed_process_of_optuna_left_does_not_hold_a_study_up(base, measured, tmp_path):
    os.symlink(tmp_path / "s.log", tmp_path / "s.log.lock")
    started = time.monotonic()
    searched(base, 1, storage=f"journal://{tmp_path}/s.log")
    assert time.monotonic() - started < 15


def test_a_running_trial_of_another_machine_is_left_alone_in_a_journal(base, measured):
    found = searched(base, 4)
    found.ask().set_user_attr("owner", ["elsewhere", 1, "1"])
    assert list(explore.trials(searched(base, 5)).outcome) == ["complete"] * 4 + ["running", "complete"]


def test_a_running_trial_of_another_machine_is_taken_up_in_a_database_when_its_heart_stops(base, measured, tmp_path, monkeypatch):
    monkeypatch.setattr(storage, "HEARTBEAT", 1)
    url = f"sqlite:///{tmp_path}/s.db"
    asked = searched(base, 1, storage=url).ask()
    params = {name: asked.suggest_categorical(name, found) for name, found in SMALL.choices(base).items() if len(found) > 1}
    asked.set_user_attr("owner", ["elsewhere", 12, "1"])
    asked.study._storage.record_heartbeat(asked._trial_id)
    time.sleep(4)
    table = explore.trials(searched(base, 5, storage=url))
    assert table.why[1] == "worker 12 on elsewhere was killed; its parameters were enqueued again"
    assert (table.outcome == "complete").sum() == 5
    assert any(all(row[name] == value for name, value in params.items()) for row in table[2:].to_dict("records"))


# processes


def start(base, epochs, **call):
    """The same search in a process of its own."""
    data = {"dataset": base.data.dataset, "window": 6}
    config = {"epochs": 1, "qat_epochs": epochs, "batch": 64}
    words = [json.dumps(part) for part in (data, {**vars(SMALL), "tensors": {}}, config, {"name": "s", "hopeless": 100.0, **call})]
    return subprocess.Popen([sys.executable, "-c", ANOTHER_PROCESS, *words], stdout=subprocess.PIPE, text=True)


@contextlib.contextmanager
def postgresql():
    """A server of its own on a free port of the loopback."""
    if not POSTGRES or not shutil.which("runuser"):
        text = "PostgreSQL is not installed; install it with: sudo apt-get install postgresql"
        if os.environ.get("QTLIB_REQUIRE_TOOLS") == "1":
            pytest.fail(text, pytrace=False)
        pytest.skip(text)
    folder = os.path.dirname(POSTGRES[-1])
    user = ["runuser", "-u", "postgres", "--"] if os.geteuid() == 0 else []  # the server refuses to run as root
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    place = subprocess.run([*user, "mktemp", "-d"], check=True, capture_output=True, text=True, cwd="/").stdout.strip()
    data, options = f"{place}/data", f"-p {port} -k {place} -c listen_addresses=127.0.0.1 -c fsync=off"
    quietly = {"check": True, "stdout": subprocess.DEVNULL, "cwd": "/"}
    subprocess.run([*user, f"{folder}/initdb", "-D", data, "-U", "qt", "-A", "trust", "--no-sync"], **quietly)
    subprocess.run([*user, f"{folder}/pg_ctl", "-D", data, "-o", options, "-l", f"{place}/log", "-w", "start"], **quietly)
    try:
        yield f"postgresql://qt:secret@127.0.0.1:{port}/postgres"
    finally:
        subprocess.run([*user, f"{folder}/pg_ctl", "-D", data, "-m", "immediate", "-w", "stop"], cwd="/", stdout=subprocess.DEVNULL)
        subprocess.run([*user, "rm", "-rf", place], cwd="/")


# Storages of the studies whose processes are killed; without a URL it is the journal.
KEPT = {"journal": contextlib.nullcontext, "postgresql": postgresql}


@pytest.fixture(params=KEPT)
def kept(request):
    with KEPT[request.param]() as url:
        yield url


def wait_for_a_running_trial(found):
    for _ in range(600):
        running = [t for t in found.get_trials(deepcopy=False) if "owner" in t.user_attrs]
        running = [t for t in running if not t.state.is_finished() and "groups" in t.params]  # its last choice is made
        if running:
            return running[0]
        time.sleep(0.05)
    raise AssertionError("no trial is running")


def test_a_killed_search_loses_only_its_running_trial_and_that_is_taken_up(base, kept):
    process = start(base, 60, trials=9, storage=kept)
    assert "1/9 trials" in process.stdout.readline()
    found = explore.load("s", kept)
    lost = wait_for_a_running_trial(found)
    process.kill()
    process.wait()
    before = explore.trials(found)
    done = before[before.outcome == "complete"]
    long = replace(base, train=replace(SHORT, qat_epochs=60))
    after = explore.trials(searched(long, len(done) + 1, storage=kept, hopeless=100.0))
    assert after[after.number.isin(done.number)].equals(done)
    assert (after.outcome == "complete").sum() == len(done) + 1
    assert re.fullmatch(r"worker \d+ on .* was killed; its parameters were enqueued again", after.why[lost.number])
    # a waiting anchor may come before it
    again = [t for t in found.get_trials() if t.user_attrs.get("takes_up") == lost.number]
    assert len(again) == 1 and (again[0].params or again[0].system_attrs["fixed_params"]) == lost.params


@pytest.mark.parametrize("url", STORAGES.values(), ids=STORAGES)
def test_a_trial_of_a_process_that_is_gone_is_taken_up_in_every_storage(base, measured, tmp_path, url):
    gone = subprocess.Popen(["sleep", "60"])
    owner = [os.uname().nodename, gone.pid, storage.start_of(gone.pid)]
    found = searched(base, 1, storage=url.format(tmp_path))
    asked = found.ask()
    asked.set_user_attr("owner", owner)
    assert storage.reap(found) == [] and gone.kill() is None
    os.waitid(os.P_PID, gone.pid, os.WEXITED | os.WNOWAIT)  # what nobody has waited for is gone, too
    assert storage.reap(found) == [1]
    gone.wait()
    assert explore.trials(found).why[1] == f"worker {gone.pid} on {owner[0]} was killed; its parameters were enqueued again"


@pytest.fixture(scope="module", params=KEPT)
def crowd(request, tmp_path_factory):
    """A search of two workers, of which one is killed after the first trial; it is interrupted after the next trial that a third has started."""
    folder = tmp_path_factory.mktemp("crowd")
    seen = SimpleNamespace(killed=None, lines=[])

    def disturb(line):
        seen.lines.append(line)
        if seen.killed is None:
            seen.killed = wait_for_a_running_trial(explore.load("crowd", url))
            os.kill(seen.killed.user_attrs["owner"][1], signal.SIGKILL)
        owners = {t.user_attrs["owner"][1] for t in explore.load("crowd", url).get_trials(deepcopy=False) if "owner" in t.user_attrs}
        if len(owners) == 3:  # the new worker has its first trial
            raise KeyboardInterrupt

    with pytest.MonkeyPatch.context() as patch, KEPT[request.param]() as url:
        patch.setenv("QTLIB_PREPARED", str(folder / "prepared"))
        long = make(folder)
        long = replace(long, train=replace(SHORT, qat_epochs=30))
        with pytest.raises(KeyboardInterrupt):
            searched(long, 99, name="crowd", storage=url, workers=2, progress=disturb, hopeless=100.0)
        found = explore.load("crowd", url)
        yield SimpleNamespace(trials=found.get_trials(), table=explore.trials(found), **vars(seen))


def test_workers_are_processes_of_their_own_that_share_a_study(crowd):
    owners = {tuple(t.user_attrs["owner"]) for t in crowd.trials if "owner" in t.user_attrs}
    assert len(owners) == 3 and os.getpid() not in {owner[1] for owner in owners}
    assert "complete" in set(crowd.table.outcome)


def test_a_killed_worker_is_replaced_and_its_trial_taken_up_again(crowd):
    pid, number = crowd.killed.user_attrs["owner"][1], crowd.killed.number
    text = f"worker {pid} on {os.uname().nodename} was killed; its parameters were enqueued again"
    assert crowd.table.why[number] == text and any(f"trial {number} failed: {text}" in line for line in crowd.lines)
    again = [t for t in crowd.trials if t.user_attrs.get("takes_up") == number]
    assert [t.params or t.system_attrs["fixed_params"] for t in again] == [crowd.killed.params]


def test_an_interruption_ends_the_workers_and_leaves_no_running_trial(crowd):
    assert all(storage.start_of(t.user_attrs["owner"][1]) is None for t in crowd.trials if "owner" in t.user_attrs)
    assert "running" not in set(crowd.table.outcome)
    lost = crowd.table[crowd.table.why.str.endswith("its parameters were enqueued again")]
    again = [t.user_attrs["takes_up"] for t in crowd.trials if "takes_up" in t.user_attrs]
    assert sorted(lost.number) == sorted(again) and len(again) >= 1


def workers_that_end_with(code, monkeypatch):
    """Processes that are over as soon as they start."""

    def process(**_):
        read, write = os.pipe()
        os.close(write)  # such a pipe is ready, as the sentinel of a process that has ended
        none = lambda *_, **__: None  # noqa: E731
        return SimpleNamespace(exitcode=code, sentinel=read, start=none, join=none, kill=none)

    tickets = SimpleNamespace(get_value=lambda: 2, release=lambda: None)
    context = SimpleNamespace(Process=process, Semaphore=lambda count: tickets, Event=lambda: SimpleNamespace(set=lambda: None))
    monkeypatch.setattr(search.multiprocessing, "get_context", lambda kind: context)


@pytest.mark.parametrize(
    ("code", "text"),
    [
        (1, "explore: a worker ended with exit status 1; its traceback is above"),
        (-9, "explore: 5 workers were killed by signal 9 and no trial has ended meanwhile; where memory is short, take fewer workers"),
    ],
)
def test_a_search_whose_workers_die_at_once_ends(base, monkeypatch, code, text):
    workers_that_end_with(code, monkeypatch)
    with pytest.raises(ChildProcessError, match=f"^{re.escape(text)}$"):
        searched(base, 2, workers=2)


@pytest.mark.parametrize("kept", ["postgresql"], indirect=True)
def test_a_study_in_postgresql_has_several_workers_and_goes_on(base, kept):
    searched(base, 3, workers=2, storage=kept, hopeless=100.0)
    found = explore.load("s", kept)
    table = explore.trials(found)
    assert len({t.user_attrs["owner"][1] for t in found.get_trials() if "owner" in t.user_attrs} - {os.getpid()}) == 2
    assert search.finished(found) == 3 and found._storage.get_heartbeat_interval() == storage.HEARTBEAT
    whole = explore.trials(searched(base, 4, storage=kept, hopeless=100.0))
    done = table[table.outcome == "complete"]
    assert whole[whole.number.isin(done.number)].equals(done) and (whole.outcome == "complete").sum() == len(done) + 1 == 4


# what is refused


def test_an_empty_choice_is_refused():
    with pytest.raises(ValueError, match="^space: window has no choice; name at least one$"):
        explore.Space(window=[])


@pytest.mark.parametrize(
    ("fields", "kind", "text"),
    [
        ({"window": 24}, TypeError, "space: window=24 must be a list of choices"),
        ({"multiplier": "auto"}, TypeError, "space: multiplier='auto' must be a list of choices"),
        ({"weight_bits": [1, 4]}, ValueError, "space: weight_bits=1 is outside 2..8"),
        ({"tensors": {"0.q": [9]}}, ValueError, "space: tensors['0.q']=9 is outside 2..8"),
        ({"multiplier": ["dps"]}, ValueError, "space: multiplier='dps' is not one of auto, dsp, lut, packed; did you mean 'dsp'?"),
        ({"device": "xc7s16"}, ValueError, "hardware: device='xc7s16' is not one of xc7s6, xc7s15, xc7s25, xc7s50; did you mean 'xc7s6'?"),
        ({"clock_mhz": 0.0}, ValueError, "hardware: clock_mhz=0.0 must be above 0"),
        ({"groups": [30]}, ValueError, "space: groups=30 is more than the 24 tokens of the longest window"),
        (
            {"window": [12], "groups": [1, 2], "unroll": [1, 5]},
            ValueError,
            (
                "space: unroll=5 divides the lanes of no window and groups: 6, 12; "
                "take it out, or add a window or groups whose lanes it divides"
            ),
        ),
    ],
)  # fmt: skip
def test_a_space_says_what_is_wrong_with_it(fields, kind, text):
    with pytest.raises(kind, match=f"^{re.escape(text)}$"):
        explore.Space(**fields)


def test_a_space_names_only_tensors_that_the_model_has(base):
    with pytest.raises(ValueError, match=r"^quantisation: overrides name '1.q'; this model has input, embed, 0.q, "):
        searched(base, 1, replace(SMALL, tensors={"1.q": [4]}))


def test_a_choice_of_a_single_tensor_stands_before_that_of_its_kind(base):
    choices = replace(SMALL, tensors={"embed": [8], "0.q.weight": [2, 3], SOFTMAX: [5]}).choices(base)
    assert (choices["embed"], choices["0.q.weight"], choices[SOFTMAX], choices["0.q"]) == ((8,), (2, 3), (5,), (4, 8))


def test_a_space_is_read_from_json(tmp_path):
    file = tmp_path / "space.json"
    file.write_text('{"window": [6], "groups": [1], "tensors": {"embed": [8]}}')
    assert explore.read_space(file) == explore.Space(window=[6], groups=[1], tensors={"embed": [8]})
    file.write_text('{"windows": [6]}')
    with pytest.raises(ValueError, match="^space: field='windows' is not one of .*; did you mean 'window'?"):
        explore.read_space(file)
    file.write_text("[6]")
    with pytest.raises(TypeError, match=f"^space: {file} must be a JSON object of fields, it is a list$"):
        explore.read_space(file)
    file.write_text("{")
    with pytest.raises(ValueError, match=f"^space: {file} is not JSON \\("):
        explore.read_space(file)


def other_data(base):
    frame = pd.read_csv(base.data.dataset)
    frame.flow += 1
    frame.to_csv(base.data.dataset, index=False)
    study.windows.cache_clear()
    return base, SMALL, {}


@pytest.mark.parametrize(
    ("change", "name"),
    [
        (lambda base: (base, replace(SMALL, weight_bits=[4, 6]), {}), "space"),
        (lambda base: (replace(base, train=replace(SHORT, epochs=2)), SMALL, {}), "experiment"),
        (lambda base: (base, SMALL, {"objective": "energy"}), "objectives"),
        (lambda base: (base, SMALL, {"hopeless": 3.0}), "hopeless"),
        (other_data, "data"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_study_that_was_made_with_something_else_is_refused(base, measured, tmp_path, change, name):
    url = f"journal://{tmp_path}/s.log"
    kept = searched(base, 1, storage=url).user_attrs["qtlib"][name]
    before = (tmp_path / "s.log").read_bytes()
    other, space, options = change(base)
    text = f"explore: study 's' in {url} was made with {name}={kept!r}, here it is "
    with pytest.raises(ValueError, match=f"^{re.escape(text)}.*; name another study, or repeat what it was made with$"):
        searched(other, 2, space, storage=url, **options)
    assert (tmp_path / "s.log").read_bytes() == before


def test_a_study_of_another_version_is_refused(base, measured, monkeypatch):
    searched(base, 1)
    monkeypatch.setattr(storage, "__version__", "99")
    with pytest.raises(ValueError, match=r"was made with version='.*', here it is '99'; name another study"):
        explore.load("s")


def test_a_study_of_another_project_is_refused(base, tmp_path):
    url = f"sqlite:///{tmp_path}/s.db"
    optuna.create_study(study_name="s", storage=url).add_trial(optuna.create_trial(value=1.0))
    with pytest.raises(ValueError, match=f"^explore: study 's' in {url} is not of qtlib; name another study$"):
        searched(base, 1, storage=url)


def test_a_study_that_does_not_exist_is_named_with_those_that_do(base, measured, tmp_path):
    url = f"journal://{tmp_path}/s.log"
    with pytest.raises(FileNotFoundError, match=f"^explore: {tmp_path}/s.log does not exist; python -m qtlib explore writes it$"):
        explore.load("s", url)
    assert not (tmp_path / "s.log").exists()
    searched(base, 1, storage=url)
    with pytest.raises(ValueError, match=f"^explore: {url} has no study 't'; it has s$"):
        explore.load("t", url)


@pytest.mark.parametrize("url", ["mysql://root@localhost/db", "study.log", "journal:/x"])
def test_an_unknown_storage_is_refused(base, url):
    text = f"explore: storage={url!r} is not journal:///path, sqlite:///path or postgresql://user@host/database"
    with pytest.raises(ValueError, match=f"^{re.escape(text)}$"):
        searched(base, 1, storage=url)


@pytest.mark.parametrize("url", ["journal://{}/file/s.log", "sqlite:///{}/file/s.db"])
def test_a_storage_that_cannot_be_written_is_refused(base, tmp_path, url):
    (tmp_path / "file").write_text("")
    text = f"explore: {tmp_path}/file/s\\.(log|db) cannot be written \\(.*\\); name another --storage"
    with pytest.raises(OSError, match=f"^{text}$"):
        searched(base, 1, storage=url.format(tmp_path))


def test_a_postgresql_server_that_does_not_answer_is_named_without_its_password(base):
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        url = f"postgresql://qt:secret@127.0.0.1:{probe.getsockname()[1]}/db"
    with pytest.raises(ConnectionError, match=r"^explore: the storage postgresql://qt:\*\*\*@127.0.0.1:\d+/db cannot be used: .*refused"):
        searched(base, 1, storage=url)


def test_a_driver_that_is_not_installed_is_named(base):
    with pytest.raises(ConnectionError, match=r"cannot be used: .*pg8000"):
        searched(base, 1, storage="postgresql+pg8000://qt@127.0.0.1/db")


def test_a_file_that_is_no_journal_or_no_database_is_refused(base, tmp_path):
    (tmp_path / "notes").write_text("hello, world, and more of it\n" * 50)
    with pytest.raises(ValueError, match=f"^explore: {tmp_path}/notes is not a journal of Optuna \\(.*\\); move it away$"):
        searched(base, 1, storage=f"journal://{tmp_path}/notes")
    with pytest.raises(ConnectionError, match="cannot be used: file is not a database$"):
        searched(base, 1, storage=f"sqlite:///{tmp_path}/notes")
    assert (tmp_path / "notes").read_text() == "hello, world, and more of it\n" * 50


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"trials": 0}, "explore: trials=0 is outside 1..1000000"),
        ({"workers": 0}, "explore: workers=0 is outside 1..256"),
        ({"name": "a/b"}, "explore: name='a/b' must be letters, digits, '-', '_' and '.', because files are named by it"),
        ({"hopeless": 0.0}, "explore: hopeless=0.0 must be above 0"),
        ({"objective": "latencx"}, "explore: objective='latencx' is not one of latency, energy; did you mean 'latency'?"),
    ],
)
def test_illegal_choices_of_a_search_are_refused(base, options, text):
    with pytest.raises(ValueError, match=f"^{re.escape(text)}$"):
        searched(base, **{"trials": 1, **options})


def test_a_space_in_which_nothing_fits_says_what_is_exceeded_and_what_would_fit(base):
    large = replace(SMALL, multiplier=["dsp"], unroll=[2, 6], groups=[1])
    with pytest.raises(ValueError) as caught:
        searched(base, 6, replace(large, device="xc7s6"))
    text = (
        r"explore: none of the 6 designs tried fits; the nearest is trial \d+, 6 lanes, window 6, d_model 8: "
        r"resources: the design exceeds an xc7s6 by \d+ DSP blocks \(\d+ of 10\), by estimate; it takes [\d,]+ clocks; would fit: .* with [\d,]+ clocks"
    )
    assert re.match(text, str(caught.value)), caught.value


# one design


def test_a_trial_is_exported_as_a_design_with_its_program_and_its_choices(real, tmp_path):
    row = explore.front(real.table).iloc[0]
    folder = explore.export("real", int(row.number), tmp_path / "design", count=2)
    program = programs.load(folder / "program.qtp")
    names = {path.name for path in folder.iterdir()}
    assert {"accelerator.vhd", "tb_accelerator.vhd", "design_pkg.vhd", "stimuli.txt", "expected.txt", "estimate.json"} < names
    chosen = json.loads((folder / "choices.json").read_text())
    assert chosen["run_id"] == row.run_id == program.metadata["run_id"]
    assert chosen["evaluated"]["validation_rmse"] == row.validation_rmse and chosen["evaluated"]["test_rmse"] > 0
    found = json.loads((folder / "estimate.json").read_text())
    assert (found["kind"], found["clocks"], round(found["total"]["lut"])) == ("formula", row.clocks, row.lut)


def test_a_trial_is_exported_from_tables_where_the_search_did_not_run(real, tmp_path):
    explore.save(explore.load("real"), tmp_path)
    number = int(explore.front(real.table).number[0])
    folders = [
        explore.export("real", number, tmp_path / "design", count=1),
        explore.export("real", number, tmp_path / "copy", storage="journal:///nowhere", tables=tmp_path, count=1),
    ]
    texts = [{file.name: file.read_bytes() for file in folder.iterdir()} for folder in folders]
    assert texts[0] == texts[1]


def test_tables_that_are_not_there_or_of_another_version_export_nothing(base, measured, tmp_path):
    with pytest.raises(ValueError, match=f"^explore: {tmp_path} has no tables of a study 's' .* --study s --tables {tmp_path} writes them$"):
        explore.export("s", 0, tmp_path / "design", tables=tmp_path)
    explore.save(searched(base, 2), tmp_path)
    with pytest.raises(ValueError, match="^explore: trial 77 of 's' does not exist; on the front are "):
        explore.export("s", 77, tmp_path / "design", tables=tmp_path)
    file = tmp_path / "s_study.json"
    file.write_text(file.read_text().replace('"version": "', '"version": "9.'))
    with pytest.raises(ValueError, match="was made with version='9"):
        explore.export("s", 0, tmp_path / "design", tables=tmp_path)
    assert not (tmp_path / "design").exists()


@pytest.mark.needs_ghdl
def test_an_exported_design_is_simulated_on_demand(real, tmp_path):
    number = int(explore.front(real.table).number[0])
    folder = explore.export("real", number, tmp_path / "design", count=1, verify=True)
    assert json.loads((folder / "simulation_ghdl.json").read_text())["mismatches"] == 0


def test_only_a_complete_trial_is_exported(base, measured, tmp_path):
    measured.how |= {0: Infeasible("too big", 2.0)}
    searched(base, 2)
    with pytest.raises(ValueError, match="^explore: trial 0 of 's' is infeasible: too big; on the front are 1$"):
        explore.export("s", 0, tmp_path / "design")
    with pytest.raises(ValueError, match="^explore: trial 77 of 's' does not exist; on the front are 1$"):
        explore.export("s", 77, tmp_path / "design")
    assert not (tmp_path / "design").exists()


def test_a_run_that_is_not_the_recorded_one_is_not_exported(base, measured, tmp_path):
    searched(base, 1)
    text = r"^explore: trial 0 was recorded with validation rmse [\d.]+, run \w{10} has [\d.]+ here; another version of torch has trained it$"
    with pytest.raises(ValueError, match=text):
        explore.export("s", 0, tmp_path / "design")
    assert not (tmp_path / "design").exists()


def test_a_design_is_not_exported_on_other_data(base, measured, tmp_path):
    searched(base, 1)
    other_data(base)
    with pytest.raises(ValueError, match="was made with data='"):
        explore.export("s", 0, tmp_path / "design")


# the command line


def test_explore_prints_its_progress_and_the_front_and_writes_the_tables(base, measured, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(explore, "make_base", lambda dataset, **_: base)
    file = tmp_path / "space.json"
    file.write_text(json.dumps({"window": [6], "d_model": [8], "groups": [1]}))
    assert cli.main(["explore", "--trials", "5", "--space", str(file), "--study", "mine"]) == 0
    printed = capsys.readouterr()
    assert re.search(r"^explore mine: trial 4 complete: validation rmse [\d.]+, \d+ clocks, 7 LUTs, weights of 5.0 bits; 5/5 trials$", printed.err, re.M)
    assert "mean_weight_bits" in printed.out and "mine_front.tex" in printed.out
    assert cli.main(["export", "mine", "99"]) == 1
    assert capsys.readouterr().err.startswith("explore: trial 99 of 'mine' does not exist; on the front are ")


def test_a_misspelt_data_set_of_a_search_gets_a_suggestion(capsys):
    assert cli.main(["explore", "--dataset", "pesm"]) == 1
    assert capsys.readouterr().err.endswith("; did you mean 'pems'?\n")


def test_the_base_of_a_data_set_is_its_task_in_the_studies_with_short_training(monkeypatch):
    made = explore.make_base("etth1")
    assert made.data == study.TASKS["ETTh1"] and made.train.qat_epochs == 4
    assert explore.make_base("pems", qat_epochs=2).train.qat_epochs == 2
