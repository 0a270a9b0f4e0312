"""Chunks to events and to the whole answer; docs/explanation/protocol.md, "Tool calls in streams", has the quirks."""

import json
import tracemalloc
from itertools import accumulate, pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nemotron_client._engine.accumulate import Accumulator, TextAccumulator
from nemotron_client.completions import (
    ChatCompletion,
    ChatCompletionChunk,
    Completion,
    ResponseInfo,
    TextLogprobs,
    TokenLogprob,
    Usage,
)
from nemotron_client.events import (
    Finished,
    ReasoningDelta,
    StreamEvent,
    TextDelta,
    TextDone,
    ToolCallDelta,
    ToolCallDone,
    UsageReported,
)
from nemotron_client.messages import FunctionCall, ToolCall
from tests.engine.driving import chunk

Delta = dict[str, object]


def push(accumulator: Accumulator, *chunks: Delta) -> list[StreamEvent]:
    return [event for each in chunks for event in accumulator.push(ChatCompletionChunk.model_validate(each))]


def completion(*chunks: Delta) -> ChatCompletion:
    accumulator = Accumulator()
    push(accumulator, *chunks)
    return accumulator.completion()


def call(
    arguments: str | None = None, *, name: str | None = None, index: int | None = None, id: str | None = None
) -> Delta:
    """Make a piece of a tool call that has only what is given."""
    function = {key: value for key, value in (("name", name), ("arguments", arguments)) if value is not None}
    given = {"index": index, "id": id, "function": function or None}
    return {key: value for key, value in given.items() if value is not None}


def calling(*pieces: Delta) -> Delta:
    return chunk({"tool_calls": list(pieces)})


def made(calls: list[ToolCall]) -> list[tuple[str, str, str]]:
    return [(each.id, each.function.name, each.function.arguments) for each in calls]


ONE = [("a", "f", '{"x":1}')]
TWO = [("a", "f", "{}"), ("b", "g", "[]")]


@pytest.mark.parametrize(
    ("chunks", "expected"),
    [
        pytest.param(
            [
                calling(call('{"', index=0, id="a", name="f")),
                calling(call('x":1', index=0)),
                calling(call("}", index=0)),
            ],
            ONE,
            id="tokenizer-v11-and-later",
        ),
        pytest.param(
            [
                calling({**call(index=0, id="a", name="f"), "type": "function"}),
                calling({**call('{"x":1}', index=0), "type": "function"}),
                chunk({}),
            ],
            ONE,
            id="tokenizer-v7-without-arguments-at-first-and-with-empty-deltas",
        ),
        pytest.param([calling(call('{"x":1}', index=0, id="a", name="f"))], ONE, id="a-whole-call-in-one-piece"),
        pytest.param([calling(call('{"x":1}', id="a", name="f"))], ONE, id="whole-and-without-index"),
        pytest.param(
            [calling(call('{"x"', id="a", name="f")), calling(call(":1}"))], ONE, id="no-index-and-more-arguments"
        ),
        pytest.param(
            [
                calling(call('{"x"', index=0, id="a", name="f")),
                calling({"index": 0, "id": None, "function": {"arguments": ":1}"}}),
            ],
            ONE,
            id="null-id-in-later-pieces",
        ),
        pytest.param(
            [calling(call('{"x"', index=0, id="a", name="f")), calling(call(":1}", index=0, id="", name=""))],
            ONE,
            id="empty-id-and-name-in-later-pieces",
        ),
        pytest.param(
            [calling(call('{"x"', index=0, id="a", name="f")), calling(call(":1}", index=0, id="a", name="f"))],
            ONE,
            id="id-and-name-repeated",
        ),
        pytest.param(
            [calling(call('{"x"', id="a", name="f")), calling(call(":1}", id="a", name="f"))],
            ONE,
            id="id-and-name-repeated-without-index",
        ),
        pytest.param(
            [calling(call('{"x"', index=0, id="a", name="f")), calling(call(":1}"))], ONE, id="the-index-goes-missing"
        ),
        pytest.param(
            [calling(call(index=0, id="a", name="get_")), calling(call("{}", index=0, name="weather"))],
            [("a", "get_weather", "{}")],
            id="a-name-in-pieces",
        ),
        pytest.param(
            [calling(call(index=0, name="f")), calling(call('{"x":1}', index=0, id="a"))], ONE, id="the-id-comes-later"
        ),
        pytest.param(
            [calling(call(index=0, id="a", name="f")), calling(call('{"x":1}', index=0, id="z"))],
            ONE,
            id="another-id-alone-under-a-used-index-is-no-call",
        ),
        pytest.param(
            [calling({"index": 0, "id": "a"}), calling(call('{"x":1}', index=0, name="f"))],
            ONE,
            id="no-function-at-first",
        ),
        pytest.param(
            [calling(call("{}", index=0, id="a", name="f"), call("[]", index=1, id="b", name="g"))],
            TWO,
            id="two-in-one-chunk",
        ),
        pytest.param(
            [calling(call("{}", id="a", name="f"), call("[]", id="b", name="g"))],
            TWO,
            id="two-in-one-chunk-without-index",
        ),
        pytest.param(
            [
                calling(call(id="a", name="f")),
                calling(call("{}")),
                calling(call("[", id="b", name="g")),
                calling(call("]")),
            ],
            TWO,
            id="a-new-id-begins-a-call-without-index",
        ),
        pytest.param(
            [calling(call("{}", name="f")), calling(call("[]", name="g"))],
            [("", "f", "{}"), ("", "g", "[]")],
            id="a-name-begins-a-call-without-index-or-id",
        ),
        pytest.param(
            [calling(call("{}", name="f")), calling(call("{}", name="f"))],
            [("", "f", "{}"), ("", "f", "{}")],
            id="the-same-function-twice-without-index-or-id",
        ),
        pytest.param(
            [calling(call("{}", id="", name="f")), calling(call("[]", id="", name="g"))],
            [("", "f", "{}"), ("", "g", "[]")],
            id="an-empty-id-is-none",
        ),
        pytest.param(
            [
                calling(call("{}", index=0, id="a", name="f")),
                calling(call("[", index=0, id="b", name="g")),
                calling(call("]", index=0)),
            ],
            TWO,
            id="one-index-for-all-with-new-ids",
        ),
        pytest.param(
            [
                calling(call(index=0, id="a", name="f"), call(index=1, id="b", name="g")),
                calling(call("[", index=1)),
                calling(call("{", index=0)),
                calling(call("]", index=1), call("}", index=0)),
            ],
            TWO,
            id="interleaved-indexes",
        ),
        pytest.param(
            [calling(call("{}", index=1, id="a", name="f")), calling(call("[]", index=5, id="b", name="g"))],
            TWO,
            id="indexes-that-begin-anywhere",
        ),
        pytest.param([chunk({"tool_calls": []}), chunk({"tool_calls": None}), chunk({})], [], id="no-calls"),
    ],
)
def test_tool_calls_come_whole(chunks: list[Delta], expected: list[tuple[str, str, str]]) -> None:
    assert made(completion(*chunks).tool_calls) == expected


NAMES = st.from_regex(r"[a-zA-Z0-9_-]{1,64}", fullmatch=True)
CALLS = st.lists(
    st.tuples(NAMES, st.dictionaries(st.text(max_size=5), st.text(max_size=9), max_size=4).map(json.dumps)),
    min_size=1,
    max_size=37,
)


@settings(max_examples=settings().max_examples // 2)  # each draws hundreds of numbers
@given(CALLS, st.data())
def test_calls_cut_anywhere_come_back_exactly(calls: list[tuple[str, str]], draw: st.DataObject) -> None:
    indexed = draw.draw(st.booleans(), "indexed")
    pieces: list[Delta] = []
    for position, (name, arguments) in enumerate(calls):
        index = position if indexed else None
        cuts = sorted(draw.draw(st.lists(st.integers(0, len(arguments)), max_size=4)))
        pieces.append(call(index=index, id=f"id{position:07}", name=name))
        pieces += [call(arguments[a:b], index=index) for a, b in pairwise([0, *cuts, len(arguments)])]
    together = draw.draw(st.lists(st.integers(1, 5), min_size=len(pieces), max_size=len(pieces)), "pieces in a chunk")
    ends = list(accumulate(together))
    chunks = [calling(*pieces[a:b]) for a, b in pairwise([0, *ends])]
    assert made(completion(*chunks).tool_calls) == [(f"id{at:07}", *each) for at, each in enumerate(calls)]


def test_events_tell_each_piece_as_it_comes_and_at_the_end_what_is_whole() -> None:
    accumulator = Accumulator()
    accumulator.response = ResponseInfo(request_id="r1")
    usage = {"prompt_tokens": 1, "completion_tokens": 2, "total_tokens": 3}
    assert push(
        accumulator,
        chunk({"role": "assistant", "content": ""}),
        chunk({"reasoning": "Hm."}),
        chunk({"content": "Hel"}),
        chunk({"content": "lo"}),
        calling(call(index=0, id="a", name="f")),
        chunk({"tool_calls": [call("{}", index=0)]}, "tool_calls"),
        chunk(usage=usage),
    ) == [
        ReasoningDelta("Hm."),
        TextDelta("Hel"),
        TextDelta("lo"),
        ToolCallDelta(0, "a", "f", ""),
        ToolCallDelta(0, "a", "f", "{}"),
    ]
    *done, last = accumulator.finish()
    whole = ToolCall(id="a", function=FunctionCall(name="f", arguments="{}"))
    assert done == [TextDone("Hello"), ToolCallDone(0, whole), UsageReported(Usage.model_validate(usage))]
    assert isinstance(last, Finished)
    assert last.completion.model_dump(exclude_none=True) == {
        "id": "c1",
        "object": "chat.completion",
        "created": 1,
        "model": "m",
        "choices": [
            {
                "index": 0,
                "message": {
                    "role": "assistant",
                    "content": "Hello",
                    "reasoning": "Hm.",
                    "tool_calls": [{"id": "a", "type": "function", "function": {"name": "f", "arguments": "{}"}}],
                },
                "finish_reason": "tool_calls",
            }
        ],
        "usage": usage,
    }
    assert last.completion.response.request_id == "r1"


def test_without_events_the_answer_is_the_same() -> None:
    quiet, told = Accumulator(), Accumulator()
    for each in (
        chunk({"reasoning": "Hm.", "content": "Hi", "refusal": "no"}),
        calling(call("{}", index=0, id="a", name="f")),
    ):
        quiet.add(ChatCompletionChunk.model_validate(each))
        push(told, each)
    assert quiet.completion() == told.completion()


def test_an_answer_without_text_calls_or_usage_only_finishes() -> None:
    accumulator = Accumulator()
    push(accumulator, chunk({}, "stop"))
    assert accumulator.finish() == [Finished(accumulator.completion())]
    assert accumulator.completion().choices[0].message.content == ""


def test_content_is_none_beside_calls_as_in_an_answer_that_was_not_streamed() -> None:
    assert completion(calling(call("{}", index=0, id="a", name="f"))).choices[0].message.content is None


@pytest.mark.parametrize(
    ("deltas", "field", "expected"),
    [
        ([{"reasoning": "a"}, {"reasoning": "b"}], "reasoning", "ab"),
        ([{"reasoning_content": "a"}, {"reasoning_content": "b"}], "reasoning", "ab"),
        ([{"reasoning": None, "reasoning_content": "a"}, {"reasoning": "b", "x": 1}], "reasoning", "ab"),
        ([{"refusal": "I "}, {"refusal": "won't"}], "refusal", "I won't"),
        ([{"content": None}, {"content": "a"}, {"content": ""}, {}], "content", "a"),
    ],
    ids=["reasoning", "reasoning_content", "reasoning_content-beside-a-null", "refusal", "content"],
)
def test_text_of_every_kind_is_joined(deltas: list[Delta], field: str, expected: str) -> None:
    assert getattr(completion(*map(chunk, deltas)).choices[0].message, field) == expected


def test_a_chunk_tells_reasoning_by_either_name_itself() -> None:
    given = ChatCompletionChunk.model_validate(chunk({"reasoning": None, "reasoning_content": "a", "content": "b"}))
    assert Accumulator().push(given) == [TextDelta("b"), ReasoningDelta("a")]
    assert given.choices[0].delta.reasoning == "a"


def test_choices_interleave_and_come_back_in_order() -> None:
    accumulator = Accumulator()
    events = push(
        accumulator,
        chunk({"content": "b"}, index=1),
        chunk({"content": "a"}, index=0),
        chunk({"content": "B"}, "stop", index=1),
    )
    assert events == [TextDelta("b", 1), TextDelta("a", 0), TextDelta("B", 1)]
    finished = [accumulator.finished]  # choice 0 is still open
    push(accumulator, chunk({"content": "A"}, "length", index=0))
    assert [*finished, accumulator.finished] == [False, True]
    assert [(c.message.content, c.finish_reason) for c in accumulator.completion().choices] == [
        ("aA", "length"),
        ("bB", "stop"),
    ]


def test_an_answer_of_which_nothing_came_is_not_finished() -> None:
    accumulator = Accumulator()
    assert not accumulator.finished
    push(accumulator, chunk(usage={"total_tokens": 3}))
    assert not accumulator.finished
    assert accumulator.completion().choices == []


def test_content_that_comes_with_or_after_the_finish_reason_counts() -> None:
    assert completion(chunk({"content": "a"}, "stop"), chunk({"content": "b"})).choices[0].model_dump(
        exclude_none=True
    ) == {
        "index": 0,
        "message": {"role": "assistant", "content": "ab"},
        "finish_reason": "stop",
    }


def test_with_usage_on_every_chunk_the_last_one_counts() -> None:
    chunks = [
        chunk({"content": "a"}, usage={"prompt_tokens": 5, "completion_tokens": n, "total_tokens": 5 + n})
        for n in (1, 2, 3)
    ]
    assert completion(*chunks).usage == Usage(prompt_tokens=5, completion_tokens=3, total_tokens=8)


def test_usage_that_a_later_chunk_has_null_is_kept() -> None:
    assert completion(chunk(usage={"total_tokens": 8}), chunk({"content": "a"}, usage=None)).usage == Usage(
        total_tokens=8
    )


def test_the_first_chunk_names_the_answer_and_any_may_bring_the_fingerprint() -> None:
    whole = completion(
        chunk({}, id="", model="", created=0),
        chunk({}),
        chunk({}, id="c2", model="other"),
        chunk(system_fingerprint="fp"),
        chunk(),
    )
    assert (whole.id, whole.model, whole.created, whole.system_fingerprint) == ("c1", "m", 1, "fp")


def test_logprobs_are_collected() -> None:
    def token(text: str) -> Delta:
        return {"token": text, "logprob": -0.5, "bytes": None, "top_logprobs": []}

    def told(logprobs: object) -> Delta:
        return {**chunk(), "choices": [{"index": 0, "delta": {"content": "x"}, "logprobs": logprobs}]}

    whole = completion(
        told({"content": [token("a"), token("b")]}),
        told({"content": None}),
        told(None),
        told({"content": [token("c")]}),
    )
    logprobs = whole.choices[0].logprobs
    assert logprobs is not None
    assert logprobs.content == [TokenLogprob(token=each, logprob=-0.5) for each in "abc"]


def test_a_text_completion_is_joined_choice_by_choice() -> None:
    accumulator = TextAccumulator()
    accumulator.response = ResponseInfo(request_id="r1")
    finished = list[bool]()

    def part(text: str, index: int = 0, finish_reason: str | None = None) -> Delta:
        return {"index": index, "text": text, "finish_reason": finish_reason}

    for choices, usage in (
        ([part("b", 1), part("a")], None),
        ([part("A", 0, "stop")], {"total_tokens": 3}),
        ([part("B", 1, "length"), part("", 0)], None),
    ):
        finished.append(accumulator.finished)
        accumulator.push(
            Completion.model_validate({"id": "c1", "created": 1, "model": "m", "choices": choices, "usage": usage})
        )
    assert [*finished, accumulator.finished] == [False, False, False, True]
    whole = accumulator.completion()
    assert [(c.index, c.text, c.finish_reason) for c in whole.choices] == [(0, "aA", "stop"), (1, "bB", "length")]
    assert (whole.id, whole.created, whole.model, whole.usage) == ("c1", 1, "m", Usage(total_tokens=3))
    assert whole.response.request_id == "r1"


def test_a_text_completion_has_the_name_of_its_first_chunk_and_the_fingerprint() -> None:
    accumulator = TextAccumulator()
    for fields in (
        {"id": "c1", "created": 1, "model": "m", "system_fingerprint": "f"},
        {"choices": [{"text": "a", "finish_reason": "stop"}]},
        {"id": "c2", "created": 2, "model": "other"},
    ):
        accumulator.push(Completion.model_validate(fields))
    whole = accumulator.completion()
    assert (whole.id, whole.created, whole.model, whole.system_fingerprint) == ("c1", 1, "m", "f")


def test_log_probabilities_of_a_text_completion_are_joined() -> None:
    accumulator = TextAccumulator()
    for logprobs in (
        {"tokens": ["a"], "token_logprobs": [None], "top_logprobs": [{"a": -1}]},
        None,
        {"tokens": ["b", "c"], "token_logprobs": [-1, -2]},
    ):
        accumulator.push(Completion.model_validate({"choices": [{"text": "x", "logprobs": logprobs}]}))
    assert accumulator.completion().choices[0].logprobs == TextLogprobs(
        tokens=["a", "b", "c"], token_logprobs=[None, -1.0, -2.0], top_logprobs=[{"a": -1.0}]
    )


def test_many_deltas_take_linear_work() -> None:
    accumulator, count, work = Accumulator(), 20_000, 0
    delta = ChatCompletionChunk.model_validate(chunk({"content": "x" * 8, "tool_calls": [call("x" * 8, index=0)]}))
    tracemalloc.start()
    try:
        for _ in range(count):
            before, _peak = tracemalloc.get_traced_memory()
            tracemalloc.reset_peak()
            accumulator.push(delta)
            work += tracemalloc.get_traced_memory()[1] - before
    finally:
        tracemalloc.stop()
    assert work < 4096 * count  # joining all at each delta would be 3 GB
    assert len(accumulator.completion().text) == 8 * count
