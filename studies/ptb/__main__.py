"""``python -m studies.ptb STUDY [key=value ...]``: runs a study, or continues it.

Each study is one command of autoquant or several; they are printed before they run. The Penn
Treebank's three files must be in data/ptb (or: task.data_dir=DIR). A sweep with workers=2 trains
two runs at a time.
``python -m studies.ptb tables`` writes the tables of the README from the studies that exist.
"""

from __future__ import annotations

import sys

from studies.commands import Command, run
from studies.ptb.tables import write_all

DATA = "task.data_dir=data/ptb"
WIDTHS = "[1.0,1.5,3.33333]"  # 300, 450 and 1000 neurons
WIDEN_ALL = f"rules={{embedding: {{width: {WIDTHS}}}, rnn.l0: {{width: {WIDTHS}}}}}"
WIDEN_ALL_BIT_RNN = WIDEN_ALL.replace("{width", "{weight_bits: 32, width", 1)  # float embedding
ALL_BITS = ("sweep.weight_bits=[32,16,8,4,2]", "sweep.activation_bits=[32,16,8,4,2]")
LOW_BITS = ("sweep.weight_bits=[4,2]", "sweep.activation_bits=[4,2]", f"sweep.width={WIDTHS}")
TEACHER = ("final.distill=1.0", "final.dropout=0.0")  # short runs learn faster with it
SEEDS = "sweep.seeds=[0,1,2]"
TWO_WIDTHS = "sweep.width=[1.0,1.5]"
FROM_SCRATCH = "sweep.init_from=scratch"
BANDS = "task.bands=[500,2500]"
EIGHT_BIT_SCALES = ("quantizer.scale_bits=8", "quantizer.bias_bits=8")
HALF_EPOCH = ("final.epochs=0.5", "final.scores=0", "final.keep=last", *TEACHER)
QUARTER_EPOCH = ("final.epochs=0.25", *HALF_EPOCH[1:])
DIAGONAL = (16, 8, 4, 2)  # 32 x 32 is the float model, which is trained by the same schedule
TWO_EPOCHS = "baseline.epochs=2"
TEN_EPOCHS = (  # instead of 100: with 1e-3, the step schedule and a dropout of 0.5 they reach 172
    *("baseline.epochs=10", "baseline.lr=4e-3", "baseline.schedule=cosine"),
    "task.dropout=0.3",
)
ADAM = ("baseline.optimizer=adamw", "baseline.lr=2e-3", "baseline.clip_norm=1.0")


def _float_model(name: str, *settings: str) -> Command:
    """A float model, with its uniform 8 bits beside it."""
    return ["sweep", f"study=runs/ptb-{name}", "sweep.weight_bits=[8]", *settings]


def _sweep(name: str, float_model: str, *settings: str) -> Command:
    """A sweep that starts from a float model.

    Args:
        name: of the study.
        float_model: name of the study that trained it.
        *settings: further ones.
    """
    return ["sweep", f"study=studies/ptb-{name}", f"pretrained=runs/ptb-{float_model}", *settings]


def _small(name: str, *settings: str) -> Command:
    """A sweep on the small task, where three seeds of everything take little time."""
    study = f"study=studies/{name}"
    return ["sweep", "task=stdlib", study, SEEDS, *EIGHT_BIT_SCALES, *settings]


def _scratch(name: str, *settings: str) -> list[Command]:
    """Low precision from the first step: the diagonal of Table 1, and the 4 x 4 row of Table 2."""

    def command(bits: int, widths: str) -> Command:
        uniform = f"sweep.weight_bits=[{bits}]", f"sweep.activation_bits=[{bits}]"
        study = f"study=studies/ptb-{name}", FROM_SCRATCH
        return ["sweep", *study, *uniform, f"sweep.width={widths}", TWO_EPOCHS, *settings]

    wide = command(32, "[1.5]")  # the float model that the wide 4 x 4 is compared with
    return [*(command(bits, "[1.0]") for bits in DIAGONAL), wide, command(4, WIDTHS)]


def _search(cell: str, budget: str) -> Command:
    return [
        "search",
        f"model={cell}",
        f"budget={budget}",
        f"study=studies/ptb-search/{cell}-{budget}",
        f"pretrained=runs/ptb-{cell}",
        *(BANDS, *EIGHT_BIT_SCALES, "trials=8", "qat.steps=200", "references=[4]"),
    ]


def _plans(cell: str) -> Command:
    """What the searches chose, and the float model for comparison, trained on with three seeds."""
    chosen = ",".join(f"studies/ptb-search/{cell}-{budget}" for budget in BUDGETS)
    return _sweep(
        f"plans-{cell}",
        cell,
        f"model={cell}",
        *(BANDS, *EIGHT_BIT_SCALES, "sweep.weight_bits=[32]", "sweep.activation_bits=[32]"),
        *(f"sweep.plans=[{chosen}]", SEEDS),
    )


def _front(cell: str) -> Command:
    """One search of several budgets; its plans are trained by ``_targets``."""
    return [
        "search",
        f"model={cell}",
        "budget=[0.0625x,0.094x,0.125x]",
        f"study=studies/ptb-targets/search-{cell}",
        f"pretrained=runs/ptb-{cell}",
        *(BANDS, *EIGHT_BIT_SCALES, "trials=6", "qat.steps=100", "references=[4]"),
        *("rounds.full=false", "rounds.orders=1", "threads=1"),
    ]


def _targets(cell: str) -> Command:
    """The plans of that search, two epochs with the float model as the only teacher."""
    return _sweep(
        f"targets-{cell}",
        cell,
        f"model={cell}",
        *(BANDS, *EIGHT_BIT_SCALES, "sweep.weight_bits=[]"),
        *(f"sweep.plans=[studies/ptb-targets/search-{cell}]", "threads=1"),
        *("final.epochs=2", "final.scores=4", "final.keep=last", *TEACHER),
    )


def _long() -> list[Command]:
    """Widths at equal bytes with four epochs; the float model too, trained on in the same way."""
    common = ("final.epochs=4", SEEDS, *EIGHT_BIT_SCALES)
    float_bits = ("sweep.weight_bits=[32]", "sweep.activation_bits=[32]")
    return [
        _sweep("widths-long", "lstm", "sweep.budgets=[0.125x]", TWO_WIDTHS, *common),
        _sweep("widths-long", "lstm", *float_bits, *common),
    ]


def _fixed(*settings: str) -> Command:
    """Weights of 4 bits only, or of 2: on hardware without other bits only the width is free."""
    bits = "sweep.weight_bits=[4,2]", "sweep.activation_bits=[8]"
    return _small("stdlib-widths-fixed", *bits, "sweep.width=[1.0,1.5,2.0]", *settings)


def _equal(name: str, activation_bits: str, *settings: str) -> Command:
    """Widths at equal bytes on the small task.

    Args:
        name: of the study.
        activation_bits: a list of them, as text.
        *settings: further ones.
    """
    bits = "sweep.budgets=[0.1x]", f"sweep.activation_bits={activation_bits}"
    return _small(name, *bits, TWO_WIDTHS, *settings)


def _projected(units: int, *settings: str) -> Command:
    """The same with a linear layer of ``units`` between LSTM and decoder, or none (0)."""
    name = "stdlib-widths-projected" if units else "stdlib-widths"
    return _equal(name, "[32,4,2]", f"task.projection={units}", *settings)


BUDGETS = ("0.25x", "0.125x", "0.094x", "0.0625x")
SINGLE: dict[str, Command] = {
    "lstm": _float_model("lstm"),
    "gru": _float_model("gru", "model=gru"),
    "bit-rnn-lstm": _float_model("bit_rnn_lstm", "model=bit_rnn_lstm", *TEN_EPOCHS),
    "table1": _sweep("table1", "lstm", *ALL_BITS, *QUARTER_EPOCH),
    "table2": _sweep("table2", "lstm", *LOW_BITS, *HALF_EPOCH, WIDEN_ALL),
    "table1-bit-rnn": _sweep(
        "table1-bit-rnn", "bit_rnn_lstm", "model=bit_rnn_lstm", *ALL_BITS, *QUARTER_EPOCH
    ),
    "table2-bit-rnn": _sweep(
        "table2-bit-rnn",
        "bit_rnn_lstm",
        "model=bit_rnn_lstm",
        *LOW_BITS,
        *QUARTER_EPOCH,
        WIDEN_ALL_BIT_RNN,
    ),
    **{f"search-{c}-{b}": _search(c, b) for c in ("lstm", "gru") for b in BUDGETS},
    **{f"plans-{c}": _plans(c) for c in ("lstm", "gru")},
    **{f"front-{c}": _front(c) for c in ("lstm", "gru")},
    **{f"targets-{c}": _targets(c) for c in ("lstm", "gru")},
    "stdlib-widths": _projected(0),
    "stdlib-widths-scratch": _projected(0, FROM_SCRATCH),
    "stdlib-widths-projected": _projected(64),
    "stdlib-widths-projected-scratch": _projected(64, FROM_SCRATCH),
    "stdlib-widths-taught": _equal(
        "stdlib-widths-taught", "[4]", "pretrained=studies/stdlib-widths", "final.epochs=4"
    ),
    "stdlib-widths-long": _equal(
        "stdlib-widths-long",
        "[4,32]",
        *("pretrained=studies/stdlib-widths", "final.epochs=4", "final.lr=4e-3"),
        *("final.distill=0", "final.dropout=1.0", "final.scores=0", "final.keep=last"),
    ),
    "transfer": _small(
        "ptb-transfer",
        *(BANDS, "sweep.plans=[studies/ptb-search/lstm-0.0625x]"),
        "sweep.budgets=[0.0787x]",  # as large as that plan is there
    ),
    "widths": _sweep(
        "widths",
        "lstm",
        *("sweep.budgets=[0.07x]", "sweep.activation_bits=[32,4,2]"),
        *(TWO_WIDTHS, SEEDS, *QUARTER_EPOCH),
        *EIGHT_BIT_SCALES,
    ),
    "widths-scratch": [
        *("sweep", "study=studies/ptb-widths-scratch", FROM_SCRATCH, "sweep.budgets=[0.125x]"),
        *(
            "sweep.activation_bits=[4,32,2]",
            TWO_WIDTHS,
            SEEDS,
            TWO_EPOCHS,
            *ADAM,
            *EIGHT_BIT_SCALES,
        ),
    ],
}
STUDIES: dict[str, list[Command]] = {
    **{name: [command] for name, command in SINGLE.items()},
    "widths-long": _long(),
    "stdlib-widths-fixed": [_fixed(), _fixed(FROM_SCRATCH)],
    "scratch": _scratch("scratch", WIDEN_ALL, *ADAM),
    "scratch-bit-rnn": _scratch("scratch-bit-rnn", "model=bit_rnn_lstm", WIDEN_ALL_BIT_RNN),
}


def main() -> None:
    """Run the commands of the study that the command line names."""
    name, *changes = sys.argv[1:] or ["--help"]
    if name == "tables":
        write_all()
        return
    if name not in STUDIES:
        print(f"{__doc__}\nSTUDY is one of: {', '.join(STUDIES)}")
        sys.exit(0 if name in ("-h", "--help") else 2)
    named = any(change.startswith("task.data_dir=") for change in changes)
    ptb = ["task=ptb", *([] if named else [DATA])]
    run(
        [command, *([] if "task=stdlib" in settings else ptb), *settings, *changes]
        for command, *settings in STUDIES[name]
    )


if __name__ == "__main__":
    main()
