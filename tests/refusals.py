"""How a refusal is tested: by the whole of its text."""

import re

import pytest


def raises(kind, text):
    """An error of exactly this text."""
    return pytest.raises(kind, match=f"^{re.escape(text)}$")
