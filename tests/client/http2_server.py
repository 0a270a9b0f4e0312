"""A server that talks HTTP/2 and nothing else, in clear text to clients that know it; MockServer has HTTP/1.1 only."""

import json
import socket
import threading
from types import TracebackType
from typing import Self

from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.events import DataReceived, RequestReceived, StreamEnded, StreamReset

WHOLE = b'{"choices":[{"message":{"content":"Hi"},"finish_reason":"stop"}]}'
BEGUN = b'data: {"choices":[{"delta":{"content":"Once"}}]}\n\n'
DONE = b'data: {"choices":[{"delta":{},"finish_reason":"stop"}]}\n\ndata: [DONE]\n\n'


class HTTP2Server:
    """Answer chats, whole ones at once; a stream stays open after its first piece, unless `max_tokens` is 1.

    Attributes:
        connections: How many there have been.
        resets: How many streams the client gave up.
    """

    def __init__(self) -> None:
        self.connections = self.resets = 0
        self._bodies: dict[int, bytes] = {}
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._thread = threading.Thread(target=self._accept)

    @property
    def base_url(self) -> str:
        return f"http://127.0.0.1:{self._listener.getsockname()[1]}/v1"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)  # wakes accept() up
        self._thread.join()
        self._listener.close()

    def _accept(self) -> None:
        while True:
            try:
                peer, _ = self._listener.accept()
            except OSError:
                return
            self.connections += 1
            with peer:
                self._serve(peer)

    def _serve(self, peer: socket.socket) -> None:
        connection = H2Connection(H2Configuration(client_side=False))
        connection.initiate_connection()
        peer.sendall(connection.data_to_send())
        while data := peer.recv(65536):
            for event in connection.receive_data(data):
                match event:
                    case RequestReceived(stream_id=int(stream)):
                        self._bodies[stream] = b""
                    case DataReceived(stream_id=int(stream), data=bytes(piece)):
                        self._bodies[stream] += piece
                    case StreamEnded(stream_id=int(stream)):
                        self._answer(connection, stream, json.loads(self._bodies.pop(stream)))
                    case StreamReset():
                        self.resets += 1
                    case _:
                        pass
            peer.sendall(connection.data_to_send())

    @staticmethod
    def _answer(connection: H2Connection, stream: int, fields: dict[str, object]) -> None:
        connection.send_headers(stream, [(":status", "200")])
        if not fields.get("stream"):
            connection.send_data(stream, WHOLE, end_stream=True)
        elif fields.get("max_tokens") == 1:
            connection.send_data(stream, BEGUN + DONE, end_stream=True)
        else:
            connection.send_data(stream, BEGUN)
