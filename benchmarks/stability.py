"""Group ``stability``: the gain of the native kernels with other quantizers, sizes and lengths."""

from __future__ import annotations

from collections.abc import Iterator

from autoquant.plan import LayerChoice
from autoquant.settings import Scheme
from benchmarks.case import Case
from benchmarks.kernels import NATIVE, NATIVE_BF16
from benchmarks.recurrent import RecurrentSubject, StackShape

GROUP = "stability"
ABOUT = "training step of an LSTM on the native kernels, under many circumstances"

CHOICE = LayerChoice(4, 4)
LONG = 500
"""Time steps beyond which a case is measured in a few rounds only."""
FEW_ROUNDS = 5


def cases() -> Iterator[Case]:
    for scale in ("learned", "fixed"):
        for granularity in ("channel", "tensor"):
            scheme = Scheme(scale=scale, granularity=granularity)
            yield _case(f"{scale} scales, one a {granularity}", StackShape(), scheme)
    for units in (301, 129):
        yield _case(f"{units} units", StackShape(units=units))
    for steps in (1, 2000):
        yield _case(f"{steps} step{'s' * (steps > 1)}", StackShape(steps=steps))
    for batch in (1, 256):
        yield _case(f"batch {batch}", StackShape(batch=batch))


def _case(label: str, shape: StackShape, scheme: Scheme = Scheme()) -> Case:  # noqa: B008
    """The native kernels over torch's float layers.

    Args:
        label: what is special about the case.
        shape: of the stack and its inputs.
        scheme: how numbers become codes.
    """
    subject = RecurrentSubject(shape, CHOICE, scheme)
    kernels = (subject.autoquant_variant(kernel) for kernel in (NATIVE, NATIVE_BF16))
    title = f"{label}: {shape.title}"
    max_rounds = FEW_ROUNDS if shape.steps > LONG else None
    variants = (subject.float_variant(), *kernels)
    return Case(GROUP, title, label, variants, max_rounds=max_rounds)
