"""One fold's training: sampling, stopping, precision, and the cache that changes nothing."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("timm")

from trainer.config import SeedConfig  # noqa: E402
from trainer.errors import UsageError  # noqa: E402
from trainer.networks.backbones import blank_classifier  # noqa: E402
from trainer.networks.checkpoint import read_progress, save_classifier, write_progress  # noqa: E402
from trainer.networks.classifier import LastLayer  # noqa: E402
from trainer.networks.team import Team  # noqa: E402
from trainer.recipes.finetune import Task, train_fold, weighted_order  # noqa: E402
from trainer.recipes.seed import compute_pooled  # noqa: E402

pytestmark = pytest.mark.train

ALONE = Team(0, 1, torch.device("cpu"))
COUNT = 20
LABELS = np.arange(COUNT) % 4 == 0
EVERYTHING = np.arange(COUNT)
NOTHING = np.array([], np.int64)


def config(**settings):
    return SeedConfig(backbone="efficientnet_lite0", precision="fp32", **settings)


@pytest.fixture(scope="module")
def frames():
    rng = np.random.default_rng(0)
    found = rng.integers(0, 256, (COUNT, 64, 64, 3), np.uint8)
    found[LABELS, 20:50, 20:50] //= 3
    return found


@pytest.fixture(scope="module")
def classifier():
    torch.manual_seed(0)
    return blank_classifier("efficientnet_lite0", 0.2)


def fit(settings, network, inputs, tmp_path, watched=NOTHING, learn=EVERYTHING, seed=3):
    task = Task(inputs, LABELS, learn, EVERYTHING, watched)
    seen = []

    def note(epoch, line):
        seen.append(epoch)

    found = train_fold(settings, network, task, seed, ALONE, note, tmp_path / "fold.pt", "it")
    assert seen == [line["epoch"] for line in found.epochs]
    return found


def test_cached_features_train_the_layer_that_images_train(classifier, frames, tmp_path):
    """With dropout and all: the same draws, losses and weights, to rounding."""
    settings = config(epochs=4, learning_rate=1e-2)
    results = []
    for kind in ("cached", "slow"):
        (tmp_path / kind).mkdir()
        torch.manual_seed(7)
        classifier.last = LastLayer(0.2)
        classifier.unfreeze(None)
        cached = kind == "cached"
        inputs = compute_pooled(classifier, frames, ALONE) if cached else frames
        network = classifier.last if cached else classifier
        epochs = fit(settings, network, inputs, tmp_path / kind).epochs
        results.append((epochs, [p.detach().clone() for p in classifier.last.parameters()]))
    (epochs, weights), (slow_epochs, slow_weights) = results
    for one, other in zip(epochs, slow_epochs, strict=True):
        assert one == pytest.approx(other, abs=1e-5)
    for one, other in zip(weights, slow_weights, strict=True):
        torch.testing.assert_close(one, other, atol=1e-5, rtol=0)
    assert epochs[-1]["loss"] != epochs[0]["loss"]


def test_draws_are_half_defects_whatever_their_share():
    labels = np.arange(1000) < 30
    order = weighted_order(labels, 8, seed=0, epoch=1)
    assert len(order) == 1000
    assert labels[order].mean() == pytest.approx(0.5, abs=0.05)
    assert not np.array_equal(order, weighted_order(labels, 8, seed=0, epoch=2))
    np.testing.assert_array_equal(order, weighted_order(labels, 8, seed=0, epoch=1))
    assert len(weighted_order(np.arange(13) < 2, 8, 0, 1)) == 16
    ones = np.bincount(order, minlength=1000)[30:]
    assert ones.max() <= 6  # none of the ok images is preferred


def test_stops_when_it_gets_no_better_and_keeps_the_best(tmp_path):
    """Watched images whose labels are noise: they soon get no better."""
    rng = np.random.default_rng(1)
    features = rng.normal(size=(COUNT, 1280)).astype(np.float32)
    torch.manual_seed(0)
    layer = LastLayer(0.0)
    settings = config(epochs=60, learning_rate=1e-2, patience=3)
    found = fit(settings, layer, features, tmp_path, watched=np.arange(8), learn=np.arange(8, 20))
    assert len(found.epochs) == found.kept + 3 < 60
    ranks = [(line["watched_f1"], -line["watched_loss"]) for line in found.epochs]
    assert ranks[found.kept - 1] == max(ranks)
    # What is in the layer now is that epoch's, not the last one's.
    task = Task(features, LABELS, np.arange(8, 20), EVERYTHING, np.arange(8))
    again = train_fold(settings, layer, task, 3, ALONE, lambda *_: None, tmp_path / "fold.pt", "it")
    assert again.kept == found.kept
    said = layer(torch.from_numpy(features[:8])).detach().numpy() >= 0
    hits, wrong = (said & LABELS[:8]).sum(), (said != LABELS[:8]).sum()
    assert 2 * hits / (2 * hits + wrong) == pytest.approx(found.end["watched_f1"])


def test_mixed_precision_trains_too(classifier, frames, tmp_path):
    torch.manual_seed(7)
    classifier.last = LastLayer(0.0)
    classifier.unfreeze("stage7")
    before = {n: p.detach().clone() for n, p in classifier.named_parameters() if p.requires_grad}
    settings = config(epochs=2).model_copy(update={"precision": "mixed"})
    found = fit(settings, classifier, frames, tmp_path)
    assert all(np.isfinite(line["loss"]) for line in found.epochs)
    after = dict(classifier.named_parameters())
    assert all(after[name].dtype == torch.float32 for name in before)
    assert any(not torch.equal(before[name], after[name]) for name in before)


def test_statistics_of_normalisation_are_never_touched(classifier, frames, tmp_path):
    classifier.last = LastLayer(0.0)
    classifier.unfreeze("all")
    before = {name: b.clone() for name, b in classifier.named_buffers()}
    fit(config(epochs=1), classifier, frames, tmp_path)
    for name, buffer in classifier.named_buffers():
        assert torch.equal(before[name], buffer), name


def test_progress_of_another_run_or_damaged_is_refused(tmp_path):
    file = tmp_path / "fold-0.pt"
    assert read_progress(file, "this") is None
    write_progress(file, "this", history=[{"epoch": 1.0}])
    assert read_progress(file, "this")["history"] == [{"epoch": 1.0}]
    assert [one.name for one in tmp_path.iterdir()] == ["fold-0.pt"]
    with pytest.raises(UsageError, match="other images or settings"):
        read_progress(file, "that")
    file.write_bytes(file.read_bytes()[:100])
    with pytest.raises(UsageError, match="can't be read"):
        read_progress(file, "this")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full here")
def test_a_full_disk_is_an_error_of_the_disk(classifier, tmp_path):
    """Torch's own, a RuntimeError about positions in a file, ended in a traceback."""
    for name in ("model.pt", "model.partial"):
        (tmp_path / name).symlink_to("/dev/full")
    with pytest.raises(OSError, match="No space left"):
        save_classifier(tmp_path / "model.pt", config(), classifier, [])
