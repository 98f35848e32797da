from __future__ import annotations

from autoquant.cli.docstring_entries import entries_of


def documented(a, b, **c):
    """Do: a thing.

    Args:
        a: one, which takes
            two lines: as here.
        b (int): in [0, 1];
            "x": not an entry.

        **c: no entry.

    Returns:
        d: nothing.
    """


def test_each_entry_is_one_line():
    entries = entries_of(documented, "Args")
    assert entries["a"] == "one, which takes two lines: as here."
    assert entries["b"].startswith('in [0, 1]; "x": not an entry.')
    assert set(entries) == {"a", "b"}
    assert entries_of(documented, "Returns") == {"d": "nothing."}


def test_what_has_no_section_has_no_entries():
    assert entries_of(documented, "Attributes") == {}
    assert entries_of(lambda: None, "Args") == {}
