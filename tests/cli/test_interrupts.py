"""Long commands: they tell what they do, and end at once when they are told to."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from lowering import progress as told
from lowering.cli import main

AT_IMPORT = """
import sys
class Interrupted:
    def find_spec(self, name, path=None, target=None):
        if name == "lowering.cli":
            raise KeyboardInterrupt
sys.meta_path.insert(0, Interrupted())
from lowering.__main__ import run
sys.exit(run())
"""


FROM_A_TERMINAL = """
import resource, signal, sys
signal.signal(signal.SIGINT, signal.default_int_handler)
resource.setrlimit(resource.RLIMIT_CPU, (60, 60))
from lowering.__main__ import run
sys.exit(run())
"""
"""The command as a terminal starts it: what runs in the background ignores Ctrl-C, and so does all that
it starts.  After a minute of work it ends by itself, where the test was killed before it."""


def until(true: Callable[[], bool], seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end
        time.sleep(0.05)


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="counts children in /proc")
@pytest.mark.parametrize(
    ("argv", "children"),
    [
        ("run rmsnorm --executor adversarial --seeds 1000000000", 0),
        ("tune rmsnorm", 2),  # one of them is Python's own, which counts shared memory
    ],
)
def test_ctrl_c_ends_a_command_and_its_workers(argv: str, children: int) -> None:
    """As from a terminal: every process of the group gets it."""
    command = [sys.executable, "-u", "-c", FROM_A_TERMINAL, *argv.split()]
    started = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
    )
    of = Path(f"/proc/{started.pid}/task/{started.pid}/children")
    loaded = Path(f"/proc/{started.pid}/maps")
    ready = "multiarray" if not children else ""
    until(lambda: len(of.read_text().split()) >= children and ready in loaded.read_text())
    time.sleep(0.3)
    start = time.monotonic()
    os.killpg(started.pid, signal.SIGINT)
    out, err = started.communicate(timeout=30)
    assert time.monotonic() - start < 10
    assert (started.returncode, out) == (130, "")
    assert err.endswith("error: interrupted\n") and "Traceback" not in err

    def gone() -> bool:
        try:
            os.killpg(started.pid, 0)
        except ProcessLookupError:
            return True
        return False

    until(gone, 10)


def test_ctrl_c_while_the_command_is_imported() -> None:
    done = subprocess.run([sys.executable, "-c", AT_IMPORT], capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (130, "", "error: interrupted\n")


def test_what_takes_long_is_told(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(told, "PATIENCE_S", 0.04)
    with told.progress("the whole"):
        time.sleep(0.1)
        with told.progress(lambda: "a part"):
            time.sleep(0.1)
    lines = capsys.readouterr().err.splitlines()
    said = dict.fromkeys(line.rpartition(" ")[0].rpartition(" ")[0] for line in lines)
    assert list(said) == ["the whole ...", "a part ...", "a part:", "the whole:"]


def test_every_command_is_told_of(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(told, "PATIENCE_S", 0.002)
    assert main(["check", "gemm"]) == 0
    assert "pto check gemm ... 0 s\n" in capsys.readouterr().err
