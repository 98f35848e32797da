"""The commands: what each does, its own settings with their help texts, types and defaults."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from autoquant.cli import runners
from autoquant.cli.answer import Answer
from autoquant.settings import INIT_FROM, KERNELS, Search, Sweep
from autoquant.task import SPLITS

if TYPE_CHECKING:
    from omegaconf import DictConfig

GOES_ON = "stopped; the same command goes on from here"
STARTS_ANEW = "stopped; the same command starts anew"
"""What is told when the user has stopped a command."""
REQUIRED = "???"
"""OmegaConf's default of a setting that must be given."""
SEARCH_NAMES = tuple(Search.__dataclass_fields__)
"""Settings and sections of ``Search``."""


@dataclass(frozen=True)
class Setting:
    """A setting that belongs to a command, not to ``Search``.

    Attributes:
        text: what the help says of it.
        type: of its value. None where the configuration has it already: a group of conf/ or a
            setting of ``Search``.
        default: its value if it is not given; REQUIRED if it must be.
        values: those that it takes, or some of them, where they can be listed.
    """

    text: str
    type: Any = None
    default: Any = None
    values: Sequence[str] = ()


@dataclass(frozen=True)
class Command:
    """A command of the command line.

    Attributes:
        summary: what it does, in one sentence.
        run: runs it with its configuration.
        settings: its own settings, by their names.
        takes_search: whether its configuration has all settings of ``Search``.
        listed: settings and sections of ``Search`` that its help lists.
        sections: other classes of settings in its configuration, by the names of the sections.
        stopped: what is told when the user has stopped it.
    """

    summary: str
    run: Callable[[DictConfig], Answer]
    settings: Mapping[str, Setting]
    takes_search: bool = False
    listed: tuple[str, ...] = ()
    sections: Mapping[str, type] = field(default_factory=dict)
    stopped: str = STARTS_ANEW


DEVICES = ("auto", "cpu", "cuda", "mps")
"""Values of ``device``; cuda:1 and the like are allowed too."""
TASK = Setting(
    "stdlib, ptb, digits, speech, or a task of your own (--config-dir FOLDER or "
    "AUTOQUANT_PLUGINS=MODULE). Its settings are named task.hidden, for example; --help task=ptb "
    "lists those of ptb.",
    Any,
)
TRUST = Setting(
    "Whether the code that the study's configuration names may be imported and called; not needed "
    "for a study of your own, nor for the ready tasks (default false).",
    bool,
    False,
)
MODEL = Setting(
    "Model of the task. Of stdlib and ptb: lstm (default), gru, bit_rnn_lstm or bit_rnn_gru "
    "(Bit-RNN's model, training and quantizer). Of digits: gru (default), lstm or conv. Of speech: "
    "deep_speech (default) or deep_speech_2. A task of "
    "your own has models only if its file says so."
)
RUNNING = {
    "model": Setting("Model of the task, as for a search; only together with task."),
    "device": Setting("auto, cpu, cuda, cuda:1 or mps (default auto).", values=DEVICES),
    "kernel": Setting(
        "What computes the layers: auto, native, torch or reference (default auto).",
        values=KERNELS,
    ),
    "trust": TRUST,
}
"""How a packed file is run."""

COMMANDS = {
    "profile": Command(
        "Print the layers: share of the parameters, operations, bytes that widening would add.",
        runners.run_profile,
        {"task": TASK, "model": MODEL},
        takes_search=True,
        listed=("widening", "rules"),
    ),
    "search": Command(
        "Find the plan with the best score whose packed file fits the budget.",
        runners.run_search,
        {
            "task": TASK,
            "model": MODEL,
            "study": Setting(
                "Folder of the search (default runs/TASK-BUDGET; runs/TASK-MODEL-BUDGET with a "
                "model that is not the task's default). A search in an existing folder is "
                "continued.",
                str,
                REQUIRED,
            ),
        },
        takes_search=True,
        listed=SEARCH_NAMES,
        stopped=GOES_ON,
    ),
    "sweep": Command(
        "Train every plan of a grid in full; write a table and figures.",
        runners.run_sweep,
        {
            "task": TASK,
            "model": MODEL,
            "study": Setting(
                "Folder of the sweep (default runs/TASK-sweep; runs/TASK-MODEL-sweep with a model "
                "that is not the task's default). A sweep in an existing folder is continued; its "
                "grid may change.",
                str,
                REQUIRED,
            ),
        },
        takes_search=True,
        listed=(
            *(
                "seed",
                "device",
                "workers",
                "cluster",
                "threads",
                "kernel",
                "tensorboard",
                "pretrained",
                "baseline",
                "final",
                "quantizer",
            ),
            *("widening", "space", "rules", "sensitivity"),
        ),
        sections={"sweep": Sweep},
        stopped=GOES_ON,
    ),
    "report": Command(
        "Write the page of a study, report.html, and redraw its figures.",
        runners.run_report,
        {
            "study": Setting("Folder of a search or a sweep.", str, REQUIRED),
            "format": Setting(
                "png, svg or pdf, or several: format=[png,pdf] (default [png,svg]). The same study "
                "gives the same files.",
                Any,
                values=("png", "svg", "pdf"),
            ),
            "width": Setting(
                "page (180 mm), or column (85 mm): the width of one column of a paper (default "
                "page).",
                str,
                "page",
                values=("page", "column"),
            ),
        },
    ),
    "solve": Command(
        "Print the plan for any budget that a search's measurements give, without training.",
        runners.run_solve,
        {
            "study": Setting("Folder of a search.", str, REQUIRED),
            "budget": Setting("Largest packed file, such as 0.1x or 250kB.", str, REQUIRED),
            "output": Setting(
                "File that the plan is written to, for apply plan=FILE (default: none).", str | None
            ),
        },
    ),
    "apply": Command(
        "Train a plan in full, from the study's float model or from scratch, and pack it.",
        runners.run_apply,
        {
            "study": Setting("Folder of a search or a sweep.", str, REQUIRED),
            "trial": Setting(
                "Of a search: a trial instead of the best plan, such as 17, or w4 for 4 "
                "bits. Of a sweep: the name of a run, as in runs.csv.",
                str | None,
            ),
            "plan": Setting("A plan file to apply instead.", str | None),
            "budget": Setting(
                "Of a search: apply the trial that is chosen within this budget, such as 0.1x.",
                str | None,
            ),
            "init_from": Setting(
                "baseline: train the study's float model as its final section says. scratch: train "
                "new weights in low precision from the first step, as its baseline section says. "
                "(default: what the sweep's run did, else baseline)",
                str | None,
                values=INIT_FROM,
            ),
            "epochs": Setting(
                "Length of the training, instead of that of the section used.", float | None
            ),
            "steps": Setting("Length of the training in batches.", int | None),
            "lr": Setting("Learning rate, instead of that of the section used.", float | None),
            "device": Setting(
                "Where to train, instead of the study's device.", str | None, values=DEVICES
            ),
            "tensorboard": Setting(
                "Whether to write losses and scores for TensorBoard into the study's folder "
                "tensorboard, instead of what the study's settings say.",
                bool | None,
            ),
            "trust": TRUST,
        },
        stopped=GOES_ON,
    ),
    "evaluate": Command(
        "Score a packed file.",
        runners.run_evaluate,
        {
            "artifact": Setting("The packed file.", str, REQUIRED),
            "split": Setting("test, valid or probe (default test).", str, "test", SPLITS),
            "file": Setting(
                "A file of yours that is scored instead of a split: of stdlib and ptb a text, with "
                "the vocabulary that is stored beside the packed file.",
                str | None,
            ),
            "task": Setting(
                "Task that scores the file (default: the task of the study that the file is in, "
                "of which task.KEY=VALUE changes settings).",
                Any,
            ),
            **RUNNING,
        },
        takes_search=True,
    ),
    "export": Command(
        "Write a packed file in a format that other runtimes load, and compare the two.",
        runners.run_export,
        {
            "artifact": Setting("The packed file.", str, REQUIRED),
            "format": Setting(
                "onnx (for ONNX Runtime; a recurrent model gets a graph of single steps too), c "
                "(plain C99), torch (torch.export) or qonnx (default onnx).",
                str,
                "onnx",
                ("onnx", "c", "torch", "qonnx"),
            ),
            "output": Setting(
                "Folder that the files are written to (default: that of the packed file).",
                str | None,
            ),
            "prefer": Setting(
                "speed, or size: a smaller file that may run slower (default speed).",
                str,
                "speed",
                ("speed", "size"),
            ),
            "split": Setting(
                "test, valid, probe or none: what is scored in the target and from the packed file "
                "(default test).",
                str,
                "test",
                (*SPLITS, "none"),
            ),
            "task": Setting(
                "Task of the packed file (default: that of the study that the file is in, of "
                "which task.KEY=VALUE changes settings).",
                Any,
            ),
            "model": RUNNING["model"],
            "trust": TRUST,
        },
        takes_search=True,
    ),
    "transcribe": Command(
        "Print the words of a sound.",
        runners.run_transcribe,
        {
            "artifact": Setting("The packed file of a speech model.", str, REQUIRED),
            "audio": Setting("The sound: wav, FLAC, SPH, Ogg or MP3.", str, REQUIRED),
            "task": Setting(
                "Task of the packed file (default: that of the study that the file is in, of "
                "which task.KEY=VALUE changes settings).",
                Any,
            ),
            **RUNNING,
        },
        takes_search=True,
    ),
}
"""All commands by name, in the order of the help."""
