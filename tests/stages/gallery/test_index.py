"""The nearest person."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from stages.gallery.index import Gallery
from stages.gallery.store import Person, Store, Template


def unit(rows: NDArray[np.float64]) -> NDArray[np.float32]:
    return (rows / np.linalg.norm(rows, axis=-1, keepdims=True)).astype(np.float32)


def person(name: str, rows: NDArray[np.float32], model: str = "m") -> Person:
    return Person(name, tuple(Template(model, datetime.now(UTC), row) for row in rows))


def test_as_the_plain_loop_over_people_and_templates() -> None:
    random = np.random.default_rng(1)
    people = [person(f"P{count}", unit(random.normal(size=(count, 16)))) for count in (1, 4, 2, 7)]
    faces = unit(random.normal(size=(50, 16)))

    names, similarity = Gallery(people, "m").nearest(faces)

    for face, name, cosine in zip(faces, names, similarity, strict=True):
        best = {p.name: max(float(face @ t.embedding) for t in p.templates) for p in people}
        assert name == max(best, key=best.__getitem__)
        assert cosine == pytest.approx(best[name], abs=1e-6)
    assert similarity.dtype == np.float32


def test_no_faces() -> None:
    names, similarity = Gallery([person("A", np.eye(2, 16, dtype=np.float32))], "m").nearest(
        np.empty((0, 16), np.float32)
    )
    assert names == ()
    assert similarity.shape == (0,)


def test_an_empty_gallery_knows_nobody() -> None:
    names, similarity = Gallery([], "m").nearest(np.eye(3, 16, dtype=np.float32))
    assert names == ("", "", "")
    assert similarity.dtype == np.float32
    assert np.isnan(similarity).all()


def test_templates_of_another_model_are_not_matched_and_that_is_said() -> None:
    rows = np.eye(2, 16, dtype=np.float32)
    both = Person("Both", (*person("", rows[:1]).templates, *person("", rows[1:], "other").templates))
    gallery = Gallery([both, person("Other", rows[1:], "other")], "m")

    names, similarity = gallery.nearest(rows)

    assert names == ("Both", "Both")
    assert similarity.tolist() == [1, 0]
    assert gallery.note == (
        "1 of 2 people are enrolled with another model and are not matched: enroll their photos again with this one"
    )
    assert Gallery([both], "m").note == ""


def test_open_reads_what_was_stored(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FRAMEWIRE_KEYS", str(tmp_path / "keys"))
    assert len(Gallery.open(tmp_path / "home", "m")) == 0
    Store(tmp_path / "home", tmp_path / "keys").add("Ada", "m", np.eye(1, 16, dtype=np.float32))
    gallery = Gallery.open(tmp_path / "home", "m")
    assert gallery.nearest(np.eye(1, 16, dtype=np.float32))[0] == ("Ada",)
