from __future__ import annotations

from itertools import combinations

from hypothesis import given
from hypothesis import strategies as st

from stages.show.labels import HIDDEN, Place, Room

STAMP = Place(0, 410, 120, 426)
SIX = [Place(113, 157, 148, 202), Place(198, 194, 226, 228), Place(266, 204, 294, 243)]
SIX += [Place(345, 197, 372, 232), Place(430, 190, 459, 229), Place(495, 178, 528, 218)]  # a row of people in a photo


def room(faces: list[Place]) -> Room:
    return Room(640, 426, faces, STAMP)


def shared(one: Place, other: Place) -> int:
    """The pixels that both cover."""
    width = min(one.right, other.right) - max(one.left, other.left)
    return max(0, width) * max(0, min(one.bottom, other.bottom) - max(one.top, other.top))


def moved(place: Place, x: int, y: int) -> Place:
    return Place(place.left + x, place.top + y, place.right + x, place.bottom + y)


def hidden(label: Place, faces: list[Place]) -> float:
    """How much of the face that it covers most a label covers."""
    return max(shared(label, face) / shared(face, face) for face in faces)


def test_alone_it_stands_above_the_box_and_where_there_is_no_above_below() -> None:
    box = Place(200, 100, 260, 180)
    assert room([box]).fit(box, [120, 60], 17, needed=True) == Place(200, 83, 320, 100)
    top = moved(box, 0, -100)
    assert room([top]).fit(top, [120, 60], 17, needed=True) == Place(200, 80, 320, 97)


@given(st.lists(st.tuples(st.integers(-6, 6), st.integers(-6, 6)), min_size=6, max_size=6))
def test_in_a_row_of_people_labels_cover_neither_each_other_nor_a_face(shifts: list[tuple[int, int]]) -> None:
    faces = [moved(face, *shift) for face, shift in zip(SIX, shifts, strict=True)]
    row = room(faces)
    labels = [row.fit(face, [125, 62], 17, needed=False) for face in faces]
    found = [label for label in labels if label is not None]
    assert len(found) == len(faces)
    assert not any(shared(one, other) for one, other in combinations([STAMP, *found], 2))
    assert max(hidden(label, faces) for label in found) < HIDDEN


def test_what_it_would_hardly_cover_does_not_move_it() -> None:
    box, corner, half = Place(200, 100, 240, 140), Place(319, 46, 359, 86), Place(300, 46, 340, 86)
    usual = room([box]).fit(box, [120], 17, needed=True)
    assert usual is not None
    assert room([box, half]).fit(box, [120], 17, needed=True) != usual
    assert shared(usual, corner)
    assert room([box, corner]).fit(box, [120], 17, needed=True) == usual


@given(st.lists(st.tuples(st.integers(0, 600), st.integers(0, 386)), min_size=1, max_size=9))
def test_it_never_leaves_the_picture(corners: list[tuple[int, int]]) -> None:
    faces = [Place(x, y, x + 40, y + 40) for x, y in corners]
    full = room(faces)
    labels = [full.fit(moved(face, -1, 1), [640, 60], 17, needed=True) for face in faces]
    picture = Place(0, 0, 640, 426)
    assert all(label and shared(label, picture) == shared(label, label) for label in labels)


def test_where_it_would_hide_faces_all_around_it_stands_a_row_further() -> None:
    box = Place(300, 160, 340, 200)
    around = [Place(100, 143, 540, 160), Place(100, 200, 540, 217), Place(0, 160, 300, 200), Place(340, 160, 640, 200)]
    assert room([box, *around]).fit(box, [120], 17, needed=False) == Place(300, 126, 420, 143)


def test_inside_a_face_that_fills_the_picture() -> None:
    face = Place(0, 0, 640, 426)
    place = room([face]).fit(face, [120, 60], 17, needed=False)
    assert place == Place(0, 0, 120, 17)


CROWD = [Place(x, y, x + 60, y + 40) for x in range(0, 640, 60) for y in range(0, 426, 40)]
BOX, ABOVE = Place(300, 160, 360, 200), Place(300, 120, 360, 160)


def test_in_a_crowd_it_is_as_short_as_it_can_be_or_left_out() -> None:
    assert room(CROWD).fit(BOX, [120, 60], 17, needed=False) is None
    needed = room(CROWD).fit(BOX, [120, 60], 17, needed=True)
    assert needed is not None
    assert needed.right - needed.left == 60


def test_it_is_shortened_where_that_is_what_fits() -> None:
    around = [face for face in CROWD if face != ABOVE]
    assert room(around).fit(BOX, [120, 60], 17, needed=False) == Place(300, 143, 360, 160)


def test_labels_in_a_crowd_hide_faces_before_they_hide_labels() -> None:
    crowded = room(CROWD)
    labels = [crowded.fit(face, [60], 17, needed=True) for face in CROWD[20:40]]
    assert not any(shared(one, other) for one, other in combinations([STAMP, *filter(None, labels)], 2))
