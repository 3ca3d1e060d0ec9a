"""Active liveness: turn your head to the side that is asked. A photo that is turned in the hand does not turn its head.

Landmarks over time tell (see `quality.pose`): a flat picture keeps the yaw that it shows, a head does not. A sheet that
is bent round a cylinder fakes some yaw, but its eyes come together faster than those of a head; that is looked at too.
Measured with centerface_int8 on photos of faces that look ahead, turned both ways by up to 65 degrees before a
simulated camera: of 34 flat ones none passes from 64 cm away, 1 from 32 cm, and none of 65 tilted ones; bent to a
radius of 1.2, 0.8 and 0.5 face widths 3 of 34, 3 of 32 and 15 of 34 do. yolo_face_int8 lets pass 1 of 127 flat ones,
and of bent ones 7 of 33, 19 of 32 and 22 of 38.

What it does not stop: that, a film of the right head (who is filmed turning left passes one time in two, so after a
failure ask only a few times), pictures of several poses shown one after the other, a mask. So it belongs together with
a passive network; and whoever asks has to see to it that the face that turns, and the one that comes back from the
turn, are the one that was recognized.
"""

from __future__ import annotations

import secrets
from math import cos, radians
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from stages.quality import pose

FRONTAL = 12.0  # degrees of yaw
TURNED = 35.0  # degrees
# As a head turns its eyes come together, by cos(yaw), so that in eye distances its face grows taller: at most so many
# times as much. A sheet has to be turned much further before its landmarks say as much of yaw.
TALLER = 1.15
GAP_NS = 500_000_000  # out of sight for longer the picture may have been changed for another

Side = Literal["left", "right"]  # the person's own
State = Literal["waiting", "passed", "failed"]
SIDES: tuple[Side, Side] = ("left", "right")


class Challenge:
    """One request, of a side drawn at random: look ahead, turn there, look ahead again, all before a deadline.

    `state` says how it stands, and `reason` why it failed. A face that is another track's, or comes back after a gap,
    begins again; `track` is whose it is now, and in the end who passed.
    """

    def __init__(self, now_ns: int, seconds: float, side: Side | None = None) -> None:
        """Asked at `now_ns`, by any clock that only rises and all calls go by; `seconds` are given for it.

        `side`: that another camera has asked for already.
        """
        self.side: Side = side if side else secrets.choice(SIDES)
        self.state: State = "waiting"
        self.reason: Literal["", "late", "other-side"] = ""
        self.track = -1
        self._deadline_ns = now_ns + int(seconds * 1e9)
        self._seen_ns = now_ns
        self._done = 0  # of `request`'s steps
        self._tall = 0.0  # `Pose.tall` of the face when it last looked ahead

    @property
    def request(self) -> str:
        """What the person is to do now, to be shown to them; "" once it is over."""
        steps = "look at the camera", f"turn your head to your {self.side}", "look at the camera again"
        return steps[self._done] if self.state == "waiting" else ""

    def at(self, now_ns: int) -> State:
        """How it stands at `now_ns`, whether anybody is seen or not."""
        if self.state == "waiting" and now_ns > self._deadline_ns:
            self.state, self.reason = "failed", "late"
        return self.state

    def see(self, track: int, keypoints: NDArray[np.float32], now_ns: int, same: bool) -> State:
        """A face of `track` has these points (5, 2) xy, as in `Detections`, in a picture that is not mirrored.

        Turned as asked only one counts that is the `same`: it was compared, and is whom the turn was asked of.
        """
        (yaw,), _, _, (tall,) = pose(keypoints[None])
        if self.at(now_ns) != "waiting" or np.isnan(yaw):
            return self.state
        if track != self.track or now_ns - self._seen_ns > GAP_NS:
            self.track, self._done = track, 0
        self._seen_ns = now_ns
        there = yaw if self.side == "left" else -yaw  # to the side that was asked
        if abs(yaw) <= FRONTAL:
            self._ahead(float(tall))
        elif self._done == 1 and there <= -TURNED:
            self.state, self.reason = "failed", "other-side"
        elif self._done == 1 and same and there >= TURNED and tall * cos(radians(yaw)) <= TALLER * self._tall:
            self._done = 2
        return self.state

    def _ahead(self, tall: float) -> None:
        """The face looks ahead: it may begin to turn, or it is done."""
        if self._done == 2:
            self.state = "passed"
        self._done, self._tall = max(self._done, 1), tall


def turned(keypoints: NDArray[np.float32]) -> NDArray[np.bool_]:
    """(N,) whether faces with `keypoints` (N, 5, 2) xy are turned as far as is asked, to either side."""
    far: NDArray[np.bool_] = np.abs(pose(keypoints).yaw) >= TURNED  # NaN is not
    return far
