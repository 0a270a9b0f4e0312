"""Conversations made up from a random source: tools, calls and results, and all that makes texts difficult."""

import json
from random import Random
from string import ascii_letters, digits

from tests.engine.judge import Wire

FRAGMENTS = (
    *("Hello", " world", "the quick brown fox ", "don't", "GetWeatherNow", "snake_case_name", "3.14159", "1234567890"),
    *(
        " ",
        "  ",
        "\t",
        "\n",
        "\r\n",
        "\n\n",
        " \n ",
        "\u00a0",
        "\u2003",
        "\u200b",
        "\x1c",
        " " * 70,
        "\n" * 9,
        "/",
        "\n/",
    ),
    *("[INST]", "[/INST]", "<s>", "</s>", "[TOOL_CALLS]", "[ARGS]{", "[SYSTEM_PROMPT]", "<unk>", "[IMG]", "<|im_end|>"),
    *(
        "éàü",
        "Straße",
        "漢字かな交じり文",
        "한국어",
        "здравствуй",
        "مرحبا بالعالم",
        "ไทย",
        "हिन्दी",
        "e\u0301\u0327",
        "\ufeff",
    ),
    *("😀", "👩‍👩‍👧‍👦", "🇫🇷", "\U0010ffff", "\x00", "\x07", "\x7f", "\ufffd", "ǅ", "ʰ", "ﬁ"),
    *(
        '{"a": 1e15}',
        "\\u00e9",
        '"quoted"',
        "\\",
        "def f(x):\n    return x ** 2\n",
        "<div class='a'>",
        "!!!???",
        "----",
    ),
    *("a" * 60, "ab" * 30, "=" * 80, "0" * 40),
)
ARGUMENTS = (
    *("", "{}", "[]", "null", "true", '""', "0", " { } ", '{"a":1}', '{"a": [1,2,3], "b":{"c":null}}', '{"a":1,"a":2}'),
    *("1e15", '{"x":1e15,"y":1e16,"z":-1E5}', "[1e999,-1e999,NaN,Infinity]", "1.0", "1.10", "123456789012345678901"),
    *(
        '{"\\u00e9":"\\ud83d\\ude00"}',
        '"\\ud800"',
        '"\\/ \\b\\f\\n\\u0001"',
        '{"s":"caf\u00e9 \u6f22"}',
        "[[[[[[1]]]]]]",
    ),
    *('{"a"', "{'a': 1}", 'say "hi"\n\t\\', "plain text", "{\x01\x02}", '{"a": 1} trailing', "\ufeff{}", "nan", "01"),
)
NAMES = ("f", "get_weather", "search-docs", "A" * 64, "x1")


def text(random: Random) -> str:
    pieces = random.choices(FRAGMENTS, k=random.choice((0, 1, 1, 2, 3, 5, 8)))
    if random.random() < 0.3:
        pieces.append("".join(chr(_code_point(random)) for _ in range(random.randrange(12))))
    return "".join(pieces) + " " * random.choice((0, 0, 0, 1, 3))


def _code_point(random: Random) -> int:
    return random.choice((random.randrange(0x80), random.randrange(0xD800), random.randrange(0xE000, 0x110000)))


def content(random: Random) -> object:
    if random.random() < 0.7:
        return text(random)
    return [{"type": "text", "text": text(random)} for _ in range(random.randrange(4))]


def json_value(random: Random, depth: int = 0) -> object:
    kind = random.randrange(5 if depth > 2 else 7)
    if kind == 5:
        return [json_value(random, depth + 1) for _ in range(random.randrange(4))]
    if kind == 6:
        return {text(random): json_value(random, depth + 1) for _ in range(random.randrange(4))}
    return (text(random), random.randrange(-(10**9), 10**20), random.uniform(-1e20, 1e20), None, True)[kind]


def arguments(random: Random) -> object:
    value = {text(random): json_value(random) for _ in range(random.randrange(4))}
    match random.randrange(4):
        case 0:
            return random.choice(ARGUMENTS)
        case 1:
            return json.dumps(value, ensure_ascii=random.random() < 0.5)
        case 2:
            return json.dumps(value, ensure_ascii=False, separators=(",", ":"))
        case _:
            return value


def tools(random: Random) -> list[Wire] | None:
    if random.random() < 0.4:
        return None
    return [_tool(random, name) for name in random.sample(NAMES, random.randrange(1, 4))]


def _tool(random: Random, name: str) -> Wire:
    parameters = {
        "type": "object",
        "properties": {text(random): {"description": text(random)}},
        "x": json_value(random),
    }
    function: dict[str, object] = {
        "name": name,
        "description": text(random),
        "parameters": parameters,
        "strict": True,
        "extra": 1,
    }
    for left_out in random.sample(("description", "strict", "extra"), random.randrange(4)):
        del function[left_out]
    return {"type": "function", "function": function}


def call_id(random: Random) -> str:
    return "".join(random.choices(ascii_letters + digits, k=9))


def exchange(random: Random, *, ends: bool = False) -> list[Wire]:
    """Make what a user says and what comes of it; one that ends a conversation may stop anywhere it is allowed to."""
    messages: list[Wire] = [{"role": "user", "content": content(random)}]
    if random.random() < 0.2:
        messages.append({"role": random.choice(("system", "developer")), "content": content(random)})
    if random.random() < 0.3:
        messages.append({"role": "user", "content": content(random), "name": "somebody"})
    for _ in range(random.choice((0, 1, 1, 2))):
        messages += _calling(random)
    if not ends:
        messages += [_saying(random) for _ in range(random.choice((1, 1, 1, 2)))]
    elif random.random() < 0.1:
        messages.append(_saying(random))  # to be continued
    return messages


def _saying(random: Random) -> Wire:
    said = "." + text(random)  # one that says nothing at all is refused
    parts = [{"type": "text", "text": each} for each in ("", said, text(random))]
    return {"role": "assistant", "content": random.choice((said, said, parts))}


def _calling(random: Random) -> list[Wire]:
    ids = [call_id(random) for _ in range(random.choice((1, 1, 2, 3)))]
    calls = [
        {"id": i, "type": "function", "function": {"name": random.choice(NAMES), "arguments": arguments(random)}}
        for i in ids
    ]
    said = random.choice((None, "", text(random)))
    results = [{"role": "tool", "tool_call_id": i, "content": content(random)} for i in random.sample(ids, len(ids))]
    return [{"role": "assistant", "content": said, "tool_calls": calls}, *results]


def conversation(random: Random) -> list[Wire]:
    """Make one that Mistral's validators take."""
    system = [{"role": "system", "content": content(random)} for _ in range(random.choice((0, 1, 1, 2)))]
    exchanges = [exchange(random) for _ in range(random.choice((0, 1, 2, 4)))]
    return [*system, *(message for each in exchanges for message in each), *exchange(random, ends=True)]
