"""Counts SIGINT, SIGTERM and SIGHUP as stop requests."""

import select
import signal
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any, Final, Self

NUMBERS: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Interrupted(KeyboardInterrupt):
    """A stop was requested during work that can be abandoned."""


class StopSignals:
    """Inside this context, stop signals are counted instead of ending the process."""

    def __init__(self) -> None:
        self.count = 0
        self.last_number = 0
        self._raises = False
        self._earlier: dict[signal.Signals, Any] = {}

    def __enter__(self) -> Self:
        # The system writes a byte for each signal, which wakes ``wait`` at once. A lock would not
        # work: the code that the handler interrupts might hold it.
        self._reader, self._writer = socket.socketpair()
        self._reader.setblocking(False)
        self._writer.setblocking(False)
        self._earlier_descriptor = signal.set_wakeup_fd(self._writer.fileno())
        for number in NUMBERS:
            # Ignored under nohup: keep it so.
            if number == signal.SIGHUP and signal.getsignal(number) == signal.SIG_IGN:
                continue
            self._earlier[number] = signal.signal(number, self._note)
        return self

    def __exit__(self, *_exception: object) -> None:
        for number, handler in self._earlier.items():
            signal.signal(number, handler)
        signal.set_wakeup_fd(self._earlier_descriptor)
        self._reader.close()
        self._writer.close()

    @property
    def requested(self) -> bool:
        return self.count > 0

    @property
    def forced(self) -> bool:
        """Whether a second request came: kill instead of stopping gracefully."""
        return self.count > 1

    def wait(self, seconds: float) -> None:
        """Wait ``seconds``, or until a signal arrives."""
        if select.select([self._reader], [], [], seconds)[0]:
            self._reader.recv(4096)

    @contextmanager
    def interrupting(self) -> Iterator[None]:
        """Inside this block, a stop request raises Interrupted, even one that came before it."""
        self._raises = True
        try:
            if self.requested:
                raise Interrupted
            yield
        finally:
            self._raises = False

    def _note(self, number: int, frame: FrameType | None) -> None:
        self.count += 1
        self.last_number = number
        if self._raises:
            self._raises = False
            raise Interrupted
