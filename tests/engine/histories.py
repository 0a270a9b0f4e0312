"""Conversations with tools as callers have them: from this model, and from other providers' clients."""

from collections.abc import Callable, Mapping, Sequence
from random import Random
from string import ascii_letters, digits

Json = Mapping[str, object]
Conversation = tuple[list[Json], list[Json], bool]


def user(content: object = "Hi") -> Json:
    return {"role": "user", "content": content}


def system(content: object = "Be brief.") -> Json:
    return {"role": "system", "content": content}


def said(content: object = "Hello", **fields: object) -> Json:
    return {"role": "assistant", "content": content, **fields}


def call(id: object = "abcdefgh1", name: str = "look", arguments: object = "{}") -> Json:
    return {"id": id, "type": "function", "function": {"name": name, "arguments": arguments}}


def asked(*calls: object, content: object = "") -> Json:
    return {"role": "assistant", "content": content, "tool_calls": list(calls)}


def result(id: object = "abcdefgh1", content: object = "4", **fields: object) -> Json:
    return {"role": "tool", "tool_call_id": id, "content": content, **fields}


def tool(name: object = "look", **function: object) -> Json:
    return {"type": "function", "function": {"name": name, "parameters": {"type": "object"}, **function}}


def letters(random: Random, count: int) -> str:
    return "".join(random.choices(ascii_letters + digits, k=count))


PROVIDERS: dict[str, Callable[[Random], object]] = {
    "native": lambda random: letters(random, 9),
    "openai": lambda random: f"call_{letters(random, 24)}",
    "anthropic": lambda random: f"toolu_{letters(random, 24)}",
    "gemini": lambda _: "",
    "ollama": lambda _: None,
    "counted": lambda random: f"call_{random.randrange(3)}",
    "numbers": lambda random: random.randrange(5),
    "null": lambda _: "null",
}
NAMES = ("get_weather", "weather.get", "weather/get", "server:get weather", "天気", "n" * 70, "a-b", "n" * 80)


def generated(seed: int) -> Conversation:
    """Make a conversation with tools that someone could have, all of which can be put right.

    Returns:
        The messages, the tools, and whether the last message is to be continued.
    """
    random = Random(seed)
    names = random.sample(NAMES, random.randint(1, 4))
    provider = random.choice(list(PROVIDERS))
    roles = random.choices(("system", "developer"), k=random.choice((0, 0, 1, 2)))
    messages: list[Json] = [{"role": role, "content": words(random)} for role in roles]
    messages.append(user(words(random)))
    for _ in range(random.randint(1, 5)):
        messages += exchange(random, provider, names)
    continues = messages[-1]["role"] == "assistant"
    if continues and random.random() < 0.8:
        messages.append(user(words(random)))
        continues = False
    elif random.random() < 0.1:
        messages.append({"role": "assistant", "content": ""})
        continues = False
        if messages[-2]["role"] == "assistant":
            messages.append(user(words(random)))
    tools = [tool(name, parameters=random.choice((None, {"type": "object", "properties": {}}))) for name in names]
    return messages, tools, continues


def words(random: Random) -> object:
    return random.choice(("Hi", "What is it?", "Größe 天気 🌦", [{"type": "text", "text": "Hi"}], "", None, "a\n\nb"))


def exchange(random: Random, provider: str, names: Sequence[str]) -> list[Json]:
    """Make what follows a user's message: an answer, or calls, their results, and mostly an answer."""
    if random.random() < 0.3:
        return [said(random.choice(("Hello", [{"type": "text", "text": "Hi"}]))), user(words(random))]
    make = PROVIDERS[provider]
    calls = [one_call(random, provider, make(random), random.choice(names)) for _ in range(random.choice((1, 1, 2, 5)))]
    results: list[Json] = [one_result(random, provider, each) for each in calls]
    if provider in ("native", "openai", "anthropic"):
        random.shuffle(results)
    while random.random() < 0.15:
        results.insert(random.randint(0, len(results)), user(words(random)))
    after = random.choice(
        ([user("And?")], [said()], [said(None), user("And?")], [said(""), said("Done"), user("?")], [])
    )
    content = None if random.random() < 0.7 else random.choice(("", "Let me see."))
    return [{"role": "assistant", "content": content, "tool_calls": calls}, *results, *after]


def one_call(random: Random, provider: str, id: object, name: str) -> Json:
    arguments: object = random.choice(('{"city": "Paris"}', "{}", "", "{broken", '{"x": "天"}'))
    if provider == "ollama":
        return {"function": {"name": name, "arguments": {"city": "Paris"}}}
    if random.random() < 0.1:
        arguments = random.choice(({"city": "Paris"}, None, [1, 2]))
    return call(id, name, arguments)


def one_result(random: Random, provider: str, answered: Json) -> Json:
    content: object = random.choice(("4", '{"a": 1}', "", None, [{"type": "text", "text": "4"}]))
    function = answered["function"]
    assert isinstance(function, Mapping)
    message: dict[str, object] = {"role": "tool", "content": content}
    if provider != "ollama":
        message["tool_call_id"] = answered["id"]
    if provider in ("gemini", "ollama") or random.random() < 0.3:
        message["name"] = function["name"]
    return message


def soup(seed: int) -> Conversation:
    """Make messages in any order, with ids of any kind; few of them are a conversation.

    Returns:
        As :func:`generated`, with no tools.
    """
    random = Random(seed)
    ids = ("abcdefgh1", "abcdefgh2", "call_1", "", None)
    messages: list[Json] = []
    for _ in range(random.randint(1, 6)):
        kind = random.choice(("user", "user", "said", "asked", "result", "result", "system"))
        if kind == "user":
            messages.append(user(random.choice(("a", "", None))))
        elif kind == "system":
            messages.append(system())
        elif kind == "said":
            messages.append(said(random.choice(("a", "", None))))
        elif kind == "asked":
            calls = [call(random.choice(ids), random.choice(("f", "g"))) for _ in range(random.randint(1, 3))]
            messages.append(asked(*calls, content=random.choice((None, ""))))
        else:
            messages.append(result(random.choice(ids), name=random.choice((None, None, "f", "g"))))
    return messages, [], messages[-1]["role"] == "assistant" and random.random() < 0.5
