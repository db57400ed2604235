"""The unified focal loss: by hand, in its limits, and where a careless formula gives no number."""

from __future__ import annotations

import math

import pytest

torch = pytest.importorskip("torch")

from torch.nn import functional  # noqa: E402

from trainer.networks.losses import unified_focal_loss  # noqa: E402

pytestmark = pytest.mark.train

# Probabilities 0.8 and 0.4 for defects, 0.3 and 0.1 for ok images.
P = torch.tensor([0.8, 0.4, 0.3, 0.1], dtype=torch.float64)
LABEL = torch.tensor([1.0, 1.0, 0.0, 0.0], dtype=torch.float64)
LOGITS = torch.logit(P)


def loss(weight, delta, gamma, logits=LOGITS, label=LABEL):
    return unified_focal_loss(logits, label, weight, delta, gamma)


def by_hand_focal(delta, gamma):
    defects = delta * (-math.log(0.8) - math.log(0.4))
    oks = (1 - delta) * (-(0.3**gamma) * math.log(0.7) - 0.1**gamma * math.log(0.9))
    return (defects + oks) / 4


def by_hand_tversky(delta, gamma):
    # defect: TP 1.2, FN 0.8, FP 0.4; ok: TP 1.6, FN 0.4, FP 0.8
    defect = 1.2 / (1.2 + delta * 0.8 + (1 - delta) * 0.4)
    ok = 1.6 / (1.6 + delta * 0.4 + (1 - delta) * 0.8)
    return (1 - ok) + (1 - defect) ** (1 - gamma)


@pytest.mark.parametrize(("delta", "gamma"), [(0.6, 0.5), (0.9, 0.2), (0.5, 0.0), (0.3, 0.75)])
def test_is_what_it_is_by_hand(delta, gamma):
    focal, tversky = by_hand_focal(delta, gamma), by_hand_tversky(delta, gamma)
    assert loss(1, delta, gamma).item() == pytest.approx(focal, rel=1e-6)
    assert loss(0, delta, gamma).item() == pytest.approx(tversky, rel=1e-6)
    mixed = 0.3 * focal + 0.7 * tversky
    assert loss(0.3, delta, gamma).item() == pytest.approx(mixed, rel=1e-6)


def test_one_number_written_out():
    """The paper's defaults on two images, worked out on paper: p = 0.5 for either."""
    # Focal: (0.6 ln 2 + 0.4 sqrt(0.5) ln 2) / 2 = 0.305972
    # Tversky: TP = FN = FP = 0.5, so mTI = 0.5 for both: 0.5 + sqrt(0.5) = 1.207107
    found = loss(0.5, 0.6, 0.5, torch.zeros(2), torch.tensor([1.0, 0.0])).item()
    assert found == pytest.approx((0.305972 + 1.207107) / 2, abs=1e-5)


def test_without_gamma_it_is_cross_entropy_and_dice():
    entropy = functional.binary_cross_entropy_with_logits(LOGITS, LABEL)
    assert loss(1, 0.5, 0).item() == pytest.approx(entropy.item() / 2)
    dice_defect = 2 * 1.2 / (2 * 1.2 + 0.8 + 0.4)
    dice_ok = 2 * 1.6 / (2 * 1.6 + 0.4 + 0.8)
    assert loss(0, 0.5, 0).item() == pytest.approx(2 - dice_defect - dice_ok, rel=1e-6)
    assert loss(0.5, 0.6, 1e-6).item() == pytest.approx(loss(0.5, 0.6, 0).item(), abs=1e-5)


def test_gamma_spares_easy_ok_images_and_no_defects():
    defects, oks = (torch.full((4,), value) for value in (1.0, 0.0))
    easy = torch.full((4,), -4.0)
    assert loss(1, 0.5, 0.5, easy, oks) < 0.2 * loss(1, 0.5, 0, easy, oks)
    assert loss(1, 0.5, 0.5, -easy, defects) == loss(1, 0.5, 0, -easy, defects)


def test_delta_makes_an_escape_dearer_than_an_overkill():
    escape = torch.tensor([-2.0, 3.0, -3.0, -3.0])
    overkill = torch.tensor([3.0, 3.0, 2.0, -3.0])
    label = LABEL.float()
    assert loss(1, 0.9, 0, escape, label) > loss(1, 0.9, 0, overkill, label)
    assert loss(1, 0.1, 0, escape, label) < loss(1, 0.1, 0, overkill, label)
    # The Tversky term looks from both classes: it takes gamma, for the defects', to tell them.
    assert loss(0, 0.9, 0.5, escape, label) > loss(0, 0.9, 0.5, overkill, label)


@pytest.mark.parametrize("size", [0.0, 5.0, 50.0, 500.0])
@pytest.mark.parametrize("label", [[1.0, 0.0], [1.0, 1.0], [0.0, 0.0]])
@pytest.mark.parametrize("right", [True, False])
def test_its_slope_is_a_number_everywhere(size, label, right):
    """Also for certain, perfect or one-sided batches."""
    target = torch.tensor(label)
    sign = 1 if right else -1
    logits = (sign * size * (2 * target - 1)).requires_grad_()
    found = loss(0.5, 0.6, 0.5, logits, target)
    found.backward()
    assert torch.isfinite(found)
    assert torch.isfinite(logits.grad).all()


def test_its_slope_is_that_of_the_formula():
    logits = LOGITS.clone().requires_grad_()
    assert torch.autograd.gradcheck(lambda z: loss(0.5, 0.6, 0.5, z), (logits,))
