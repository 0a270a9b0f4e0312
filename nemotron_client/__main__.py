"""The first run: ``python -m nemotron_client`` shows an answer, a stream, a typed answer, a tool call and a bad day.

Without NVIDIA_API_KEY or NVIDIA_BASE_URL a scripted server on this machine answers.
"""

import argparse
import os
import sys
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Literal

from pydantic import BaseModel

from . import (
    ChatCompletion,
    HookEvent,
    Nemotron,
    NemotronError,
    RetryScheduled,
    StreamInterruptedError,
    ToolFinished,
    TurnFinished,
)

if TYPE_CHECKING:
    from .testing import MockServer


class Person(BaseModel):
    """A typed answer."""

    name: str
    age: int


def get_weather(city: str, unit: Literal["c", "f"]) -> str:
    """Get the current weather in a city."""
    return f"{18 if unit == 'c' else 64} degrees in {city}"


def _tell_waits(event: HookEvent) -> None:
    if isinstance(event, RetryScheduled):
        print(f"{event.reason}: the next try in {event.delay:.0f} s", file=sys.stderr)


@contextmanager
def _talking() -> Generator[tuple[Nemotron, "MockServer | None"]]:
    if os.environ.get("NVIDIA_API_KEY") or os.environ.get("NVIDIA_BASE_URL"):
        with Nemotron(on_event=_tell_waits) as client:
            print(f"Talking to {client}.\n")
            yield client, None
        return
    try:
        from .testing import MockServer
    except ModuleNotFoundError as missing:
        sys.exit(str(missing))
    with MockServer(chunk_delay=0.03) as server, Nemotron(base_url=server.base_url, on_event=_tell_waits) as client:
        print("No NVIDIA_API_KEY or NVIDIA_BASE_URL is set, so a scripted MockServer on this machine answers:")
        print(f"real HTTP, made-up words ({server.base_url}).\n")
        yield client, server


def _end(done: ChatCompletion) -> None:
    cut = "[cut short by max_tokens] " if done.truncated else ""
    used = f", {done.usage.total_tokens} tokens" if done.usage else ""
    print(f"{cut}({done.choices[0].finish_reason}{used})\n")


def _ask(client: Nemotron) -> None:
    print('>>> client.chat.completions.create(messages="Hello", max_tokens=100)')
    done = client.chat.completions.create(messages="Hello", max_tokens=100)
    print(done.text)
    _end(done)


def _stream(client: Nemotron) -> None:
    print('>>> client.chat.completions.stream(messages="Tell me a long story.", max_tokens=100)')
    with client.chat.completions.stream(messages="Tell me a long story.", max_tokens=100) as stream:
        for text in stream.text_deltas():
            print(text, end="", flush=True)
    print()
    _end(stream.snapshot)


def _parse(client: Nemotron) -> None:
    question = "Give me Alice as JSON."
    print(">>> class Person(BaseModel): name: str; age: int")
    print(f'>>> client.chat.completions.parse(messages="{question}", response_format=Person, max_tokens=100).parsed')
    done = client.chat.completions.parse(messages=question, response_format=Person, max_tokens=100)
    print(repr(done.parsed))
    _end(done)


def _call_a_tool(client: Nemotron) -> None:
    question = "What is the weather in Paris?"
    print('>>> def get_weather(city: str, unit: Literal["c", "f"]) -> str: ...')
    print(f'>>> client.chat.completions.stream_tools(messages="{question}", tools=[get_weather], max_tokens=100)')
    with client.chat.completions.stream_tools(messages=question, tools=[get_weather], max_tokens=100) as events:
        for event in events:
            if isinstance(event, TurnFinished):
                print(event.completion.text, end="\n" if event.completion.text else "")
                _end(event.completion)
            elif isinstance(event, ToolFinished):
                called = event.result.tool_call.function
                print(f"{called.name}({called.arguments}) -> {event.result.text}\n")


def _break_off(client: Nemotron, server: "MockServer") -> None:
    from .testing import cut, text

    print('>>> server.reply(cut(text("Once upon a time there was"), after=4))   # a bad day')
    server.reply(cut(text("Once upon a time there was"), after=4))
    print('>>> client.chat.completions.stream(messages="Tell me a story.", max_tokens=100)')
    try:
        with client.chat.completions.stream(messages="Tell me a story.", max_tokens=100) as stream:
            stream.get_final_text()
    except StreamInterruptedError as error:
        print(f"{type(error).__name__}: {error}")
        print(f"still there: {error.partial.text if error.partial else ''!r}\n")
    print("Next: docs/quickstart.md; export NVIDIA_API_KEY=... to talk to the real model.")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the demo.

    Args:
        arguments: Of the command line; there are none but ``--help``.

    Returns:
        The exit status.
    """
    about = (
        "Show an answer, a stream, a typed answer and a tool call: of the real model if there is a key, else made up."
    )
    argparse.ArgumentParser(prog="python -m nemotron_client", description=about).parse_args(arguments)
    try:
        with _talking() as (client, server):
            _ask(client)
            _stream(client)
            _parse(client)
            _call_a_tool(client)
            if server:
                _break_off(client, server)
    except NemotronError as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print(file=sys.stderr)
        return 130  # 128 and SIGINT's number, as shells tell of it
    return 0


if __name__ == "__main__":
    sys.exit(main())
