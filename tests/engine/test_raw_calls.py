"""Tool calls that a server left in the text: which forms are known, and what stays text."""

import json
from collections.abc import Sequence
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nemotron_client._engine.naming import ID
from nemotron_client._engine.raw_calls import RawCalls, Recovered, recovered_calls

NAMES = ("get_weather", "get", "add")
PARIS = '{"city": "Paris"}'


def found(text: str, names: Sequence[str] = NAMES) -> tuple[str, list[tuple[str, str]]] | None:
    """Return the text before the calls, and each call's name and arguments."""
    recovered = recovered_calls(text, names)
    if recovered is None:
        return None
    assert not recovered.cut_off
    return recovered.text, [(call.function.name, call.function.arguments) for call in recovered.calls]


ONE = [
    pytest.param(f'[TOOL_CALLS] [{{"name": "get_weather", "arguments": {PARIS}}}]', id="a-list"),
    pytest.param(f'[TOOL_CALLS][{{"name": "get_weather", "arguments": {PARIS}, "id": "abcdefgh1"}}]', id="with-ids"),
    pytest.param(f"[TOOL_CALLS]get_weather{PARIS}", id="a-name"),
    pytest.param(f"[TOOL_CALLS] get_weather {PARIS}\n", id="space"),
    pytest.param(f"[TOOL_CALLS]get_weather[ARGS]{PARIS}", id="args"),
    pytest.param(f"[TOOL_CALLS]get_weather[CALL_ID]abcdefgh1[ARGS]{PARIS}", id="call-id"),
    pytest.param(f"[TOOL_CALLS]get_weather{PARIS}</s>", id="an-end-mark"),
]
TWO = [
    pytest.param(
        f'[TOOL_CALLS] [{{"name": "get_weather", "arguments": {PARIS}}}, {{"name": "add", "arguments": {{}}}}]',
        id="a-list",
    ),
    pytest.param(f"[TOOL_CALLS]get_weather{PARIS}[TOOL_CALLS]add{{}}", id="names"),
    pytest.param(f"[TOOL_CALLS]get_weather[ARGS]{PARIS}\n[TOOL_CALLS]add[ARGS]{{}}", id="args"),
    pytest.param(
        f"[TOOL_CALLS]get_weather[CALL_ID]abcdefgh1[ARGS]{PARIS}[TOOL_CALLS]add[CALL_ID]abcdefgh2[ARGS]{{}}",
        id="call-ids",
    ),
]


@pytest.mark.parametrize("text", ONE)
@pytest.mark.parametrize("before", ["", "Let me see.", "It is [1] or [TOOL", "[TOOL_CALLS] is a mark. "])
def test_a_call_of_each_form_is_found(text: str, before: str) -> None:
    assert found(before + text) == (before, [("get_weather", PARIS)])


@pytest.mark.parametrize("text", TWO)
def test_several_calls_are_found(text: str) -> None:
    assert found(text) == ("", [("get_weather", PARIS), ("add", "{}")])


def test_arguments_may_hold_marks_and_brackets() -> None:
    arguments = json.dumps({"text": '[TOOL_CALLS]add{} \\ " }]', "list": [{"a": [1, 2.5, None]}], "größe": "天"})
    assert found(f"[TOOL_CALLS]get{arguments}[TOOL_CALLS]add{{}}") == ("", [("get", arguments), ("add", "{}")])


def test_thirty_seven_parallel_calls_are_found() -> None:
    text = "".join(f'[TOOL_CALLS]add[ARGS]{{"n": {n}}}' for n in range(37))
    assert found(text) == ("", [("add", f'{{"n": {n}}}') for n in range(37)])


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("Hello", id="text"),
        pytest.param("", id="nothing"),
        pytest.param("[TOOL_CALLS]", id="the-mark-alone"),
        pytest.param("The model writes [TOOL_CALLS] before a call.", id="prose"),
        pytest.param("[TOOL_CALLS] ", id="the-mark-and-space"),
        pytest.param("[TOOL_CALLS]" + " " * 500 + "get{}", id="the-mark-and-much-space"),
        pytest.param("[TOOL_CALLS]" * 1000, id="nothing-but-marks"),
        pytest.param("[TOOL_CALLS]" + "n" * 65 + "{}", id="too-long-a-name"),
        pytest.param("[TOOL_CALLS][1]", id="a-number-in-brackets"),
        pytest.param("[TOOL_CALLS]{}", id="no-name"),
        pytest.param("[TOOL_CALLS]other{}", id="a-tool-that-isnt-offered"),
        pytest.param('[TOOL_CALLS] [{"name": "other", "arguments": {}}]', id="not-offered-in-a-list"),
        pytest.param('[TOOL_CALLS] [{"name": "add"}]', id="no-arguments"),
        pytest.param('[TOOL_CALLS] [{"name": "add", "arguments": "{}"}]', id="arguments-as-text"),
        pytest.param('[TOOL_CALLS] [{"name": "add", "arguments": {}}, 5]', id="a-number-in-the-list"),
        pytest.param('[TOOL_CALLS] [{"name": ["add"], "arguments": {}}]', id="a-name-that-is-none"),
        pytest.param('[TOOL_CALLS] [{"name": "add", "arguments": {}}] Done.', id="text-after-a-list"),
        pytest.param("[TOOL_CALLS]add{} Done.", id="text-after-a-call"),
        pytest.param("[TOOL_CALLS]add{}[TOOL_CALLS]other{}", id="one-of-two-not-offered"),
        pytest.param("[TOOL_CALLS]add{}[TOOL_CALLS]oth", id="one-of-two-not-offered-and-cut"),
        pytest.param("[TOOL_CALLS]add[1]", id="a-list-of-arguments"),
        pytest.param("[TOOL_CALLS]add two numbers", id="a-name-and-prose"),
        pytest.param("[TOOL_CALLS]add{'a': 1}", id="broken-json"),
        pytest.param('[TOOL_CALLS]add{"a": 1}}', id="a-brace-too-many"),
        pytest.param('[TOOL_CALLS]add{"a": ' + "9" * 5000 + "}", id="a-number-without-end"),
        pytest.param('[TOOL_CALLS]add{"a": ' + "[" * 200_000 + "]" * 200_000 + "}", id="too-deep"),
        pytest.param("get{}", id="no-mark"),
        pytest.param('[{"name": "get", "arguments": {}}]', id="a-list-without-mark"),
        pytest.param("[TOOL_CALLS", id="half-a-mark"),
    ],
)
def test_all_else_stays_text(text: str) -> None:
    assert found(text) is None


def test_a_name_may_have_64_characters_and_as_much_space_before_it() -> None:
    assert found("[TOOL_CALLS]" + " " * 64 + "n" * 64 + "{}", ["n" * 64]) == ("", [("n" * 64, "{}")])


def test_where_no_tool_was_offered_all_is_text() -> None:
    assert found("[TOOL_CALLS]add{}", ()) is None


WHOLE = [parameter.values[0] for parameter in (*ONE, *TWO)]


@pytest.mark.parametrize("text", WHOLE)
def test_a_call_that_is_cut_off_is_none_and_nothing_of_it_is_lost(text: object) -> None:
    assert isinstance(text, str)
    for end in range(len("[TOOL_CALLS]x"), len(text)):
        cut = f"Hm. {text[:end]}"
        recovered = recovered_calls(cut, NAMES)
        if recovered is not None and recovered.calls:  # it was cut between two calls, or in space
            assert not recovered.cut_off
            assert text[end:].strip() == "" or text[end:].lstrip().startswith(("[TOOL_CALLS]", "</s>"))
        elif recovered is not None:
            assert recovered == Recovered(cut, (), cut_off=True)
        else:
            assert text[:end].strip() == "[TOOL_CALLS]"


def test_a_whole_call_before_one_that_is_cut_off_is_not_run_either() -> None:
    text = f"[TOOL_CALLS]get_weather{PARIS}[TOOL_CALLS]add{{"
    assert recovered_calls(text, NAMES) == Recovered(text, (), cut_off=True)


class TestIds:
    def test_the_models_own_are_kept(self) -> None:
        for text in (f"[TOOL_CALLS]add[CALL_ID]abcdefgh1[ARGS]{PARIS}", str(ONE[1].values[0])):
            recovered = recovered_calls(text, NAMES)
            assert recovered is not None
            assert [call.id for call in recovered.calls] == ["abcdefgh1"]

    @pytest.mark.parametrize(
        "text",
        [
            "[TOOL_CALLS]add{}[TOOL_CALLS]add{}",
            "[TOOL_CALLS]add[CALL_ID]abcdefgh1[ARGS]{}[TOOL_CALLS]add[CALL_ID]abcdefgh1[ARGS]{}",
            "[TOOL_CALLS]add[CALL_ID]1[ARGS]{}[TOOL_CALLS]add[CALL_ID][ARGS]{}",
        ],
        ids=["none", "twice-the-same", "too-short"],
    )
    def test_others_are_made_each_another(self, text: str) -> None:
        recovered = recovered_calls(text, NAMES)
        assert recovered is not None
        first, second = recovered.calls
        assert first.id != second.id
        assert ID.fullmatch(first.id)
        assert ID.fullmatch(second.id)

    def test_they_differ_from_answer_to_answer(self) -> None:
        first, again, other = (recovered_calls("[TOOL_CALLS]add{}", NAMES, seed=seed) for seed in ("a", "a", "b"))
        assert first == again
        assert first != other


def streamed(text: str, cuts: Sequence[int], names: Sequence[str] = NAMES) -> tuple[str, Recovered]:
    """Feed a text in pieces."""
    reader = RawCalls(names)
    ends = [0, *sorted(cut % (len(text) + 1) for cut in cuts), len(text)]
    sure = "".join(reader.feed(text[start:end]) for start, end in pairwise(ends))
    return sure, reader.close()


TEXTS = st.lists(
    st.sampled_from(
        [
            "[TOOL_CALLS]",
            "[ARGS]",
            "[CALL_ID]",
            "abcdefgh1",
            "get",
            "add",
            "other",
            "{}",
            PARIS,
            "[",
            "{",
            "a",
            " ",
            "[T",
        ]
    ),
    max_size=10,
).map("".join)
CUTS = st.lists(st.integers(0, 200), max_size=8)


@given(TEXTS | st.sampled_from([str(text) for text in WHOLE]), CUTS)
def test_pieces_say_the_same_as_the_whole_and_nothing_is_lost(text: str, cuts: list[int]) -> None:
    before, rest = streamed(text, cuts)
    whole = recovered_calls(text, NAMES)
    if rest.calls or rest.cut_off:
        assert whole == Recovered(before + rest.text, rest.calls, rest.cut_off)
    else:
        assert whole is None
        assert before + rest.text == text


@pytest.mark.parametrize(
    ("pieces", "sure"),
    [
        (["Hel", "lo"], ["Hel", "lo"]),
        (["a [1] ", "b"], ["a [1] ", "b"]),
        (["a [", "1] b"], ["a ", "[1] b"]),
        (["a [TOOL_", "BOX]"], ["a ", "[TOOL_BOX]"]),
        (["[TOOL_CALLS]", " is", " a mark"], ["", "[TOOL_CALLS] is", " a mark"]),
        (["[TOOL_CALLS]ge", "ese", " fly"], ["", "[TOOL_CALLS]geese", " fly"]),
        (["Hm.[TOOL_CALLS]", "get", '{"a"', ": 1}"], ["Hm.", "", "", ""]),
        (["[TOOL_CALLS][", "1]"], ["", "[TOOL_CALLS][1]"]),
    ],
)
def test_text_is_held_back_only_as_long_as_it_may_become_a_call(pieces: list[str], sure: list[str]) -> None:
    reader = RawCalls(NAMES)
    assert [reader.feed(piece) for piece in pieces] == sure
