import pytest

from autoquant.settings import Space
from autoquant.space.activation_bits import uniform_activation_bits, usual_choices


@pytest.mark.parametrize(
    ("choices", "bits"),
    [((4, 6, 8, 16), 8), ((4, 6), 6), ((8,), 8), ((16, 32), 16), ((4, 32), 4)],
    ids=str,
)
def test_uniform_plans_have_8_bits_or_the_choice_next_to_it(
    choices: tuple[int, ...], bits: int
) -> None:
    assert uniform_activation_bits(Space(activation_bits=choices)) == bits


def test_hidden_states_have_the_choices_of_up_to_8_bits() -> None:
    assert usual_choices((4, 6, 8, 16)) == (4, 6, 8)
    assert usual_choices((16, 32)) == (16,)
