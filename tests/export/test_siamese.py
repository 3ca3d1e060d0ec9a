"""The losses and the mining of triplets, against values worked out by hand."""

import math

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from export.embedding import siamese
from export.embedding.embedder_batches import Batch

PEOPLE = torch.tensor([0, 0, 1, 1, 2, 2])


def on_circle(*degrees: float) -> Tensor:
    """(N, 128) of unit length, at these angles of one plane."""
    angles = torch.tensor(degrees).deg2rad()
    points = torch.zeros(len(degrees), 128)
    points[:, 0], points[:, 1] = angles.cos(), angles.sin()
    return points


def batch(people: Tensor, seed: int = 0) -> Batch:
    lots = torch.from_numpy(np.random.default_rng(seed).random((len(people), len(people)), np.float32))
    return Batch(torch.empty(0), people, lots)


def chord(degrees: float) -> float:
    """The squared distance of two points on the unit circle."""
    return 2 - 2 * math.cos(math.radians(degrees))


def test_distances_are_squared_chords() -> None:
    apart = siamese.distances(on_circle(0, 60, 180))
    expected = torch.tensor([[0, 1, 4], [1, 0, chord(120)], [4, chord(120), 0]])
    assert torch.allclose(apart, expected, atol=1e-5)


def test_semi_hard_takes_the_nearest_negative_behind_the_positive() -> None:
    # 0 and 20 are one person's; 10 is nearer than the positive, 30 and 90 are farther.
    people = torch.tensor([0, 0, 1, 1, 1])
    near, far = siamese.of_pairs(siamese.distances(on_circle(0, 20, 10, 30, 90)), people, torch.rand(5, 5), "semi-hard")
    assert near[0] == pytest.approx(chord(20), abs=1e-5)
    assert far[0] == pytest.approx(chord(30), abs=1e-5)


def test_semi_hard_takes_the_farthest_negative_where_none_is_behind_the_positive() -> None:
    people = torch.tensor([0, 0, 1, 1])
    near, far = siamese.of_pairs(siamese.distances(on_circle(0, 90, 10, 30)), people, torch.rand(4, 4), "semi-hard")
    assert near[0] == pytest.approx(chord(90), abs=1e-5)
    assert far[0] == pytest.approx(chord(30), abs=1e-5)


def test_random_negatives_are_negatives_and_differ_with_the_lots() -> None:
    apart = siamese.distances(on_circle(0, 1, 60, 62, 120, 124))
    found = [siamese.of_pairs(apart, PEOPLE, batch(PEOPLE, seed).lots, "random") for seed in range(4)]
    for near, far in found:
        assert near.max() <= chord(4) + 1e-5
        assert far.min() >= chord(56) - 1e-5
    assert len({tuple(far.tolist()) for _, far in found}) > 1


def test_batch_hard_takes_the_farthest_positive_and_the_nearest_negative() -> None:
    people = torch.tensor([0, 0, 0, 1, 1])
    near, far = siamese.of_anchors(siamese.distances(on_circle(0, 10, 40, 55, 100)), people)
    assert near.tolist() == pytest.approx([chord(40), chord(30), chord(40), chord(45), chord(45)], abs=1e-5)
    assert far.tolist() == pytest.approx([chord(55), chord(45), chord(15), chord(15), chord(60)], abs=1e-5)


@pytest.mark.parametrize("mining", siamese.MININGS)
def test_a_triplet_loss_is_less_where_people_lie_apart(mining: str) -> None:
    triplets = siamese.Triplets(mining)
    mixed = triplets(on_circle(0, 120, 1, 121, 2, 122), batch(PEOPLE))["triplet"]
    parted = triplets(on_circle(0, 1, 120, 121, 240, 241), batch(PEOPLE))["triplet"]
    assert parted < mixed
    if mining != "batch-hard":
        assert parted == 0  # all triplets are farther apart than the margin


def test_the_hinge_is_the_mean_over_all_pairs_of_one_person() -> None:
    people = torch.tensor([0, 0, 1])
    loss = siamese.Triplets("semi-hard")(on_circle(0, 20, 25), batch(people))["triplet"]
    first = chord(20) - chord(25) + siamese.MARGIN  # anchor at 0
    second = chord(20) - chord(5) + siamese.MARGIN  # anchor at 20: none is behind, 25 is the only one
    assert loss == pytest.approx((first + second) / 2, abs=1e-5)


def test_chi_square_is_symmetric_not_negative_and_nothing_for_the_same_face() -> None:
    embeddings = functional.normalize(torch.randn(6, 128, generator=torch.Generator().manual_seed(0)))
    found = siamese.Verifier("chi-square").difference(embeddings)
    assert found.shape == (6, 6, 256)
    assert found.min() >= 0
    assert torch.allclose(found, found.transpose(0, 1))
    assert found.diagonal().abs().max() == 0
    a, b = embeddings[0, 0].item(), embeddings[1, 0].item()
    parts = [(max(a, 0), max(b, 0)), (max(-a, 0), max(-b, 0))]
    expected = [(x - y) ** 2 / (x + y + 1e-6) for x, y in parts]
    assert found[0, 1, [0, 128]].tolist() == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize("form", ["siamese", "chi-square"])
def test_the_logistic_unit_learns_who_is_who(form: str) -> None:
    torch.manual_seed(0)
    faces = nn.Parameter(torch.randn(6, 128))
    verifier = siamese.Verifier(form)
    optimizer = torch.optim.Adam([faces, *verifier.parameters()], 0.02)
    losses = []
    for _ in range(60):
        found = verifier(functional.normalize(faces), batch(PEOPLE))["entropy"]
        optimizer.zero_grad()
        found.backward()
        optimizer.step()
        losses.append(found.item())
    assert losses[-1] < 0.2 * losses[0]
    apart = siamese.distances(functional.normalize(faces.detach()))
    assert apart[0, 1] < apart[0, 2:].min()


def test_arcface_adds_its_margin_to_the_angle_of_the_own_class() -> None:
    arcface = siamese.ArcFace(2)
    with torch.no_grad():
        arcface.classes.copy_(on_circle(0, 90) * 7)
    found = arcface(on_circle(30), batch(torch.tensor([0])))["arcface"]
    own = siamese.STRETCH * math.cos(math.radians(30) + siamese.ANGLE)
    other = siamese.STRETCH * math.cos(math.radians(60))
    assert found.item() == pytest.approx(math.log(1 + math.exp(other - own)), rel=1e-3)


def test_arcface_goes_on_rising_where_the_face_is_opposite_to_its_class() -> None:
    arcface = siamese.ArcFace(2)
    with torch.no_grad():
        arcface.classes.copy_(torch.eye(128)[[0, 2]])  # the other class is as far from all of the circle
    losses = [arcface(on_circle(angle), batch(torch.tensor([0])))["arcface"].item() for angle in (150, 165, 175, 180)]
    assert losses == sorted(losses)
    assert all(math.isfinite(value) for value in losses)
    straight = siamese.STRETCH * (-1 - siamese.ANGLE * math.sin(siamese.ANGLE))
    assert losses[3] == pytest.approx(math.log(1 + math.exp(0 - straight)), rel=1e-3)


@pytest.mark.parametrize("loss", siamese.LOSSES)
def test_gradients_are_numbers_even_where_two_faces_are_the_same(loss: str) -> None:
    embeddings = on_circle(0, 0, 90, 90, 180, 180).requires_grad_()
    parts = siamese.head(loss, "batch-hard", 3)(embeddings, batch(PEOPLE))
    sum(parts.values()).backward()  # type: ignore[union-attr]
    assert embeddings.grad is not None
    assert torch.isfinite(embeddings.grad).all()
