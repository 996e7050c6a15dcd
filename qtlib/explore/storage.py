"""Where a study is kept, and what becomes of a trial whose process is gone."""

from __future__ import annotations

import contextlib
import fcntl
import os
import platform
import re
import warnings
from collections.abc import Iterator, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

import optuna
import sqlalchemy
from optuna.storages import RDBStorage
from optuna.storages.journal import JournalFileBackend, JournalStorage
from optuna.trial import FrozenTrial, Trial, TrialState
from sqlalchemy.exc import SQLAlchemyError

from qtlib import __version__, paths
from qtlib.training.run_store import PROCEDURE

ATTEMPTS = 3  # at parameters whose worker was killed
HEARTBEAT = 60  # seconds, of a running trial in a database; after three of them it is lost


@contextlib.contextmanager
def alone(file: Path) -> Iterator[None]:
    """Hold a file that only one process holds at a time; the kernel frees it when the process is killed."""
    with open(file, "ab") as stream:
        fcntl.flock(stream, fcntl.LOCK_EX)
        yield


class Lock:
    """Of a journal: unlike Optuna's, a killed worker does not leave it behind."""

    def __init__(self, file: Path) -> None:
        self.file = file

    def acquire(self) -> bool:
        self.held = alone(self.file)
        self.held.__enter__()
        return True

    def release(self) -> None:
        self.held.__exit__(None, None, None)


@contextlib.contextmanager
def reachable(storage: str) -> Iterator[None]:
    """Storage errors with the storage's address, without its password."""
    try:
        yield
    except (SQLAlchemyError, optuna.exceptions.StorageInternalError, ImportError) as error:
        cause = error.__cause__ or error
        text = str(getattr(cause, "orig", None) or cause).strip().splitlines()[0]
        if isinstance(error, ImportError):
            text += "; install it with: python -m pip install 'qtlib[databases]'"
        raise ConnectionError(f"explore: the storage {shown(storage)} cannot be used: {text}") from error


def shown(storage: str) -> str:
    """Address of a storage without its password."""
    return re.sub(r"(://[^:/@]*):[^@/]*@", r"\1:***@", storage)


def default_storage(name: str) -> str:
    """Where a study is kept unless a storage is named: a journal in `qtlib.paths.prepared`."""
    return f"journal://{paths.prepared().resolve() / 'explore' / f'{name}.log'}"


def open_storage(storage: str, *, create: bool = True) -> optuna.storages.BaseStorage:
    """Open ``journal:///path``, ``sqlite:///path`` or ``postgresql://user:password@host:port/database``.

    Args:
        create: make the file where there is none.

    A path of SQLite is relative after three strokes, absolute after four, as in SQLAlchemy.

    Raises:
        ValueError: another scheme, or a journal that is none.
        FileNotFoundError: there is no such file, and it may not be made.
        OSError: it cannot be reached or written.
    """
    optuna.logging.set_verbosity(optuna.logging.ERROR)  # the record says what became of a trial
    scheme, found, rest = storage.partition("://")
    kind = scheme.partition("+")[0]
    if not found or kind not in ("journal", "sqlite", "postgresql"):
        raise ValueError(
            f"explore: storage={storage!r} is not journal:///path, sqlite:///path or postgresql://user@host/database"
        )
    file = Path(rest.removeprefix("/") if kind == "sqlite" else rest)
    if kind != "postgresql":
        if not create and not file.exists():
            raise FileNotFoundError(f"explore: {file} does not exist; python -m qtlib explore writes it")
        try:
            file.parent.mkdir(parents=True, exist_ok=True)
            open(file, "ab").close()
        except OSError as error:
            raise type(error)(
                f"explore: {file} cannot be written ({error.strerror}); name another --storage"
            ) from error
    if kind == "journal":
        _cut(file)
        try:
            lock: Any = Lock(file)  # Optuna's base of a lock has no public name
            return JournalStorage(JournalFileBackend(str(file), lock_obj=lock))
        except (ValueError, KeyError, TypeError) as error:
            raise ValueError(f"explore: {file} is not a journal of Optuna ({error!r}); move it away") from error
    with reachable(storage), warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        url = sqlalchemy.make_url(storage)
        if url.drivername == "postgresql":  # SQLAlchemy 2.1 would take psycopg 3
            url = url.set(drivername="postgresql+psycopg2")
        return RDBStorage(
            url.render_as_string(hide_password=False),
            engine_kwargs={"connect_args": {"timeout": 60} if kind == "sqlite" else {"connect_timeout": 10}},
            heartbeat_interval=HEARTBEAT,
            grace_period=3 * HEARTBEAT,
            heartbeat_stale_trial_callback=take_up,
        )


def _cut(file: Path) -> None:
    """Cut off the last line of a journal where a power failure has left a part of it."""
    with alone(file), open(file, "r+b") as stream:
        text = stream.read()
        if not text.endswith(b"\n"):
            stream.truncate(text.rfind(b"\n") + 1)


def load(name: str, storage: str | None = None) -> optuna.Study:
    """A study that exists.

    Raises:
        ValueError: there is none of this name, or it is not of this version of qtlib.
        OSError: as `open_storage`.
    """
    storage = storage or default_storage(name)
    with reachable(storage):
        opened = open_storage(storage, create=False)
        known = optuna.get_all_study_names(opened)
        if name not in known:
            raise ValueError(f"explore: {shown(storage)} has no study {name!r}; it has {', '.join(known) or 'none'}")
        study = optuna.load_study(study_name=name, storage=opened)
    compare(study, storage, {"version": __version__, "procedure": PROCEDURE})
    return study


def compare(study: optuna.Study, storage: str, expected: Mapping[str, Any]) -> None:
    """Refuse a study that was made with something else; ``expected`` is a part of what it keeps of that.

    Raises:
        ValueError: with the first difference.
    """
    kept = study.user_attrs.get("qtlib")
    if kept is None:
        raise ValueError(f"explore: study {study.study_name!r} in {shown(storage)} is not of qtlib; name another study")
    for name, value in expected.items():
        if kept.get(name) != value:
            raise ValueError(
                f"explore: study {study.study_name!r} in {shown(storage)} was made with {name}={kept.get(name)!r}, "
                f"here it is {value!r}; name another study, or repeat what it was made with"
            )


def start_of(pid: int) -> str | None:
    """When a living process of this machine started, in ticks since boot: a number that is used again has another start."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    return None if fields[0] in "ZX" else fields[19]


def take_up(study: optuna.Study, trial: Trial | FrozenTrial) -> None:
    """Enqueue the parameters of a trial that was lost, unless it was lost too often; also Optuna's callback of its heartbeat."""
    attempt = trial.user_attrs.get("attempt", 1)
    if attempt < ATTEMPTS:
        study.enqueue_trial(trial.params, user_attrs={"attempt": attempt + 1, "takes_up": trial.number})


def reap(study: optuna.Study, *, own: bool = False) -> list[int]:
    """Mark running trials failed whose process on this machine is gone, and enqueue them again; returns their numbers.

    Args:
        own: take also those of this process, which runs none.
    """
    lost = []
    for trial in study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
        host, pid, start = trial.user_attrs.get("owner", (None, None, None))
        if host is None:  # killed before it could say who it is
            begun = trial.datetime_start
            dead = begun is not None and (datetime.now() - begun).total_seconds() > HEARTBEAT
        else:
            dead = host == platform.node() and (start_of(pid) != start or (own and pid == os.getpid()))
        if dead:
            study.tell(trial.number, state=TrialState.FAIL)
            take_up(study, trial)
            lost.append(trial.number)
    return lost


def outcome(trial: FrozenTrial) -> tuple[str, str]:
    """What became of a trial, and why."""
    if not trial.state.is_finished():
        return trial.state.name.lower(), ""
    if "ended" in trial.user_attrs:
        return trial.user_attrs["ended"]["outcome"], trial.user_attrs["ended"]["why"]
    host, pid, _ = trial.user_attrs.get("owner", ("unknown", "unknown", None))
    why = "interrupted" if trial.user_attrs.get("interrupted") else f"worker {pid} on {host} was killed"
    again = trial.user_attrs.get("attempt", 1) < ATTEMPTS
    return (
        "failed",
        f"{why}; {'its parameters were enqueued again' if again else f'given up after {ATTEMPTS} attempts'}",
    )


def finished(study: optuna.Study) -> int:
    """Trials that have ended, without those that were taken up again."""
    over = [trial for trial in study.get_trials(deepcopy=False) if trial.state.is_finished()]
    return sum("ended" in trial.user_attrs or trial.user_attrs.get("attempt", 1) >= ATTEMPTS for trial in over)
