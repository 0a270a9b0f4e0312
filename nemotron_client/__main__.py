"""The first run: ``python -m nemotron_client`` shows an answer, a stream and a tool call.

Without NVIDIA_API_KEY or NVIDIA_BASE_URL a scripted server on this machine answers.
"""

import os
import sys
from collections.abc import Generator
from contextlib import contextmanager

from . import Nemotron, NemotronError, TextDelta, ToolCallDone

_WEATHER = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "Get the current weather",
        "parameters": {
            "type": "object",
            "properties": {"city": {"type": "string"}, "unit": {"type": "string", "enum": ["c", "f"]}},
            "required": ["city", "unit"],
        },
    },
}


@contextmanager
def _client() -> Generator[Nemotron]:
    if os.environ.get("NVIDIA_API_KEY") or os.environ.get("NVIDIA_BASE_URL"):
        with Nemotron() as client:
            print(f"Talking to {client}.\n")
            yield client
        return
    from .testing import MockServer

    with MockServer(chunk_delay=0.03) as server, Nemotron(base_url=server.base_url) as client:
        print("No NVIDIA_API_KEY or NVIDIA_BASE_URL is set, so a scripted MockServer on this machine answers:")
        print(f"real HTTP, made-up words ({server.base_url}).\n")
        yield client


def _show(client: Nemotron) -> None:
    print('>>> client.chat.completions.create(messages="Hello")')
    done = client.chat.completions.create(messages="Hello", max_tokens=100)
    print(f"{done.text}\n    {type(done).__name__}, finish reason {done.choices[0].finish_reason!r}, {done.usage}\n")

    print('>>> client.chat.completions.stream(messages="Tell me a long story.")')
    with client.chat.completions.stream(messages="Tell me a long story.", max_tokens=100) as stream:
        for event in stream:
            if isinstance(event, TextDelta):
                print(event.delta, end="", flush=True)
    print("\n")

    print('>>> client.chat.completions.stream(messages="What is the weather in Paris?", tools=[get_weather])')
    question = "What is the weather in Paris?"
    with client.chat.completions.stream(messages=question, tools=[_WEATHER], max_tokens=100) as stream:
        for event in stream:
            if isinstance(event, ToolCallDone):
                call = event.tool_call
                print(f"{call.function.name}({call.function.arguments})   id {call.id}")


def main() -> int:
    """Run the demo.

    Returns:
        The exit status.
    """
    try:
        with _client() as client:
            _show(client)
    except NemotronError as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
