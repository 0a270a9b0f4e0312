"""Server-sent events, to the letter of the WHATWG specification ("9.2.6 Interpreting an event stream").

One deviation: what an unfinished stream leaves behind is not thrown away but handed to the caller, who knows whether
it is whole. The decoder is fed bytes and does no reading itself; any split of the same bytes gives the same events, in
linear time.
"""

from __future__ import annotations

from dataclasses import dataclass

_BOM = b"\xef\xbb\xbf"
_CR = ord("\r")  # a search for a number is several times as quick as one for a byte string
MAX_EVENT_BYTES = 16 * 1024 * 1024


@dataclass(slots=True)
class SSEEvent:
    """One dispatched event.

    Attributes:
        data: The data lines joined with newlines, as bytes, so that they are decoded once, by whoever parses them.
        event: Its type; "message" unless the server names one.
        id: The last event id seen in the stream, as bytes; empty if there was none.
    """

    data: bytes
    event: str = "message"
    id: bytes = b""


class EventTooLargeError(ValueError):
    """An event grew over the limit.

    Attributes:
        events: Those that were complete before it.
    """

    def __init__(self, limit: int) -> None:
        super().__init__(f"an event of more than {limit} bytes")
        self.events: list[SSEEvent] = []


class SSEDecoder:
    """Turn bytes into events."""

    def __init__(self, max_event_bytes: int = MAX_EVENT_BYTES) -> None:
        """Begin a stream.

        Args:
            max_event_bytes: How large an event may grow before it is refused.
        """
        self._limit = max_event_bytes
        self._tail: list[bytes] = []  # pieces of a line that has not ended
        self._data: list[bytes] = []  # data lines of the event in the making
        self._held = 0  # bytes in both
        self._event = ""
        self._id = b""
        self._started = False
        self._after_cr = False
        self._between = False  # whether all that came has been dispatched

    def feed(self, data: bytes) -> list[SSEEvent]:
        """Take the next bytes.

        Args:
            data: As many as the network gave.

        Returns:
            The events that are now complete.

        Raises:
            EventTooLargeError: An event is larger than the limit.
        """
        events = self._take(data)
        self._between = self._started and not (self._tail or self._data or self._event or self._after_cr)
        return events

    def _take(self, data: bytes) -> list[SSEEvent]:
        if not self._started:
            data = self._begin(data)
        if self._after_cr and data:
            self._after_cr = False
            data = data.removeprefix(b"\n")  # the second half of a CRLF that was split
        if not data:
            return []
        if self._tail:
            if b"\n" not in data and b"\r" not in data:
                self._hold(self._tail, data)
                return []
            data = self._take_tail() + data
        return self._lines(data)

    def only_data(self, data: bytes) -> bytes | None:
        """Return the data of a piece that is one event of one line and nothing else, as nearly every piece is.

        Such a piece need not be taken apart and put together again; it changes nothing in here.

        Args:
            data: The piece.

        Returns:
            Its data; None for any other piece, which is for :meth:`feed`.
        """
        line, _, rest = data.partition(b"\n")
        if self._between and rest == b"\n" and line[:6] == b"data: " and _CR not in line and len(line) <= self._limit:
            return line[6:]
        return None

    def close(self) -> SSEEvent | None:
        """End the stream.

        Returns:
            The event that was not finished by a blank line, if there is one; the specification would drop it.
        """
        self._field(self._take_tail())
        return self._dispatch()

    def _begin(self, data: bytes) -> bytes:
        # A byte order mark may come in three pieces; until it is whole it waits in the tail.
        head = self._take_tail() + data
        if len(head) < len(_BOM) and _BOM.startswith(head):
            self._hold(self._tail, head)
            return b""
        self._started = True
        return head.removeprefix(_BOM)

    def _hold(self, where: list[bytes], piece: bytes) -> None:
        self._held += len(piece)
        if self._held > self._limit:
            raise EventTooLargeError(self._limit)
        where.append(piece)

    def _take_tail(self) -> bytes:
        tail = b"".join(self._tail)
        self._tail.clear()
        self._held -= len(tail)
        return tail

    def _lines(self, data: bytes) -> list[SSEEvent]:
        events: list[SSEEvent] = []
        lines = data.splitlines(keepends=True)  # for bytes: at CR, LF and CRLF only, as the specification says
        self._after_cr = lines[-1].endswith(b"\r")
        unfinished = b"" if lines[-1].endswith((b"\n", b"\r")) else lines.pop()
        try:
            for ended in lines:
                line = ended.rstrip(b"\r\n")
                if line:
                    self._field(line)
                else:
                    event = self._dispatch()
                    if event is not None:
                        events.append(event)
            if unfinished:
                self._hold(self._tail, unfinished)
        except EventTooLargeError as error:
            error.events = events
            raise
        return events

    def _field(self, line: bytes) -> None:
        name, _, value = line.partition(b":")
        value = value.removeprefix(b" ")
        if name == b"data":
            self._held += bool(self._data)  # for the newline that joins them
            self._hold(self._data, value)
        elif name == b"event":
            self._event = value.decode("utf-8", "replace")
        elif name == b"id" and b"\0" not in value:
            self._id = value

    def _dispatch(self) -> SSEEvent | None:
        data, event = self._data, self._event
        self._event = ""
        self._held = 0
        if not data:
            return None
        self._data = []
        return SSEEvent(data[0] if len(data) == 1 else b"\n".join(data), event or "message", self._id)
