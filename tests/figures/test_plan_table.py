from autoquant.figures.plan_table import COLUMNS, MOST_ROWS, draw_plan, plan_data
from autoquant.plan import LayerChoice, Plan
from tests.figures.samples import REFERENCES, TRIALS, trial


def test_plan_data_is_in_the_order_of_the_model():
    data = plan_data(TRIALS[1])
    assert data.columns == COLUMNS
    assert data.rows == (
        ("encoder", (4, None, 32, None, 1.0)),
        ("rnn.l0", (3, 2, 8, 4, 1.5)),
        ("decoder", (16, None, 6, None, 1.0)),
    )
    assert data.title == "chosen plan: trial 1, 288 kB"


def test_columns_without_a_value_are_left_out():
    assert plan_data(REFERENCES[0]).columns == ("weight_bits", "activation_bits", "width")


def test_plan_figure_prints_every_number():
    axes = draw_plan(plan_data(TRIALS[1])).axes[0]
    printed = [text.get_text() for text in axes.texts]
    assert printed == [
        *("4", "", "float", "", "x1"),
        *("3", "2", "8", "4", "x1.5"),
        *("16", "", "6", "", "x1"),
    ]


def test_plan_figure_of_many_layers_shows_the_first_and_counts_the_rest():
    names = [f"blocks.{i}.a_rather_long_name_of_a_projection_layer" for i in range(90)]
    data = plan_data(trial(0, 0.1, 39.0, plan=Plan.uniform(names, LayerChoice(4, 8))))
    assert (len(data.rows), data.left_out) == (MOST_ROWS, 10)
    assert data.rows[7][0].startswith("blocks.7.")
    assert len(data.rows[7][0]) <= 36
    figure = draw_plan(data)
    assert figure.axes[0].get_xlabel() == "... and 10 more layers"
    assert figure.get_figheight() < 20
