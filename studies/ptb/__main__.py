"""``python -m studies.ptb STUDY [key=value ...]``: runs a study, or goes on with it.

Each is a command of autoquant, or a few; they are printed before they run. The Penn Treebank's
three files must be in data/ptb (or: task.data_dir=DIR). Start a sweep once for each core: the
processes share its cells.
``python -m studies.ptb tables`` writes the tables of the README from what there is.
"""

from __future__ import annotations

import shlex
import sys

from autoquant.cli.main import main as autoquant
from studies.ptb.tables import write_all

DATA = "task.data_dir=data/ptb"
WIDTHS = "[1.0,1.5,3.33333]"  # 300, 450 and 1000 neurons
GROWS = f"rules={{embedding: {{width: {WIDTHS}}}, rnn.l0: {{width: {WIDTHS}}}}}"
BIT_RNN = GROWS.replace("{width", "{weight_bits: 32, width", 1)  # no weights of the embedding
ALL = ("sweep.weight_bits=[32,16,8,4,2]", "sweep.activation_bits=[32,16,8,4,2]")
FEW = ("sweep.weight_bits=[4,2]", "sweep.activation_bits=[4,2]", f"sweep.width={WIDTHS}")
FAITHFUL = ("final.distill=1.0", "final.dropout=0.0")  # short runs learn faster so
SEEDS = "sweep.seeds=[0,1,2]"
TWO_WIDTHS = "sweep.width=[1.0,1.5]"
FROM_SCRATCH = "sweep.start=scratch"
BANDS = "task.bands=[500,2500]"
BYTES = ("quantizer.scale_bits=8", "quantizer.bias_bits=8")
HALF = ("final.epochs=0.5", "final.scores=0", "final.keep=last", *FAITHFUL)
QUARTER = ("final.epochs=0.25", *HALF[1:])
DIAGONAL = (16, 8, 4, 2)  # 32 x 32 is the float model, which is trained by the same schedule
SHORT = "baseline.epochs=2"
SOONER = (  # 10 epochs instead of 100: on the way to 172 with 1e-3, the steps and a dropout of 0.5
    *("baseline.epochs=10", "baseline.lr=4e-3", "baseline.schedule=cosine"),
    "task.dropout=0.3",
)
ADAM = ("baseline.optimizer=adamw", "baseline.lr=2e-3", "baseline.clip_norm=1.0")


def _baseline(name: str, *given: str) -> list[str]:
    """A float model, with its uniform 8 bits beside it."""
    return ["sweep", f"study=runs/ptb-{name}", "sweep.weight_bits=[8]", *given]


def _sweep(name: str, start: str, *given: str) -> list[str]:
    return ["sweep", f"study=studies/ptb-{name}", f"pretrained=runs/ptb-{start}", *given]


def _small(name: str, *given: str) -> list[str]:
    """A sweep on the small task, where all of it can be afforded."""
    return ["sweep", "task=stdlib", f"study=studies/{name}", SEEDS, *BYTES, *given]


def _scratch(name: str, *given: str) -> list[list[str]]:
    """Low precision from the first step: the diagonal of Table 1, and the 4 x 4 row of Table 2."""

    def command(bits: int, widths: str) -> list[str]:
        uniform = f"sweep.weight_bits=[{bits}]", f"sweep.activation_bits=[{bits}]"
        study = f"study=studies/ptb-{name}", FROM_SCRATCH
        return ["sweep", *study, *uniform, f"sweep.width={widths}", SHORT, *given]

    wide = command(32, "[1.5]")  # the float model that the wide 4 x 4 is to be judged by
    return [*(command(bits, "[1.0]") for bits in DIAGONAL), wide, command(4, WIDTHS)]


def _search(cell: str, budget: str) -> list[str]:
    return [
        "search",
        f"model={cell}",
        f"budget={budget}",
        f"study=studies/ptb-search/{cell}-{budget}",
        f"pretrained=runs/ptb-{cell}",
        *(BANDS, *BYTES, "trials=8", "qat.steps=200", "references=[4]"),
    ]


def _plans(cell: str) -> list[str]:
    """What the searches chose, and the float model for comparison, trained on with three seeds."""
    chosen = ",".join(f"studies/ptb-search/{cell}-{budget}" for budget in BUDGETS)
    return _sweep(
        f"plans-{cell}",
        cell,
        f"model={cell}",
        *(BANDS, *BYTES, "sweep.weight_bits=[32]", "sweep.activation_bits=[32]"),
        *(f"sweep.plans=[{chosen}]", SEEDS),
    )


def _long() -> list[list[str]]:
    """Widths at equal bytes with four epochs; the float model too, trained on in the same way."""
    kept = ("final.epochs=4", SEEDS, *BYTES)
    return [
        _sweep("widths-long", "lstm", "sweep.budgets=[0.125x]", TWO_WIDTHS, *kept),
        _sweep(
            "widths-long",
            "lstm",
            *("sweep.weight_bits=[32]", "sweep.activation_bits=[32]", *kept),
        ),
    ]


def _fixed(*given: str) -> list[str]:
    """Weights of 4 bits only, or of 2: where hardware knows no others, width is what is left."""
    bits = "sweep.weight_bits=[4,2]", "sweep.activation_bits=[8]"
    return _small("stdlib-widths-fixed", *bits, "sweep.width=[1.0,1.5,2.0]", *given)


def _equal(name: str, activation_bits: str, *given: str) -> list[str]:
    """Widths at equal bytes on the small task."""
    bits = "sweep.budgets=[0.1x]", f"sweep.activation_bits={activation_bits}"
    return _small(name, *bits, TWO_WIDTHS, *given)


def _projected(units: int, *given: str) -> list[str]:
    """The same with a linear layer between LSTM and decoder, or none (0)."""
    name = "stdlib-widths-projected" if units else "stdlib-widths"
    return _equal(name, "[32,4,2]", f"task.projection={units}", *given)


BUDGETS = ("0.25x", "0.125x", "0.094x", "0.0625x")
SINGLE: dict[str, list[str]] = {
    "lstm": _baseline("lstm"),
    "gru": _baseline("gru", "model=gru"),
    "bit-rnn-lstm": _baseline("bit_rnn_lstm", "model=bit_rnn_lstm", *SOONER),
    "table1": _sweep("table1", "lstm", *ALL, *QUARTER),
    "table2": _sweep("table2", "lstm", *FEW, *HALF, GROWS),
    "table1-bit-rnn": _sweep(
        "table1-bit-rnn", "bit_rnn_lstm", "model=bit_rnn_lstm", *ALL, *QUARTER
    ),
    "table2-bit-rnn": _sweep(
        "table2-bit-rnn", "bit_rnn_lstm", "model=bit_rnn_lstm", *FEW, *QUARTER, BIT_RNN
    ),
    **{f"search-{c}-{b}": _search(c, b) for c in ("lstm", "gru") for b in BUDGETS},
    **{f"plans-{c}": _plans(c) for c in ("lstm", "gru")},
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
        *(TWO_WIDTHS, SEEDS, *QUARTER),
        *BYTES,
    ),
    "widths-scratch": [
        *("sweep", "study=studies/ptb-widths-scratch", FROM_SCRATCH, "sweep.budgets=[0.125x]"),
        *("sweep.activation_bits=[4,32,2]", TWO_WIDTHS, SEEDS, SHORT, *ADAM, *BYTES),
    ],
}
STUDIES: dict[str, list[list[str]]] = {
    **{name: [command] for name, command in SINGLE.items()},
    "widths-long": _long(),
    "stdlib-widths-fixed": [_fixed(), _fixed(FROM_SCRATCH)],
    "scratch": _scratch("scratch", GROWS, *ADAM),
    "scratch-bit-rnn": _scratch("scratch-bit-rnn", "model=bit_rnn_lstm", BIT_RNN),
}


def main() -> None:
    """Run what is asked for."""
    name, *changes = sys.argv[1:] or ["--help"]
    if name == "tables":
        write_all()
        return
    if name not in STUDIES:
        print(f"{__doc__}\nSTUDY is one of: {', '.join(STUDIES)}")
        sys.exit(0 if name in ("-h", "--help") else 2)
    for command, *given in STUDIES[name]:
        if "task=stdlib" not in given:
            own = [] if any(each.startswith("task.data_dir=") for each in changes) else [DATA]
            given = ["task=ptb", *own, *given]
        arguments = [command, *given, *changes]
        print("autoquant", shlex.join(arguments), flush=True)
        try:
            autoquant(arguments)
        except SystemExit as ended:
            if ended.code:
                raise


if __name__ == "__main__":
    main()
