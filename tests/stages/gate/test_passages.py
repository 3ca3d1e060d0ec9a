"""Whose presence a face belongs to."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from stages.events.records import Kept
from stages.gate.judge import accepted
from stages.gate.passage import EVIDENCE_NS, Passage
from stages.gate.passages import GAP_NS, UNLIKE, Passages
from tests.stages.gate.door import SECOND
from tests.stages.gate.scene import Camera, Seen, embedding

ADA, BOB = "0a" * 16, "0b" * 16


def passages(most: int = 8) -> Passages:
    return Passages(most, 0.6)


def of(open_: Passages, track: int) -> Passage:
    found = open_.of(track)
    assert found
    return found


def test_the_faces_of_a_track_are_one_passage() -> None:
    now, camera, face = passages(), Camera(), embedding(1)
    for _ in range(3):
        now.see(camera(Seen(1, face, ADA, 0.7)), 0)
    assert len(now.open) == 1
    assert len(of(now, 1).votes) == 3


def test_a_new_track_of_the_same_person_joins_and_one_of_another_does_not() -> None:
    now, camera = passages(), Camera()
    now.see(camera(Seen(1, embedding(1), ADA, 0.7)), 0)
    now.see(camera(Seen(2, embedding(2), ADA, 0.7)), SECOND)
    now.see(camera(Seen(3, embedding(3), BOB, 0.7)), SECOND)
    assert of(now, 1) is of(now, 2)
    assert of(now, 3) is not of(now, 1)


def test_a_stranger_who_comes_back_is_known_by_the_face() -> None:
    now, camera, face = passages(), Camera(), embedding(1)
    now.see(camera(Seen(1, face, ADA, 0.1)), 0)
    now.see(camera(Seen(2, face, ADA, 0.1)), SECOND)
    now.see(camera(Seen(3, embedding(2), ADA, 0.1)), SECOND)
    assert of(now, 1) is of(now, 2)
    assert of(now, 3) is not of(now, 1)


def somewhat_like(face: NDArray[np.float32], likeness: float) -> NDArray[np.float32]:
    other = embedding(99)
    across = other - (other @ face) * face
    mixed: NDArray[np.float32] = likeness * face + np.sqrt(1 - likeness**2) * across / np.linalg.norm(across)
    return mixed.astype(np.float32)


def test_a_face_that_comes_up_where_one_was_just_lost_needs_to_be_less_like_it() -> None:
    """As after a restart: a blurred look before it, a good one of somebody who is recognized after it."""
    face = embedding(1)
    for seconds, joined in ((2, True), (4, False)):
        now, camera = passages(), Camera()
        now.see(camera(Seen(1, somewhat_like(face, 0.3), ADA, 0.3)), 0)
        now.see(camera(Seen(2, face, ADA, 0.8)), seconds * SECOND)
        assert (of(now, 1) is of(now, 2)) is joined


def test_two_faces_in_one_picture_are_two_however_alike() -> None:
    now, camera, face = passages(), Camera(), embedding(1)
    now.see(camera(Seen(1, face, ADA, 0.1), Seen(2, face, ADA, 0.1)), 0)
    assert of(now, 1) is not of(now, 2)


def test_of_two_faces_near_one_person_only_the_nearer_votes_for_them() -> None:
    now, camera = passages(), Camera()
    now.see(camera(Seen(1, embedding(1), ADA, 0.9), Seen(2, embedding(2), ADA, 0.7)), 0)
    assert [of(now, track).leader(0.6) for track in (1, 2)] == [ADA, ""]


def test_cameras_are_apart() -> None:
    now, face = passages(), embedding(1)
    now.see(Camera("a")(Seen(1, face, ADA, 0.7)), 0)
    now.see(Camera("b")(Seen(2, face, ADA, 0.7)), 0)
    assert of(now, 1) is not of(now, 2)


def test_a_poor_look_before_a_good_one_is_merged_into_the_persons_passage() -> None:
    now, camera = passages(), Camera()
    now.see(camera(Seen(1, embedding(1), ADA, 0.7)), 0)
    now.see(camera(Seen(2, embedding(2), ADA, 0.3)), 0)
    stranger = of(now, 2)
    _, gone = now.see(camera(Seen(2, embedding(3), ADA, 0.8)), 0)
    assert gone == [stranger]
    assert of(now, 2) is of(now, 1)
    assert len(of(now, 1).votes) == 3


def test_somebody_recognized_after_being_refused_as_a_stranger_gets_a_passage_that_may_only_open() -> None:
    now, camera = passages(), Camera()
    now.see(camera(Seen(1, embedding(1), ADA, 0.3)), 0)
    of(now, 1).decided = True
    now.see(camera(Seen(1, somewhat_like(embedding(1), 0.7), ADA, 0.8)), 0)
    assert not of(now, 1).decided
    assert of(now, 1).after_another


def test_a_decided_passage_goes_on_while_its_person_is_seen() -> None:
    now, camera = passages(), Camera()
    now.see(camera(Seen(1, embedding(1), ADA, 0.8)), 0)
    of(now, 1).decided, of(now, 1).person = True, ADA
    now.see(camera(Seen(1, embedding(1), ADA, 0.8)), SECOND)
    now.see(camera(Seen(2, embedding(2), ADA, 0.8, picked=False)), SECOND)
    now.see(camera(Seen(2, embedding(2), ADA, 0.8)), 2 * SECOND)
    assert len(now.open) == 1
    assert now.open[0].seen_ns == 2 * SECOND
    now.close(now.open[0])
    assert now.of(1) is None


def test_no_more_than_so_many_faces_count_and_none_twice() -> None:
    now, camera = passages(most=3), Camera()
    frames = [camera(Seen(1, embedding(n), ADA, 0.7)) for n in range(5)]
    for frame in [frames[0], *frames]:
        now.see(frame, 0)
    assert len(of(now, 1).votes) == 3
    assert len({vote.captured_ns for vote in of(now, 1).votes}) == 3


def test_two_votes_are_needed_and_the_score_is_the_lower() -> None:
    now, camera = passages(), Camera()
    first = camera(Seen(1, embedding(1), ADA, 0.9))
    now.see(first, 0)
    assert accepted(of(now, 1), 0.6, first.frame.captured_ns) is None
    second = camera(Seen(1, embedding(1), ADA, 0.65))
    now.see(second, 0)
    found = accepted(of(now, 1), 0.6, second.frame.captured_ns)
    assert found
    assert (found.person, round(found.score, 2)) == (ADA, 0.65)
    assert found.newest_ns == second.frame.captured_ns
    assert accepted(of(now, 1), 0.6, second.frame.captured_ns + EVIDENCE_NS + 1) is None
    assert accepted(of(now, 1), 0.6, first.frame.captured_ns - 1) is None  # the clock has begun anew


def test_a_face_beyond_those_that_vote_says_only_who_is_still_there() -> None:
    now, camera = passages(most=2), Camera()
    frames = [camera(Seen(1, embedding(1), ADA, like)) for like in (0.7, 0.65, 0.9, 0.3)]
    found = []
    for frame in frames:
        now.see(frame, 0)
        found.append(accepted(of(now, 1), 0.6, frame.frame.captured_ns))
    told = [(round(one.score, 2), one.newest_ns) for one in found if one]
    assert told == [(0.65, frames[place].frame.captured_ns) for place in (1, 2, 1)]


def test_votes_for_two_people_do_not_add_up() -> None:
    now, camera = passages(), Camera()
    for person in (ADA, BOB):
        frame = camera(Seen(1, embedding(1), person, 0.7))
        now.see(frame, 0)
    assert all(accepted(one, 0.6, frame.frame.captured_ns) is None for one in now.open)


def test_a_passage_comes_back_out_of_what_was_kept() -> None:
    now, camera = passages(), Camera()
    now.see(camera(Seen(5, embedding(1), ADA, 0.7, live=0.9)), 3)
    before = of(now, 5)
    kept: Kept = before.kept(100, "boot")
    after = Passage.of(kept, seen_ns=3)
    assert (after.id, after.camera, after.tracks, after.snapshot) == (before.id, "cam0", {5}, before.snapshot)
    assert after.votes == before.votes
    np.testing.assert_array_equal(after.votes[0].face, embedding(1))
    again = Passages(8, 0.6, [after])
    again.see(camera(Seen(5, embedding(9), ADA, 0.2, picked=False)), GAP_NS)
    assert after.seen_ns == GAP_NS


def test_who_was_refused_gets_no_more_tries_by_stepping_out_of_sight() -> None:
    """Eight faces a passage are what the false accept rate was reckoned with, however many tracks they come on."""
    now, camera, face = passages(), Camera(), embedding(1)
    for _ in range(8):
        now.see(camera(Seen(1, face, ADA, 0.5)), 0)
    of(now, 1).decided = True
    for track in range(2, 6):
        for _ in range(4):
            now.see(camera(Seen(track, face, ADA, 0.7)), track * SECOND)
    assert all(one.taken <= 8 for one in now.open)
    assert not any(accepted(one, 0.6, camera(Seen(9, face)).frame.captured_ns) for one in now.open)


def test_who_was_refused_early_has_the_rest_of_the_tries() -> None:
    now, camera, face = passages(), Camera(), embedding(1)
    for _ in range(6):
        now.see(camera(Seen(1, face, ADA, 0.5)), 0)
    of(now, 1).decided = True
    for _ in range(4):
        frame = camera(Seen(2, face, ADA, 0.7))
        now.see(frame, SECOND)
    assert (of(now, 2).taken, len(of(now, 2).votes), of(now, 2).after_another) == (8, 2, True)
    assert accepted(of(now, 2), 0.6, frame.frame.captured_ns)


def test_who_was_refused_uses_up_the_tries_by_staying() -> None:
    now, camera, face = passages(), Camera(), embedding(1)
    for like in (0.5, 0.5):
        now.see(camera(Seen(1, face, ADA, like)), 0)
    of(now, 1).decided = True
    for like in [0.5] * 20 + [0.7] * 3:
        frame = camera(Seen(1, face, ADA, like))
        now.see(frame, SECOND)
    assert accepted(of(now, 1), 0.6, frame.frame.captured_ns) is None


def test_somebody_else_who_comes_after_a_stranger_has_all_tries() -> None:
    now, camera = passages(), Camera()
    for _ in range(8):
        now.see(camera(Seen(1, embedding(1), ADA, 0.3)), 0)
    of(now, 1).decided = True
    now.see(camera(Seen(2, somewhat_like(embedding(1), 0.3), BOB, 0.8)), SECOND)
    assert (of(now, 2).taken, of(now, 2).after_another) == (1, False)


def test_what_was_tried_in_a_passage_stays_tried_where_it_is_merged_into_another() -> None:
    now, camera = passages(), Camera()
    now.see(camera(Seen(1, embedding(1), ADA, 0.7)), 0)
    now.see(camera(Seen(2, embedding(2), BOB, 0.7)), 0)
    into, old = of(now, 1), of(now, 2)
    into.after_another, into.failed, into.holders = True, ["a"], {ADA: [1]}
    old.taken, old.failed, old.holders = 4, ["b"], {ADA: [2], BOB: [2]}
    now.see(camera(Seen(2, embedding(1), ADA, 0.9)), 0)
    assert now.open == [into]
    assert (into.taken, into.after_another) == (6, False)
    assert (set(into.failed), into.holders) == ({"a", "b"}, {ADA: [2, 1], BOB: [2]})


def refused(now: Passages, camera: Camera, face: NDArray[np.float32], faces: int = 8) -> Passage:
    """Somebody on track 1 was refused as a stranger."""
    for _ in range(faces):
        now.see(camera(Seen(1, face, ADA, 0.3)), 0)
    of(now, 1).decided = True
    return of(now, 1)


def test_faces_unlike_all_before_them_are_somebody_elses_who_came_upon_the_track() -> None:
    now, camera = passages(), Camera()
    before = refused(now, camera, embedding(1))
    for _ in range(UNLIKE - 1):
        now.see(camera(Seen(1, embedding(2), ADA, 0.3)), 0)
    assert of(now, 1) is before  # who turns away
    now.see(camera(Seen(1, embedding(1), ADA, 0.3)), 0)
    for seconds in range(UNLIKE):
        assert of(now, 1) is before
        now.see(camera(Seen(1, embedding(2), ADA, 0.3)), seconds * SECOND)
    after = of(now, 1)
    assert (after.decided, after.after_another, after.taken) == (False, False, 1)
    now.close(before)
    assert of(now, 1) is after


def test_faces_that_are_unlike_for_a_moment_only_are_nobody_elses() -> None:
    now, camera = passages(), Camera()
    before = refused(now, camera, embedding(1))
    for _ in range(2 * UNLIKE):
        now.see(camera(Seen(1, embedding(2), ADA, 0.3)), 0)
    assert of(now, 1) is before


def test_faces_that_are_unlike_have_to_be_so_in_a_row() -> None:
    now, camera = passages(), Camera()
    before = refused(now, camera, embedding(1))
    for seconds in range(3 * UNLIKE - 1):
        now.see(camera(Seen(1, embedding(1 if seconds % UNLIKE == UNLIKE - 1 else 2), ADA, 0.3)), seconds * SECOND)
    assert of(now, 1) is before


def test_who_shows_another_face_for_a_while_has_no_new_tries() -> None:
    now, camera = passages(), Camera()
    before = refused(now, camera, embedding(1))
    for seconds in range(UNLIKE):
        now.see(camera(Seen(1, embedding(2), ADA, 0.3)), seconds * SECOND)
    after = of(now, 1)
    assert after is not before
    for similarity in (0.3, 0.3, 0.7, 0.7):
        voted, _ = now.see(camera(Seen(1, embedding(1), ADA, similarity)), UNLIKE * SECOND)
        assert (voted, len(after.votes)) == ([], 1)


def test_nor_once_that_other_face_was_refused_as_well() -> None:
    now, camera = passages(), Camera()
    before = refused(now, camera, embedding(1))
    for seconds in range(UNLIKE):
        now.see(camera(Seen(1, embedding(2), ADA, 0.3)), seconds * SECOND)
    other = refused(now, camera, embedding(2))
    for seconds in range(UNLIKE, 3 * UNLIKE):
        voted, _ = now.see(camera(Seen(1, embedding(1), ADA, 0.3)), seconds * SECOND)
        assert voted == []
    assert of(now, 1) is before
    assert now.open == [before, other]


def test_who_comes_upon_the_track_of_somebody_else_is_recognized_with_all_tries() -> None:
    now, camera = passages(), Camera()
    refused(now, camera, embedding(1))
    for _ in range(2):
        frame = camera(Seen(1, embedding(2), BOB, 0.8))
        now.see(frame, 0)
    found = accepted(of(now, 1), 0.6, frame.frame.captured_ns)
    assert found
    assert (found.person, of(now, 1).after_another) == (BOB, False)


def decided(now: Passages, camera: Camera, track: int, person: str, face: NDArray[np.float32]) -> Passage:
    for _ in range(2):
        now.see(camera(Seen(track, face, person, 0.8)), 0)
    passage = of(now, track)
    passage.decided, passage.person = True, person
    return passage


def test_two_whose_tracks_are_exchanged_keep_their_decisions() -> None:
    now, camera = passages(), Camera()
    ada = decided(now, camera, 1, ADA, embedding(1))
    bob = decided(now, camera, 2, BOB, embedding(2))
    now.see(camera(Seen(2, embedding(1), ADA, 0.8), Seen(1, embedding(2), BOB, 0.8)), 0)
    assert (of(now, 2), of(now, 1)) == (ada, bob)
    assert (ada.tracks, bob.tracks, len(now.open)) == ({2}, {1}, 2)


def test_one_face_like_somebody_let_in_makes_nothing_of_a_strangers_passage() -> None:
    now, camera = passages(), Camera()
    ada = decided(now, camera, 1, ADA, embedding(1))
    for like in (0.2, 0.2, 0.61, 0.2):
        now.see(camera(Seen(2, embedding(3), ADA, like)), SECOND)
        assert of(now, 2) is not ada
    _, gone = now.see(camera(Seen(2, embedding(3), ADA, 0.61)), SECOND)
    assert (of(now, 2) is ada, len(gone)) == (True, 1)


def test_a_face_of_who_was_let_in_is_nobodys_who_was_lost_beside_them_a_moment_ago() -> None:
    """As in a soak: when the tracks had begun anew, her face against the light became the last vote of a stranger's."""
    now, camera = passages(), Camera()
    ada = decided(now, camera, 1, ADA, embedding(1))
    like_neither = embedding(4) + 0.3 * embedding(3)
    now.see(camera(Seen(2, embedding(3), BOB, 0.3)), 0)
    now.see(camera(Seen(3, like_neither / np.linalg.norm(like_neither), ADA, 0.56)), SECOND)
    assert of(now, 3) is ada


def test_who_follows_somebody_who_was_let_in_and_is_a_little_like_them_has_a_passage() -> None:
    now, camera = passages(), Camera()
    ada = decided(now, camera, 1, ADA, embedding(1))
    now.see(camera(Seen(2, embedding(3), ADA, 0.5)), SECOND)
    assert of(now, 2) is not ada


def test_for_an_alarm_there_are_always_tries_left() -> None:
    now, camera = Passages(8, 0.6, watched=lambda person: person == BOB), Camera()
    refused(now, camera, embedding(1))
    for person in (ADA, ADA, BOB, BOB):
        frame = camera(Seen(1, embedding(1), person, 0.8))
        now.see(frame, 0)
        found = accepted(of(now, 1), 0.6, frame.frame.captured_ns)
    assert found
    assert found.person == BOB
