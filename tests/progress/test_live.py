"""The live display, in a stream that says it is a terminal and in a pseudo-terminal."""

from __future__ import annotations

import io
import os
import re
import subprocess
import sys
import time
from typing import Any

import pytest

from autoquant.progress import TrialRow
from autoquant.progress.live import LiveProgress

SHOW_CURSOR, HIDE_CURSOR = "\x1b[?25h", "\x1b[?25l"
ROWS = [
    TrialRow(str(number), "search", "340.9 kB", score="28.5", split="valid", state="complete")
    for number in range(100, 300)
]
PROGRAM = """
import time
from autoquant.progress import TrialRow, opened
rows = [TrialRow(str(n), "search", "340.9 kB", "0.07x", "100", "28.5", "valid", "complete", "8 s")
        for n in range(100, 300)]
with opened(True, "search study") as progress, progress.phase("proposals"):
    with progress.bar("trial 7", 100, "step") as bar:
        progress.show(rows, "")
        progress.say("a line")
        bar.advance(50)
        print("of the user")
        time.sleep(SECONDS)
print("the result")
"""


class Terminal(io.StringIO):
    """What is written to a terminal."""

    def isatty(self) -> bool:
        return True


@pytest.fixture
def narrow(monkeypatch: pytest.MonkeyPatch) -> None:
    """A terminal of 60 columns."""
    for name, value in {"COLUMNS": "60", "LINES": "20", "TERM": "xterm"}.items():
        monkeypatch.setenv(name, value)


def text_of(written: str) -> str:
    """What is written, without what moves the cursor or sets colours.

    Args:
        written: to a terminal.
    """
    return re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", written)


@pytest.mark.usefixtures("narrow")
def test_the_finished_table_stays() -> None:
    terminal = Terminal()
    with LiveProgress("search study", terminal) as live, live.bar("trial 3", 10, "step"):
        live.say("a line\nof \x1b[5m")
        live.show(ROWS, "is not shown")
    _, table = text_of(terminal.getvalue()).split("search study: ended after ")
    assert [line.split()[0] for line in table.splitlines()[2:]] == [row.name for row in ROWS]
    assert max(len(line) for line in text_of(terminal.getvalue()).splitlines()) <= 60
    assert r"of \x1b[5m" in terminal.getvalue()
    assert "is not shown" not in terminal.getvalue()
    assert terminal.getvalue().rindex(SHOW_CURSOR) > terminal.getvalue().rindex(HIDE_CURSOR)


@pytest.mark.usefixtures("narrow")
def test_without_trials_nothing_stays() -> None:
    terminal = Terminal()
    with LiveProgress("evaluate", terminal) as live, live.phase("scoring"):
        pass
    assert text_of(terminal.getvalue()).strip("\r\n ").endswith("s")  # of the removed heading
    assert "ended" not in terminal.getvalue()


@pytest.mark.usefixtures("narrow")
def test_what_stops_it_is_told() -> None:
    terminal = Terminal()

    def stopped() -> None:
        with LiveProgress("search study", terminal) as live:
            live.show(ROWS[:1], "")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        stopped()
    assert "search study: stopped after " in terminal.getvalue()
    assert terminal.getvalue().rindex(SHOW_CURSOR) > terminal.getvalue().rindex(HIDE_CURSOR)


@pytest.mark.usefixtures("narrow")
@pytest.mark.parametrize("is_terminal", [True, False], ids=["terminal", "file"])
def test_what_is_printed_meanwhile(is_terminal: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is above the display where both are the terminal, and in the file where it is one."""
    terminal, out = Terminal(), Terminal() if is_terminal else io.StringIO()
    monkeypatch.setattr(sys, "stdout", out)
    with LiveProgress("search study", terminal):
        print("of the user")
    assert sys.stdout is out
    assert ("of the user" in terminal.getvalue()) is is_terminal
    assert ("of the user" in out.getvalue()) is not is_terminal


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded")
@pytest.mark.usefixtures("narrow")
def test_forked_processes_do_not_print_above_the_display(monkeypatch: pytest.MonkeyPatch) -> None:
    """A DataLoader's worker would wait for locks that nobody releases there."""
    terminal = Terminal()
    monkeypatch.setattr(sys, "stdout", terminal)
    monkeypatch.setattr(sys, "stderr", terminal)
    with LiveProgress("search study", terminal):
        assert sys.stderr is not terminal
        child = os.fork()
        if child == 0:
            os._exit(0 if sys.stdout is sys.stderr is terminal else 1)
        _, status = os.waitpid(child, 0)
    assert os.waitstatus_to_exitcode(status) == 0


def run(seconds: float, stop: bool = False) -> tuple[str, str, int]:
    """Run PROGRAM with stderr in a pseudo-terminal of 60 columns, which Ctrl-C may stop.

    Args:
        seconds: that it works for.
        stop: whether Ctrl-C is pressed when the display is there.

    Returns:
        what the terminal got, what stdout got, and the exit status.
    """
    import fcntl
    import pty
    import struct
    import termios

    driver, terminal = pty.openpty()
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", 20, 60, 0, 0))
    environment = {k: v for k, v in os.environ.items() if k not in ("COLUMNS", "LINES")}
    options: dict[str, Any] = {"stdin": terminal, "stdout": subprocess.PIPE, "stderr": terminal}
    program = PROGRAM.replace("SECONDS", str(seconds))
    command = [sys.executable, "-c", "import signal; signal.signal(signal.SIGINT, "]
    command[2] += "signal.default_int_handler)\n" + program  # a job in the background ignores it
    options |= {"env": environment | {"TERM": "xterm"}, "start_new_session": True}
    with subprocess.Popen(command, **options) as running:
        os.close(terminal)
        written, ends = b"", time.monotonic() + 60
        while time.monotonic() < ends:
            try:
                written += os.read(driver, 65536)
            except OSError:  # the other side is closed
                break
            if stop and b"trial 7" in written:
                stop = False
                os.kill(running.pid, 2)
        assert running.stdout is not None
        out = running.stdout.read().decode()
    os.close(driver)
    return written.decode(), out, running.returncode


@pytest.mark.skipif(sys.platform == "win32", reason="needs a pseudo-terminal")
@pytest.mark.parametrize("stop", [False, True], ids=["to the end", "Ctrl-C"])
def test_a_pseudo_terminal(stop: bool) -> None:
    written, out, status = run(30.0 if stop else 0.6, stop)
    assert ("the result" in out) is not stop
    assert (status == 0) is not stop
    assert "of the user" not in written  # stdout is a pipe
    assert written.rindex(SHOW_CURSOR) > written.rindex(HIDE_CURSOR)
    ending = "stopped" if stop else "ended"
    display, table = text_of(written).split(f"search study: {ending} after ")
    assert "50/100 steps" in display
    names = [line.split()[0] for line in table.splitlines() if "340.9 kB" in line]
    assert names == [str(number) for number in range(100, 300)]
    assert all(len(line) <= 60 for line in table.splitlines() if "340.9 kB" in line)
