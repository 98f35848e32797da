from pathlib import Path

import pytest

from autoquant.files import replacing, write_text


@pytest.fixture
def target(tmp_path: Path) -> Path:
    path = tmp_path / "kept.txt"
    path.write_text("old", encoding="utf-8")
    return path


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_replaces_when_the_block_ends_well(target):
    with replacing(target) as temporary:
        assert temporary.parent == target.parent  # else the replacement would not be atomic
        temporary.write_text("new", encoding="utf-8")
        assert target.read_text(encoding="utf-8") == "old"
    assert target.read_text(encoding="utf-8") == "new"
    assert names(target.parent) == ["kept.txt"]


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
def test_leaves_everything_as_it_was_when_the_block_raises(target, error):
    def interrupted() -> None:
        with replacing(target) as temporary:
            temporary.write_text("half", encoding="utf-8")
            raise error

    with pytest.raises(error):
        interrupted()
    assert target.read_text(encoding="utf-8") == "old"
    assert names(target.parent) == ["kept.txt"]


def test_makes_a_new_file(tmp_path):
    with replacing(tmp_path / "new.bin") as temporary:
        temporary.write_bytes(b"\x00\xff")
    assert (tmp_path / "new.bin").read_bytes() == b"\x00\xff"
    assert names(tmp_path) == ["new.bin"]


def test_a_missing_folder_is_an_error_and_not_made(tmp_path):
    with pytest.raises(FileNotFoundError):
        write_text(tmp_path / "absent" / "file.txt", "text")
    assert names(tmp_path) == []


def test_write_text_is_utf8(target):
    write_text(target, "Größe\n")
    assert target.read_bytes() == b"Gr\xc3\xb6\xc3\x9fe\n"
    assert names(target.parent) == ["kept.txt"]
