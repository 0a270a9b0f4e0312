"""A child in a process group of its own, whose log is forwarded line by line and whose whole group ends with it."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from threading import Thread
from typing import BinaryIO

# Where lines end: a progress bar writes its next state over the last.
_ENDS = re.compile(rb"(?<=[\r\n])")
_LONGEST_LINE = 65_536
_KEPT = 4000  # lines: all that a failed start writes
_LONGEST_FAREWELL = 5.0  # seconds for the log's end, which a process that left the group may keep open


class Group:
    """A running command and every process that it starts.

    Attributes:
        name: Of the program.
        over: Whether the command itself has ended.
        tail: The last lines of its log.
    """

    def __init__(
        self,
        argv: Sequence[str],
        environment: Mapping[str, str],
        *,
        out: BinaryIO,
        clean: Callable[[bytes], bytes],
        ended: Callable[[], None],
    ) -> None:
        """Start it, with no shell between.

        Args:
            argv: What to run.
            environment: All of its environment.
            out: Where its log goes.
            clean: Takes secrets out of a line.
            ended: Called, in another thread, when the command itself has ended.

        Raises:
            OSError: It can't be started.
        """
        self.name = Path(argv[0]).name
        self.over = False
        self.tail: deque[str] = deque(maxlen=_KEPT)
        pipe, end = map(os.fdopen, os.pipe(), ("rb", "wb"))
        with end:
            try:
                self._child = subprocess.Popen(  # noqa: S603 - an argument list, made and checked in command.py
                    argv,
                    env=environment,
                    stdin=subprocess.DEVNULL,
                    stdout=end,
                    stderr=subprocess.STDOUT,
                    start_new_session=True,  # a group that Ctrl-C in the terminal doesn't reach but through us
                )
            except BaseException:
                pipe.close()
                raise
        self._reader = Thread(target=self._forward, args=[pipe, out, clean], name="log", daemon=True)
        self._watcher = Thread(target=self._watch, args=[ended], name="watch", daemon=True)
        self._reader.start()
        self._watcher.start()

    def send(self, number: int) -> None:
        """Send a signal to the whole group; nothing, if it is gone."""
        # Until close() the command is not waited for, so the number of its group can't have gone to another.
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._child.pid, number)

    def close(self) -> int:
        """Wait for the command, end by force what is left of the group, and read the log to its end.

        Returns:
            The command's exit status; below 0 the signal that ended it.
        """
        self.send(signal.SIGKILL)
        status = self.leave()
        self._reader.join(_LONGEST_FAREWELL)
        return status

    def leave(self) -> int:
        """Wait for the command alone: what it has started lives on, and its log is forwarded as before.

        Returns:
            The command's exit status; below 0 the signal that ended it.
        """
        self._watcher.join()
        return self._child.wait()

    @property
    def writing(self) -> bool:
        """Whether some process has the log open: after ``close()``, one that had left the group."""
        return self._reader.is_alive()

    def _watch(self, ended: Callable[[], None]) -> None:
        os.waitid(os.P_PID, self._child.pid, os.WEXITED | os.WNOWAIT)
        self.over = True
        ended()

    def _forward(self, pipe: BinaryIO, out: BinaryIO, clean: Callable[[bytes], bytes]) -> None:
        with pipe:
            for line in map(clean, _lines(pipe.fileno())):
                self.tail.append(line.decode(errors="replace").rstrip())
                with contextlib.suppress(OSError, ValueError):  # nobody reads us any more; the server shall not stall
                    out.write(line)
                    out.flush()


def _lines(pipe: int) -> Iterator[bytes]:
    rest = b""
    while piece := os.read(pipe, _LONGEST_LINE):
        *whole, rest = _ENDS.split(rest + piece)
        yield from whole
        if len(rest) >= _LONGEST_LINE:
            cut = rest.rfind(b" ") + 1 or len(rest)  # a key holds no space: so none is cut in two, and seen by nobody
            yield rest[:cut]
            rest = rest[cut:]
    if rest:
        yield rest
