"""The parts of training, one by one: backbone, features, batches, losses, heads."""

from __future__ import annotations

from itertools import islice

import numpy as np
import pytest

torch = pytest.importorskip("torch")
timm = pytest.importorskip("timm")

from edge_agent.bundle import Preprocess  # noqa: E402
from trainer.config import DenseConfig  # noqa: E402
from trainer.errors import ParityError, UsageError  # noqa: E402
from trainer.graphs.prove import hold  # noqa: E402
from trainer.networks.backbones import blank_backbone, build_backbone  # noqa: E402
from trainer.networks.features import Features, compute_features, flipped, run_backbone  # noqa: E402
from trainer.networks.fit import Learnable, balanced, evaluate, fit_head, steps_per_epoch  # noqa: E402
from trainer.networks.losses import map_loss  # noqa: E402
from trainer.networks.model import Head, pool  # noqa: E402

pytestmark = pytest.mark.train


def frames(count, width=64, height=96, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (count, height, width, 3), np.uint8)


@pytest.fixture(scope="module")
def network():
    torch.manual_seed(0)
    return timm.create_model("tf_efficientnet_lite0").eval()


@pytest.fixture
def weights(network, tmp_path):
    torch.save(network.state_dict(), tmp_path / "weights.pt")
    return tmp_path / "weights.pt"


def test_backbone_gives_the_networks_own_maps(network, weights):
    """Cut, regrouped and padded by constants, it must still be the network."""
    reference = timm.create_model(
        "tf_efficientnet_lite0", features_only=True, out_indices=(2, 3, 4)
    ).eval()
    reference.load_state_dict(network.state_dict(), strict=False)
    images = frames(2)
    found = run_backbone(build_backbone("efficientnet_lite0", (8, 16, 32), weights), images)
    with torch.inference_mode():
        normalised = (torch.from_numpy(images).permute(0, 3, 1, 2).float() - 127) / 128
        expected = reference(normalised)
    assert [f.shape[1:3] for f in found] == [(12, 8), (6, 4), (3, 2)]
    for ours, theirs in zip(found, expected, strict=True):
        np.testing.assert_allclose(ours, theirs.permute(0, 2, 3, 1), atol=1e-5)


def test_a_cut_backbone_is_the_same_up_to_the_cut_and_smaller(weights):
    whole = build_backbone("efficientnet_lite0", (8, 16, 32), weights)
    cut = build_backbone("efficientnet_lite0", (16,), weights)
    np.testing.assert_array_equal(
        run_backbone(cut, frames(1))[0], run_backbone(whole, frames(1))[1]
    )
    assert sum(p.numel() for p in cut.parameters()) < 0.5 * sum(
        p.numel() for p in whole.parameters()
    )


def test_backbone_stays_in_eval_mode_and_is_never_trained(weights):
    backbone = build_backbone("efficientnet_lite0", (8,), weights)
    backbone.train()
    assert not any(module.training for module in backbone.modules())
    assert not any(parameter.requires_grad for parameter in backbone.parameters())


def test_efficientnet_b0_takes_weights_from_a_file(tmp_path):
    models = pytest.importorskip("torchvision.models")
    safetensors = pytest.importorskip("safetensors.torch")
    network = models.efficientnet_b0().eval()
    safetensors.save_file(network.state_dict(), tmp_path / "b0.safetensors")
    backbone = build_backbone("efficientnet_b0", (8, 32), tmp_path / "b0.safetensors")
    images = frames(1)
    found = run_backbone(backbone, images)
    mean = torch.tensor([0.485, 0.456, 0.406]).view(3, 1, 1)
    std = torch.tensor([0.229, 0.224, 0.225]).view(3, 1, 1)
    with torch.inference_mode():
        x = (torch.from_numpy(images).permute(0, 3, 1, 2) / 255 - mean) / std
        expected = network.features[:8](x)
    np.testing.assert_allclose(found[1], expected.permute(0, 2, 3, 1), atol=1e-4)


def test_weights_of_another_network_are_refused(network, tmp_path):
    state = network.state_dict()
    torch.save(dict(list(state.items())[:-1]), tmp_path / "short.pt")
    with pytest.raises(UsageError, match="another network"):
        build_backbone("efficientnet_lite0", (8,), tmp_path / "short.pt")
    torch.save({name: torch.zeros(1) for name in state}, tmp_path / "shapes.pt")
    with pytest.raises(UsageError, match="another shape"):
        build_backbone("efficientnet_lite0", (8,), tmp_path / "shapes.pt")
    torch.save(network, tmp_path / "pickled.pt")  # a module, that is: code
    with pytest.raises(UsageError, match="can't be read as weights"):
        build_backbone("efficientnet_lite0", (8,), tmp_path / "pickled.pt")
    with pytest.raises(UsageError, match="does not exist"):
        build_backbone("efficientnet_lite0", (8,), tmp_path / "none.pt")


def test_features_hold_every_image_in_every_view(tmp_path):
    backbone = blank_backbone("efficientnet_lite0", (8, 16))
    spec = Preprocess(width=64, height=96)
    images = frames(6)
    found = compute_features(images, backbone, spec, tmp_path)
    assert [array.shape for array in found.maps] == [(4, 6, 12, 8, 40), (4, 6, 6, 4, 112)]
    for view, turned in enumerate((images[5], images[5][:, ::-1], images[5][::-1])):
        expected = run_backbone(backbone, np.ascontiguousarray(turned[None]))[1][0]
        np.testing.assert_allclose(found.maps[1][view, 5], expected, atol=2e-2, rtol=2e-3)


def test_flips_come_back():
    image = frames(1)[0]
    for view in range(4):
        np.testing.assert_array_equal(flipped(flipped(image, view), view), image)
    assert not np.array_equal(flipped(image, 1), flipped(image, 2))


def test_batches_are_half_defects_and_all_are_seen():
    rng = np.random.default_rng(0)
    drawn = list(islice(balanced(rng, np.arange(3), np.arange(3, 43), 8), 10))
    assert all((batch[:4] < 3).all() and (batch[4:] >= 3).all() for batch in drawn)
    assert len({int(image) for batch in drawn for image in batch}) == 43


def test_an_epoch_sees_ok_images_once_but_repeats_few_defects_only_so_often():
    assert steps_per_epoch(np.arange(110) < 30, 16) == 10  # 80 ok images, 8 a batch
    assert steps_per_epoch(np.arange(1002) < 2, 16) == 1  # 2 defects, 4 times each


def test_map_loss_falls_as_the_map_gets_better():
    target = torch.zeros(2, 6, 6)
    target[0, 2:4, 2:4] = 1
    losses = [
        float(map_loss((target * 2 - 1) * strength, target, 3.0)) for strength in (-4, 0.0, 1, 4)
    ]
    assert losses == sorted(losses, reverse=True)
    assert losses[-1] < 0.2


def test_pool_is_the_mean_of_the_largest():
    assert float(pool(torch.arange(12.0).view(1, 3, 4), 3)[0]) == 10.0


def learnable(drawn=True):
    """A bright square in a defect's features: something that a head can learn."""
    rng = np.random.default_rng(0)
    maps = rng.normal(0, 0.3, (4, 24, 12, 8, 6)).astype(np.float16)
    labels = np.arange(24) < 10
    targets = np.zeros((24, 12, 8), bool)
    for image in range(10):
        row, column = rng.integers(0, 9), rng.integers(0, 5)
        targets[image, row : row + 3, column : column + 3] = True
        for view in range(4):
            maps[view, image][flipped(targets[image], view)] += 1.5
    return Learnable(Features((maps,)), labels, targets, np.full(24, drawn))


CONFIG = DenseConfig(epochs=12, width=8, learning_rate=1e-2, top_k=4)


@pytest.mark.parametrize("drawn", [True, False], ids=["masks", "labels alone"])
def test_a_head_learns_to_find_the_defect(drawn):
    data = learnable(drawn)
    everything = np.arange(24)
    losses = []
    head = fit_head(CONFIG, data, everything, 0, lambda _, loss, __: losses.append(loss))
    outputs = evaluate(data, head, everything, CONFIG.top_k)
    assert len(losses) == 12
    assert losses[-1] < 0.5 * losses[0]
    assert outputs.logits[:10].min() > outputs.logits[10:].max()
    peaks = [
        targets.ravel()[m.argmax()] for targets, m in zip(data.targets, outputs.maps, strict=True)
    ]
    assert sum(peaks[:10]) >= 9


def test_a_head_is_the_same_for_the_same_seed_bit_for_bit():
    data = learnable()
    once, again, other = (
        fit_head(CONFIG, data, np.arange(24), seed, lambda *_: None).state_dict()
        for seed in (0, 0, 1)
    )
    assert all(torch.equal(once[name], again[name]) for name in once)
    assert not all(torch.equal(once[name], other[name]) for name in once)


def test_a_head_fuses_maps_of_different_sizes():
    head = Head((4, 6, 8), 5).eval()
    maps = [torch.randn(2, c, s, s) for c, s in ((4, 16), (6, 8), (8, 4))]
    logits = head(maps)
    assert logits.shape == (2, 16, 16)
    for index in range(3):  # each map must count
        changed = [m + (1 if i == index else 0) for i, m in enumerate(maps)]
        assert not torch.allclose(head(changed), logits)
    # Cut off after stride 16, or from 8 straight to 32.
    assert Head((4, 8), 5).eval()([maps[0], maps[2]]).shape == (2, 16, 16)


def test_parity_is_enforced():
    assert hold("x", np.array([0.5]), np.array([0.50005])) == pytest.approx(5e-5)
    with pytest.raises(ParityError, match="differ"):
        hold("x", np.array([0.5]), np.array([0.5002]))
    with pytest.raises(ParityError):
        hold("x", np.array([0.5]), np.array([np.nan]))
