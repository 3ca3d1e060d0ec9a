"""Clips: out of a real stream's packets, without encoding again; and somebody in them who is forgotten."""

from __future__ import annotations

import io
import time
from collections.abc import Iterator
from contextlib import closing
from fractions import Fraction
from itertools import islice
from pathlib import Path

import av
import msgspec
import numpy as np
import pytest
from msgspec.structs import replace
from numpy.typing import NDArray

from pipeline.graph import Source
from pipeline.home import home, keys
from pipeline.types import Judged, Packet
from stages.capture import Capture, CaptureConfig
from stages.clips.clips import Clips, ClipsConfig, blur_out
from stages.clips.film import blurred, muxed
from stages.clips.memory import Memory
from stages.enrolment.forgetting import forgotten
from stages.events import clips
from stages.events.audit import audit
from stages.events.ledger import Ledger
from stages.events.records import Sighting
from stages.gallery.store import Store
from stages.mosaic import cover
from tests.stages.clips import Rings, film, number
from tests.stages.events.conftest import SNAPSHOT, decision
from tests.stages.gate.scene import MODEL, Camera, Seen, embedding

SECOND = 1_000_000_000
FRAME_NS = SECOND // 25
GROUP = 12  # frames from one key frame of a film to the next


def packets_of(path: Path) -> list[Packet]:
    """All that capture sends beside the frames of a file."""
    found: list[Packet] = []
    rings = Rings()
    capture = Capture(CaptureConfig(), Source("cam0", str(path), False), rings, packets=found.append)
    for _ in capture:
        pass
    capture.close()
    rings.close()
    return found


def pictures(mp4: bytes) -> list[tuple[float, NDArray[np.uint8]]]:
    """Seconds and (H, W, 3) BGR of each picture."""
    with av.open(io.BytesIO(mp4), "r") as source:
        return [
            (frame.time or 0.0, np.asarray(frame.to_ndarray(format="bgr24"), np.uint8))
            for frame in source.decode(video=0)
        ]


def numbers(mp4: bytes) -> list[int]:
    return [number(picture) for _, picture in pictures(mp4)]


@pytest.fixture(scope="module")
def stream(tmp_path_factory: pytest.TempPathFactory) -> list[Packet]:
    """250 pictures, ten seconds, a key frame each 12; with B-frames, as cameras' main profiles may have."""
    return packets_of(film(tmp_path_factory.mktemp("film") / "clip.mp4", frames=250))


@pytest.mark.parametrize("kind", ["mp4", "mkv", "ts", "avi"])
def test_packets_make_the_same_pictures_at_the_same_times(kind: str, tmp_path: Path) -> None:
    path = film(tmp_path / f"clip.{kind}")
    with av.open(str(path)) as source:
        wanted = [frame.to_ndarray(format="bgr24") for frame in source.decode(video=0)]

    found = pictures(muxed(packets_of(path)))

    assert len(found) == len(wanted)
    assert all(np.array_equal(picture, want) for (_, picture), want in zip(found, wanted, strict=True))
    assert np.allclose(np.diff([seconds for seconds, _ in found]), 1 / 25, atol=1e-3)


def test_an_mp4_holds_no_codec_that_is_not_for_it(tmp_path: Path) -> None:
    packets = packets_of(film(tmp_path / "clip.webm"))
    with pytest.raises(ValueError, match="libvpx"):
        muxed(packets)


def test_packets_are_on_the_line_of_the_frames(stream: list[Packet], tmp_path: Path) -> None:
    path, rings = film(tmp_path / "clip.mp4", frames=30), Rings()
    capture = Capture(CaptureConfig(), Source("clip", str(path), False), rings)
    frames = [frame.pts_ns for frame in capture if frame]
    rings.close()
    assert sorted(packet.pts_ns for packet in packets_of(path)) == frames
    assert [packet.number for packet in stream] == list(range(250))
    assert [packet.pts_ns // FRAME_NS for packet in stream if packet.key] == list(range(0, 250, GROUP))
    assert all(bool(packet.header) == packet.key for packet in stream)


def test_packets_of_a_file_that_is_played_again_are_on_its_line(tmp_path: Path) -> None:
    path, rings = film(tmp_path / "clip.mp4", frames=6), Rings()
    found: list[Packet] = []
    config = CaptureConfig(realtime=True, repeat_seconds=0.1)
    capture = Capture(config, Source("clip", str(path), False), rings, packets=found.append)
    frames = [frame.pts_ns for frame in islice(filter(None, capture), 12)]
    capture.close()
    rings.close()
    assert sorted(packet.pts_ns for packet in found)[:12] == frames
    assert len(pictures(muxed(found[:12]))) == 12


def test_images_have_no_packets(tmp_path: Path) -> None:
    found: list[Packet] = []
    rings = Rings()
    photo = Path(__file__).parents[2] / "samples" / "enrol" / "Eileen Collins.jpg"
    for _ in Capture(CaptureConfig(), Source("photo", str(photo), False), rings, packets=found.append):
        pass
    rings.close()
    assert found == []


def memory(packets: list[Packet], keep_s: float = 60, most_bytes: int = 1 << 30) -> Memory:
    made = Memory(round(keep_s * SECOND), most_bytes)
    for packet in packets:
        made.add(packet)
    return made


def test_a_clip_begins_at_the_key_frame_before_and_ends_when_it_is_told(stream: list[Packet]) -> None:
    found = numbers(muxed(memory(stream).around(100 * FRAME_NS, 30 * FRAME_NS, 20 * FRAME_NS)))
    first = 70 // GROUP * GROUP
    assert found[:50] == list(range(first, first + 50))
    assert 118 <= len(found) + first <= 122, "B-frames may hide the last ones"


def test_where_the_beginning_is_not_there_a_clip_begins_later(stream: list[Packet]) -> None:
    late = memory(stream[90:])
    assert numbers(muxed(late.around(100 * FRAME_NS, 90 * FRAME_NS, 0)))[0] == 96
    assert memory([]).around(0, SECOND, SECOND) == []


def test_what_is_older_than_asked_for_goes_and_never_more_than_that(stream: list[Packet]) -> None:
    kept = memory(stream, keep_s=2)
    found = numbers(muxed(kept.around(249 * FRAME_NS, 10 * SECOND, 0)))
    assert 249 - found[0] >= 50
    assert 249 - found[0] <= 50 + 2 * GROUP


def test_a_memory_is_no_larger_than_it_may_be(stream: list[Packet]) -> None:
    size = sum(len(packet.data) for packet in stream)
    found = memory(stream, most_bytes=size // 4).around(249 * FRAME_NS, 10 * SECOND, 0)
    assert 0 < sum(len(packet.data) for packet in found) <= size // 4
    assert found[0].key


def test_a_lost_packet_costs_the_pictures_up_to_the_next_key_frame(stream: list[Packet]) -> None:
    found = numbers(muxed(memory([*stream[:30], *stream[31:]]).around(60 * FRAME_NS, 60 * FRAME_NS, 0)))
    assert set(range(60)) - set(found) <= set(range(27, 36))
    assert set(range(36, 59)) <= set(found)


def test_a_capture_that_was_killed_sends_again_what_came_before(stream: list[Packet]) -> None:
    again = [replace(packet, number=place) for place, packet in enumerate(stream[24:])]
    found = memory([*stream[:40], *again]).around(249 * FRAME_NS, 10 * SECOND, 0)
    assert [packet.pts_ns for packet in found] == [packet.pts_ns for packet in stream]


def test_a_picture_that_comes_in_two_packets_is_one(tmp_path: Path) -> None:
    whole = packets_of(film(tmp_path / "clip.ts", frames=30))
    halves = [
        replace(packet, number=2 * packet.number + half, key=packet.key and not half, data=data)
        for packet in whole
        for half, data in enumerate((packet.data[: len(packet.data) // 2], packet.data[len(packet.data) // 2 :]))
    ]
    found = memory(halves).around(29 * FRAME_NS + whole[0].pts_ns, SECOND * 2, 0)
    assert [packet.data for packet in found] == [packet.data for packet in whole]


def test_a_clip_is_of_one_connection_the_one_of_its_moment(stream: list[Packet]) -> None:
    first = next(packet.number for packet in stream if packet.key and packet.number > 110)
    other = [replace(p, header=p.header and p.header + b"x") if p.number >= first else p for p in stream]
    before, after = (memory(other).around(at * FRAME_NS, 3 * SECOND, 3 * SECOND) for at in (100, 130))
    assert max(packet.number for packet in before) == first - 1
    assert min(packet.number for packet in after) == first


@pytest.fixture
def people(places: Path) -> dict[str, str]:
    """Ada and Bob are enrolled: their ids."""
    store = Store(home(), keys())
    for seed, name in enumerate(("Ada", "Bob"), 1):
        store.add(name, MODEL, embedding(seed)[None])
    return {person.name: person.id.hex() for person in store.people()}


@pytest.fixture
def ledger(places: Path) -> Iterator[Ledger]:
    ledger = Ledger(home(), keys(), create=True)
    yield ledger
    ledger.close()


def judged(at: int, *people: str) -> Judged:
    """Frame number `at`, with these people (ids) at the place where `Camera` sees everybody."""
    faces = Camera()(*(Seen(track, embedding(track), person) for track, person in enumerate(people)))
    frame = replace(faces.frame, seq=at, pts_ns=at * FRAME_NS)
    fields = {name: getattr(faces, name) for name in faces.__struct_fields__}
    fields |= {"people": people, "found": replace(faces.found, frame=frame)}
    return Judged(**fields, verdicts=("",) * len(people))


def decide(ledger: Ledger, person: str, at: int, **more: object) -> int:
    with ledger.commit() as commit:
        made = decision("opened", person, at_ns=time.time_ns(), pts_ns=at * FRAME_NS, **more)
        return commit.decide(made, SNAPSHOT, ())


def now(packets: list[Packet]) -> list[Packet]:
    """The same, as if they came as they are shown, the last one now."""
    begins_ns = time.monotonic_ns() - packets[-1].pts_ns - FRAME_NS
    return [replace(packet, read_ns=begins_ns + packet.pts_ns) for packet in packets]


def stage(**config: object) -> Clips:
    return Clips(msgspec.convert({"pre_seconds": 1, "post_seconds": 1} | config, ClipsConfig))


def feed(stage: Clips, packets: list[Packet]) -> None:
    for packet in packets:
        stage.packet(packet)


def test_each_decision_gets_its_clip_once_its_last_second_has_come(
    people: dict[str, str], ledger: Ledger, stream: list[Packet]
) -> None:
    recorder, came = stage(), now(stream)
    feed(recorder, came[:120])
    recorder(judged(100, people["Ada"], people["Bob"], ""))
    seq = decide(ledger, people["Ada"], 100)
    recorder.tick(1)
    assert clips.get(ledger, seq) is None

    feed(recorder, came[120:140])
    recorder.tick(2)

    found = clips.get(ledger, seq)
    assert found
    assert numbers(found.mp4)[:40] == list(range(72, 112))
    assert found.people == {people["Ada"], people["Bob"]}
    assert {one.at_ns for one in found.sightings} == {(100 - 72) * FRAME_NS}
    assert clips.showing(ledger, bytes.fromhex(people["Bob"])) == [seq]
    recorder.close()


def test_the_end_of_a_run_ends_a_clip(people: dict[str, str], ledger: Ledger, stream: list[Packet]) -> None:
    recorder = stage()
    feed(recorder, now(stream[:110]))
    seq = decide(ledger, people["Ada"], 100)
    recorder.close()
    found = clips.get(ledger, seq)
    assert found
    assert numbers(found.mp4)[0] == 72


def test_after_a_kill_a_clip_has_what_comes_from_then_on(
    people: dict[str, str], ledger: Ledger, stream: list[Packet]
) -> None:
    came = now(stream)[230:]
    seq = decide(ledger, people["Ada"], 249)
    recorder = stage()  # the one that heard what came before is dead
    feed(recorder, came)
    recorder.close()
    found = clips.get(ledger, seq)
    assert found
    assert numbers(found.mp4)[0] == 240


def test_a_decision_of_an_earlier_run_gets_no_pictures_of_this_one(
    people: dict[str, str], ledger: Ledger, stream: list[Packet]
) -> None:
    seq = decide(ledger, people["Ada"], 100)
    recorder = stage()
    begins_ns = time.monotonic_ns()
    feed(recorder, [replace(packet, read_ns=begins_ns + packet.pts_ns) for packet in stream])
    recorder.close()
    assert clips.get(ledger, seq) is None


def test_no_seconds_are_no_clips(people: dict[str, str], ledger: Ledger, stream: list[Packet]) -> None:
    recorder = stage(pre_seconds=0, post_seconds=0)
    feed(recorder, now(stream))
    seq = decide(ledger, people["Ada"], 100)
    recorder.close()
    assert clips.get(ledger, seq) is None


def test_a_stream_that_no_mp4_holds_costs_its_clips_and_nothing_else(
    people: dict[str, str], ledger: Ledger, tmp_path: Path
) -> None:
    recorder = stage()
    feed(recorder, now(packets_of(film(tmp_path / "clip.webm"))))
    seq = decide(ledger, people["Ada"], 20)
    recorder.close()
    assert clips.get(ledger, seq) is None
    assert ledger.snapshot(seq) == SNAPSHOT


def face(picture: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """What is where `Camera` sees everybody."""
    return picture[20:80, 20:80]


def test_who_is_forgotten_is_covered_in_the_clips_of_others(
    people: dict[str, str], ledger: Ledger, stream: list[Packet]
) -> None:
    recorder = stage()
    feed(recorder, now(stream[:130]))
    for at in range(95, 106):
        recorder(judged(at, people["Bob"]))
    seq = decide(ledger, people["Ada"], 100)
    recorder.close()
    before = clips.get(ledger, seq)
    assert before

    assert blur_out(ledger, bytes.fromhex(people["Bob"])) == (1, 0)

    after = clips.get(ledger, seq)
    assert after
    assert not after.people
    assert clips.showing(ledger, bytes.fromhex(people["Bob"])) == []
    was, are = pictures(before.mp4), pictures(after.mp4)
    assert np.allclose(np.diff([seconds for seconds, _ in are]), np.diff([seconds for seconds, _ in was]), atol=1e-3)
    changed = [
        bool(np.abs(face(one).astype(int) - face(other)).mean() > 10)
        for (_, one), (_, other) in zip(was, are, strict=True)
    ]
    there = range(95 - 72, 106 - 72)
    assert sum(changed[at] for at in there) >= 9, "two of the pictures are of one colour there"
    assert not any(changed[:8]), "before they came nothing is covered"


def test_somebody_is_covered_from_before_they_were_recognized(
    people: dict[str, str], ledger: Ledger, stream: list[Packet]
) -> None:
    recorder = stage()
    feed(recorder, now(stream[:130]))
    for at in range(80, 106):
        recorder(judged(at, people["Bob"] if at > 100 else ""))
    seq = decide(ledger, people["Ada"], 100)
    recorder.close()
    found = clips.get(ledger, seq)
    assert found
    assert sorted(one.at_ns // FRAME_NS for one in found.sightings) == [at - 72 for at in range(80, 106)]
    assert found.people == {people["Bob"]}


def written_before_bob_is_recognized(people: dict[str, str], ledger: Ledger, stream: list[Packet]) -> tuple[Clips, int]:
    """A recorder that has written a clip in which Bob is still a stranger; the clip's number."""
    recorder = stage()
    feed(recorder, now(stream[:130]))
    for at in range(95, 106):
        recorder(judged(at, ""))
    seq = decide(ledger, people["Ada"], 100)
    recorder.tick(1)
    found = clips.get(ledger, seq)
    assert found
    assert not found.people
    return recorder, seq


def test_who_is_recognized_after_a_clip_was_written_is_known_to_be_in_it(
    people: dict[str, str], ledger: Ledger, stream: list[Packet]
) -> None:
    recorder, seq = written_before_bob_is_recognized(people, ledger, stream)
    recorder(judged(145, people["Bob"]))
    recorder.tick(2)
    recorder.close()
    found = clips.get(ledger, seq)
    assert found
    assert sorted(one.at_ns // FRAME_NS for one in found.sightings) == [at - 72 for at in range(95, 106)]
    assert clips.showing(ledger, bytes.fromhex(people["Bob"])) == [seq]
    assert audit(ledger, []).findings == ()


def test_a_clip_is_put_again_once_for_who_is_recognized_later(
    people: dict[str, str], ledger: Ledger, stream: list[Packet]
) -> None:
    recorder, _ = written_before_bob_is_recognized(people, ledger, stream)
    for at in range(130, 135):
        recorder(judged(at, people["Bob"]))
        recorder.tick(at)
    recorder.close()
    assert [event.kind for event in ledger.follow(0)].count("clip") == 2


def test_who_is_recognized_and_forgotten_at_once_is_covered(
    people: dict[str, str], ledger: Ledger, stream: list[Packet]
) -> None:
    recorder, seq = written_before_bob_is_recognized(people, ledger, stream)
    before = clips.get(ledger, seq)
    recorder(judged(130, people["Bob"]))
    Store(home(), keys()).forget("Bob")
    recorder.tick(2)
    recorder.close()
    after = clips.get(ledger, seq)
    assert before
    assert after
    assert not after.people
    was, now_ = pictures(before.mp4)[100 - 72][1], pictures(after.mp4)[100 - 72][1]
    assert np.abs(face(was).astype(int) - face(now_)).mean() > 10
    assert clips.showing(ledger, bytes.fromhex(people["Bob"])) == []


def test_a_clip_is_left_as_it_is_once_what_was_seen_in_it_is_not_known_any_more(
    people: dict[str, str], ledger: Ledger, stream: list[Packet]
) -> None:
    recorder, seq = written_before_bob_is_recognized(people, ledger, stream)
    recorder(judged(130 + 25 * 25, people["Bob"]))
    recorder.tick(2)
    recorder.close()
    found = clips.get(ledger, seq)
    assert found
    assert not found.people


def test_who_was_forgotten_while_a_clip_was_still_to_come_is_covered_in_it(
    people: dict[str, str], ledger: Ledger, stream: list[Packet]
) -> None:
    recorder = stage()
    feed(recorder, now(stream[:130]))
    recorder(judged(100, people["Bob"]))
    seq = decide(ledger, people["Ada"], 100)
    Store(home(), keys()).forget("Bob")
    recorder.tick(1)
    recorder.close()
    found = clips.get(ledger, seq)
    assert found
    assert not found.people
    assert ledger.all("SELECT * FROM shown WHERE person = ?", (bytes.fromhex(people["Bob"]),)) == []


def test_a_forget_that_is_killed_while_it_waits_has_covered_the_face(
    people: dict[str, str], ledger: Ledger, stream: list[Packet], monkeypatch: pytest.MonkeyPatch
) -> None:
    seq = decide(ledger, people["Ada"], 100)
    clips.put(ledger, seq, clips.Clip(muxed(stream[:24]), (Sighting(people["Bob"], 0, (20, 20, 80, 80)),)))
    store = Store(home(), keys())

    def killed(*_: object) -> list[str]:
        raise KeyboardInterrupt

    monkeypatch.setattr(store, "wait_for", killed)
    with pytest.raises(KeyboardInterrupt):
        forgotten(store, "Bob")
    found = clips.get(ledger, seq)
    assert found
    assert not found.people


def test_a_clip_that_cannot_be_blurred_is_removed(people: dict[str, str], ledger: Ledger) -> None:
    seq = decide(ledger, people["Ada"], 100)
    bob = Sighting(people["Bob"], 0, (0, 0, 9, 9))
    clips.put(ledger, seq, clips.Clip(b"no film at all", (bob,)))
    assert blur_out(ledger, bytes.fromhex(people["Bob"])) == (0, 1)
    assert clips.get(ledger, seq) is None


def test_two_who_are_forgotten_at_once_are_both_covered(
    people: dict[str, str], ledger: Ledger, stream: list[Packet], monkeypatch: pytest.MonkeyPatch
) -> None:
    cid = "0c" * 16
    seq = decide(ledger, people["Ada"], 10)
    both = tuple(Sighting(person, 0, (20, 20, 80, 80)) for person in (people["Bob"], cid))
    clips.put(ledger, seq, clips.Clip(muxed(stream[:24]), both))
    real = blurred

    def beside(mp4: bytes, sightings: list[Sighting]) -> bytes:
        monkeypatch.setattr("stages.clips.clips.blurred", real)
        assert blur_out(ledger, bytes.fromhex(cid)) == (1, 0)
        return real(mp4, sightings)

    monkeypatch.setattr("stages.clips.clips.blurred", beside)
    assert blur_out(ledger, bytes.fromhex(people["Bob"])) == (1, 0)
    found = clips.get(ledger, seq)
    assert found
    assert not found.people
    assert ledger.all("SELECT * FROM shown") == []
    assert audit(ledger, []).findings == ()


def test_a_mosaic_covers_a_face_up_to_the_edge_and_what_is_outside_stays() -> None:
    picture = np.random.default_rng(0).integers(0, 256, (90, 120, 3), dtype=np.uint8)
    before = picture.copy()
    cover(picture, (100, -10, 150, 40))
    assert np.array_equal(picture[60:], before[60:])
    assert np.array_equal(picture[:, :80], before[:, :80])
    assert len(np.unique(picture[:60, 80:].reshape(-1, 3), axis=0)) <= 36
    cover(picture, (500, 500, 510, 510))  # where the camera does not see


def test_blurring_nobody_keeps_the_pictures(stream: list[Packet]) -> None:
    mp4 = muxed(stream[:24])
    assert numbers(blurred(mp4, [])) == numbers(mp4)


@pytest.mark.parametrize("suffix", ["mp4", "mkv"])
@pytest.mark.parametrize("aspect", [Fraction(1), Fraction(16, 11)])
def test_a_face_is_covered_where_it_was_seen_whatever_the_shape_of_the_pixels(
    aspect: Fraction, suffix: str, tmp_path: Path
) -> None:
    path, packets = film(tmp_path / f"clip.{suffix}", 12, (352, 288), first=85, aspect=aspect), []
    with closing(Rings()) as rings:
        capture = Capture(CaptureConfig(), Source("cam", str(path), False), rings, None, packets.append)
        frame = next(frame for frame in capture if frame)
        assert all(capture)
        capture.close()
    assert (frame.width, frame.height) == (round(352 * aspect), 288)
    left, right = 0.55 * frame.width, 0.7 * frame.width  # black goes over into white at 0.625
    mp4 = muxed(packets)
    whole, covered = (shown(blurred(mp4, part)) for part in ([], [Sighting("aa", 0, (left, 10, right, 120))]))
    assert whole.shape == (288, round(352 * aspect), 3)
    changed = np.flatnonzero((np.abs(whole.astype(int) - covered) > 40).any(axis=(0, 2)))
    assert len(changed)
    around = (right - left) / 2
    assert left - around <= changed[0] <= changed[-1] <= right + around


def shown(mp4: bytes) -> NDArray[np.uint8]:
    """The first picture."""
    with av.open(io.BytesIO(mp4)) as container:
        return np.asarray(next(container.decode(video=0)).to_ndarray(format="bgr24"), np.uint8)
