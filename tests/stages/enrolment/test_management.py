"""The commands below `gallery`, as a user types them."""

from __future__ import annotations

import errno
import json
import os
import re
import shutil
import time
import unicodedata
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest
import typer
from typer.testing import CliRunner, Result

from pipeline.errors import Failed, Usage
from pipeline.files import replace_file
from pipeline.home import home, keys
from stages.enrolment import management
from stages.enrolment.commands import enroll, forget, people
from stages.events import clips
from stages.events.ledger import Ledger
from stages.events.records import Clip, Face, Sighting
from stages.gallery.enrol import Enrol, EnrolConfig
from stages.gallery.master import Master, master_path
from stages.gallery.people import Access
from stages.gallery.readers import Reader
from stages.gallery.store import Store
from tests.stages.events.conftest import SNAPSHOT, decision

SAMPLE = next((Path(__file__).parents[3] / "samples" / "enrol").glob("*.jpg"))
app = typer.Typer()
app.add_typer(management.app, name="gallery")
for command in (enroll, people, forget):
    app.command()(command)


def call(*words: object) -> Result:
    result = CliRunner().invoke(app, [str(word) for word in words])
    if result.exception and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result


@pytest.fixture
def new_york(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Where this machine stands."""
    with monkeypatch.context() as environment:
        environment.setenv("TZ", "America/New_York")
        time.tzset()
        yield
    time.tzset()


def store() -> Store:
    return Store(home(), keys())


@pytest.fixture
def photos(shared: Path) -> Path:
    return shared / "photos" / "face_recognition_examples"


def test_a_folder_of_people_is_enrolled_and_what_cannot_be_is_told(photos: Path, tmp_path: Path) -> None:
    staff = tmp_path / "staff"
    shutil.copytree(photos / "train", staff)
    (staff / "obama" / "none.jpg").write_bytes(b"no photo")
    (staff / "twin").mkdir()
    shutil.copy(photos / "obama.jpg", staff / "twin" / "1.jpg")
    shutil.copy(photos / "lin-manuel-miranda.png", staff / "biden" / "other.jpg")
    (staff / "README.txt").touch()

    done = call("gallery", "enroll-all", staff)

    assert done.exit_code == 1
    people = {person.name: len(person.templates) for person in store().people()}
    assert people == {"alex_lacamoire": 1, "biden": 2, "kit_harington": 2, "obama": 2, "rose_leslie": 2}
    assert "none.jpg is no photo" in done.output
    assert re.search(r"twin: \S+1\.jpg looks like obama \(1\.00\): is it the same person\?", done.output)
    assert re.search(r"biden: \S+other\.jpg does not look like \S+biden.jpg \(-?0\.\d\d\): is it biden\?", done.output)
    assert "photos enrolled: 9, there already: 0, not taken: 3; people: 6" in done.output


def test_a_folder_that_is_enrolled_again_adds_what_is_new_only(photos: Path, tmp_path: Path) -> None:
    staff = tmp_path / "staff"
    shutil.copytree(photos / "train", staff)
    shutil.rmtree(staff / "biden")
    (staff / "nobody").mkdir()
    call("gallery", "enroll-all", staff)
    shutil.copytree(photos / "train/biden", staff / "biden")
    done = call("gallery", "enroll-all", staff)
    assert "nobody: there is no photo in the folder" in done.output
    assert re.search(r"photos enrolled: 2, there already: \d, not taken: 1; people: 6", done.output)
    assert {person.name: len(person.templates) for person in store().people()}["obama"] == 2


def test_two_folders_that_are_one_name_are_one_person(photos: Path, tmp_path: Path) -> None:
    for form, photo in (("NFC", "obama.jpg"), ("NFD", "train/obama/obama2.jpg")):
        folder = tmp_path / "staff" / unicodedata.normalize(form, "Zoë")
        folder.mkdir(parents=True)
        shutil.copy(photos / photo, folder / "1.jpg")
    assert call("gallery", "enroll-all", tmp_path / "staff").exit_code == 0
    assert [(person.name, len(person.templates)) for person in store().people()] == [("Zoë", 2)]


def test_who_is_enrolled_is_read_once_for_all(photos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """That decrypts everybody: with each of many people it would take ever longer."""
    real, read = Store.people, []
    monkeypatch.setattr(Store, "people", lambda store: read.append(store) or real(store))
    call("gallery", "enroll-all", photos / "train")
    assert len(read) == 1


def test_a_list_of_people_is_enrolled(photos: Path, tmp_path: Path) -> None:
    shutil.copy(photos / "obama.jpg", tmp_path / "o.jpg")
    shutil.copy(photos / "biden.jpg", tmp_path / "b.jpg")
    table = tmp_path / "people.csv"
    table.write_text('name,photo,room\nBarack Obama,o.jpg,1\n"Biden, Joe",b.jpg,2\n', encoding="utf-8-sig")
    assert call("gallery", "enroll-all", table).exit_code == 0
    assert [person.name for person in store().people()] == ["Barack Obama", "Biden, Joe"]


@pytest.mark.parametrize(
    ("content", "sentence"),
    [(b"", "lists nobody"), (b"who,what\na,b\n", "needs the columns"), (b"name,photo\na,\n", "needs the columns")],
)
def test_a_list_that_is_none(tmp_path: Path, content: bytes, sentence: str) -> None:
    (tmp_path / "people.csv").write_bytes(content)
    with pytest.raises(Usage, match=sentence):
        call("gallery", "enroll-all", tmp_path / "people.csv")
    with pytest.raises(Usage, match="holds no folders"):
        call("gallery", "enroll-all", tmp_path)


def test_somebody_who_looks_like_another_is_asked_about(photos: Path) -> None:
    call("enroll", "Obama", photos / "obama.jpg")
    with pytest.raises(Failed, match=r"obama2\.jpg looks like Obama \(0\.\d\d\): .*--force takes it anyway"):
        call("enroll", "Twin", photos / "train" / "obama" / "obama2.jpg")
    assert len(store().people()) == 1
    call("enroll", "Obama", photos / "train" / "obama" / "obama2.jpg")
    call("enroll", "Twin", photos / "train" / "obama" / "obama2.jpg", "--force")
    assert [len(person.templates) for person in store().people()] == [2, 1]


def test_a_photo_of_somebody_else_under_the_name_is_asked_about(photos: Path) -> None:
    obama, again, biden = photos / "obama.jpg", photos / "train" / "obama" / "obama2.jpg", photos / "biden.jpg"
    with pytest.raises(
        Failed, match=r"biden\.jpg does not look like .*obama\.jpg \(-?0\.\d\d\): is it Obama\? --force"
    ):
        call("enroll", "Obama", obama, again, biden)
    assert store().people() == []
    call("enroll", "Obama", obama, again)
    with pytest.raises(Failed, match=r"biden\.jpg does not look like the photos of Obama \(-?0\.\d\d\): is it Obama\?"):
        call("enroll", "Obama", biden)
    call("enroll", "Obama", biden, "--force")
    assert [len(person.templates) for person in store().people()] == [3]


def test_rules_are_set_and_replaced() -> None:
    call("enroll", "Eileen", SAMPLE)
    words = ("--group", "staff", "--window", "Mon-Fri 07:00-19:00", "--until", "2027-01-31", "--badge", "4711")
    call("gallery", "access", "Eileen", *words)
    (eileen,) = store().people()
    assert eileen.access.groups == ("staff",)
    assert eileen.access.valid_until
    assert eileen.access.badges == (store().badge("4711"),)
    call("gallery", "access", "Eileen", "--watch")
    (eileen,) = store().people()
    assert (eileen.access.watch, eileen.access.groups, eileen.access.valid_until) == (True, (), None)
    with pytest.raises(Failed, match="nobody called 'Nobody'"):
        call("gallery", "access", "Nobody", "--watch")
    with pytest.raises(Usage, match="weekly time window"):
        call("gallery", "access", "Eileen", "--window", "always")
    for option, date in (("--until", "9999-12-31"), ("--from", "0001-01-01")):
        with pytest.raises(Usage, match=f"{date} is no date for a rule: give one of the years 1970 to 9990"):
            call("gallery", "access", "Eileen", option, date)
    for until in ("2027-01-31", "2027-01-30"):
        with pytest.raises(Usage, match="give an end that is after the beginning"):
            call("gallery", "access", "Eileen", "--from", "2027-01-31", "--until", until)


def test_who_is_watched_and_which_badges_there_are_stays_until_it_is_said() -> None:
    call("enroll", "Eileen", SAMPLE, "--watch")
    call("gallery", "access", "Eileen", "--badge", "4711", "--badge", "4712")
    call("gallery", "access", "Eileen", "--group", "staff")
    badges = tuple(store().badge(number) for number in ("4711", "4712"))
    assert store().people()[0].access == Access(groups=("staff",), watch=True, badges=badges)
    call("gallery", "access", "Eileen", "--badge", "4713", "--no-watch")
    assert store().people()[0].access == Access(badges=(store().badge("4713"),))
    with pytest.raises(Usage, match="exclude each other"):
        call("gallery", "access", "Eileen", "--badge", "4711", "--no-badges")
    with pytest.raises(Usage, match="the number of a badge is blank"):
        call("gallery", "access", "Eileen", "--badge", "")
    assert store().people()[0].access == Access(badges=(store().badge("4713"),))
    call("gallery", "access", "Eileen", "--no-badges")
    assert store().people()[0].access == Access()


def test_a_group_that_the_gate_does_not_have_is_said_to_be_none_of_it(tmp_path: Path) -> None:
    """It is kept all the same: of two gates that share a gallery each may have groups of its own."""
    call("enroll", "Eileen", SAMPLE)
    config = tmp_path / "gate.toml"
    config.write_text("[gate.groups.staff]\n[gate.groups.cleaners]\n")
    groups = ("--group", "staff", "--group", "stfaf")
    done = call("gallery", "access", "Eileen", *groups, "--config", config)
    assert "gate.toml has no group stfaf: it has staff, cleaners, and" in done.stderr
    assert store().people()[0].access.groups == ("staff", "stfaf")
    assert call("gallery", "access", "Eileen", "--group", "staff", "--config", config).stderr == ""
    assert call("gallery", "access", "Eileen", *groups).stderr == ""  # which gate it is for is not known
    config.write_text("")
    assert "it has none, and" in call("gallery", "access", "Eileen", *groups, "--config", config).stderr


@pytest.mark.usefixtures("new_york")
def test_dates_are_those_of_the_door(tmp_path: Path) -> None:
    """Whatever the zone of the machine that they are typed on."""
    call("enroll", "Eileen", SAMPLE)
    config = tmp_path / "gate.toml"
    config.write_text('[gate]\ntimezone = "Asia/Tokyo"\n')
    dates = ("--from", "2026-12-01", "--until", "2027-07-31 18:00:00")

    done = call("gallery", "access", "Eileen", *dates, "--config", config)

    access = store().people()[0].access
    assert access.valid_from == datetime(2026, 11, 30, 15, tzinfo=UTC)
    assert access.valid_until == datetime(2027, 7, 31, 9, tzinfo=UTC)
    assert "from 2026-12-01 00:00+09:00, until 2027-07-31 18:00+09:00" in done.output
    call("gallery", "access", "Eileen", *dates)  # a door without a zone has the machine's
    assert store().people()[0].access.valid_from == datetime(2026, 12, 1, 5, tzinfo=UTC)
    config.write_text('[gate]\ntimezone = "Asia/Nowhere"\n')
    with pytest.raises(Usage, match="there is no time zone"):
        call("gallery", "access", "Eileen", *dates, "--config", config)


def mobilefacenet(shared: Path, tmp_path: Path) -> Path:
    config = tmp_path / "other.toml"
    model = shared / "weights" / "mobilefacenet_foamliu.onnx"
    config.write_text(f'[match]\nmodel = "{model}"\nlayout = "mobilefacenet"\n')
    return config


def test_another_model_embeds_the_faces_that_are_kept(
    shared: Path, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("obama", "biden"):
        call("enroll", name, photos / f"{name}.jpg")
    (his,) = store().portraits("biden").values()
    store().add_negative("obama", store().people()[0].templates[0].model, np.eye(1, 128, dtype=np.float32)[0], his)
    config = mobilefacenet(shared, tmp_path)
    real, calls = Store.re_embed, []

    def stopped(*given: object) -> None:
        if calls:
            raise KeyboardInterrupt
        calls.append(given)
        real(*given)  # type: ignore[arg-type]

    monkeypatch.setattr(Store, "re_embed", stopped)
    call("gallery", "re-embed", "--config", config)
    monkeypatch.setattr(Store, "re_embed", real)
    assert sorted(len(person.templates) for person in store().people()) == [1, 2]

    assert "1 people embedded anew" in call("gallery", "re-embed", "--config", config).output
    assert "0 people embedded anew" in call("gallery", "re-embed", "--config", config).output

    models = {template.model for person in store().people() for template in person.templates}
    assert len(models) == 2
    assert all(len(person.templates) == 2 for person in store().people())
    biden, obama = store().people()
    (new,) = models - {obama.negatives[0].model}
    assert [template.model for template in obama.negatives[1:]] == [new]
    his_own = next(template for template in biden.templates if template.model == new)
    np.testing.assert_allclose(obama.negatives[1].embedding, his_own.embedding, atol=1e-5)


def test_somebody_without_a_kept_face_is_told_of(shared: Path, tmp_path: Path) -> None:
    store().add("Old", "m", np.eye(1, 128, dtype=np.float32))
    done = call("gallery", "re-embed", "--config", mobilefacenet(shared, tmp_path))
    assert done.exit_code == 1
    assert "Old: no face is kept" in done.output


def test_one_persons_data_go_out_and_come_in(photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    call("enroll", "Obama", photos / "obama.jpg", photos / "train" / "obama" / "obama2.jpg")
    call("gallery", "access", "Obama", "--group", "staff")
    enrol = Enrol(EnrolConfig())
    (biden,), (his,) = enrol([photos / "biden.jpg"])
    store().add_negative("Obama", enrol.identity, biden, his)
    (before,) = store().people()
    ledger = Ledger(home(), keys(), create=True)
    with ledger.commit() as commit:
        commit.decide(decision("opened", before.id.hex()), SNAPSHOT, ())
        others = commit.decide(
            decision("opened", "0b" * 16), SNAPSHOT, (), faces=[Face(1, (1, 2, 3, 4), before.id.hex())]
        )
    clips.put(ledger, others, Clip(b"moving pictures", (Sighting(before.id.hex(), 0, (1, 2, 3, 4)),)))
    ledger.close()

    read: list[object] = []
    monkeypatch.setattr(Ledger, "events", lambda *given, **_: read.append(given) or [])  # those of everybody
    call("gallery", "export", "Obama", tmp_path / "out")

    what = json.loads((tmp_path / "out" / "person.json").read_text())
    assert [len(what[part]) for part in ("photos", "embeddings", "decisions")] == [2, 2, 1]
    assert read == []
    assert what["seen"] == [{"event": others, "at_ns": decision().at_ns, "camera": "cam0"}]
    assert len(list((tmp_path / "out").glob("portrait-*.png"))) == 2
    assert {path.stat().st_mode & 0o777 for path in (tmp_path / "out").iterdir()} == {0o600}
    with pytest.raises(Usage, match="is there already"):
        call("gallery", "export", "Obama", tmp_path / "out")
    with pytest.raises(Failed, match="enrolled already"):
        call("gallery", "import", tmp_path / "out")
    store().rename("Obama", "Twin")
    with pytest.raises(Failed, match=r"photo [12] looks like Twin .* With force it is taken anyway"):
        call("gallery", "import", tmp_path / "out")
    call("gallery", "import", tmp_path / "out", "--force")
    call("forget", "Twin")
    call("forget", "Obama")
    call("gallery", "import", tmp_path / "out")
    (after,) = store().people()
    assert (after.name, after.access) == ("Obama", before.access)
    for kind in ("templates", "negatives"):
        for old, new in zip(getattr(before, kind), getattr(after, kind), strict=True):
            assert old.embedding @ new.embedding > 0.97


def test_badges_of_another_gallery_are_left_out_and_that_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What a gallery keeps of a badge no other can tell a number from."""
    call("enroll", "Eileen", SAMPLE)
    call("gallery", "access", "Eileen", "--group", "staff", "--badge", "4711")
    call("gallery", "export", "Eileen", tmp_path / "out")
    call("forget", "Eileen")
    same = call("gallery", "import", tmp_path / "out")
    assert store().people()[0].access.badges == (store().badge("4711"),)
    assert same.stderr == ""

    monkeypatch.setenv("FRAMEWIRE_HOME", str(tmp_path / "another"))
    other = call("gallery", "import", tmp_path / "out")

    assert store().people()[0].access == Access(groups=("staff",))
    assert other.stderr.startswith("the badges are of another gallery, and their numbers are not known: set them again")


def test_an_export_that_was_cut_short_is_not_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    call("enroll", "Eileen", SAMPLE)

    def full(path: Path, content: bytes, *, synced: bool) -> None:
        if path.suffix == ".png":
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        replace_file(path, content, synced=synced)

    with monkeypatch.context() as disk:
        disk.setattr("stages.enrolment.management.replace_file", full)
        with pytest.raises(Failed, match=r"cannot write .*out: No space left on device; .* make room"):
            call("gallery", "export", "Eileen", tmp_path / "out")
    assert not list(tmp_path.glob("out*"))


def test_an_export_takes_no_folder_of_the_users_for_its_own(tmp_path: Path) -> None:
    call("enroll", "Eileen", SAMPLE)
    (tmp_path / "out.part").mkdir()
    (tmp_path / "out.part" / "thesis.txt").touch()
    call("gallery", "export", "Eileen", tmp_path / "out")
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["person.json", "portrait-0.png"]
    assert sorted(path.name for path in tmp_path.glob("out*/*.txt")) == ["thesis.txt"]
    assert sorted(path.name for path in tmp_path.glob("out*")) == ["out", "out.part"]


def test_an_import_of_what_is_no_export(tmp_path: Path) -> None:
    with pytest.raises(Failed, match="cannot read"):
        call("gallery", "import", tmp_path)
    (tmp_path / "person.json").write_text("{}")
    with pytest.raises(Failed, match="is none that `export` wrote"):
        call("gallery", "import", tmp_path)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"photos": []}, "no photo of"),
        ({"photos": [{"image": "AAAA", "points": [[0, 0]] * 5}]}, "photo 1 is no photo"),
        ({"negatives": [{"image": "AAAA", "points": [[0, 0]] * 5}]}, "negative 1 is no photo"),
        ({"points": [[0, 0]] * 5}, "does not say where eyes, nose and mouth are"),
        ({"points": [[0, 0], [9, 9]]}, "does not say where eyes, nose and mouth are"),
        ({"points": [[1e300, 0]] * 5}, "does not say where eyes, nose and mouth are"),
        ({"access": {"windows": ["always"]}}, "weekly time window"),
        ({"access": {"valid_from": "9999-12-31T23:59:59-12:00"}}, "9999-12-31 is no date for a rule"),
    ],
)
def test_an_export_that_was_tampered_with_enrolls_nobody(
    tmp_path: Path, change: dict[str, object], sentence: str
) -> None:
    call("enroll", "Eileen", SAMPLE)
    call("gallery", "export", "Eileen", tmp_path / "out")
    call("forget", "Eileen")
    path = tmp_path / "out" / "person.json"
    what = json.loads(path.read_text())
    points = change.pop("points", None)
    what["photos"][0] |= {"points": points} if points else {}
    path.write_text(json.dumps(what | change))
    with pytest.raises((Failed, Usage), match=sentence):
        call("gallery", "import", tmp_path / "out")
    assert store().people() == []


def test_a_new_master_key_opens_everything_and_the_old_one_nothing() -> None:
    call("enroll", "Eileen", SAMPLE)
    ledger = Ledger(home(), keys(), create=True)
    with ledger.commit() as commit:
        seq = commit.decide(decision("opened", "0a" * 16), SNAPSHOT, ())
    ledger.close()
    old = master_path().read_bytes()

    call("gallery", "rotate")

    assert master_path().read_bytes() != old
    assert [person.name for person in store().people()] == ["Eileen"]
    assert Ledger(home(), keys()).snapshot(seq) == SNAPSHOT
    master_path().chmod(0o600)
    master_path().write_bytes(old)
    with pytest.raises(Failed, match="another master key"):
        store().people()


def test_a_rotation_waits_for_nobody_but_says_who_runs() -> None:
    call("enroll", "Eileen", SAMPLE)
    reader = Reader(home(), "the gate")
    with pytest.raises(Failed, match=r"the gate .* runs on these data"):
        call("gallery", "rotate")
    reader.close()
    fingerprint = Master.load(home()).fingerprint
    call("gallery", "rotate")
    assert Master.load(home()).fingerprint != fingerprint


@pytest.mark.parametrize("size", [0, 24, 33])
def test_a_new_master_key_that_is_none_is_refused(size: int) -> None:
    call("enroll", "Eileen", SAMPLE)
    old, fresh = master_path().read_bytes(), master_path().with_name("master.key.new")
    fresh.write_bytes(bytes(size))
    fresh.chmod(0o400)
    with pytest.raises(Failed, match=r"master\.key\.new is damaged: it has to be 32 bytes; put back a copy"):
        call("gallery", "rotate")
    assert master_path().read_bytes() == old
    assert [person.name for person in store().people()] == ["Eileen"]


def test_a_master_key_out_of_the_environment_is_not_rotated(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FRAMEWIRE_MASTER_KEY", "ab" * 32)
    store().add("Eileen", "m", np.eye(1, 128, dtype=np.float32))
    with pytest.raises(Usage, match=r"comes from \$FRAMEWIRE_MASTER_KEY, which would stay the old one: unset it"):
        call("gallery", "rotate")
    assert [person.name for person in store().people()] == ["Eileen"]


@pytest.mark.parametrize("name", ["enroll-all", "access", "re-embed", "export", "import", "rotate"])
def test_help_has_an_example(name: str) -> None:
    assert f"Example: python run_pipeline.py gallery {name}" in call("gallery", name, "--help").output
