from autoquant.plan import LayerChoice, Plan
from autoquant.report_page.plan_rows import PlanRow, plan_rows

PLAN = Plan(
    {
        "small": LayerChoice(2, 8),
        "large": LayerChoice(4, 32, 1.5),
        "rnn": LayerChoice(3, 8, recurrent_bits=4, hidden_bits=6),
        "tiny": LayerChoice(8, 16, 1.25),
    }
)
SIZES = {"small": 10, "large": 400, "rnn": 300, "tiny": 5}


def test_every_layer_in_the_order_of_the_model():
    assert plan_rows(PLAN, SIZES, {}) == (
        PlanRow("small", "2", "8", "", 10),
        PlanRow("large", "4", "float", "x1.5", 400),
        PlanRow("rnn", "3 / 4", "8 / 6", "", 300),
        PlanRow("tiny", "8", "16", "x1.25", 5),
    )


def test_smaller_layers_share_a_row():
    *largest, rest = plan_rows(PLAN, SIZES, {}, most=2)
    assert [row.name for row in largest] == ["large", "rnn"]
    assert rest == PlanRow("2 smaller layers", "2 to 8", "8 to 16", "x1 to x1.25", 15)


def test_without_sizes_the_parameters_tell_which_are_large():
    *largest, rest = plan_rows(PLAN, {}, {"tiny": 9.0, "small": 8.0}, most=2)
    assert [row.name for row in largest] == ["small", "tiny"]
    assert rest.size_bytes is None
