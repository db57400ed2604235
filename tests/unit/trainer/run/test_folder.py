"""The folder of a run: written whole, and cleared of what a kill left."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from trainer.config import SeedConfig
from trainer.run.folder import begin, resume_run, write_json


def test_a_kill_while_a_result_is_written_leaves_the_one_before(tmp_path, monkeypatch):
    file = tmp_path / "config.json"
    write_json(file, {"epochs": 3})
    write = Path.write_text

    def cut(self, text, **options):
        write(self, text[:5], **options)
        raise KeyboardInterrupt

    monkeypatch.setattr(Path, "write_text", cut)
    with pytest.raises(KeyboardInterrupt):
        write_json(file, {"epochs": 4})
    monkeypatch.undo()
    assert json.loads(file.read_text()) == {"epochs": 3}
    write_json(file, {"epochs": 5})
    assert json.loads(file.read_text()) == {"epochs": 5}
    assert [one.name for one in tmp_path.iterdir()] == ["config.json"]


def test_what_a_kill_left_of_the_last_steps_is_cleared(tmp_path):
    config = SeedConfig()
    begin(config, tmp_path)
    for name in (".export-x1", ".variants-y2", ".bundle.77.partial", "bundle"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "0.onnx").write_bytes(b"half")
    (tmp_path / "fold-0.pt").write_bytes(b"kept")
    resume_run(tmp_path)
    begin(config, tmp_path)
    assert sorted(one.name for one in tmp_path.iterdir()) == ["config.json", "fold-0.pt"]
