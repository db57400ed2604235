"""What should be mounted, and is not."""

from __future__ import annotations

from pathlib import Path

from edge_agent.doctor.folders import look_at_mounts, places_of
from edge_agent.doctor.planned import missing_above, planned_mounts
from edge_agent.system.mounts import read_mounts

ROOT = read_mounts("27 1 254:0 / / rw - ext4 /dev/vda rw\n")


def planned(tmp_path, *lines, unit=""):
    fstab = tmp_path / "fstab"
    fstab.write_text("".join(f"{line}\n" for line in lines))
    units = tmp_path / "units"
    units.mkdir(exist_ok=True)
    if unit:
        (units / "one.mount").write_text(unit)
    return planned_mounts(fstab, [units, tmp_path / "absent"])


def test_fstab_and_units_are_read(tmp_path):
    found = planned(
        tmp_path,
        "# a comment",
        "UUID=1 / ext4 defaults 0 1",
        "nas:/plant  /srv/with\\040space/ nfs4 nofail 0 0",
        "UUID=2 none swap sw 0 0",
        "half a line",
        "",
        unit="[Unit]\nAfter=a\nAfter=b\n[Mount]\nWhat=//nas/b\nWhere=/srv/b\nOptions=%i\n",
    )

    assert [(one.source, one.point) for one in found] == [
        ("UUID=1", "/"),
        ("nas:/plant", "/srv/with space"),
        ("//nas/b", "/srv/b"),
    ]


def test_what_can_not_be_read_is_passed_over(tmp_path):
    assert planned(tmp_path, unit="no unit") == []
    assert planned(tmp_path, unit="[Mount]\nWhere=/a\n") == []
    assert planned_mounts(tmp_path / "absent", []) == []


def test_only_what_is_missing_above_a_folder_counts(tmp_path):
    found = planned(
        tmp_path,
        "UUID=1 / ext4 defaults",
        "nas:/a /nonesuch/a nfs4 defaults",
        "nas:/ab /nonesuch/ab nfs4 defaults",
        "nas:/b /nonesuch/a/b/c nfs4 defaults",
    )

    def missing(*mounted):
        lines = "".join(f"40 27 0:40 / {point} rw - nfs4 nas:/a rw\n" for point in mounted)
        mounts = [*ROOT, *read_mounts(lines)]
        return [one.point for one in missing_above(Path("/nonesuch/a/b"), found, mounts)]

    assert missing() == ["/nonesuch/a"]
    assert missing("/nonesuch/a") == []


def test_the_doctor_says_it_of_the_inbox(make_settings, tmp_path):
    settings = make_settings()
    wanted = planned(tmp_path, f"nas:/plant {tmp_path}/inbox nfs4 nofail 0 0")

    (found,) = look_at_mounts(settings, places_of(settings), ROOT, wanted)

    assert found.level == "error"
    assert found.what.endswith(f"fstab mounts nas:/plant on {tmp_path}/inbox, and it is not")
    assert found.mend == f"mount {tmp_path}/inbox"


def test_the_doctor_says_that_a_folder_lay_elsewhere(make_settings, tmp_path):
    settings = make_settings()
    settings.storage.root.mkdir()
    settings.storage.mounts.write_text(
        f'{{"{tmp_path}/inbox": {{"point": "{tmp_path}", "kind": "cifs", '
        '"source": "//nas/x", "inside": "/inbox"}}'
    )

    (found,) = look_at_mounts(settings, places_of(settings), ROOT, [])

    assert found.level == "error"
    assert f"inbox lay on cifs (//nas/x), mounted on {tmp_path}, and lies on ext4" in found.what
