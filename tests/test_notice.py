"""The line about compiling: when it is there, what it says, and that it is never in the way."""
import os
import subprocess
import sys
import threading

import pytest

from minigrad.kernels.notice import Notice


class Terminal:
    """A stderr that remembers, with a screen of one line."""

    def __init__(self, tty=True):
        self.tty, self.text = tty, ""

    def isatty(self):
        return self.tty

    def write(self, text):
        self.text += text

    def flush(self):
        pass

    def line(self):
        """What a reader sees."""
        cells = []
        for part in self.text.split("\r"):
            cells[: len(part)] = part
        return "".join(cells).rstrip()


class Clock:
    def __init__(self):
        self.now = 100.0

    def __call__(self):
        return self.now


def stderr_is_a_terminal(monkeypatch):
    """Called in the test: pytest gives it another stderr than it gave its fixtures."""
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    return terminal


def test_it_appears_after_a_second_counts_and_goes_away(monkeypatch):
    terminal = stderr_is_a_terminal(monkeypatch)
    clock = Clock()
    notice = Notice(clock=clock)
    notice.begin("a")
    clock.now += 0.9
    notice.end("a")
    clock.now += 50  # nothing is compiled: does not count
    notice.begin("b")
    assert terminal.text == ""
    clock.now += 5.3
    notice.begin("inside b")
    assert terminal.line() == "minigrad: compiling kernels for this machine, once ... 1 done, 6 s"
    notice.end("inside b")
    assert terminal.line() == "minigrad: compiling kernels for this machine, once ... 2 done, 6 s"
    notice.end("b")
    assert terminal.line() == "" and terminal.text.endswith("\r") and "\n" not in terminal.text
    notice.begin("c")
    assert terminal.line() == "minigrad: compiling kernels for this machine, once ... 3 done, 6 s"


def test_what_failed_to_compile_does_not_keep_the_line(monkeypatch):
    terminal = stderr_is_a_terminal(monkeypatch)
    clock = Clock()
    notice = Notice(clock=clock)
    notice.begin("outer")
    notice.begin("fails")
    clock.now += 2
    notice.begin("another")
    notice.end("outer")
    notice.end("never begun")
    assert terminal.line() == "" and not notice.running


@pytest.mark.parametrize("stderr", [Terminal(tty=False), None, object()], ids=["pipe", "none", "no file"])
def test_where_there_is_no_terminal_nothing_is_written_and_nothing_raised(monkeypatch, stderr):
    monkeypatch.setattr(sys, "stderr", stderr)
    notice = Notice(after=-1)
    notice.begin(1)
    notice.end(1)
    assert getattr(stderr, "text", "") == ""


def test_threads_that_compile_at_once_are_all_counted():
    notice = Notice(after=1e9)

    def work(i):
        for j in range(200):
            notice.begin((i, j))
            notice.begin((i, j, "inside"))

    threads = [threading.Thread(target=work, args=(i,)) for i in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(notice.running) == 1600


SCRIPT = """
import sys
from minigrad.kernels import jit
jit.NOTICE.after = float(sys.argv[1])
import numpy as np
from minigrad.kernels import memory

@jit.jit
def inner(x):
    return x + 1

@jit.jit
def outer(x):
    return inner(x) * 2

if sys.argv[2:]:
    outer._cache, inner._cache = jit.NoCache(), jit.NoCache()
print(outer(3.0))
"""


def on_a_terminal(tmp_path, *arguments):
    """What a process that compiles two loops writes to a terminal."""
    (tmp_path / "loops.py").write_text(SCRIPT)
    ours, theirs = pytest.importorskip("pty").openpty()
    environment = {**os.environ, "NUMBA_CACHE_DIR": str(tmp_path / "cache")}
    command = [sys.executable, str(tmp_path / "loops.py"), *map(str, arguments)]
    done = subprocess.run(command, stderr=theirs, stdout=subprocess.PIPE, env=environment, text=True, timeout=60)
    os.write(theirs, b"end")
    written = os.read(ours, 10_000).decode()
    os.close(ours)
    os.close(theirs)
    assert done.stdout == "8.0\n"
    return written.removesuffix("end")


@pytest.mark.skipif(sys.platform == "win32", reason="needs a pseudo terminal")
def test_on_a_terminal_it_is_there_when_something_compiles_and_not_when_it_comes_from_the_cache(tmp_path):
    first, second = on_a_terminal(tmp_path, -1), on_a_terminal(tmp_path, -1)
    assert "compiling kernels for this machine, once ... 0 done" in first and "1 done" in first
    assert second == ""
    assert "1 done" in on_a_terminal(tmp_path, -1, "without a cache")
    assert on_a_terminal(tmp_path, 1000, "without a cache") == ""
