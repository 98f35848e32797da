"""The names of references: "4-bit" only where all weights of the plan have 4 bits."""

from __future__ import annotations

from autoquant.study.outcome import Outcome

WHERE_ALLOWED = "where allowed"
"""Added to bits that some layers do not have, because rules give them others."""


def reference_bits(outcome: Outcome) -> str | None:
    """The bits that a reference is named after; None for what has another name.

    Args:
        outcome: of a search; a reference of 4 bits has the trial name ``w4``, of 1.6 bits ``w1.6``.
    """
    bits = outcome.trial.removeprefix("w")
    named = outcome.role == "reference" and bits.replace(".", "", 1).isdigit()
    return bits if named else None


def is_uniform(outcome: Outcome) -> bool:
    """Whether all weights of a reference have the bits that it is named after.

    They have not where rules leave a layer other bits only.

    Args:
        outcome: of a search.
    """
    bits = reference_bits(outcome)
    return bits is not None and outcome.plan.has_weight_bits(float(bits))


def reference_name(outcome: Outcome) -> str | None:
    """The name of a reference for people; None for what is not named after its bits.

    Args:
        outcome: of a search.
    """
    bits = reference_bits(outcome)
    if bits is None:
        return None
    return f"{bits}-bit" if is_uniform(outcome) else f"{bits}-bit {WHERE_ALLOWED}"


def reference_row(outcome: Outcome) -> str:
    """The name of a reference in a table: "uniform 4-bit", or "4-bit where allowed".

    Args:
        outcome: of a search.
    """
    name = reference_name(outcome) or outcome.trial
    return f"uniform {name}" if is_uniform(outcome) else name


def reference_scope(outcome: Outcome) -> str:
    """The bits of a reference and which layers have them: "8 bits everywhere".

    Args:
        outcome: a reference that is named after its bits.
    """
    where = "everywhere" if is_uniform(outcome) else WHERE_ALLOWED
    return f"{reference_bits(outcome)} bits {where}"
