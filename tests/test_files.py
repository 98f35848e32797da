import os
import subprocess
import sys
from pathlib import Path

import pytest

from autoquant import files
from autoquant.errors import RunError
from autoquant.files import (
    append_text,
    remove_incomplete_line,
    remove_stale,
    replacing,
    set_aside,
    write_text,
)


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
    with pytest.raises(RunError, match=r"file.txt' could not be written: No such file"):
        write_text(tmp_path / "absent" / "file.txt", "text")
    assert names(tmp_path) == []


def test_content_is_on_the_disk_before_the_name(target, monkeypatch):
    done: list[str] = []
    real = Path.replace
    monkeypatch.setattr("os.fsync", lambda descriptor: done.append("written"))
    monkeypatch.setattr(Path, "replace", lambda a, b: (done.append("renamed"), real(a, b))[1])
    write_text(target, "new")
    assert done == ["written", "renamed", "written"]  # the file, its name, the folder


def test_temporary_files_of_ended_processes_are_removed(tmp_path):
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    (tmp_path / "deep").mkdir()
    left = [f".a.json.{ended.pid}.tmp", f"deep/.b.csv.{ended.pid}.tmp", f".c.{os.getpid()}.tmp"]
    kept = [f".live.{os.getppid()}.tmp", ".mine.tmp", "kept.1.tmp", f".d.{ended.pid}.txt"]
    old = f".old.{os.getppid()}.tmp"
    for name in [*left, *kept, old]:
        (tmp_path / name).touch()
    os.utime(tmp_path / old, (0, 0))
    remove_stale(tmp_path)
    assert names(tmp_path) == sorted([*kept, "deep"])
    assert names(tmp_path / "deep") == []


def test_a_damaged_file_is_set_aside(target, capsys):
    set_aside(target, "is damaged: a new one is written")
    assert names(target.parent) == ["kept.txt.damaged"]
    (line,) = capsys.readouterr().err.splitlines()
    expected = f"'{target}' is damaged: a new one is written; it is kept as 'kept.txt.damaged'"
    assert line == f"autoquant: {expected}"


def test_write_text_is_utf8(target):
    write_text(target, "Größe\n")
    assert target.read_bytes() == b"Gr\xc3\xb6\xc3\x9fe\n"
    assert names(target.parent) == ["kept.txt"]


@pytest.mark.parametrize("block", [1, 3, 65_536])
@pytest.mark.parametrize(
    ("content", "kept"),
    [
        (b"", b""),
        (b"half", b""),
        (b"one\n", b"one\n"),
        (b"one\ntw", b"one\n"),
        (b"one\n\n" + b"x" * 100, b"one\n\n"),
        (b"\nhalf", b"\n"),
    ],
)
def test_an_incomplete_line_is_removed(block, content, kept, tmp_path, monkeypatch):
    monkeypatch.setattr(files, "BLOCK_BYTES", block)
    path = tmp_path / "lines"
    path.write_bytes(content)
    remove_incomplete_line(path)
    assert path.read_bytes() == kept


def test_only_the_end_of_a_file_is_read(tmp_path, monkeypatch):
    """A journal may have a gigabyte."""
    monkeypatch.setattr(files, "BLOCK_BYTES", 10)
    path = tmp_path / "lines"
    path.write_bytes(b"line\n" * 1000 + b"half")
    real, read = Path.open, [0]

    def opened(self, *args, **options):
        file = real(self, *args, **options)
        whole = file.read

        def counted(size=-1):
            content = whole(size)
            read[0] += len(content)
            return content

        monkeypatch.setattr(file, "read", counted, raising=False)
        return file

    monkeypatch.setattr(Path, "open", opened)
    remove_incomplete_line(path)
    assert read == [10]
    monkeypatch.undo()
    assert path.read_bytes() == b"line\n" * 1000


def test_lines_of_a_missing_file(tmp_path):
    remove_incomplete_line(tmp_path / "none")
    assert names(tmp_path) == []
    append_text(tmp_path / "lines", "one\n")
    append_text(tmp_path / "lines", "two\n")
    assert (tmp_path / "lines").read_bytes() == b"one\ntwo\n"
    with pytest.raises(RunError, match="could not be written"):
        append_text(tmp_path / "none" / "lines", "one\n")
