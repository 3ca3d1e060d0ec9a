"""A gate for every test that asks for one."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.stages.gate.door import Door


@pytest.fixture
def door(places: object) -> Iterator[Door]:
    door = Door()
    yield door
    door.gate.close()
