from __future__ import annotations

import numpy as np
import pytest

from autoquant.tasks.speech.error_rates import ErrorRates, bootstrap_difference, error_rates

pytest.importorskip("jiwer")


def edit_distance(one: list[str], other: list[str]) -> int:
    """By the usual table."""
    table = np.zeros((len(one) + 1, len(other) + 1), int)
    table[:, 0], table[0] = range(len(one) + 1), range(len(other) + 1)
    for i in range(len(one)):
        for j in range(len(other)):
            kept = table[i, j] + (one[i] != other[j])
            table[i + 1, j + 1] = min(kept, table[i, j + 1] + 1, table[i + 1, j] + 1)
    return int(table[-1, -1])


def test_errors_are_edit_distances() -> None:
    random = np.random.default_rng(0)
    draw = lambda least: " ".join(random.choice(["a", "bc", "d"], random.integers(least, 6)))  # noqa: E731
    references, transcripts = [draw(1) for _ in range(30)], [draw(0) for _ in range(30)]
    found = error_rates(references, transcripts)
    pairs = [*zip(references, transcripts, strict=True)]
    assert found.word_errors == tuple(edit_distance(a.split(), b.split()) for a, b in pairs)
    assert found.character_errors == tuple(edit_distance([*a], [*b]) for a, b in pairs)
    assert found.wer == sum(found.word_errors) / sum(len(a.split()) for a in references)
    assert found.cer == sum(found.character_errors) / sum(map(len, references))


def rates(*errors: int) -> ErrorRates:
    return ErrorRates(errors, (10,) * len(errors), errors, (40,) * len(errors))


def test_equal_models_do_not_differ() -> None:
    same = bootstrap_difference(rates(1, 2, 3), rates(1, 2, 3))
    assert (same.value, same.low, same.high) == (0.0, 0.0, 0.0)


def test_the_interval_is_that_of_the_differences() -> None:
    random = np.random.default_rng(0)
    base = random.integers(0, 5, 400)
    worse = base + random.integers(0, 2, 400)
    found = bootstrap_difference(rates(*worse), rates(*base))
    error = (worse - base).std() / np.sqrt(400) / 10
    assert found.value == pytest.approx((worse - base).mean() / 10)
    assert found.low == pytest.approx(found.value - 1.645 * error, abs=0.25 * error)
    assert found.high == pytest.approx(found.value + 1.645 * error, abs=0.25 * error)
    assert found == bootstrap_difference(rates(*worse), rates(*base))


VERDICTS = {(-0.01, 0.004): "met", (0.001, 0.02): "missed", (-0.02, 0.02): "undecided"}


@pytest.mark.parametrize("ends", VERDICTS)
def test_verdicts(ends: tuple[float, float]) -> None:
    from autoquant.tasks.speech.error_rates import RateDifference

    assert RateDifference(sum(ends) / 2, *ends).verdict(0.0) == VERDICTS[ends]
