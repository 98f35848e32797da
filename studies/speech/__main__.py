"""``python -m studies.speech STUDY [key=value ...]``: runs a study, or continues it.

Each study is one command of autoquant or several, which are printed before they run. AN4's features
must be in data/an4_mfcc, the corpora of spoken digits in runs/ (or: task.data_dir=DIR).
``python -m studies.speech digit-strings`` makes these from the recordings of the Free Spoken Digit
Dataset in data/fsdd/recordings.zip (or: archive=FILE). ``sizes`` writes the tables of
README.md that need no training, ``tables`` those of the studies that exist, after the errors of
their packed files have been measured.
"""

from __future__ import annotations

import sys
from pathlib import Path

from autoquant.tasks.speech.speech_task import speech
from studies.commands import Command, run
from studies.markdown import write_between_marks
from studies.speech import errors, results, running_memory
from studies.speech.digit_strings import write_corpus
from studies.speech.sizes import memory_table, size_table

README = Path(__file__).parent / "README.md"
TABLES = {"sizes": size_table, "memory": memory_table}
CORPUS, OTHER_SPEAKERS = Path("runs/digit-strings"), Path("runs/digit-strings-speakers")
SMALL = {"fc1": 256, "fc2": 256, "fc3": 512, "hidden": 256, "fc5": 256, "dropout": 0.2}
DATA = {
    "an4": {
        "data_dir": "data/an4_mfcc",
        **{"cepstra": 13, "lifter": 0, "stride": 3, "held_out": 20},
        **SMALL,
    },
    "digits": {"data_dir": str(CORPUS), "rate": 8000, "stride": 3, **SMALL},
    "speakers": {"data_dir": str(OTHER_SPEAKERS), "rate": 8000, "stride": 3, **SMALL},
}
FLOAT_TRAINING = ("baseline.lr=2e-3", "baseline.scores=6")
EPOCHS = {"an4": 60, "digits": 20, "speakers": 20}
SEEDS = {"an4": "[0,1,2]", "digits": "[0]", "speakers": "[0]"}
BUDGETS = "[0.0625x,0.125x,0.25x]"
LINEAR_ONLY = "rules={rnn*: {weight_bits: 32, activation_bits: 32, hidden_bits: 32}}"
WIDTHS = "sweep.width=[1.0,1.25,1.5]"
RECURRENT_ONLY = "rules={fc*: {activation_bits: 32}}"
EIGHT_BIT_SCALES = ("quantizer.scale_bits=8", "quantizer.bias_bits=8")
LONGER = (
    *("final.epochs=40", "final.lr=1.5e-3", "final.schedule=cosine"),
    *("final.distill=0", "final.scores=2", "sweep.save=true"),
)
KEPT = ("final.scores=0", "sweep.save=true")
SEED_0 = "*-seed0.safetensors"
RECIPE = (7, 3, 1.6)
"""Equal bits of all weights that fit the budgets once layers 1, 2 and 5 are 1.25 times wider."""


def _studies(name: str) -> dict[str, list[Command]]:
    """The studies on one corpus: the float model, Tables 3 and 4, the search and its plans.

    Args:
        name: of the corpus.
    """
    data = ["task=speech", *(f"task.{key}={value}" for key, value in DATA[name].items())]
    trained = [*data, f"pretrained=runs/speech-{name}", "threads=1"]
    sweep = ["sweep", *trained, *KEPT, f"sweep.seeds={SEEDS[name]}"]
    floats = ["sweep.weight_bits=[32]", "sweep.activation_bits=[32]"]
    table3 = [
        LINEAR_ONLY,
        "final.epochs=1",
        "quantizer.bias_bits=8",
        "sweep.weight_bits=[8,4]",
        floats[1],
    ]
    table4 = [
        RECURRENT_ONLY,
        "final.epochs=1",
        "quantizer.bias_bits=32",
        floats[0],
        "sweep.activation_bits=[32,8,4]",
    ]
    plans = [*sweep, f"study={_folder('plans', name)}", *EIGHT_BIT_SCALES, "final.epochs=2"]
    uniform = ["sweep.activation_bits=[8]", "sweep.weight_bits=[8,4,2]"]
    recipe = [uniform[0], f"sweep.weight_bits={[*RECIPE]}", "sweep.width=[1.25]"]
    search = ["search", f"study={_folder('search', name)}", *trained, f"budget={BUDGETS}"]
    search += [*EIGHT_BIT_SCALES, "task.metric=loss", "trials=9", "qat.steps=60", "references=[4]"]
    alone = [
        "sweep",
        f"study=runs/speech-{name}",
        *data,
        *FLOAT_TRAINING,
        f"baseline.epochs={EPOCHS[name]}",
        "threads=1",
    ]
    return {
        name: [[*alone, *floats, "final.steps=1"]],
        f"{name}-long": [["sweep", f"study=runs/speech-{name}-long", *trained, *floats, *LONGER]],
        f"table3-{name}": [[*sweep, f"study={_folder('table3', name)}", *table3, WIDTHS]],
        f"table4-{name}": [[*sweep, f"study={_folder('table4', name)}", *table4]],
        f"search-{name}": [[*search, "rounds.orders=1", "rounds.full=false"]],
        f"plans-{name}": [
            [*plans, *floats, f"sweep.plans=[{_folder('search', name)}]"],
            [*plans, *uniform],
            [*plans, *recipe],
        ],
    }


def _folder(study: str, name: str) -> Path:
    """The folder of a study."""
    return Path("studies") / f"speech-{study}{'' if name == 'an4' else f'-{name}'}"


STUDIES = {name: study for corpus in DATA for name, study in _studies(corpus).items()}


def write_tables(changes: list[str]) -> None:
    """Measure the errors of the packed files that are there, and write the tables.

    Args:
        changes: of the command line; data_dir of the task counts.
    """
    named = [each.split("=", 1)[1] for each in changes if each.startswith("task.data_dir=")]
    given = {"data_dir": named[-1]} if named else {}
    for name, options in DATA.items():
        table3, table4, plans = (_folder(study, name) for study in ("table3", "table4", "plans"))
        task = speech(**{**options, **given})  # type: ignore[arg-type]
        for folder in (table3, table4, plans):
            if (folder / "packed").is_dir():
                errors.measure(folder, task)
        weights = Path(f"runs/speech-{name}/baseline.safetensors")
        files = [f for place in (table4, plans) for f in sorted((place / "packed").glob(SEED_0))]
        if files and weights.is_file():
            memory = running_memory.memory_table(task, weights, files)
            write_between_marks(README, f"running-memory-{name}", memory)
        if errors.read(table4):
            write_between_marks(README, f"table4-{name}", results.table4(table4))
        if errors.read(table3) and errors.read(table4):
            write_between_marks(README, f"table3-{name}", results.table3(table3, table4))
        if errors.read(plans):
            write_between_marks(README, f"plans-{name}", results.plans_table(plans))
            write_between_marks(README, f"rivals-{name}", results.rivals_table(plans))


def main() -> None:
    """Run the commands of the study that the command line names."""
    name, *changes = sys.argv[1:] or ["--help"]
    if name == "sizes":
        for mark, table in TABLES.items():
            write_between_marks(README, mark, table())
    elif name == "tables":
        write_tables(changes)
    elif name == "digit-strings":
        given = dict(change.split("=", 1) for change in changes if "=" in change)
        archive = Path(given.get("archive", "data/fsdd/recordings.zip"))
        write_corpus(archive, CORPUS)
        write_corpus(archive, OTHER_SPEAKERS, by_speaker=True)
    elif name in STUDIES:
        moved = any(change.startswith("task.data_dir=") for change in changes)
        left_out = ("task.data_dir=",) if moved else ()
        run(
            [*(each for each in command if not each.startswith(left_out)), *changes]
            for command in STUDIES[name]
        )
    else:
        print(f"{__doc__}\nSTUDY is one of: {', '.join(STUDIES)}")
        sys.exit(0 if name in ("-h", "--help") else 2)


if __name__ == "__main__":
    main()
