"""The report's page: complete, self-contained, and harmless whatever the files are called."""

from __future__ import annotations

import base64
import hashlib
import json
import re
import shutil
import subprocess
import sys
from html.parser import HTMLParser

import numpy as np
import pytest
from PIL import Image

pytest.importorskip("jinja2")

from tests.runs import make_images, make_run, scores_for
from trainer.cli import run as command
from trainer.data import DatasetError, fingerprint, open_dataset
from trainer.errors import UsageError
from trainer.report import write_report

pytestmark = pytest.mark.slow

VOID = {"img", "meta", "link", "input"}
HOSTILE = {
    0: b"<script>alert(1)<",
    1: b'"onerror="alert(2)',
    2: b"{{ 7 * 7 }}",
    3: b"caf\xe9",  # latin-1, no UTF-8
    4: b"]]><svg onload=alert(3)>",
}
ESCAPE, OVERKILLS = "defect/<script>alert(1)<.png", ("ok/038.png", "ok/039.png")
WRONG = {ESCAPE: 0.2, OVERKILLS[0]: 0.7, OVERKILLS[1]: 0.6}


class Page(HTMLParser):
    """Every element with its attributes; fails where tags don't match."""

    def __init__(self, text):
        super().__init__()
        self.elements, self.open, self.text = [], [], {}
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append((tag, dict(attrs).get("id")))

    def handle_startendtag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self.open.pop()[0] == tag

    def handle_data(self, data):
        for _, name in self.open:
            if name:
                self.text[name] = self.text.get(name, "") + data

    def all(self, tag):
        return [attributes for name, attributes in self.elements if name == tag]


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    root = tmp_path_factory.mktemp("images") / "data"
    make_images(root, stems=HOSTILE)
    return open_dataset(root)


@pytest.fixture
def run(tmp_path, images):
    """One escape (the first image), two overkills."""
    folder = tmp_path / "run"
    make_run(folder, scores_for(images.samples, WRONG))
    return folder


def page_of(run, images):
    text = write_report(run, images).read_text(encoding="utf-8")
    return text, Page(text)


def test_everything_is_in_it(run, images):
    text, page = page_of(run, images)
    sections = {"enough", "threshold", "images", "curves", "sizes", "folds", "training", "variants"}
    assert sections | {"dataset", "reproduce"} <= set(page.text)
    assert page.text["escapes"] == "1"
    assert page.text["overkills"] == "2"
    assert page.text["found"] == "11"
    assert page.text["passed"] == "26"
    for words in ("trainer train DATA --out RUN", "by hand", "[64, 96]"):
        assert words in text
    assert not list(run.glob(".report*"))


def test_it_says_whether_it_is_good_enough_and_what_to_do(run, images):
    text, _ = page_of(run, images)
    assert "Of 12 defects that the model had not seen, 1 passed as ok (8.3 %)." in text
    assert "at most 34 % of the defects" in text
    assert "do not let it decide alone on a line" in text
    command = f"trainer calibrate {run} --rule &#34;recall&gt;=0.99&#34; --review 0.9 --out {run}-"
    assert f"<pre>{command}careful</pre>" in text
    noted = json.loads((run / "metrics.json").read_text())
    noted["escapes"] = {"escapes": 0, "defects": 400, "bound": 0.0075}
    (run / "metrics.json").write_text(json.dumps(noted))
    text, _ = page_of(run, images)
    assert "no defect passed as ok" in text
    assert "That is no more than one in a hundred" in text
    assert "do not let it" not in text


def test_defects_that_the_input_is_too_small_for_are_told(run, images, tmp_path):
    root = tmp_path / "images"
    shutil.copytree(images.root, root)
    mask = next((root / "masks").iterdir())
    pixels = np.zeros((96, 64), np.uint8)
    pixels[5, 5] = 255
    Image.fromarray(pixels).save(mask)
    text, _ = page_of(run, open_dataset(root))
    assert "tiny defects" in text
    assert f"(such as defect/{mask.name}: 1 pixels of 64 x 96)" in text


def test_the_script_counts_with_the_scores_of_the_run(run, images):
    _, page = page_of(run, images)
    given = json.loads(page.text["scores"])
    expected = scores_for(images.samples, WRONG)
    assert given["scores"] == [score for _, _, score in expected.values()]
    assert given["labels"] == [int(label) for _, label, _ in expected.values()]
    assert given["threshold"] == 0.5


def test_it_needs_nothing_else(run, images):
    text, page = page_of(run, images)
    for tag, attributes in page.elements:
        for name in ("src", "href", "srcset", "data", "action", "poster"):
            if name in attributes:
                assert attributes[name].startswith(("data:", "#")), (tag, attributes)
    assert "@import" not in text
    assert "url(" not in text
    assert "http://" not in text
    assert "https://" not in text


def test_only_its_own_script_may_run(run, images):
    text, page = page_of(run, images)
    policy = next(m["content"] for m in page.all("meta") if "http-equiv" in m)
    script = re.findall(r"<script>(.*?)</script>", text, re.DOTALL)
    assert len(script) == 1
    digest = base64.b64encode(hashlib.sha256(script[0].encode()).digest()).decode()
    assert f"script-src 'sha256-{digest}'" in policy
    assert policy.startswith("default-src 'none'")


def test_a_name_from_the_disk_is_text_and_nothing_else(run, images):
    text, page = page_of(run, images)
    assert len(page.all("script")) == 2
    assert not [attributes for _, attributes in page.elements if "onerror" in attributes]
    assert not [attributes for _, attributes in page.elements if "onload" in attributes]
    assert "<script>alert" not in text
    alts = [image["alt"] for image in page.all("img")]
    assert any(alt.startswith(f"{ESCAPE}: defective, score 0.200") for alt in alts)
    assert any(alt.startswith('defect/"onerror="alert(2).png') for alt in alts)
    assert any("{{ 7 * 7 }}.png" in alt for alt in alts)
    assert any("caf\N{REPLACEMENT CHARACTER}.png" in alt for alt in alts)


def test_every_mistake_and_the_nearest_have_pictures_with_heat_and_mask(run, images):
    _, page = page_of(run, images)
    cards = [int(item["data-index"]) for item in page.all("li") if item.get("class") == "card"]
    names = [sample.name for sample in images.samples]
    assert [names[card] for card in cards[:3]] == [ESCAPE, *OVERKILLS]
    assert len(cards) == len(set(cards)) == 3 + 11 + 12
    kinds = [image.get("class") for image in page.all("img")]
    assert kinds.count("heat") == len(cards)
    assert kinds.count("mask") == 12
    assert ESCAPE in page.text["escape"]
    assert "No good part is rejected." not in page.text["overkill"]


def test_it_can_be_read_without_seeing_it(run, images):
    text, page = page_of(run, images)
    assert text.count("<table") == text.count("<caption")
    assert all(svg.get("role") == "img" and svg.get("aria-label") for svg in page.all("svg"))
    assert all("alt" in image for image in page.all("img"))
    assert page.all("html") == [{"lang": "en"}]
    labelled = [i for i in page.all("input") if "aria-label" in i or i["id"].startswith("show")]
    assert len(labelled) >= 3


@pytest.mark.parametrize(
    "absent",
    ["heatmaps.npz", "history.json", "config.json", "command.json", "bundle/manifest.json"],
)
def test_what_is_absent_is_left_out(run, images, absent):
    (run / absent).unlink()
    if absent.startswith("bundle"):
        shutil.rmtree(run / "bundle")
    _, page = page_of(run, images)
    assert page.text["escapes"] == "1"
    assert ("training" in page.text) is (absent != "history.json")
    assert ("heat" in [image.get("class") for image in page.all("img")]) is (
        absent != "heatmaps.npz"
    )


def test_metrics_with_the_least_and_the_most_in_them(run, images):
    metrics = json.loads((run / "metrics.json").read_text())
    file = run / "metrics.json"
    file.write_text(json.dumps({"pooled": metrics["pooled"]}))
    _, page = page_of(run, images)
    assert page.text["escapes"] == "1"
    metrics["test"] = {**metrics["pooled"], "escapes": 3, "defects": 70, "images": 300}
    fp32, int8 = metrics["pooled"], {**metrics["pooled"], "ap": 0.7}
    metrics["variants"] = {
        "fp32": {**fp32, "latency_ms": {"cpu": 12.25}, "fault": ""},
        "int8": {**int8, "size": 3_400_000, "flips": 9, "latency_ms": None, "fault": "AP falls"},
        "fp16": {**fp32, "fault": "", "gate": {"cpu": "", "cuda:1": "", "cuda": "<2> change"}},
    }
    metrics["calibration"] = {
        "rule": "recall>=0.99",
        "review": [0.25, 0.75],
        "figures": {"review_images": 0.125},
        "unmet": "no threshold reaches <b>0.99</b>",
        "carried_over": {"thresholds": [0.4, 0.6], "escapes": 17, "overkills": 19},
    }
    metrics["frontier"] = [
        {"name": "8,16", "ms": 4.5, "ap": 0.97, "chosen": True},
        {"name": "<8,16,32>", "ms": 9.5, "ap": 0.98, "chosen": False},
    ]
    file.write_text(json.dumps(metrics))
    text, page = page_of(run, images)
    assert "3 of 70" in text
    assert "Not run on cuda: fp16: <2> change" in page.text["variants"]
    assert "Not run on" not in page.text["variants"].replace("Not run on cuda: fp16", "")
    for words in (
        "fp16 keeps fp32's accuracy on cpu, cuda:1.",
        "Not in the bundle: int8: AP falls",
        "12.25",
        "ms cpu",
        "3.4 MB",
        "changed",
    ):
        assert words in page.text["variants"]
    assert page.text["variants"].count("keeps fp32's accuracy") == 1
    assert "<8,16,32>: 9.5 ms" in page.text["variants"]
    assert "0.250 to 0.750 go to review by a person" in text
    assert "12.5 % of the images" in " ".join(text.split())
    assert "no threshold reaches &lt;b&gt;" in text
    assert "it misses <b>17</b> and rejects <b>19</b> falsely" in text


def test_what_a_station_will_run_stands_first(run, images):
    metrics = json.loads((run / "metrics.json").read_text())
    pooled = metrics["pooled"]
    int8 = {**pooled, "threshold": 0.31, "escapes": 7}
    metrics |= {"runs": "int8", "variants": {"fp32": pooled, "int8": int8}}
    (run / "metrics.json").write_text(json.dumps(metrics))
    text, _ = page_of(run, images)
    assert "runs <b>" not in text  # its scores are not there
    shutil.copyfile(run / "oof.csv", run / "oof.int8.csv")
    text, _ = page_of(run, images)
    first = text.index("runs <b>int8</b>")
    assert first < text.index("its own threshold <b>0.310</b>") < text.index("In fp32: found")
    assert text.index("In fp32: found") < text.index(f"7 of {pooled['defects']}")
    assert text.index(f"7 of {pooled['defects']}") < text.index("<details>")


def test_a_run_without_a_mistake(tmp_path, images):
    make_run(tmp_path / "run", scores_for(images.samples))
    _, page = page_of(tmp_path / "run", images)
    assert "No defect escapes." in page.text["escape"]
    assert "No good part is rejected." in page.text["overkill"]


def test_scores_at_the_very_ends(tmp_path, images):
    ends = {sample.name: float(sample.defect) for sample in images.samples}
    make_run(tmp_path / "run", scores_for(images.samples, ends))
    _, page = page_of(tmp_path / "run", images)
    assert page.text["found"] == "12"
    assert all("nan" not in str(attributes.values()) for attributes in page.all("path"))


def test_images_without_masks(tmp_path, images):
    root = tmp_path / "data"
    make_images(root)
    shutil.rmtree(root / "masks")
    bare = open_dataset(root)
    make_run(tmp_path / "run", scores_for(bare.samples))
    _, page = page_of(tmp_path / "run", bare)
    assert "sizes" not in page.text
    assert "mask" not in [image.get("class") for image in page.all("img")]


def test_images_of_another_folder_are_missed_not_mixed_up(run, tmp_path):
    make_images(tmp_path / "other", images=12, defects=6)
    text, page = page_of(run, open_dataset(tmp_path / "other"))
    assert "images of this run are not in" in text
    assert not any("038.png" in image["alt"] for image in page.all("img"))


@pytest.mark.parametrize(
    ("file", "content", "said"),
    [
        ("metrics.json", None, "has no metrics.json"),
        ("metrics.json", "{", "can't be read"),
        ("metrics.json", '{"folds": []}', "no pooled figures"),
        ("oof.csv", None, "is missing"),
        ("oof.csv", "image,score\na.png,0.5\n", "is damaged"),
        ("oof.csv", "image,group,fold,label,score\n", "holds no score"),
        ("config.json", "[]", "was not written by"),
        ("heatmaps.npz", "text", "can't be read"),
        ("bundle/manifest.json", "{}", "manifest.json"),
    ],
)
def test_a_damaged_run_is_one_message(run, images, capsys, file, content, said):
    if content is None:
        (run / file).unlink()
    else:
        (run / file).write_text(content)
    assert command(["report", str(run), str(images.root)]) == 2
    assert said in capsys.readouterr().err
    assert not (run / "report.html").exists()


def test_heatmaps_of_another_run_are_refused(run, tmp_path, images):
    make_run(tmp_path / "other", scores_for(images.samples[:20]))
    (run / "heatmaps.npz").write_bytes((tmp_path / "other" / "heatmaps.npz").read_bytes())
    with pytest.raises(UsageError, match="different runs"):
        write_report(run, images)


def test_an_image_that_has_gone_is_named(tmp_path):
    make_images(tmp_path / "data", images=12, defects=6)
    dataset = open_dataset(tmp_path / "data")
    make_run(tmp_path / "run", scores_for(dataset.samples))
    (tmp_path / "data" / "defect" / "003.png").unlink()
    with pytest.raises(DatasetError, match=r"003\.png"):
        write_report(tmp_path / "run", dataset)


@pytest.mark.parametrize("same", [True, False])
def test_other_images_than_the_run_learned_from_are_refused(run, images, capsys, same):
    file = run / "bundle" / "manifest.json"
    manifest = json.loads(file.read_text())
    manifest["training"]["dataset"]["fingerprint"] = fingerprint(images) if same else "0" * 64
    file.write_text(json.dumps(manifest))
    assert command(["report", str(run), str(images.root)]) == (0 if same else 2)
    assert ("is not what" in capsys.readouterr().err) != same
    assert (run / "report.html").exists() == same


def test_the_command_says_where_it_is(run, images, capsys):
    assert command(["report", str(run), str(images.root)]) == 0
    output = capsys.readouterr()
    assert output.out == f"{run / 'report.html'}\n"
    assert "warning: only 12 defective images" in output.err


def test_it_needs_no_torch():
    code = "import sys, trainer.report; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
