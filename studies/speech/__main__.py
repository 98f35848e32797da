"""``python -m studies.speech STUDY [key=value ...]``: runs a study, or continues it.

Each study is one command of autoquant, which is printed before it runs. AN4's features must be in
data/an4_mfcc (or: task.data_dir=DIR), the recordings of the Free Spoken Digit Dataset in
data/fsdd/recordings.zip (or: archive=FILE).
``python -m studies.speech sizes`` writes the tables of README.md that need no training,
``python -m studies.speech digit-strings`` the corpus of spoken digits into runs/digit-strings.
"""

from __future__ import annotations

import shlex
import sys
from pathlib import Path

from autoquant.cli.main import main as autoquant
from studies.markdown import write_between_marks
from studies.speech.digit_strings import write_corpus
from studies.speech.sizes import memory_table, size_table

README = Path(__file__).parent / "README.md"
TABLES = {"sizes": size_table, "memory": memory_table}
CORPUS = Path("runs/digit-strings")
LINEAR_ONLY = "rules={rnn*: {weight_bits: 32, activation_bits: 32, hidden_bits: 32}}"
RECURRENT_ONLY = "rules={fc*: {activation_bits: 32}}"
DATA = {
    "an4": ("task.data_dir=data/an4_mfcc", "task.cepstra=13", "task.stride=2"),
    "digits": (f"task.data_dir={CORPUS}", "task.rate=8000", "task.stride=2"),
}
SEEDS = {"an4": "sweep.seeds=[0,1,2]", "digits": "sweep.seeds=[0]"}
BUDGETS = ("0.25x", "0.125x", "0.0625x")

Command = list[str]
"""A command of autoquant: its name and its settings, ``key=value``."""


def _studies(name: str) -> dict[str, Command]:
    """The studies on one corpus: the float model, Tables 3 and 4, the searches.

    Args:
        name: of the corpus.
    """
    data, seeds, pretrained = DATA[name], SEEDS[name], f"pretrained=runs/speech-{name}"
    float_model = ["sweep", f"study=runs/speech-{name}", *data, "sweep.weight_bits=[32]"]
    table3 = ["sweep", f"study=studies/speech-table3-{name}", *data, pretrained, seeds, LINEAR_ONLY]
    table3 += ["sweep.weight_bits=[32,8,4]", "sweep.activation_bits=[32]"]
    table4 = ["sweep", f"study=studies/speech-table4-{name}", *data, pretrained, seeds]
    table4 += [RECURRENT_ONLY, "sweep.weight_bits=[32]", "sweep.activation_bits=[32,8,4]"]
    return {
        name: [*float_model, "sweep.activation_bits=[32]"],
        f"table3-{name}": [*table3, "sweep.width=[1.0,1.25,1.5]"],
        f"table4-{name}": table4,
        **{
            f"search-{name}-{budget}": [
                *("search", f"study=studies/speech-search/{name}-{budget}", *data, pretrained),
                f"budget={budget}",
            ]
            for budget in BUDGETS
        },
    }


STUDIES = {**_studies("an4"), **_studies("digits")}


def main() -> None:
    """Run the command of the study that the command line names."""
    name, *changes = sys.argv[1:] or ["--help"]
    if name == "sizes":
        for mark, table in TABLES.items():
            write_between_marks(README, mark, table())
    elif name == "digit-strings":
        given = dict(change.split("=", 1) for change in changes if "=" in change)
        write_corpus(Path(given.get("archive", "data/fsdd/recordings.zip")), CORPUS)
    elif name in STUDIES:
        command, *settings = STUDIES[name]
        if any(change.startswith("task.data_dir=") for change in changes):
            settings = [each for each in settings if not each.startswith("task.data_dir=")]
        arguments = [command, "task=speech", *settings, *changes]
        print("autoquant", shlex.join(arguments), flush=True)
        autoquant(arguments)
    else:
        print(f"{__doc__}\nSTUDY is one of: {', '.join(STUDIES)}")
        sys.exit(0 if name in ("-h", "--help") else 2)


if __name__ == "__main__":
    main()
