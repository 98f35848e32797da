"""Each layout of a corpus, as small folders."""

from __future__ import annotations

from pathlib import Path
from zipfile import ZipFile

import pytest

from autoquant.errors import UserError
from autoquant.tasks.speech.corpora.corpus import LAYOUTS, layout_of
from autoquant.tasks.speech.utterance import Utterance


def write(path: Path, text: str = "") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return path


def librispeech(root: Path) -> list[Utterance]:
    chapter = root / "LibriSpeech/train-clean-100/19/198"
    write(chapter / "19-198.trans.txt", "19-198-0001 NORTHANGER ABBEY\n19-198-0000 A HEROINE\n\n")
    other = root / "LibriSpeech/train-other-500/7/1"
    write(other / "7-1.trans.txt", "7-1-0000 ONE\n")
    write(root / "LibriSpeech/dev-clean/5/2/5-2.trans.txt", "5-2-0000 TWO\n")
    return [
        Utterance("19-198-0000", chapter / "19-198-0000.flac", "A HEROINE", "19"),
        Utterance("19-198-0001", chapter / "19-198-0001.flac", "NORTHANGER ABBEY", "19"),
        Utterance("7-1-0000", other / "7-1-0000.flac", "ONE", "7"),
    ]


STM = """;; a comment
AlGore 1 AlGore 0.00 1.50 <o,f0,male> ignore_time_segment_in_scoring
AlGore 1 AlGore 1.50 4.25 <o,f0,male> it 's a {NOISE} great(2) <sil> honor
AlGore 1 AlGore 4.25 5.00 <o,f0,male> [laughter]
AlGore 1 AlGore 5.00 6.5 thank you
AlGore 1 AlGore five
AlGore 1 AlGore x y <o> words
AlGore 1 AlGore nan 7 <o> words
AlGore 1 AlGore 6 inf <o> words
AlGore 1 AlGore -3 7 <o> words
AlGore 1 AlGore 7 6.5 <o> words
"""


def tedlium(root: Path) -> list[Utterance]:
    write(root / "train/stm/AlGore.stm", STM)
    sound = root / "train/sph/AlGore.sph"
    return [
        Utterance("AlGore-00002", sound, "it's a great honor", "AlGore", 1.5, 4.25),
        Utterance("AlGore-00004", sound, "thank you", "AlGore", 5.0, 6.5),
    ]


def common_voice(root: Path) -> list[Utterance]:
    head = "client_id\tpath\tsentence\tup_votes\n"
    write(root / "train.tsv", f'{head}b\t2.mp3\t"Yes", he said.\t2\na\t1.mp3\tNo.\t2\n\t\t\t\n')
    return [
        Utterance("1.mp3", root / "clips/1.mp3", "No.", "a"),
        Utterance("2.mp3", root / "clips/2.mp3", '"Yes", he said.', "b"),
    ]


def sphinx(root: Path) -> list[Utterance]:
    write(root / "etc/an4_train.fileids", "an4_clstk/fash/an251\nan4_clstk/fash/an253\nx/y/none\n")
    texts = "<s> YES </s> (an251)\nGO NOW (an4_clstk/fash/an253)\nno name\n"
    write(root / "etc/an4_train.transcription", texts)
    with ZipFile(root / "feat.zip", "w") as archive:
        archive.writestr("an4_clstk/fash/an251.mfc", b"")
    folder = root / "feat.zip/an4_clstk/fash"
    return [
        Utterance("an4_clstk/fash/an251", folder / "an251.mfc", "YES", "fash"),
        Utterance("an4_clstk/fash/an253", folder / "an253.mfc", "GO NOW", "fash"),
    ]


def plain(root: Path) -> list[Utterance]:
    for name in ("mary/1.wav", "mary/2.FLAC", "john.npy"):
        write((root / "train" / name).with_suffix(".txt"), f"{name}\n")
        write(root / "train" / name)
    write(root / "train/mary/no text.wav")
    write(root / "train/notes.txt", "no sound")
    train = root / "train"
    return [
        Utterance("john.npy", train / "john.npy", "john.npy"),
        Utterance("mary/1.wav", train / "mary/1.wav", "mary/1.wav", "mary"),
        Utterance("mary/2.FLAC", train / "mary/2.FLAC", "mary/2.FLAC", "mary"),
    ]


MAKERS = {
    "librispeech": librispeech,
    "tedlium": tedlium,
    "common_voice": common_voice,
    "sphinx": sphinx,
    "plain": plain,
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_layout_is_read_and_recognised(layout: str, tmp_path: Path) -> None:
    expected = MAKERS[layout](tmp_path)
    assert LAYOUTS[layout](tmp_path, "train") == expected
    assert LAYOUTS[layout](tmp_path, "test") == []
    assert layout_of(tmp_path) == layout_of(tmp_path, layout) == layout


def test_splits_have_folders_of_their_own(tmp_path: Path) -> None:
    librispeech(tmp_path)
    assert [u.name for u in LAYOUTS["librispeech"](tmp_path, "valid")] == ["5-2-0000"]
    for name in ("dev", "test"):
        write(tmp_path / name / "1.wav")
        write(tmp_path / name / "1.txt", name)
    assert [u.text for u in LAYOUTS["plain"](tmp_path, "valid")] == ["dev"]
    assert [u.text for u in LAYOUTS["plain"](tmp_path, "test")] == ["test"]


def test_what_is_no_corpus(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"training utterances in one of the layouts .*, got none"):
        layout_of(tmp_path)
    with pytest.raises(UserError, match="training utterances in layout tedlium, got none in"):
        layout_of(tmp_path, "tedlium")
    with pytest.raises(UserError, match=r"layout must be one of auto, .*, got 'timit'"):
        layout_of(tmp_path, "timit")
    with pytest.raises(UserError, match="data_dir must be the folder of a speech corpus, got"):
        layout_of(tmp_path / "none")


@pytest.mark.parametrize(
    "name",
    [
        "train/a.txt",
        "train-1/7/1/7-1.trans.txt",
        "train.tsv",
        "etc/x_train.fileids",
        "train/stm/a.stm",
    ],
)
def test_texts_that_are_not_in_utf8_are_named(name: str, tmp_path: Path) -> None:
    write(tmp_path / name).write_bytes(b"\xff\xfe\x00")
    write(tmp_path / "train/a.wav")
    with pytest.raises(UserError, match=f"'.*{name}' must be a readable text in UTF-8, got "):
        layout_of(tmp_path)


def test_a_table_without_its_columns(tmp_path: Path) -> None:
    write(tmp_path / "dev.tsv", "id\tfile\ttext\n1\ta.mp3\tYes.\n")
    error = r"dev.tsv' must have the columns client_id, path, sentence, got 'id, file, text'"
    with pytest.raises(UserError, match=error):
        LAYOUTS["common_voice"](tmp_path, "valid")
