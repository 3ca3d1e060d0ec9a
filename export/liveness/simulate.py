"""`python -m export simulate attacks`: photos of live people in, folders of simulated presentations out."""

import argparse
import json
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from rich.progress import track

from export.chips import PHOTOS, VIDEOS
from export.cli import Commands, command, positive, seed
from export.detector import Array, Detector, Image, overlap
from export.feed import FINDER
from export.files import folder_at, write_whole
from export.liveness.attacks import HELD, camera, cutout_attack, live
from export.liveness.live_folders import LIVE, Face, faces, pictures
from export.liveness.sheet import Random
from export.packages import Failed

MARK = "simulated.json"  # in the folder: what is in it was never before a camera
SPECIES = (LIVE, *HELD, "cutout")
TRIES = 4  # a picture in which the face is not found again is drawn anew


@dataclass(frozen=True)
class Material:
    """What a folder of photos and videos has to offer."""

    people: list[tuple[str, Face]]  # the source's name, and a face
    scenes: list[Image]  # without faces; (H, W, 3) uint8 BGR


def collect(folder: Path, detector: Detector) -> Material:
    """Every face, and every picture without one, as a scene; plain walls where all pictures have faces."""
    files = sorted(path for path in folder.rglob("*") if path.suffix.lower() in (*PHOTOS, *VIDEOS))
    people, scenes = [], []
    for file in track(files, "looking for faces"):
        name = "_".join(file.relative_to(folder).with_suffix("").parts).replace("--", "-")
        for image in pictures(file):
            found = faces(image, detector)
            people += [(name, face) for face in found]
            if not found:
                scenes.append(image)
    if not people:
        raise Failed(f"no photo in {folder} has a face that can be found; give photos of live people")
    return Material(people, scenes or walls())


def walls() -> list[Image]:
    """Plain walls, each lit from another side."""
    ramp = np.linspace(0.7, 1, 256, dtype=np.float32)[None, :, None] * np.ones((256, 1, 1), np.float32)
    colours = np.array([(190, 200, 205), (150, 130, 120), (90, 110, 125), (60, 60, 70)], np.float32)
    return [np.rot90(ramp * colour, turns).astype(np.uint8) for turns, colour in enumerate(colours)]


def draw(species: str, face: Face, material: Material, random: Random) -> tuple[Array, Array]:
    """One presentation before the camera, and where the face ought to be in it."""
    if species == LIVE:
        return live(face, random)
    if species in HELD:
        return HELD[species](face, material.scenes[random.integers(len(material.scenes))], random)
    return cutout_attack(face, material.people[random.integers(len(material.people))][1], random)


def present(species: str, face: Face, material: Material, detector: Detector, random: Random) -> bytes | None:
    """A presentation, as JPEG, whose widest face is the one presented; None where none comes out that way."""
    for _ in range(TRIES):
        canvas, box = draw(species, face, material, random)
        coded = cv2.imencode(".jpg", camera(canvas, random), [cv2.IMWRITE_JPEG_QUALITY, 95])[1]
        found = faces(np.asarray(cv2.imdecode(coded, cv2.IMREAD_COLOR), np.uint8), detector)
        if found and overlap(box, found[0].box[None])[0] > 0.35:
            return coded.tobytes()
    return None


def simulate(photos: Path, out: Path, count: int, seed: int) -> dict[str, int]:
    """Write `count` presentations of each species, sources in turn, as SPECIES/SOURCE--NUMBER.jpg; how many it are."""
    if not photos.is_dir():
        raise Failed(f"{photos} is no folder; give one with photos of live people")
    if any(folder_at(out).iterdir()):
        raise Failed(f"{out} is not empty; give a new folder")
    detector, written = Detector(FINDER, 384, 640), dict.fromkeys(SPECIES, 0)
    material = collect(photos, detector)
    for species in SPECIES:
        folder_at(out / species)
    names = sorted({name for name, _ in material.people})
    by_name = {name: [face for other, face in material.people if other == name] for name in names}
    for number in track(range(count), "presenting"):
        name = names[number % len(names)]  # each source as often, however many faces it has
        for row, species in enumerate(SPECIES):
            random = np.random.default_rng((seed, number, row))
            face = by_name[name][random.integers(len(by_name[name]))]
            picture = present(species, face, material, detector, random)
            if picture is not None:
                write_whole(out / species / f"{name}--{number}.jpg", picture)
                written[species] += 1
    write_whole(out / MARK, json.dumps({"seed": seed, "sources": names, "written": written}, indent=1).encode())
    return written


def run(arguments: argparse.Namespace) -> None:
    """`simulate attacks`."""
    written = simulate(arguments.photos, arguments.out, arguments.count, arguments.seed)
    print(", ".join(f"{count} {species}" for species, count in written.items()), f"in {arguments.out}")


def add(commands: Commands) -> None:
    """`simulate attacks` under `simulate`."""
    kinds = commands.add_parser("simulate", help="make data").add_subparsers(required=True)
    sub = command(kinds, "attacks", run, "simulated presentation attacks, and live faces, of photos and videos")
    sub.add_argument("photos", type=Path, help="a folder of live people; pictures without a face are the scenes")
    sub.add_argument("--out", "-o", type=Path, required=True, metavar="FOLDER")
    sub.add_argument("--count", type=positive, default=100, help="of each species")
    sub.add_argument("--seed", type=seed, default=0)
