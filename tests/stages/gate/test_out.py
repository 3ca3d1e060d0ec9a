"""Somebody is out who went by no door of the gate."""

from __future__ import annotations

from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from pipeline.errors import Failed
from stages.events.queues import Commands
from stages.gate.out import out
from tests.stages.gate.door import Door, reader

app = typer.Typer()
app.command()(out)


@pytest.fixture(autouse=True)
def _data(places: Path) -> None:
    """Every test has data of its own."""


def test_who_an_operator_says_is_out_comes_in_again() -> None:
    door = Door(doors=[{"name": "in", "passback": "strict"}])
    for _ in range(2):
        door.comes("Ada")
        door.goes()
    said = CliRunner().invoke(app, ["Ada"])
    assert said.output == "Ada is out, and may come in again\n"
    door.comes("Ada")
    assert door.told() == [("opened", ""), ("refused", "passback"), ("opened", "")]
    error = CliRunner().invoke(app, ["Eve"]).exception
    assert isinstance(error, Failed)
    assert "nobody is enrolled as 'Eve'" in str(error)
    door.gate.close()


def test_who_a_door_did_not_open_for_has_not_come_in() -> None:
    door = Door(doors=[{"name": "in", "passback": "strict"}])
    door.comes("Ada")
    commands = Commands(reader(), "in")
    command = commands.take()
    assert command
    commands.finish(command, "the relay does not answer")
    door.goes()
    door.comes("Ada")
    assert door.told() == [("opened", "")] * 2
    door.gate.close()
