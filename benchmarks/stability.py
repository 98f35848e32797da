"""Group ``stability``: whether the native kernels' gain holds off the beaten track."""

from __future__ import annotations

from collections.abc import Iterator

from autoquant.plan import LayerChoice
from autoquant.settings import Scheme
from benchmarks.case import Case
from benchmarks.kernels import NATIVE, NATIVE_BF16
from benchmarks.recurrent import Shape, Subject

GROUP = "stability"
ABOUT = "training step of an LSTM on the native kernels, under many circumstances"

CHOICE = LayerChoice(4, 4)
LONG = 500  # steps beyond which a case is measured in a few rounds only
FEW = 5


def cases() -> Iterator[Case]:
    for scale in ("learned", "fixed"):
        for granularity in ("channel", "tensor"):
            scheme = Scheme(scale=scale, granularity=granularity)
            yield _case(f"{scale} step sizes, one a {granularity}", Shape(), scheme)
    for units in (301, 129):
        yield _case(f"{units} units", Shape(units=units))
    for steps in (1, 2000):
        yield _case(f"{steps} step{'s' * (steps > 1)}", Shape(steps=steps))
    for batch in (1, 256):
        yield _case(f"batch {batch}", Shape(batch=batch))


def _case(label: str, shape: Shape, scheme: Scheme = Scheme()) -> Case:  # noqa: B008
    subject = Subject(shape, CHOICE, scheme)
    kernels = (subject.ours(kernel) for kernel in (NATIVE, NATIVE_BF16))
    title = f"{label}: {shape.title}"
    most = FEW if shape.steps > LONG else None
    return Case(GROUP, title, label, (subject.floats(), *kernels), most_rounds=most)
