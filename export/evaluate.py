"""How good is a model file? Average precision of a detector, verification rates of an embedder."""

import json
from collections.abc import Iterator
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import onnxruntime

from export.chips import Array, Detector, overlap, read_image

FARS = (1e-2, 1e-3)


def labelled_photos(file: Path, smallest: float = 16) -> Iterator[tuple[Path, Array]]:
    """(photo, (N, 4) xyxy boxes at least `smallest` px high) for each image of a dlib XML file."""
    for entry in ElementTree.parse(file).iter("image"):
        sides = [[float(box.get(side, 0)) for side in ("left", "top", "width", "height")] for box in entry.iter("box")]
        boxes = np.array([side for side in sides if side[3] >= smallest], np.float32).reshape(-1, 4)
        boxes[:, 2:] += boxes[:, :2]
        yield file.parent / entry.get("file", ""), boxes


def average_precision(model: Path, files: list[Path], height: int, width: int) -> dict[str, float]:
    """AP at IoU 0.5 (area under the monotone precision curve) of a face detector over dlib XML files, with counts."""
    detector = Detector(model, height, width)
    scores: list[float] = []
    right: list[bool] = []
    photos = faces = 0
    for file in files:
        for photo, truth in labelled_photos(file):
            photos, faces = photos + 1, faces + len(truth)
            free = np.ones(len(truth), bool)
            found = detector(read_image(photo))
            for box, score in zip(found.boxes, found.scores, strict=True):
                overlaps = np.where(free, overlap(box, truth), 0) if len(truth) else np.zeros(1)
                best = int(overlaps.argmax())
                right.append(bool(overlaps[best] >= 0.5))
                scores.append(float(score))
                if right[-1]:
                    free[best] = False
    hits = np.array(right)[np.argsort(-np.array(scores), kind="stable")].cumsum()
    precision = np.maximum.accumulate((hits / np.arange(1, len(hits) + 1))[::-1])[::-1]
    area = float((precision * np.diff(hits, prepend=0)).sum() / faces)
    return {"AP50": round(area, 4), "photos": photos, "faces": faces}


def embed(model: Path, faces: Array) -> Array:
    """The embeddings (N, D) of chips (N, 150, 150, 3) RGB, scaled as the file says."""
    session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
    said = session.get_modelmeta().custom_metadata_map
    mean, scale = (np.array(json.loads(f"[{said[key]}]"), np.float32) for key in ("framewire.mean", "framewire.scale"))
    pixels = np.ascontiguousarray(((faces - mean) * scale).transpose(0, 3, 1, 2))
    return np.concatenate(
        [session.run(None, {"images": part})[0] for part in np.array_split(pixels, -(-len(pixels) // 32))]
    )


def verification(names: list[str], embeddings: Array) -> dict[str, float]:
    """TAR at each of FARS with its threshold (cosine; the share of impostor pairs above it is at most the FAR)."""
    unit = embeddings / np.linalg.norm(embeddings, axis=1, keepdims=True)
    first, second = np.triu_indices(len(names), 1)
    cosine = (unit @ unit.T)[first, second]
    same = np.array(names)[first] == np.array(names)[second]
    genuine, impostor = cosine[same], np.sort(cosine[~same])[::-1]
    result: dict[str, float] = {"genuine_pairs": len(genuine), "impostor_pairs": len(impostor)}
    for far in FARS:
        threshold = float(impostor[int(far * len(impostor))])
        result[f"TAR@FAR={far:g}"] = round(float((genuine > threshold).mean()), 4)
        result[f"threshold@FAR={far:g}"] = round(threshold, 4)
    separation = (genuine.mean() - impostor.mean()) / np.sqrt((genuine.var() + impostor.var()) / 2)
    return {**result, "d_prime": round(float(separation), 3)}
