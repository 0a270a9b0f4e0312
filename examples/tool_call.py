"""Let the model call a function, by hand: it asks, we run, it answers."""

import json

from nemotron_client import Message, Nemotron, ToolMessage, UserMessage

WEATHER = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "Get the current weather in a city",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
    },
}


def get_weather(arguments: str) -> str:
    """Return the weather, or what is wrong with the arguments: the model reads either."""
    try:
        return f"18 degrees and sunny in {json.loads(arguments)['city']}"
    except (ValueError, KeyError, TypeError) as error:
        return f"The arguments can't be used: {error!r}"


def main() -> None:
    """Ask about the weather."""
    messages: list[Message] = [UserMessage(content="What is the weather in Paris?")]
    with Nemotron() as client:
        done = client.chat.completions.create(messages=messages, tools=[WEATHER])
        messages.append(done.choices[0].message)
        for call in done.tool_calls:  # this, and not the finish reason, tells whether tools were called
            print(f"-> {call.function.name}({call.function.arguments})")
            messages.append(ToolMessage(tool_call_id=call.id, content=get_weather(call.function.arguments)))
        print(client.chat.completions.create(messages=messages, tools=[WEATHER]).text if done.tool_calls else done.text)


if __name__ == "__main__":
    main()
