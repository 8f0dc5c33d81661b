"""A line on the terminal while loops are being compiled for more than a second, so that a first run explains its wait.

It is there only while something compiles, is rewritten in place, and leaves nothing behind. Where stderr is no terminal
(a pipe, a log, a test) nothing is written at all.
"""
import contextlib
import sys
import threading
import time


class Notice:
    """Told when compiling begins and ends; writes to sys.stderr. Never raises, whatever stderr is."""

    def __init__(self, after=1.0, clock=time.perf_counter):
        self.after, self.clock, self.lock = after, clock, threading.Lock()
        self.running, self.done, self.spent, self.since = [], 0, 0.0, 0.0
        self.width = 0  # of the line that is on the terminal

    def begin(self, what):
        """`what` (hashable) is being compiled from now on; inside another one, if there is one."""
        with self.lock:
            if not self.running:
                self.since = self.clock()
            self.running.append(what)
            self._show()

    def end(self, what):
        """`what` is compiled, and so is, or has failed, all that began after it."""
        with self.lock:
            if what not in self.running:
                return
            del self.running[self.running.index(what) :]
            self.done += 1
            if self.running:
                self._show()
            else:
                self.spent += self.clock() - self.since
                self._write("")

    def _show(self):
        seconds = self.spent + self.clock() - self.since
        if seconds > self.after:
            self._write(f"minigrad: compiling kernels for this machine, once ... {self.done} done, {seconds:.0f} s")

    def _write(self, line):
        with contextlib.suppress(Exception):
            if (line or self.width) and sys.stderr.isatty():
                blank = " " * (self.width - len(line))
                sys.stderr.write(f"\r{line}{blank}" + ("" if line else "\r"))
                sys.stderr.flush()
                self.width = len(line)


NOTICE = Notice()
