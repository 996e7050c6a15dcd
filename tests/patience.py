"""A limit for what may hang: so generous that no busy machine meets it, and it says what did not end."""

import contextlib
import signal

import pytest


@contextlib.contextmanager
def patience(what, minutes=10):
    """Fail where the body has not ended after so many minutes; elsewhere time decides nothing."""

    def give_up(*_):
        pytest.fail(f"{what}: still waiting after {minutes} minutes, so it hangs")

    before = signal.signal(signal.SIGALRM, give_up)
    signal.alarm(60 * minutes)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)
