"""Settings of a run: wrong ones are named."""

from __future__ import annotations

import pytest

from trainer.config import DenseConfig, read_config, run_config
from trainer.errors import UsageError
from trainer.run.folder import make_run


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"strides": (8, 4)}, "--strides: must be some of 8, 16 and 32"),
        ({"strides": ()}, "--strides"),
        ({"size": (100, 64)}, "--size: 100x64 is not possible.*96x64"),
        ({"batch": 3}, "--batch: must be even"),
        ({"folds": 1}, "--folds"),
        ({"learning_rate": 0}, "--learning-rate"),
        ({"name": "a/b"}, "--name"),
        ({"colour": "blue"}, "--colour"),
        ({"rule": "cost", "escape_cost": float("inf"), "overkill_cost": 1.0}, "--escape-cost"),
        ({"rule": "cost", "escape_cost": 1.0, "overkill_cost": 1e300}, "--overkill-cost"),
        ({"budget_ms": float("inf")}, "--budget-ms"),
    ],
)
def test_wrong_settings_are_named(settings, said):
    with pytest.raises(UsageError, match=said):
        run_config(settings)


def test_every_wrong_setting_is_named_at_once():
    with pytest.raises(UsageError, match=r"(?s)--epochs.*--top-k|--top-k.*--epochs"):
        run_config({"epochs": 0, "top_k": 0})


def test_reads_back_what_was_written(tmp_path):
    config = run_config({"size": (256, 704), "strides": (16, 8), "seed": 3})
    (tmp_path / "config.json").write_text(config.model_dump_json())
    assert read_config(tmp_path / "config.json") == config
    assert config.strides == (8, 16)
    assert DenseConfig() != config


def test_a_folder_that_holds_something_is_refused(tmp_path):
    make_run(tmp_path / "new" / "run")
    (tmp_path / "new" / "run" / "x").touch()
    with pytest.raises(UsageError, match="not empty"):
        make_run(tmp_path / "new" / "run")
    with pytest.raises(UsageError, match="can't be made"):
        make_run(tmp_path / "new" / "run" / "x")
