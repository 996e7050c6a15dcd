"""A search goes on where it stopped, whatever stopped it, alone and with workers that are killed."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from dataclasses import replace
from types import SimpleNamespace

import pytest
from explore.small_search import SHORT, SMALL, STORAGES, make, other_data, outcomes, searched
from patience import patience

from qtlib import explore
from qtlib.explore import search, storage


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


# Its first trial is trained, the second waits after its first epoch to be killed.
ANOTHER_PROCESS = """
import json, sys
from qtlib import explore
from qtlib.config import DataConfig, Experiment, ModelConfig, TrainConfig
from qtlib.explore import trial

train, quantised = trial.train, []

def held(experiment, prepared, *, progress):
    quantised.extend([experiment] * (experiment.quant is not None))
    def tell(*epoch):
        progress(*epoch)
        if len(quantised) == 2:
            print("training", flush=True)
            sys.stdin.read()
    return train(experiment, prepared, progress=tell)

if __name__ == "__main__":
    trial.train = held
    data, space, config, call = map(json.loads, sys.argv[1:])
    data["features"] = data["targets"] = ("flow",)
    base = Experiment(data=DataConfig(**data), model=ModelConfig(window=6, d_model=8), train=TrainConfig(**config))
    explore.run(base, explore.Space(**space), progress=lambda line: print(line, flush=True), **call)
"""


def start(base, **call):
    """The same search in a process of its own."""
    data = {"dataset": base.data.dataset, "window": 6}
    words = [data, {**vars(SMALL), "tensors": {}}, vars(base.train), {"name": "s", "hopeless": 100.0, **call}]
    command = [sys.executable, "-c", ANOTHER_PROCESS, *map(json.dumps, words)]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


# Storages of the studies whose processes are killed; without an address it is the journal. A server serves one process of the suite.
KEPT = [pytest.param(name, marks=pytest.mark.xdist_group(f"explore-{name}")) for name in ("journal", "postgresql")]


def kept(request):
    """Address of a new storage of this kind."""
    return request.getfixturevalue("postgresql")() if request.param == "postgresql" else None


@pytest.fixture(params=KEPT)
def url(request):
    return kept(request)


def test_a_killed_search_loses_only_its_running_trial_and_that_is_taken_up(base, url):
    with patience("a search in a process of its own"), start(base, trials=9, storage=url) as process:
        lines = [process.stdout.readline() for _ in range(2)]
        process.kill()
    assert "1/9 trials" in lines[0] and lines[1] == "training\n"
    found = explore.load("s", url)
    before = explore.trials(found)
    done, lost = before[before.outcome == "complete"], before.number[before.outcome == "running"].item()
    after = explore.trials(searched(base, len(done) + 1, storage=url, hopeless=100.0))
    assert after[after.number.isin(done.number)].equals(done)
    assert (after.outcome == "complete").sum() == len(done) + 1
    assert re.fullmatch(r"worker \d+ on .* was killed; its parameters were enqueued again", after.why[lost])
    # a waiting anchor may come before it
    again = [t for t in found.get_trials() if t.user_attrs.get("takes_up") == lost]
    assert (
        len(again) == 1
        and (again[0].params or again[0].system_attrs["fixed_params"]) == found.get_trials()[lost].params
    )


def kill_in_the_midst(found):
    """Kill the worker of a trial that is in training; returns the trial."""
    while True:
        for trial in found.get_trials(deepcopy=False):
            if is_in_training(trial):
                pid = trial.user_attrs["owner"][1]
                os.kill(pid, signal.SIGSTOP)
                held = is_in_training(found.get_trials(deepcopy=False)[trial.number])
                os.kill(pid, signal.SIGKILL if held else signal.SIGCONT)
                if held:
                    return trial
        time.sleep(0.05)


def is_in_training(trial):
    """Whether its last choice is made and its end is not yet written down."""
    return not trial.state.is_finished() and "groups" in trial.params and "ended" not in trial.user_attrs


@pytest.fixture(scope="module", params=KEPT)
def crowd(request, tmp_path_factory):
    """A search of two workers, of which one is killed after the first trial; it is interrupted after the next trial that a third has started."""
    folder, address = tmp_path_factory.mktemp("crowd"), kept(request)
    seen = SimpleNamespace(killed=None, lines=[])

    def disturb(line):
        seen.lines.append(line)
        found = explore.load("crowd", address)
        if seen.killed is None:
            seen.killed = kill_in_the_midst(found)
        owners = {t.user_attrs["owner"][1] for t in found.get_trials(deepcopy=False) if "owner" in t.user_attrs}
        if len(owners) == 3:  # the new worker has its first trial
            raise KeyboardInterrupt

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("QTLIB_PREPARED", str(folder / "prepared"))
        long = make(folder)
        long = replace(long, train=replace(SHORT, qat_epochs=30))
        with patience("a search of several processes"), pytest.raises(KeyboardInterrupt):
            searched(long, 1000, name="crowd", storage=address, workers=2, progress=disturb, hopeless=100.0)
        found = explore.load("crowd", address)
        yield SimpleNamespace(
            base=long, url=address, study=found, trials=found.get_trials(), table=explore.trials(found), **vars(seen)
        )


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
    context = SimpleNamespace(
        Process=process, Semaphore=lambda count: tickets, Event=lambda: SimpleNamespace(set=lambda: None)
    )
    monkeypatch.setattr(search.multiprocessing, "get_context", lambda kind: context)


@pytest.mark.parametrize(
    ("code", "text"),
    [
        (1, "explore: a worker ended with exit status 1; its traceback is above"),
        (
            -9,
            "explore: 5 workers were killed by signal 9 and no trial has ended meanwhile; where memory is short, take fewer workers",
        ),
    ],
)
def test_a_search_whose_workers_die_at_once_ends(base, monkeypatch, code, text):
    workers_that_end_with(code, monkeypatch)
    with pytest.raises(ChildProcessError, match=f"^{re.escape(text)}$"):
        searched(base, 2, workers=2)


def test_a_study_of_several_workers_goes_on_with_one(crowd):
    done = crowd.table[crowd.table.outcome == "complete"]
    whole = explore.trials(
        searched(crowd.base, search.finished(crowd.study) + 1, name="crowd", storage=crowd.url, hopeless=100.0)
    )
    assert whole[whole.number.isin(done.number)].equals(done) and (whole.outcome == "complete").sum() == len(done) + 1


@pytest.mark.xdist_group("explore-postgresql")
def test_the_heart_of_a_study_beats_in_a_database(base, measured, postgresql):
    found = searched(base, 1, storage=postgresql())
    assert found._storage.get_heartbeat_interval() == storage.HEARTBEAT


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


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"trials": 0}, "explore: trials=0 is outside 1..1000000"),
        ({"workers": 0}, "explore: workers=0 is outside 1..256"),
        (
            {"name": "a/b"},
            "explore: name='a/b' must be letters, digits, '-', '_' and '.', because files are named by it",
        ),
        ({"hopeless": 0.0}, "explore: hopeless=0.0 must be above 0"),
        (
            {"objective": "latencx"},
            "explore: objective='latencx' is not one of latency, energy; did you mean 'latency'?",
        ),
    ],
)
def test_illegal_choices_of_a_search_are_refused(base, options, text):
    with pytest.raises(ValueError, match=f"^{re.escape(text)}$"):
        searched(base, **{"trials": 1, **options})


def test_a_space_in_which_nothing_fits_says_what_is_exceeded_and_what_would_fit(base):
    large = replace(SMALL, multiplier=["dsp"], unroll=[2, 6], groups=[1])
    text = (
        r"^explore: none of the 6 designs tried fits; the nearest is trial \d+, 6 lanes, window 6, d_model 8: "
        r"resources: the design exceeds an xc7s6 by \d+ DSP blocks \(\d+ of 10\), by estimate; it takes [\d,]+ clocks; would fit: .* with [\d,]+ clocks"
    )
    with pytest.raises(ValueError, match=text):
        searched(base, 6, replace(large, device="xc7s6"))
