"""Memory of every process over 10,000 frames. `python -m bench.memory`

The sample clip, made small and repeated: what leaks once a frame, a message or a result leaks as often as at 720p. The
detector's input is small too, and small faces count, so that every stage has its work and the run takes minutes.
"""

from __future__ import annotations

import sys
from collections import defaultdict
from fractions import Fraction
from pathlib import Path
from tempfile import TemporaryDirectory

import av
import numpy as np

from bench.command import CLIP, enrolled, run
from bench.table import Row, report

FRAMES = 10_000
SETTLED = 2_000  # until here the rings are touched, buffers and caches have their size
SPAN = 500  # frames over which the memory at an end is the median of
SIZE, RATE = (320, 180), Fraction(25)
CONFIG = "detect.size = [96, 160]\ncrop.min_face = 8\n"
GATE_MB = 1.0  # 140 bytes a frame: the smallest message, a ticket, is larger as an object


class Resident:
    """Looks at the resident memory of all processes of a run."""

    def __init__(self) -> None:
        self.seen: dict[str, list[tuple[int, float]]] = defaultdict(list)  # process -> (frames done, MB)
        self._at = -1

    def __call__(self, pids: dict[str, int], done: int) -> None:
        """Look once every ten frames."""
        if done < self._at + 10:
            return
        self._at = done
        for name, pid in pids.items():
            megabytes = _resident_mb(pid)
            if megabytes:
                self.seen[name].append((done, megabytes))

    def around(self, name: str, start: int) -> float:
        """The median MB of a process over `SPAN` frames from `start`."""
        return float(np.median([size for done, size in self.seen[name] if start <= done < start + SPAN]))


def _resident_mb(pid: int) -> float:
    """VmRSS of a process, 0 where it has just ended; proc(5)."""
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return 0.0
    line = next((line for line in status.splitlines() if line.startswith("VmRSS:")), "VmRSS: 0 kB")
    return int(line.split()[1]) / 1024


def lengthen(clip: Path, target: Path) -> None:
    """Write at least `FRAMES` frames of `clip`, at `SIZE`: encoded once, then repeated."""
    with av.open(str(clip)) as source, av.open(str(target), "w") as sink:
        stream = sink.add_stream("libx264", rate=RATE, options={"bf": "0"})  # no B-frames: pts and dts just count
        stream.width, stream.height, stream.pix_fmt = *SIZE, "yuv420p"
        packets = []
        for number, frame in enumerate(source.decode(video=0)):
            small = frame.reformat(*SIZE, format="yuv420p")
            small.pts, small.time_base = number, 1 / RATE
            packets += stream.encode(small)
        units = [bytes(packet) for packet in [*packets, *stream.encode()]]
        for number in range(-(-FRAMES // len(units)) * len(units)):
            packet = av.Packet(units[number % len(units)])
            packet.stream, packet.time_base, packet.duration = stream, 1 / RATE, 1
            packet.pts = packet.dts = number
            packet.is_keyframe = number % len(units) == 0
            sink.mux(packet)


def main() -> int:
    """Run over the long clip; 1 when a process grows."""
    resident = Resident()
    with enrolled() as environment, TemporaryDirectory() as folder:
        clip, config = Path(folder, "long.mp4"), Path(folder, "small.toml")
        lengthen(CLIP, clip)
        config.write_text(CONFIG)
        ran = run(["--config", str(config)], environment, clip, resident)
    last = FRAMES - SPAN
    settled, ended = ({name: resident.around(name, at) for name in resident.seen} for at in (SETTLED, last))
    rows = []
    for name in sorted(resident.seen):
        rows.append(Row(f"{name}, at frame {SETTLED:,}", settled[name], "MB"))
        rows.append(
            Row(f"{name}, growth to frame {FRAMES:,}", ended[name] - settled[name], "MB", gate=f"<= {GATE_MB:g}")
        )
    rows.append(Row("all, growth", sum(ended.values()) - sum(settled.values()), "MB"))
    notes = [
        f"{len(ran.frames)} frames, the sample clip at {SIZE[0]}x{SIZE[1]} again and again; {CONFIG.strip()!r}.",
        f"VmRSS, with what is shared; the median over {SPAN} frames from frame {SETTLED:,}, and over the last {SPAN}.",
    ]
    return report("memory", rows, versions=("onnxruntime-gpu", "opencv-python", "av"), notes=notes)


if __name__ == "__main__":
    sys.exit(main())
