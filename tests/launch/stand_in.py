"""A stand-in for vLLM's program: takes its flags, serves the three routes that a start needs, and fails as told.

STAND_IN in the environment holds JSON: {"busy": 3} answers the first three questions with 503, and so on; see `Told`.
It does nothing by the clock.
"""

import json
import os
import signal
import sys
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from select import select
from subprocess import Popen
from threading import Event


@dataclass
class Told:
    """How to behave.

    Attributes:
        busy: How many questions whether it is ready get 503 first.
        says: Printed before it serves.
        exits: Ends with this status in place of serving.
        dumb: Is healthy, but answers each question to the model with this status.
        dies: Ends when it is asked the first question, with this status.
        hangs: Takes each question to the model and never answers.
        deaf: Ends on no signal but SIGKILL.
        child: Starts a process that stays when it ends, and writes its number to this file.
    """

    busy: int = 0
    says: str = ""
    exits: int | None = None
    dumb: int = 0
    dies: int | None = None
    hangs: bool = False
    deaf: bool = False
    child: str | None = None


def say(text: str) -> None:
    os.write(1, f"{text}\n".encode())  # not print, which a signal's handler could interrupt and call again


TOLD = Told(**json.loads(os.environ.get("STAND_IN", "{}")))


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    wbufsize = -1  # an answer in one packet, or the kernel holds the second back for 40 ms

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing: the log is what the test looks at."""

    def answer(self, status: int, body: object) -> None:
        data = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def do_GET(self) -> None:
        if self.path != "/health":
            self.answer(404, {"detail": "Not Found"})
        elif TOLD.busy:
            TOLD.busy -= 1
            self.answer(503, {"detail": "loading"})
        else:
            self.answer(200, {})

    def do_POST(self) -> None:
        asked = json.loads(self.rfile.read(int(self.headers["content-length"])))
        key = os.environ.get("VLLM_API_KEY")
        if TOLD.dies is not None:
            say("torch.OutOfMemoryError: CUDA out of memory.")
            os._exit(TOLD.dies)
        if TOLD.hangs:
            Event().wait()
        if TOLD.dumb:
            self.answer(TOLD.dumb, {"error": {"message": "no", "type": "Error", "param": None, "code": TOLD.dumb}})
        elif key and self.headers["authorization"] != f"Bearer {key}":
            self.answer(401, {"error": "Unauthorized"})
        else:
            choice = {"index": 0, "message": {"role": "assistant", "content": "Hello"}, "finish_reason": "length"}
            whole = {"id": "1", "object": "chat.completion", "created": 1, "model": asked["model"], "choices": [choice]}
            self.answer(200, whole)


def stop(number: int, _: object) -> None:
    say(f"got {signal.Signals(number).name}")
    if not TOLD.deaf:
        os._exit(0)


def main(words: list[str]) -> None:
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT):
        signal.signal(number, stop)
    say(json.dumps(words))
    say(TOLD.says)
    if TOLD.child:
        child = Popen([sys.executable, "-c", "import signal; signal.pause()"])
        Path(TOLD.child).write_text(str(child.pid))
    if TOLD.exits is not None:
        sys.exit(TOLD.exits)
    if "--headless" in words:
        say("headless")
        while True:
            signal.pause()
    ThreadingHTTPServer(
        (words[words.index("--host") + 1], int(words[words.index("--port") + 1])), Handler
    ).serve_forever()


def ends(pid: int) -> bool:
    """Wait for a process, of which a test has only the number, to end; for 10 seconds at most."""
    try:
        process = os.pidfd_open(pid)
    except ProcessLookupError:
        return True
    with os.fdopen(process, "rb"):
        return bool(select([process], [], [], 10)[0])  # readable once it has ended


if __name__ == "__main__":
    main(sys.argv[1:])
