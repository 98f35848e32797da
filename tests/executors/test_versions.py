import pytest

from autoquant import __version__
from autoquant.errors import UserError
from autoquant.executors import requirements
from autoquant.executors.versions import current_versions, without_autoquant


def test_current_versions() -> None:
    autoquant, python, torch = current_versions()
    assert autoquant == __version__
    assert python.startswith("3.")
    assert torch[0].isdigit()


@pytest.mark.parametrize(
    "text",
    [
        "ModuleNotFoundError: No module named 'autoquant'",
        "x\nNo module named 'autoquant.executors'\n",
        "No package metadata was found for autoquant-torch",
    ],
)
def test_an_engine_that_cannot_import_autoquant(text: str) -> None:
    error = without_autoquant(text, "node17")
    assert str(error).startswith(f"every worker must have autoquant {__version__}, got none")


@pytest.mark.parametrize("text", ["No module named 'autoquantum'", "autoquant failed", ""])
def test_other_errors(text: str) -> None:
    assert without_autoquant(text) is None


def test_an_engine_that_is_not_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(requirements, "find_spec", lambda name: None)
    with pytest.raises(UserError, match=r"^cluster=ray must have ray \(pip install 'autoquant"):
        requirements.require_engine("ray", "ray")
