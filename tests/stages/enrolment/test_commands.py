"""enroll, people and forget, as a user types them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import typer
from msgspec.structs import replace
from typer.testing import CliRunner, Result

from pipeline.errors import Failed, Usage
from stages.enrolment.commands import enroll, forget, people
from stages.gallery.store import Access, Store

SAMPLE = next((Path(__file__).parents[3] / "samples" / "enrol").glob("*.jpg"))
app = typer.Typer()
for command in (enroll, people, forget):
    app.command()(command)


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("FRAMEWIRE_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("FRAMEWIRE_KEYS", str(tmp_path / "keys"))
    return tmp_path


def call(*words: object) -> Result:
    result = CliRunner().invoke(app, [str(word) for word in words])
    if result.exception and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result


def test_enroll_people_forget(place: Path) -> None:
    assert call("enroll", "Zoë [red]", SAMPLE).output == "Zoë [red] is enrolled with 1 photo\n"
    assert call("enroll", "Zoë [red]", SAMPLE, SAMPLE).output == "Zoë [red] is enrolled with 3 photos\n"

    table = call("people").output
    (row,) = json.loads(call("people", "--json").output)
    assert "Zoë [red]" in table
    assert row["model"][:12] in table
    assert (row["name"], row["photos"]) == ("Zoë [red]", 3)

    receipt = call("forget", "Zoë [red]").output
    assert receipt.startswith("Zoë [red] is forgotten at ")
    assert "the data key, 3 templates, 3 portraits; 0 events" in receipt
    assert "no running process holds this person" in receipt
    assert "out of reach: backups of the key database" in receipt
    assert json.loads(call("people", "--json").output) == []
    assert "nobody is enrolled" in call("people").output
    with pytest.raises(Failed, match="nobody called"):
        call("forget", "Zoë [red]")


def test_who_has_no_key_in_an_older_copy_of_the_keys_is_told_of(place: Path) -> None:
    call("enroll", "Ada", SAMPLE)
    (key_file,) = (place / "keys").iterdir()
    older = key_file.read_bytes()
    call("enroll", "Bob", SAMPLE, "--force")
    newer = key_file.read_bytes()
    key_file.write_bytes(older)

    call("enroll", "Cid", SAMPLE, "--force")
    done = call("people", "--json")

    assert [row["name"] for row in json.loads(done.stdout)] == ["Ada", "Cid"]
    assert done.stderr.startswith("1 of 3 people have no key in this copy of the keys: put back the newest copy")
    key_file.write_bytes(newer)
    assert "Bob" in call("people").output


def test_who_is_to_be_watched_is_so_from_the_first_moment(place: Path) -> None:
    call("enroll", "Eve", SAMPLE, "--watch")
    (eve,) = Store(place / "home", place / "keys").people()
    assert eve.access.watch


def test_who_is_put_on_the_watch_list_with_another_photo_keeps_their_rules(place: Path) -> None:
    call("enroll", "Eve", SAMPLE)
    store, rules = Store(place / "home", place / "keys"), Access(groups=("staff",), badges=("ab" * 32,))
    store.set_access("Eve", rules)
    call("enroll", "Eve", SAMPLE, "--watch")
    (eve,) = store.people()
    assert eve.access == replace(rules, watch=True)


def test_one_bad_photo_and_nothing_is_written(place: Path) -> None:
    (place / "empty.jpg").touch()
    with pytest.raises(Failed, match="is empty"):
        call("enroll", "Ada", SAMPLE, place / "empty.jpg")
    assert {path.name for path in place.iterdir()} == {"empty.jpg"}


def test_a_bad_name_is_told_before_the_photos_are_looked_at() -> None:
    with pytest.raises(Usage, match="printable"):
        call("enroll", "a\nb", "no such photo")


def test_photos_or_one_camera_are_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("FRAMEWIRE_SOURCE", raising=False)
    with pytest.raises(Usage, match="give photos, or one camera"):
        call("enroll", "Ada")
    monkeypatch.setenv("FRAMEWIRE_SOURCE", "0\n1")
    with pytest.raises(Usage, match="one camera"):
        call("enroll", "Ada")
    with pytest.raises(Usage, match="exclude each other"):
        call("enroll", "Ada", SAMPLE, "--camera", "0")
    assert call("enroll", "Ada", SAMPLE).exit_code == 0  # the cameras of `run` are not asked for


def test_the_config_says_where_the_gallery_is(place: Path) -> None:
    config = place / "framewire.toml"
    config.write_text(f'[match]\ngallery = "{place / "door"}"\n[draw]\n')
    call("enroll", "Ada", SAMPLE, "--config", config)
    assert (place / "door" / "gallery.sqlite").exists()
    assert "Ada" in call("people", "--config", config).output
    assert "nobody" in call("people").output
    call("forget", "Ada", "--config", config)
    config.write_text("[match]\ntreshold = 0.5\n")
    with pytest.raises(Usage, match=r"match.*treshold|treshold.*match"):
        call("people", "--config", config)


@pytest.mark.parametrize("name", ["enroll", "people", "forget"])
def test_help_has_an_example(name: str) -> None:
    assert f"Example: python run_pipeline.py {name}" in call(name, "--help").output
