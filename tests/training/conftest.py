"""Windows of the waves, and where their runs are kept."""

import pytest
from waves import DATA, series

from qtlib.data.windows import prepare


@pytest.fixture(scope="session")
def windows():
    return prepare(DATA, series=series())


@pytest.fixture(scope="session")
def shared_folder(tmp_path_factory):
    return tmp_path_factory.mktemp("prepared")


@pytest.fixture
def kept(shared_folder, monkeypatch):
    """Runs are trained once and read by every test that asks for them here."""
    monkeypatch.setenv("QTLIB_PREPARED", str(shared_folder))
    return shared_folder


@pytest.fixture
def empty(tmp_path, monkeypatch):
    monkeypatch.setenv("QTLIB_PREPARED", str(tmp_path))
    return tmp_path
