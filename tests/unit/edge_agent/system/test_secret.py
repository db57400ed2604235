"""A secret's file: one line, and nobody else's to read."""

from __future__ import annotations

import pytest

from edge_agent.system.secret import check_secret, read_secret


@pytest.fixture
def write(tmp_path):
    def make(content, mode=0o600):
        file = tmp_path / "secret"
        file.write_bytes(content)
        file.chmod(mode)
        return file

    return make


@pytest.mark.parametrize("content", [b"top secret", b"top secret\n", b"top secret\r\n"])
def test_one_line(write, content):
    assert read_secret(write(content)) == "top secret"


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "it is empty"),
        (b"\n", "it is empty"),
        (b"top\nsecret\n", "it must hold one line"),
        (b"x" * 65_536, "it must hold one line of at most 65535 bytes"),
        (b"top \xff secret", "it does not hold text in UTF-8"),
    ],
)
def test_what_is_no_secret_is_told_without_its_content(write, content, said):
    with pytest.raises(OSError, match="secret") as caught:
        read_secret(write(content))

    assert said in caught.value.strerror
    assert caught.value.filename.endswith("/secret")
    assert "top" not in str(caught.value)


@pytest.mark.parametrize("mode", [0o644, 0o604, 0o602, 0o666])
def test_what_everyone_can_read_or_change_is_refused(write, mode):
    file = write(b"top secret", mode)

    for use in (read_secret, check_secret):
        with pytest.raises(PermissionError) as caught:
            use(file)
        assert caught.value.strerror.endswith(f"chmod o= {file}")


@pytest.mark.parametrize("mode", [0o600, 0o400, 0o640])
def test_what_the_service_and_its_group_can_read_is_not(write, mode):
    check_secret(write(b"top secret", mode))


def test_a_link_is_as_secret_as_what_it_leads_to(write, tmp_path):
    # As Kubernetes hands secrets over.
    link = tmp_path / "link"
    link.symlink_to(write(b"top secret"))

    assert read_secret(link) == "top secret"


def test_a_file_that_is_not_there(tmp_path):
    with pytest.raises(FileNotFoundError):
        read_secret(tmp_path / "none")
