"""What a bundle is called, and its version, where nobody or somebody has said so."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.bundles import make_bundle
from trainer.config import RECIPES, run_config
from trainer.errors import UsageError
from trainer.run.naming import bundle_name, bundle_version


@pytest.mark.parametrize(
    ("data", "given", "name"),
    [
        ("/srv/brackets", None, "brackets"),
        ("sets/brackets/", None, "brackets"),
        ("/srv/Gehäuse v2 (neu)", None, "Gehause-v2-neu"),
        ("/srv/..hidden", None, "hidden"),
        ("/srv/" + "x" * 200, None, "x" * 64),
        ("/srv/brackets", "housings", "housings"),
        ("/srv/images", "Left housing/2", "Left-housing-2"),
    ],
)
def test_it_is_called_after_the_data_set_or_as_asked(data, given, name):
    found, note = bundle_name(Path(data), given)
    assert found == name
    assert run_config({"name": found}).name == name  # the manifest allows it
    assert bool(note) == (name not in (Path(data).name, given))


def test_here_is_the_folder_that_it_is(tmp_path, monkeypatch):
    (tmp_path / "brackets" / "ok").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "brackets" / "ok")
    assert bundle_name(Path(".."), None)[0] == "brackets"
    assert bundle_name(Path(), None)[0] == "ok"


@pytest.mark.parametrize("recipe", RECIPES)
def test_never_after_a_recipe(recipe):
    for data, given in ((Path("/srv") / recipe, None), (Path("/srv/x"), recipe)):
        with pytest.raises(UsageError, match=f"{recipe} is the name of a recipe: give --name"):
            bundle_name(data, given)
    assert run_config({"recipe": recipe}).name not in RECIPES


@pytest.mark.parametrize("data", ["/srv/图像", "/srv/---", "/"])
def test_a_folder_that_no_name_can_be_made_of_asks_for_one(data):
    with pytest.raises(UsageError, match="give --name with the product's name"):
        bundle_name(Path(data), None)


@pytest.mark.parametrize("data", ["images", "Data", "train"])
def test_a_folder_that_says_nothing_of_the_product_is_told(data):
    name, note = bundle_name(Path("/srv") / data, None)
    assert name == data
    assert "give --name with the product's name" in note
    assert bundle_name(Path("/srv") / data, data) == (data, "")  # as one wishes


def test_the_version_is_the_next_after_those_of_its_name(tmp_path):
    runs = tmp_path / "runs"
    assert bundle_version("brackets", None, runs / "a") == ("1.0.0", "")
    make_bundle(runs / "first" / "bundle", name="brackets", version="1.9.0")
    make_bundle(runs / "shipped", name="brackets", version="1.10.2")
    make_bundle(runs / "other" / "bundle", name="housings", version="3.0.0")
    (runs / "damaged" / "bundle").mkdir(parents=True)
    (runs / "damaged" / "bundle" / "manifest.json").write_text("{")

    version, why = bundle_version("brackets", None, runs / "new")

    assert version == "1.10.3"
    assert why == f"{runs / 'shipped'} is brackets 1.10.2"
    assert bundle_version("lids", None, runs / "new") == ("1.0.0", "")
    assert bundle_version("brackets", "1.9.1", runs / "new") == ("1.9.1", "")
    assert bundle_version("brackets", None, tmp_path / "x", old="1.0.4") == ("1.0.5", "")
    assert bundle_version("brackets", None, runs / "new", old="2.0.0") == ("2.0.1", "")


def test_two_bundles_are_never_of_one_name_and_version(tmp_path):
    make_bundle(tmp_path / "first" / "bundle", name="brackets", version="1.0.0")
    with pytest.raises(UsageError, match=r"is brackets 1\.0\.0, and .* get 1\.0\.1$"):
        bundle_version("brackets", "1.0.0", tmp_path / "new")
    with pytest.raises(UsageError, match=r"--version: 'one' is not X\.Y\.Z, such as 1\.2\.0"):
        bundle_version("brackets", "one", tmp_path / "new")
