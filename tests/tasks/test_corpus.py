from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from autoquant.errors import UserError
from autoquant.tasks.corpus import (
    END,
    MIN_TOKENS,
    SPLITS,
    UNKNOWN,
    encode,
    read_stdlib,
    read_treebank,
)

PTB = Path(__file__).parents[2].parent / "shared" / "data" / "ptb"


def padded(words: list[str]) -> list[str]:
    """Long enough to be a text, without changing which words are frequent."""
    return words * (MIN_TOKENS // len(words) + 1)


def decoded(corpus, split: str) -> list[str]:
    return [corpus.vocabulary[i] for i in corpus.streams[split]]


def write(folder: Path, **texts: str | bytes) -> Path:
    """The three files of a treebank; a split that is not given gets a text of its own."""
    for split in SPLITS:
        text = texts.get(split, "a b c d e\n" * 30)
        content = text if isinstance(text, bytes) else text.encode()
        (folder / f"ptb.{split}.txt").write_bytes(content)
    return folder


# --- vocabulary ----------------------------------------------------------------------------------


def test_the_most_frequent_words_come_first_and_ties_are_alphabetical():
    words = padded(["d", "b", "c", "c", "a", "b"])
    corpus = encode("toy", dict.fromkeys(SPLITS, words), None)
    assert corpus.vocabulary == ("b", "c", "a", "d")
    assert corpus.streams["train"].dtype == np.int32
    assert decoded(corpus, "train") == words


def test_a_limited_vocabulary_keeps_the_most_frequent_and_unk():
    words = padded(["d", "b", "c", "c", "a", "b"])
    corpus = encode("toy", dict.fromkeys(SPLITS, words), 3)
    assert corpus.vocabulary == (UNKNOWN, "b", "c")
    assert decoded(corpus, "train")[:6] == [UNKNOWN, "b", "c", "c", UNKNOWN, "b"]


@pytest.mark.parametrize("size", [None, 4, 100])
def test_words_that_training_lacks_become_unk(size):
    train, other = padded(["a", "b"]), padded(["a", "z", "b"])
    corpus = encode("toy", {"train": train, "valid": other, "test": train}, size)
    assert corpus.vocabulary == (UNKNOWN, "a", "b")
    assert decoded(corpus, "valid")[:3] == ["a", UNKNOWN, "b"]
    assert UNKNOWN not in decoded(corpus, "train")


def test_a_text_with_its_own_unk_has_one():
    train = padded(["a", UNKNOWN, UNKNOWN, "b"])
    whole = encode("toy", dict.fromkeys(SPLITS, train), None)
    assert whole.vocabulary == (UNKNOWN, "a", "b")
    assert decoded(whole, "train") == train
    limited = encode("toy", dict.fromkeys(SPLITS, train), 2)
    assert limited.vocabulary == (UNKNOWN, "a")
    assert decoded(limited, "train")[:4] == ["a", UNKNOWN, UNKNOWN, UNKNOWN]


def test_there_is_no_unk_where_nothing_is_unknown():
    words = padded(["a", "b"])
    corpus = encode("toy", dict.fromkeys(SPLITS, words), 2)
    assert UNKNOWN not in corpus.vocabulary


WORDS = st.lists(st.sampled_from(["a", "b", "c", "d", "e", UNKNOWN]), min_size=1, max_size=30)


@given(WORDS, WORDS, st.none() | st.integers(2, 8))
def test_encoding_loses_nothing_but_rare_words(train, other, size):
    texts = {"train": padded(train), "valid": padded(other), "test": padded(train)}
    corpus = encode("toy", texts, size)
    assert len(set(corpus.vocabulary)) == len(corpus.vocabulary)
    assert size is None or len(corpus.vocabulary) <= size
    for split in SPLITS:
        expected = [word if word in corpus.vocabulary else UNKNOWN for word in texts[split]]
        assert decoded(corpus, split) == expected
    dropped = Counter(w for w in texts["train"] if w not in corpus.vocabulary)
    kept = Counter(w for w in texts["train"] if w in corpus.vocabulary and w != UNKNOWN)
    if dropped and kept:
        assert max(dropped.values()) <= min(kept.values())


@pytest.mark.parametrize("size", [1, 0, -5])
def test_a_vocabulary_of_nothing_is_refused(size):
    with pytest.raises(UserError, match=f"vocabulary must have at least 2 words, got {size}"):
        encode("toy", dict.fromkeys(SPLITS, padded(["a", "b", "c"])), size)


@pytest.mark.parametrize("split", SPLITS)
def test_a_short_text_is_refused(split):
    texts = dict.fromkeys(SPLITS, ["a", "b"] * MIN_TOKENS)
    texts[split] = ["a"] * (MIN_TOKENS - 1)
    with pytest.raises(UserError, match=f"the {split} text of toy must have at least 100 tokens"):
        encode("toy", texts, None)
    texts[split] = ["a"] * MIN_TOKENS
    assert len(encode("toy", texts, None).streams[split]) == MIN_TOKENS


# --- the treebank's files ------------------------------------------------------------------------


def test_line_ends_are_words(tmp_path):
    text = " a  b \n\n c\ta\n" * 20
    corpus = read_treebank(write(tmp_path, train=text))
    assert decoded(corpus, "train")[:7] == ["a", "b", END, END, "c", "a", END]
    assert len(corpus.streams["train"]) == 7 * 20


def test_windows_line_ends_are_the_same(tmp_path):
    (tmp_path / "unix").mkdir()
    (tmp_path / "windows").mkdir()
    text = "a b c d\n" * 30
    unix = read_treebank(write(tmp_path / "unix", train=text))
    windows = read_treebank(write(tmp_path / "windows", train=text.replace("\n", "\r\n")))
    assert windows.vocabulary == unix.vocabulary
    np.testing.assert_array_equal(windows.streams["train"], unix.streams["train"])


def test_another_prefix_and_a_limited_vocabulary(tmp_path):
    for path in list(write(tmp_path).iterdir()):
        path.rename(tmp_path / path.name.replace("ptb", "wiki"))
    corpus = read_treebank(str(tmp_path), "wiki", 3)
    assert corpus.name == "wiki"
    assert corpus.vocabulary == (UNKNOWN, END, "a")


def test_a_missing_folder(tmp_path):
    with pytest.raises(
        UserError, match=r"task.data_dir must be an existing folder, got '.*absent'"
    ):
        read_treebank(tmp_path / "absent")
    with pytest.raises(UserError, match=r"task.data_dir must be an existing folder"):
        read_treebank(write(tmp_path) / "ptb.train.txt")


@pytest.mark.parametrize("split", SPLITS)
def test_a_missing_file(tmp_path, split):
    (write(tmp_path) / f"ptb.{split}.txt").unlink()
    with pytest.raises(UserError, match=rf"must have the file '.*ptb\.{split}\.txt'"):
        read_treebank(tmp_path)


@pytest.mark.parametrize(
    ("text", "tokens"),
    [("", 0), ("one line only\n", 4), ("\n", 1)],
    ids=["empty", "one-line", "one-line-end"],
)
@pytest.mark.parametrize("split", SPLITS)
def test_a_file_without_a_text(tmp_path, split, text, tokens):
    with pytest.raises(UserError, match=rf"the {split} text of ptb must have .* got {tokens}$"):
        read_treebank(write(tmp_path, **{split: text}))


def test_one_long_line_is_a_text(tmp_path):
    corpus = read_treebank(write(tmp_path, train="a b c d " * 50))
    assert len(corpus.streams["train"]) == 200
    assert END not in decoded(corpus, "train")


def test_a_file_in_another_encoding(tmp_path):
    with pytest.raises(UserError, match=r"'.*ptb\.valid\.txt' must be UTF-8 text"):
        read_treebank(write(tmp_path, valid="caf\xe9 ".encode("latin-1") * 200))


@pytest.mark.skipif(not PTB.is_dir(), reason="the Penn Treebank is not here")
def test_the_penn_treebank():
    corpus = read_treebank(PTB)
    assert {split: len(corpus.streams[split]) for split in SPLITS} == {
        "train": 929_589,
        "valid": 73_760,
        "test": 82_430,
    }
    assert len(corpus.vocabulary) == 10_000
    counts = {split: Counter(decoded(corpus, split)) for split in SPLITS}
    assert [counts[split][UNKNOWN] for split in SPLITS] == [45_020, 3_485, 4_794]
    assert [counts[split][END] for split in SPLITS] == [42_068, 3_370, 3_761]
    assert corpus.vocabulary[0] == "the"
    raw = (PTB / "ptb.valid.txt").read_text(encoding="utf-8").replace("\n", f" {END} ").split()
    assert decoded(corpus, "valid") == raw


# --- the standard library ------------------------------------------------------------------------


@pytest.fixture
def library(tmp_path: Path) -> Path:
    """Forty modules; each has a word of its own, 'only7' in the seventh."""
    letters = "abcdefghij"
    for i in range(40):
        own = "own" + letters[i // 10] + letters[i % 10]
        path = tmp_path / ("package" if i % 3 else "") / f"module{i}.py"
        path.parent.mkdir(exist_ok=True)
        path.write_text(f"{own} = common({i})\n" * 10, encoding="utf-8")
    return tmp_path


def own_words(corpus, split: str) -> set[str]:
    return {word for word in decoded(corpus, split) if word.startswith("own")}


def test_reads_words_signs_numbers_and_line_ends(tmp_path):
    for i in range(10):
        (tmp_path / f"m{i}.py").write_text("if x_1 >= 3.5:\n\n  é('a b')\n" * 20, encoding="utf-8")
    corpus = read_stdlib(10_000, 100, tmp_path)
    line = ["if", "x", "_", "N", ">", "=", "N", ".", "N", ":", END]
    line += ["é", "(", "'", "a", "b", "'", ")", END]
    assert decoded(corpus, "train")[: len(line)] == line


def test_a_file_is_in_one_split_only(library):
    limit = 10**6
    corpus = read_stdlib(limit, limit, library)
    # validation and test words are unknown to training, which tells that their files are others
    assert len(own_words(corpus, "train")) == 32
    assert not own_words(corpus, "valid")
    assert not own_words(corpus, "test")
    assert UNKNOWN in decoded(corpus, "valid")


def test_the_splits_share_no_file(library, monkeypatch):
    """As above, with every word known, so that the files of each split can be named."""
    read = {}
    monkeypatch.setattr(
        "autoquant.tasks.corpus.encode", lambda name, words, size: read.update(words)
    )
    read_stdlib(10**6, 10**6, library)
    owners = {split: {w for w in read[split] if w.startswith("own")} for split in SPLITS}
    assert {split: len(words) for split, words in owners.items()} == {
        "train": 32,
        "valid": 4,
        "test": 4,
    }
    assert len(set.union(*owners.values())) == 40


def test_the_same_files_give_the_same_corpus(library, tmp_path_factory):
    one = read_stdlib(2_000, 30, library)
    elsewhere = tmp_path_factory.mktemp("copy")
    for path in sorted(library.rglob("*.py"), reverse=True):
        target = elsewhere / path.relative_to(library)
        target.parent.mkdir(exist_ok=True)
        target.write_bytes(path.read_bytes())
    other = read_stdlib(2_000, 30, elsewhere)
    assert other.vocabulary == one.vocabulary
    for split in SPLITS:
        np.testing.assert_array_equal(other.streams[split], one.streams[split])


def test_the_order_of_the_folder_does_not_matter(library, monkeypatch):
    one = read_stdlib(2_000, 30, library)
    found = sorted(library.rglob("*.py"))
    for order in (found, found[::-1]):
        monkeypatch.setattr(Path, "rglob", lambda self, pattern, order=order: iter(order))
        other = read_stdlib(2_000, 30, library)
        np.testing.assert_array_equal(other.streams["train"], one.streams["train"])


def test_limits(library):
    corpus = read_stdlib(1_000, 20, library)
    assert {split: len(stream) for split, stream in corpus.streams.items()} == {
        "train": 1_000,
        "valid": 100,
        "test": 100,
    }
    assert len(corpus.vocabulary) == 20


def test_tests_and_installed_packages_are_not_read(library):
    before = read_stdlib(10**6, 10**6, library)
    for folder in ("test", "site-packages", "package/tests", "idle_test"):
        (library / folder).mkdir(parents=True)
        (library / folder / "more.py").write_text("skipped\n" * 50, encoding="utf-8")
    after = read_stdlib(10**6, 10**6, library)
    assert "skipped" not in after.vocabulary
    np.testing.assert_array_equal(after.streams["train"], before.streams["train"])


def test_bytes_that_are_no_text_do_not_stop_it(library):
    for path in library.rglob("*.py"):
        path.write_bytes(b"x = '\xff'\n" * 20)
    assert "�" in read_stdlib(10_000, 50, library).vocabulary


def test_a_missing_or_empty_library(tmp_path):
    with pytest.raises(UserError, match=r"must be in a folder, got '.*absent'"):
        read_stdlib(1_000, 50, tmp_path / "absent")
    with pytest.raises(UserError, match=r"the train text of stdlib must have .* got 0"):
        read_stdlib(1_000, 50, tmp_path)


def test_this_interpreter_s_own_library():
    corpus = read_stdlib(20_000, 500)
    assert len(corpus.streams["train"]) == 20_000
    assert len(corpus.streams["test"]) == 2_000
    assert len(corpus.vocabulary) == 500
    assert {"self", "def", END, "N", UNKNOWN} <= set(corpus.vocabulary)
