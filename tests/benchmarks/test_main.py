"""The command: what it lists, selects, refuses and writes."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from benchmarks import __main__ as command
from benchmarks import machine
from benchmarks.case import Case, Variant


@pytest.fixture
def toy_groups(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two groups of one case each, which take no time."""

    def group(name: str) -> SimpleNamespace:
        def cases() -> Iterator[Case]:
            variants = tuple(Variant(each, lambda: lambda: None) for each in ("base", "ours"))
            yield Case(name, f"case of {name}", name, variants)

        return SimpleNamespace(GROUP=name, ABOUT="about", cases=cases)

    monkeypatch.setattr(command, "GROUPS", {name: group(name) for name in ("one", "two")})


@pytest.mark.parametrize("group", list(command.GROUPS))
def test_every_group_lists_cases_and_variants_without_building_them(group: str) -> None:
    titles = []
    for case in command.GROUPS[group].cases():
        assert case.group == group
        assert len(set(case.names)) == len(case.names) >= 3
        titles.append(case.title)
    assert titles
    assert len(set(titles)) == len(titles)


def test_the_list_names_everything(capsys: pytest.CaptureFixture[str]) -> None:
    assert command.main(["--list", "--only", "recurrent", "--match", "gru 300"]) == 0
    title, *variants = capsys.readouterr().out.splitlines()
    assert title.startswith("recurrent: GRU 300")
    assert variants[0].strip() == "float nn.GRU"
    assert all(name not in "".join(variants) for name in ("Brevitas", "torch.ao"))  # have no GRU


@pytest.mark.usefixtures("toy_groups")
def test_a_run_prints_and_writes_everything(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given = ["--rounds", "2", "--seconds", "0", "--output", str(tmp_path)]
    assert command.main(given) == 0
    printed = capsys.readouterr().out
    assert "[one] case of one" in printed
    assert torch.get_num_threads() == 1
    csv_file, markdown = sorted(tmp_path.iterdir())
    assert csv_file.name == f"{markdown.stem}.csv"
    assert markdown.stem.endswith(machine.slug(1))
    written = markdown.read_text()
    assert "## one" in written
    assert "## two" in written
    assert f"- command: python -m benchmarks {' '.join(given)}" in written


@pytest.mark.usefixtures("toy_groups")
def test_a_part_is_written_beside_the_whole(tmp_path: Path) -> None:
    given = ["--rounds", "2", "--seconds", "0", "--output", str(tmp_path)]
    command.main([*given, "--only", "two", "--match", "Case OF"])
    names = sorted(path.name for path in tmp_path.iterdir())
    assert all(f"{machine.slug(1)}-two-case-of." in name for name in names)
    assert len(names) == 2


@pytest.mark.usefixtures("toy_groups")
def test_a_wrong_result_fails_the_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def breaks() -> object:
        raise ValueError

    variants = (Variant("base", lambda: lambda: None), Variant("ours", lambda: breaks))
    broken = SimpleNamespace(cases=lambda: iter([Case("one", "title", "label", variants)]))
    monkeypatch.setattr(command, "GROUPS", {"one": broken})
    assert command.Selection(["one"], "").slug == ""
    monkeypatch.setattr(command, "parser", _parser(tmp_path))
    assert command.main([]) == 1


def _parser(folder: Path) -> object:
    given = SimpleNamespace(
        only=["one"], match="", list=False, threads=1, rounds=2, seconds=0.0, output=folder
    )
    return lambda: SimpleNamespace(parse_args=lambda arguments: given)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--rounds", "1"], "must be at least 2, got 1"),
        (["--threads", "0"], "must be at least 1, got 0"),
        (["--only", "nothing"], "invalid choice: 'nothing'"),
    ],
    ids=["rounds", "threads", "group"],
)
def test_bad_arguments_are_refused(
    arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        command.main(arguments)
    assert message in capsys.readouterr().err
