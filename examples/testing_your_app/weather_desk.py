"""A small application that uses Nemotron: it answers questions about the weather, and asks its own stations for it."""

import json
from collections.abc import Iterator

from nemotron_client import (
    APIError,
    Message,
    Nemotron,
    StreamInterruptedError,
    SystemMessage,
    ToolCall,
    ToolMessage,
    UserMessage,
)

STATIONS = {"Paris": "18 degrees and sunny", "Oslo": "4 degrees and rain"}
TOOL = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "Get the current weather in a city",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
    },
}


def answer(client: Nemotron, question: str) -> Iterator[str]:
    """Answer a question word by word, whatever happens."""
    messages: list[Message] = [
        SystemMessage(content="You are a weather desk. Be short."),
        UserMessage(content=question),
    ]
    try:
        asked = client.chat.completions.create(messages=messages, tools=[TOOL], temperature=0.2)
        if not asked.tool_calls:
            yield asked.text or ""
            return
        messages.append(asked.choices[0].message)
        messages += [ToolMessage(tool_call_id=call.id, content=weather(call)) for call in asked.tool_calls]
        with client.chat.completions.stream(messages=messages, tools=[TOOL], temperature=0.2) as stream:
            yield from stream.text_deltas()
    except StreamInterruptedError:
        yield "... (the line is dead)"
    except APIError:
        yield "Nobody is at the weather desk now."


def weather(call: ToolCall) -> str:
    """Return what a station says, or what is wrong with the arguments: the model reads either."""
    try:
        return STATIONS[json.loads(call.function.arguments)["city"]]
    except (ValueError, KeyError, TypeError) as error:
        return f"There is no such station: {error!r}"
