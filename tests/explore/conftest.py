"""What the tests of the search share: a study that was really trained, trials that are not, and a PostgreSQL server."""

import os
import shutil
import socket
import subprocess
from pathlib import Path
from types import SimpleNamespace

import pytest
import sqlalchemy
from explore.small_search import make, searched

from qtlib import explore
from qtlib.explore import trial

# Debian and Ubuntu keep the server out of PATH, each version in a folder of its own.
POSTGRES = [
    *sorted(map(str, Path("/usr/lib/postgresql").glob("*/bin/initdb"))),
    *filter(None, [shutil.which("initdb")]),
]


@pytest.hookimpl(tryfirst=True)  # before pytest-xdist reads the groups
def pytest_collection_modifyitems(items):
    """Tests that share the trained study run in one process, so that it is trained once."""
    for item in items:
        if "real" in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.xdist_group("explore-real"))


@pytest.fixture
def base(tmp_path, monkeypatch):
    monkeypatch.setenv("QTLIB_PREPARED", str(tmp_path / "prepared"))
    return make(tmp_path)


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
        record |= {
            "validation_rmse": 1000.0 / bits,
            "clocks": bits,
            "energy_low_uj": bits / 2,
            "energy_high_uj": float(bits),
        }
        record |= {"mean_weight_bits": 5.0, "run_id": "0123456789"}

    monkeypatch.setattr(trial, "measure", measure)
    return SimpleNamespace(asked=asked, how=how)


@pytest.fixture(scope="session")
def trained(tmp_path_factory):
    """One study with trained trials, shared by the tests that only read it."""
    folder = tmp_path_factory.mktemp("real")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("QTLIB_PREPARED", str(folder / "prepared"))
        made = make(folder)
        found = searched(made, 8, name="real", hopeless=100.0)
    return SimpleNamespace(base=made, folder=folder / "prepared", table=explore.trials(found))


@pytest.fixture
def real(trained, monkeypatch):
    """The trained study, where its runs are kept."""
    monkeypatch.setenv("QTLIB_PREPARED", str(trained.folder))
    return trained


@pytest.fixture(scope="session")
def postgresql():
    """A server of its own on a free port of the loopback; called, it gives the address of a new database."""
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
    control, quietly = (
        [*user, f"{folder}/pg_ctl", "-D", data, "-w", "-t", "600"],
        {"stdout": subprocess.DEVNULL, "cwd": "/"},
    )
    subprocess.run(
        [*user, f"{folder}/initdb", "-D", data, "-U", "qt", "-A", "trust", "--no-sync"], check=True, **quietly
    )
    subprocess.run([*control, "-o", options, "-l", f"{place}/log", "start"], check=True, **quietly)
    address, made = f"postgresql://qt:secret@127.0.0.1:{port}", []
    owner = sqlalchemy.create_engine(f"{address.replace('://', '+psycopg2://')}/postgres", isolation_level="AUTOCOMMIT")

    def database():
        made.append(f"study_{len(made)}")
        with owner.connect() as connection:
            connection.execute(sqlalchemy.text(f"CREATE DATABASE {made[-1]}"))
        return f"{address}/{made[-1]}"

    try:
        yield database
    finally:
        owner.dispose()
        subprocess.run([*control, "-m", "immediate", "stop"], **quietly)
        subprocess.run([*user, "rm", "-rf", place], cwd="/")
