from autoquant.figures.layer_bytes import LayerBytes, PlanBytes
from autoquant.figures.page import PAGE
from autoquant.figures.plan_table import COLUMNS, MOST_ROWS, PlanRow, draw_plan, plan_data
from autoquant.plan import LayerChoice, Plan
from tests.figures.samples import REFERENCES, TRIALS, trial

SIZES = PlanBytes(
    {
        "encoder": LayerBytes(1_000_000, 125_000),
        "rnn.l0": LayerBytes(400_000, 60_000),
        "decoder": LayerBytes(996_000, 100_000),
    },
    LayerBytes(2_400_000, 288_000),
)


def names(data):
    return [row.name for row in data.rows]


def test_plan_data_is_in_the_order_of_the_model():
    data = plan_data(TRIALS[1])
    assert data.columns == COLUMNS
    assert data.rows == (
        PlanRow("encoder", ((4, 4), None, (32, 32), None, (1.0, 1.0))),
        PlanRow("rnn.l0", ((3, 3), (2, 2), (8, 8), (4, 4), (1.5, 1.5))),
        PlanRow("decoder", ((16, 16), None, (6, 6), None, (1.0, 1.0))),
    )
    assert data.total is None
    assert data.title == "chosen plan: trial 1, 288 kB"


def test_columns_without_a_value_are_left_out():
    assert plan_data(REFERENCES[0]).columns == ("weight_bits", "activation_bits", "width")


def test_bytes_add_up_to_the_total():
    data = plan_data(TRIALS[1], SIZES)
    assert names(data) == ["encoder", "rnn.l0", "decoder", "everything else", "total"]
    assert data.rows[3].size == LayerBytes(4_000, 3_000)
    assert data.total == LayerBytes(2_400_000, 288_000)
    assert data.title == "chosen plan: trial 1, 288 kB (0.12x)"


def test_plan_figure_prints_every_number():
    axes = draw_plan(plan_data(TRIALS[1], SIZES)).axes[0]
    printed = [text.get_text() for text in axes.texts]
    assert printed == [
        *("4", "", "float", "", "x1", "1,000", "125", "43.4"),
        *("3", "2", "8", "4", "x1.5", "400", "60", "20.8"),
        *("16", "", "6", "", "x1", "996", "100", "34.7"),
        *("", "", "", "", "", "4", "3", "1.0"),
        *("", "", "", "", "", "2,400", "288", "100.0"),
    ]
    assert [text.get_text() for text in axes.get_xticklabels()][-3:] == [
        *("float\nkB", "packed\nkB", "% of\nthe file"),
    ]


def test_of_100_layers_the_largest_have_rows_and_the_others_one_together():
    layers = [f"blocks.{i}.a_rather_long_name_of_a_projection_layer" for i in range(100)]
    plan = Plan.uniform(layers, LayerChoice(4, 8)).with_choice(layers[3], weight_bits=2)
    sizes = {name: LayerBytes(100 * i, 10 * i) for i, name in enumerate(layers)}
    total = LayerBytes(500_000, 50_000)
    data = plan_data(trial(0, 0.1, 39.0, plan=plan), PlanBytes(sizes, total))
    *listed, others, _, _ = data.rows
    assert len(listed) == MOST_ROWS
    assert listed[0].name.startswith("blocks.80.")
    assert len(listed[0].name) <= 36
    assert (others.name, others.values[0]) == ("80 other layers", (2, 4))
    assert others.size == LayerBytes(100 * sum(range(80)), 10 * sum(range(80)))
    figure = draw_plan(data)
    assert "2 - 4" in [text.get_text() for text in figure.axes[0].texts]
    assert figure.get_figheight() < 1.2 * PAGE.width


def test_without_bytes_the_first_layers_have_rows():
    layers = [f"l{i}" for i in range(30)]
    data = plan_data(trial(0, 0.1, 39.0, plan=Plan.uniform(layers, LayerChoice(4, 8))))
    assert names(data) == [*layers[:MOST_ROWS], "10 other layers"]
