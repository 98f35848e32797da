"""What is said about the machine."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks import machine

X86 = """\
processor\t: 0
cpu family\t: 25
model\t\t: 17
model name\t: AMD EPYC 9R14
flags\t\t: fpu avx2 avx512f avx512_vnni

processor\t: 1
model name\t: another
"""
ARM = "processor\t: 0\nFeatures\t: fp asimd asimddp i8mm\n"


@pytest.fixture
def x86(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _cpuinfo(tmp_path, monkeypatch, X86)
    for name in machine.VARIABLES:
        monkeypatch.delenv(name, raising=False)


def _cpuinfo(folder: Path, monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    (folder / "cpuinfo").write_text(text)
    monkeypatch.setattr(machine, "CPUINFO", folder / "cpuinfo")


@pytest.mark.usefixtures("x86")
def test_the_cpu_is_named_with_its_family() -> None:
    assert machine.cpu_name() == "AMD EPYC 9R14 (family 25 model 17)"
    assert machine.instructions() == ["avx2", "avx512f", "avx512_vnni"]
    assert machine.slug(1) == "amd-epyc-9r14-25-17"


@pytest.mark.usefixtures("x86")
def test_masked_features_and_threads_have_files_of_their_own(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("AUTOQUANT_CPU", "avx2")
    assert machine.slug(2) == "amd-epyc-9r14-25-17-avx2-2-threads"
    assert "AUTOQUANT_CPU=avx2" in machine.facts(2)[-1]


def test_other_processors_and_systems_are_named_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _cpuinfo(tmp_path, monkeypatch, ARM)
    assert machine.instructions() == ["asimd", "asimddp", "i8mm"]
    assert machine.cpu_name()
    monkeypatch.setattr(machine, "CPUINFO", tmp_path / "none")
    assert machine.instructions() == []
    assert machine.slug(1)


def test_facts_name_threads_and_versions(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "PACKAGES", ("torch", "no-such-package"))
    facts = "\n".join(machine.facts(3))
    assert "threads: 3 on" in facts
    assert "torch 2" in facts
    assert "no no-such-package" in facts
