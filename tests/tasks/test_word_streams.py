"""Texts that are read when they are needed, and vocabularies that were stored."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from autoquant.errors import UserError
from autoquant.task import ScoresFiles, SupportsAssets
from autoquant.tasks.corpus import SPLITS, StdlibText, TreebankText, encode, read_stdlib
from autoquant.tasks.language import LanguageTask, stdlib, treebank
from autoquant.tasks.word_streams import WordStreams, decode_vocabulary, encode_vocabulary
from tests.toys import corpus

SMALL: dict[str, Any] = {"embedding": 5, "hidden": 6, "dropout": 0.0, "batch_size": 4, "length": 9}
LINES = {"train": "a b c d\n" * 40, "valid": "a b z c\n" * 30, "test": "d c b a\n" * 30}


def folder_of(folder: Path, **texts: str) -> Path:
    """A treebank's files; all three where none is given."""
    folder.mkdir(exist_ok=True)
    for split, text in (texts or LINES).items():
        (folder / f"ptb.{split}.txt").write_text(text, encoding="utf-8")
    return folder


def ptb(folder: Path) -> LanguageTask:
    return treebank(str(folder), sampled=0, **SMALL)


@pytest.fixture
def whole(tmp_path: Path) -> LanguageTask:
    return ptb(folder_of(tmp_path / "whole"))


# --- nothing is read before it is needed ----------------------------------------------------------


@pytest.mark.parametrize("use", ["build_model", "steps_per_epoch", "example", "assets"])
def test_a_missing_folder_is_refused_at_the_first_use(use: str, tmp_path: Path) -> None:
    task = ptb(tmp_path / "absent")
    assert task.name == "ptb"
    with pytest.raises(
        UserError, match=r"task\.data_dir must be an existing folder, got '.*absent"
    ):
        getattr(task, use)()


def test_the_library_is_read_at_the_first_use(tmp_path: Path) -> None:
    task = stdlib(1000, 50, str(tmp_path / "absent"), **SMALL)
    with pytest.raises(UserError, match="the standard library's source must be in a folder"):
        task.build_model()


@pytest.mark.parametrize(
    ("build", "line"),
    [
        (lambda: stdlib(1000, 1), "the vocabulary must have at least 2 words, got 1"),
        (lambda: TreebankText("x", size=1), "the vocabulary must have at least 2 words, got 1"),
        (lambda: stdlib("many"), "tokens must be a whole number, got 'many'"),  # type: ignore[arg-type]
        (lambda: stdlib(vocabulary=2.5), "vocabulary must be a whole number, got 2.5"),  # type: ignore[arg-type]
        (lambda: stdlib(root=3), "task.root must be a folder's path, got 3"),  # type: ignore[arg-type]
        (lambda: treebank(3), "task.data_dir must be a folder's path, got 3"),  # type: ignore[arg-type]
        (lambda: treebank("x", 3), "prefix must be a text, got 3"),  # type: ignore[arg-type]
        (lambda: treebank("x", sampled="few"), "sampled must be a whole number, got 'few'"),
    ],
    ids=[
        "no words",
        "no words of ptb",
        "tokens",
        "vocabulary",
        "root",
        "folder",
        "prefix",
        "sample",
    ],
)
def test_arguments_are_checked_at_once(build: Callable[[], Any], line: str) -> None:
    with pytest.raises(UserError) as caught:
        build()
    assert str(caught.value) == line


def test_a_sample_as_large_as_the_vocabulary_is_refused_with_the_model(tmp_path: Path) -> None:
    task = treebank(str(folder_of(tmp_path)), sampled=6, **SMALL)
    with pytest.raises(UserError, match="sampled must be from 1 to below the vocabulary's 6 words"):
        task.build_model()
    with pytest.raises(UserError, match="sampled must be from 1 to below the vocabulary's 20"):
        LanguageTask(corpus(words=20), sampled=20, **SMALL)


@pytest.mark.parametrize("split", SPLITS)
def test_a_split_of_the_library_alone_is_that_of_all(split: str, tmp_path: Path) -> None:
    for i in range(23):
        (tmp_path / f"m{i}.py").write_text(f"x{i} = [{i}]\n" * (5 * i + 1))
    for tokens in (90, 600, 10**6):
        text = StdlibText(tokens, 10**6, tmp_path)
        try:
            all_splits = read_stdlib(tokens, 10**6, tmp_path)
        except UserError:  # too short
            continue
        words = [all_splits.vocabulary[i] for i in all_splits.streams[split]]
        assert text.words(split) == words


# --- a vocabulary that was stored -----------------------------------------------------------------


def test_assets_and_files_are_supported(whole: LanguageTask) -> None:
    assert isinstance(whole, SupportsAssets)
    assert isinstance(whole, ScoresFiles)
    assert whole.assets() == {"vocabulary": b"<unk>\n<eos>\na\nb\nc\nd\n"}


@torch.no_grad()
def test_the_test_split_is_scored_without_the_others(whole: LanguageTask, tmp_path: Path) -> None:
    task = ptb(folder_of(tmp_path / "part", test=LINES["test"]))
    task.restore_assets(whole.assets())
    torch.manual_seed(0)
    model = task.build_model().eval()
    assert task.score(model, "test") == whole.score(model, "test")
    with pytest.raises(UserError, match=r"must have the file '.*ptb\.valid\.txt'"):
        task.score(model, "probe")


def test_every_split_is_the_same_with_the_stored_vocabulary(whole: LanguageTask) -> None:
    assets, before = whole.assets(), next(whole.batches(0))
    whole.restore_assets(assets)
    after = next(whole.batches(0))
    assert torch.equal(before.inputs, after.inputs)
    assert whole.assets() == assets


def test_another_vocabulary_gives_other_ids() -> None:
    source = corpus(words=4, tokens=400)
    streams = WordStreams(source, 20)
    own, stored = streams.stream("test"), ("w03", "w01", "<unk>")
    streams.restore(stored)
    ids = [stored.index(word) if word in stored else 2 for word in source.vocabulary]
    assert torch.equal(streams.stream("test"), torch.tensor(ids)[own])
    assert len(streams.stream("probe")) == 20
    streams.restore(None)
    assert torch.equal(streams.stream("test"), own)


def test_without_a_stored_vocabulary_a_task_is_as_it_was_built(whole: LanguageTask) -> None:
    whole.restore_assets({"vocabulary": b"a\nb\n"})
    assert whole.assets() == {"vocabulary": b"a\nb\n"}
    whole.restore_assets({"other": b""})
    assert len(whole.assets()["vocabulary"].splitlines()) == 6


def test_a_short_split_is_refused_with_a_stored_vocabulary(tmp_path: Path) -> None:
    task = ptb(folder_of(tmp_path, test="a b\n"))
    task.restore_assets({"vocabulary": b"<unk>\na\n"})
    with pytest.raises(UserError, match="the test text of ptb must have at least 100 tokens, got"):
        task.score(task.build_model(), "test")


def test_sampling_counts_the_words_of_the_stored_vocabulary(whole: LanguageTask) -> None:
    task = LanguageTask(whole.corpus, sampled=3, **SMALL)
    task.restore_assets({"vocabulary": b"d\nc\nb\na\n<eos>\n<unk>\n"})
    loss, _ = task.loss(task.build_model().train(), next(task.batches(0)), None)
    assert bool(loss.isfinite())


@pytest.mark.parametrize(
    "words", [("a", "b"), ("ä", "\r", " ", "", "\u2028"), tuple(map(chr, range(0x400, 0x500)))]
)
def test_a_vocabulary_is_stored_as_it_is(words: tuple[str, ...]) -> None:
    assert decode_vocabulary(encode_vocabulary(words)) == words


@pytest.mark.parametrize("word", ["a\nb", "\ud800"], ids=["line end", "surrogate"])
def test_words_that_cannot_be_stored(word: str) -> None:
    with pytest.raises(UserError, match="words of a vocabulary must be"):
        encode_vocabulary(("a", word))


@pytest.mark.parametrize("content", [b"", b"a\n", b"a\nb", b"a\nb\na\n", b"\xff\n\xfe\n"])
def test_a_damaged_vocabulary_is_refused(content: bytes, whole: LanguageTask) -> None:
    with pytest.raises(UserError, match="the stored vocabulary must"):
        whole.restore_assets({"vocabulary": content})


# --- a text of the user's -------------------------------------------------------------------------


@torch.no_grad()
def test_a_file_is_scored_as_a_split_with_its_text(whole: LanguageTask, tmp_path: Path) -> None:
    model = whole.build_model().eval()
    file = tmp_path / "mine.txt"
    file.write_text(LINES["test"], encoding="utf-8")
    assert whole.score_file(model, file) == whole.score(model, "test")


def test_a_file_is_cut_into_words_as_the_corpus_is(tmp_path: Path) -> None:
    file = tmp_path / "mine.py"
    file.write_text("x_1 = a.b\n", encoding="utf-8")
    task = stdlib(1000, 50, str(tmp_path / "absent"))
    vocabulary = ("<unk>", "x", "_", "N", "=", "a", ".", "<eos>")
    task.restore_assets({"vocabulary": encode_vocabulary(vocabulary)})
    assert task._streams.stream_of_file(file).tolist() == [1, 2, 3, 4, 5, 6, 0, 7]
    sentences = WordStreams(encode("toy", dict.fromkeys(SPLITS, ["a", "b"] * 60), None), 10)
    file.write_text("b a\n", encoding="utf-8")
    with pytest.raises(UserError, match="vocabulary, which has no <unk>, got '<eos>'"):
        sentences.stream_of_file(file)
    file.write_text(" b  a a", encoding="utf-8")
    assert sentences.stream_of_file(file).tolist() == [1, 0, 0]


@pytest.mark.parametrize(
    ("content", "line"),
    [
        (b"", "mine.txt' must have at least 2 words, got 0"),
        (b"a", "mine.txt' must have at least 2 words, got 1"),
        (b"\x89PNG\xff", "mine.txt' must be UTF-8 text, got "),
    ],
    ids=["empty", "one word", "no text"],
)
def test_files_that_cannot_be_scored(
    content: bytes, line: str, whole: LanguageTask, tmp_path: Path
) -> None:
    (tmp_path / "mine.txt").write_bytes(content)
    with pytest.raises(UserError, match=line):
        whole.score_file(whole.build_model(), tmp_path / "mine.txt")
