"""These tests compile many small programs and run each a few times."""

import pytest


@pytest.fixture(autouse=True, scope="module")
def _quick(quick_compilation):
    pass
