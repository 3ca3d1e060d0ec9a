"""The nearest person."""

from __future__ import annotations

import os
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import msgspec
import numpy as np
import pytest
from numpy.typing import NDArray

from pipeline.errors import Failed
from stages.gallery.index import Gallery, LiveGallery
from stages.gallery.people import Access
from stages.gallery.readers import wait_for
from stages.gallery.store import Person, Store, Template
from tests.command import ROOT


def unit(rows: NDArray[np.float64]) -> NDArray[np.float32]:
    return (rows / np.linalg.norm(rows, axis=-1, keepdims=True)).astype(np.float32)


def person(name: str, rows: NDArray[np.float32], model: str = "m") -> Person:
    return Person(name.ljust(16).encode(), name, Access(), templates(rows, model), ())


def templates(rows: NDArray[np.float32], model: str = "m") -> tuple[Template, ...]:
    return tuple(Template(model, datetime.now(UTC), row) for row in rows)


def test_as_the_plain_loop_over_people_and_templates() -> None:
    random = np.random.default_rng(1)
    people = [person(f"P{count}", unit(random.normal(size=(count, 16)))) for count in (1, 4, 2, 7)]
    faces = unit(random.normal(size=(50, 16)))

    ids, names, similarity = Gallery(people, "m").nearest(faces)

    for face, name, cosine in zip(faces, names, similarity, strict=True):
        best = {p.name: max(float(face @ t.embedding) for t in p.templates) for p in people}
        assert name == max(best, key=best.__getitem__)
        assert cosine == pytest.approx(best[name], abs=1e-6)
    assert similarity.dtype == np.float32
    assert ids == tuple(name.ljust(16).encode().hex() for name in names)


def test_no_faces() -> None:
    _, names, similarity = Gallery([person("A", np.eye(2, 16, dtype=np.float32))], "m").nearest(
        np.empty((0, 16), np.float32)
    )
    assert names == ()
    assert similarity.shape == (0,)


def test_an_empty_gallery_knows_nobody() -> None:
    _, names, similarity = Gallery([], "m").nearest(np.eye(3, 16, dtype=np.float32))
    assert names == ("", "", "")
    assert similarity.dtype == np.float32
    assert np.isnan(similarity).all()


def test_templates_of_another_model_are_not_matched_and_that_is_said() -> None:
    rows = np.eye(2, 16, dtype=np.float32)
    both = Person(b"b" * 16, "Both", Access(), (*templates(rows[:1]), *templates(rows[1:], "other")), ())
    gallery = Gallery([both, person("Other", rows[1:], "other")], "m")

    _, names, similarity = gallery.nearest(rows)

    assert names == ("Both", "Both")
    assert similarity.tolist() == [1, 0]
    assert gallery.note == (
        "1 of 2 people are enrolled with another model and are not matched: "
        "run `gallery re-embed`, or enroll their photos again with this one"
    )
    assert Gallery([both], "m").note == ""


def test_a_face_marked_as_not_theirs_lowers_that_match_and_no_other() -> None:
    ada, bob = unit(np.random.default_rng(3).normal(size=(2, 128)))
    lookalike = unit(0.7 * ada + 0.7 * unit(np.random.default_rng(4).normal(size=128)))
    again = unit(lookalike + 0.02 * np.random.default_rng(5).normal(size=128))
    people = [person("Ada", ada[None]), person("Bob", bob[None])]
    marked = msgspec.structs.replace(people[0], negatives=templates(lookalike[None]))
    before, after = Gallery(people, "m"), Gallery([marked, people[1]], "m")
    faces = np.stack([again, ada, bob])

    _, names, similarity = before.nearest(faces)
    assert names == ("Ada", "Ada", "Bob")
    assert similarity[0] > 0.6
    lowered = after.similarity(marked.id.hex(), faces)
    assert lowered[0] < similarity[0] - 0.2
    np.testing.assert_allclose(lowered[1], 1, atol=1e-6)  # her own face is nearer to her than to the lookalike
    np.testing.assert_allclose(after.nearest(faces)[2][2], 1, atol=1e-6)


def test_nobody_is_alike_to_somebody_who_is_not_here() -> None:
    gallery = Gallery([person("Ada", np.eye(1, 16, dtype=np.float32))], "m")
    assert np.isnan(gallery.similarity("00", np.eye(2, 16, dtype=np.float32))).all()


def crowd(people: int, templates_each: int) -> tuple[list[Person], NDArray[np.float32]]:
    """People whose faces, like real ones, vary in few directions; and one more face of each of the first 400."""
    random = np.random.default_rng(7)
    spread = np.exp(-np.arange(128) / 30) * np.linalg.qr(random.normal(size=(128, 128)))[0].T
    middles = unit(random.normal(size=(people, 128)) @ spread)
    faces = unit(middles[:, None] + 0.6 * unit(random.normal(size=(people, templates_each + 1, 128)) @ spread))
    return [person(f"P{place}", rows[1:]) for place, rows in enumerate(faces)], faces[:400, 0]


def test_faiss_finds_whom_the_exact_index_finds() -> None:
    people, faces = crowd(15_000, 2)
    strangers = unit(np.random.default_rng(8).normal(size=(100, 128)))
    for queries in (faces, strangers):
        ids, _, similarity = Gallery(people, "m").nearest(queries)
        found, _, near = Gallery(people, "m", "faiss").nearest(queries)
        same = np.array(ids) == np.array(found)
        assert same.mean() >= 0.99
        np.testing.assert_allclose(near[same], similarity[same], atol=1e-6)
        assert (near <= similarity + 1e-6).all()  # who is missed never makes for a nearer one


def test_faiss_heeds_negatives() -> None:
    people, faces = crowd(12_000, 1)
    people[0] = msgspec.structs.replace(people[0], negatives=templates(faces[:1]))
    exact, fast = Gallery(people, "m"), Gallery(people, "m", "faiss")
    assert fast.nearest(faces[:1])[1] == exact.nearest(faces[:1])[1] != ("P0",)
    np.testing.assert_allclose(fast.nearest(faces[:1])[2], exact.nearest(faces[:1])[2], atol=1e-6)
    who = people[0].id.hex()
    np.testing.assert_array_equal(fast.similarity(who, faces), exact.similarity(who, faces))


def test_who_is_forgotten_is_not_in_the_index_of_faiss_either(tmp_path: Path) -> None:
    store = Store(tmp_path / "home", tmp_path / "keys")
    people, faces = crowd(12_000, 1)
    store.add("Crowd", "m", np.concatenate([one.templates[0].embedding[None] for one in people[1:]]))
    store.add("Ada", "m", faces[:1])
    live = LiveGallery(tmp_path / "home", "m", "the door", "faiss")
    assert live.now.nearest(faces[:1])[1] == ("Ada",)
    store.forget("Ada")
    assert live.refresh()
    assert live.now.nearest(faces[:1])[1] == ("Crowd",)
    live.close()


def test_faiss_that_is_not_installed_is_told_in_a_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "faiss", None)
    with pytest.raises(Failed, match=r"pip install framewire\[faiss\]"):
        Gallery([], "m", "faiss")
    assert len(Gallery([], "m")) == 0


def test_a_running_process_follows_the_gallery_and_says_so(tmp_path: Path) -> None:
    home, face = tmp_path / "home", np.eye(1, 16, dtype=np.float32)
    store = Store(home, tmp_path / "keys")
    live = LiveGallery(home, "m", "the door")
    assert not live.refresh()
    assert not home.exists()  # where nobody is enrolled nothing is written
    store.add("Bob", "m", face[:, ::-1])
    assert live.refresh()
    store.add("Ada", "m", face)
    assert wait_for(home, store.generation(), 0) == [f"the door (process {os.getpid()})"]

    assert live.refresh()

    assert live.now.nearest(face)[1] == ("Ada",)
    assert wait_for(home, store.generation(), 0) == []
    store.forget("Ada")
    assert live.refresh()
    assert live.now.nearest(face)[1] == ("Bob",)
    live.close()
    assert list((home / "readers").iterdir()) == []


def test_a_killed_process_is_not_waited_for(tmp_path: Path) -> None:
    home = tmp_path / "home"
    program = (
        "import sys; from pathlib import Path; from stages.gallery.readers import Reader; "
        "reader = Reader(Path(sys.argv[1]), 'x'); print('ready', flush=True); sys.stdin.read()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", program, str(home)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=ROOT
    ) as process:
        assert process.stdout
        process.stdout.readline()
        assert wait_for(home, 1, 0) == [f"x (process {process.pid})"]
        process.kill()
    assert wait_for(home, 1, 5) == []
