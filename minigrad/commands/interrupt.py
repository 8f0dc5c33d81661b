"""Ctrl-C as a question that is asked between two steps, so that what is saved then is whole."""
import os
import signal
import threading


class Interrupted(Exception):
    """Ctrl-C was pressed, and now is a good moment to stop."""


class Interrupt:
    """While this context lasts, Ctrl-C is only noted, and `check` raises Interrupted; a second one stops at once."""

    def __init__(self):
        self.came, self.before = False, None

    def __enter__(self):
        if threading.current_thread() is threading.main_thread():  # others cannot set handlers
            self.before = signal.signal(signal.SIGINT, self._note)
        return self

    def __exit__(self, *exception):
        if self.before is not None:
            signal.signal(signal.SIGINT, self.before)

    def _note(self, *_):
        self.came = True
        signal.signal(signal.SIGINT, signal.default_int_handler)
        os.write(2, b"\nstopping after this batch; Ctrl-C once more stops at once\n")

    def check(self):
        """Raise Interrupted if Ctrl-C was pressed."""
        if self.came:
            raise Interrupted

    def between(self, batches):
        """An iterable over the batches that checks before each."""
        return _Checked(batches, self.check)


class _Checked:
    def __init__(self, batches, check):
        self.batches, self.check = batches, check

    def __iter__(self):
        for batch in self.batches:
            self.check()
            yield batch
