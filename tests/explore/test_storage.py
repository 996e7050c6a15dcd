"""Where a study is kept, what is refused, and what becomes of a trial whose process is gone."""

import fcntl
import os
import re
import signal
import socket
import subprocess
import sys

import optuna
import pytest
import sqlalchemy
from explore.small_search import SMALL, STORAGES, outcomes, searched
from patience import patience

from qtlib import explore
from qtlib.explore import storage


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
    lock = storage.Lock(file)
    with patience("the lock of a process that was killed"):
        assert lock.acquire()
    with pytest.raises(BlockingIOError), open(file, "ab") as stream:
        fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)  # held
    lock.release()


def test_a_lock_that_a_killed_process_of_optuna_left_does_not_hold_a_study_up(base, measured, tmp_path):
    lock = tmp_path / "s.log.lock"
    os.symlink(tmp_path / "s.log", lock)
    searched(base, 1, storage=f"journal://{tmp_path}/s.log")
    assert lock.is_symlink()  # Optuna would have waited for half a minute, and taken it away


def test_a_running_trial_of_another_machine_is_left_alone_in_a_journal(base, measured):
    found = searched(base, 4)
    found.ask().set_user_attr("owner", ["elsewhere", 1, "1"])
    assert list(explore.trials(searched(base, 5)).outcome) == ["complete"] * 4 + ["running", "complete"]


def last_beat(url, seconds):
    """Move the last heartbeat of every running trial so far into the past."""
    engine = sqlalchemy.create_engine(url)
    with engine.begin() as connection:
        connection.execute(
            sqlalchemy.text(f"UPDATE trial_heartbeats SET heartbeat = datetime('now', '-{seconds} seconds')")
        )
    engine.dispose()


def test_a_running_trial_of_another_machine_is_taken_up_in_a_database_when_its_heart_stops(base, measured, tmp_path):
    url = f"sqlite:///{tmp_path}/s.db"
    asked = searched(base, 1, storage=url).ask()
    params = {
        name: asked.suggest_categorical(name, found) for name, found in SMALL.choices(base).items() if len(found) > 1
    }
    asked.set_user_attr("owner", ["elsewhere", 12, "1"])
    asked.study._storage.record_heartbeat(asked._trial_id)
    last_beat(url, storage.HEARTBEAT)
    assert list(explore.trials(searched(base, 2, storage=url)).outcome[:2]) == ["complete", "running"]
    last_beat(url, 4 * storage.HEARTBEAT)
    table = explore.trials(searched(base, 5, storage=url))
    assert table.why[1] == "worker 12 on elsewhere was killed; its parameters were enqueued again"
    assert (table.outcome == "complete").sum() == 5
    assert any(all(row[name] == value for name, value in params.items()) for row in table[2:].to_dict("records"))


@pytest.mark.parametrize("url", STORAGES.values(), ids=STORAGES)
def test_a_trial_of_a_process_that_is_gone_is_taken_up_in_every_storage(base, measured, tmp_path, url):
    gone = subprocess.Popen(["cat"], stdin=subprocess.PIPE)
    owner = [os.uname().nodename, gone.pid, storage.start_of(gone.pid)]
    found = searched(base, 1, storage=url.format(tmp_path))
    asked = found.ask()
    asked.set_user_attr("owner", owner)
    assert storage.reap(found) == [] and gone.kill() is None
    os.waitid(os.P_PID, gone.pid, os.WEXITED | os.WNOWAIT)  # what nobody has waited for is gone, too
    assert storage.reap(found) == [1]
    gone.communicate()
    assert (
        explore.trials(found).why[1]
        == f"worker {gone.pid} on {owner[0]} was killed; its parameters were enqueued again"
    )


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
    with pytest.raises(
        FileNotFoundError, match=f"^explore: {tmp_path}/s.log does not exist; python -m qtlib explore writes it$"
    ):
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
    with pytest.raises(
        ConnectionError,
        match=r"^explore: the storage postgresql://qt:\*\*\*@127.0.0.1:\d+/db cannot be used: .*refused",
    ):
        searched(base, 1, storage=url)


def test_a_driver_that_is_not_installed_is_named(base):
    with pytest.raises(ConnectionError, match=r"cannot be used: .*pg8000"):
        searched(base, 1, storage="postgresql+pg8000://qt@127.0.0.1/db")


def test_a_file_that_is_no_journal_or_no_database_is_refused(base, tmp_path):
    (tmp_path / "notes").write_text("hello, world, and more of it\n" * 50)
    with pytest.raises(
        ValueError, match=f"^explore: {tmp_path}/notes is not a journal of Optuna \\(.*\\); move it away$"
    ):
        searched(base, 1, storage=f"journal://{tmp_path}/notes")
    with pytest.raises(ConnectionError, match="cannot be used: file is not a database$"):
        searched(base, 1, storage=f"sqlite:///{tmp_path}/notes")
    assert (tmp_path / "notes").read_text() == "hello, world, and more of it\n" * 50
