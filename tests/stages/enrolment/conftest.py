"""Every test here has data of its own."""

import pytest


@pytest.fixture(autouse=True)
def _places(places: object) -> None:
    """Take them without being asked."""
