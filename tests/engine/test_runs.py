"""A paused run is written as JSON and read again, where whoever edits it gains nothing; and it goes on once."""

import copy
import gc
import json
import pickle
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, replace
from threading import Barrier
from types import MappingProxyType

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from nemotron_client import (
    AssistantMessage,
    ChatCompletion,
    InvalidRequestError,
    Message,
    SystemMessage,
    ToolCall,
    ToolLoop,
    ToolMessage,
    ToolRun,
    Usage,
    UserMessage,
    tool,
)
from nemotron_client.start import claim_run, started
from tests.engine.driving import calling

KEY = "sixteen bytes of" * 2


@tool(needs_approval=True)
def book(nights: int) -> str:
    """Book the hotel."""
    return f"{nights} nights"


def get_weather(city: str) -> str:
    """Get the weather."""
    return f"sunny in {city}"


TOOLS: list[Callable[..., object]] = [book, get_weather]
CALLS = calling(("get_weather", '{"city": "Zürich"}'), ("book", '{"nights": 2}'), usage={"total_tokens": 3})
HISTORY: list[Message] = [
    SystemMessage(content=[{"type": "text", "text": "Be brief."}]),
    UserMessage(content="Book it, \N{HOTEL} please \ud800"),
    AssistantMessage(content="Which?", reasoning="Hm.", refusal=None),
    {"role": "user", "name": "Bob", "content": [{"type": "text", "text": "Any."}], "extra": [1.0, None, True]},
    {"role": "assistant", "content": None, "tool_calls": [ToolCall(id="c1"), MappingProxyType({"id": "c2"})]},
    ToolMessage(content="sunny", tool_call_id="c1"),
    ToolMessage(content="sunny", tool_call_id="c2", name="get_weather"),
]


def paused(messages: list[Message] | None = None, completion: ChatCompletion = CALLS) -> ToolRun:
    loop = ToolLoop(messages or HISTORY, TOOLS)
    loop.received(completion)
    for job in list(loop.jobs):
        loop.answered(job, job.succeeded(job.start(), 0.1))
    return loop.run


RUN = paused()
SAVED = RUN.to_json(KEY)


def test_what_is_read_is_what_was_written() -> None:
    read = ToolRun.from_json(SAVED, KEY)
    assert replace(read, messages=()) == replace(RUN, messages=())
    assert read.messages[:4] == RUN.messages[:4]
    assert read.messages[5:] == RUN.messages[5:]
    assert [type(message) for message in read.messages] == [type(message) for message in RUN.messages]
    assert read.pending == RUN.pending
    assert read.usage == Usage(total_tokens=3)


def test_what_a_dict_holds_is_written_as_it_would_be_sent() -> None:
    assert ToolRun.from_json(SAVED, KEY).messages[4] == {
        "role": "assistant",
        "content": None,
        "tool_calls": [{"id": "c1", "type": "function", "function": {"name": "", "arguments": ""}}, {"id": "c2"}],
    }


def test_log_probabilities_of_minus_infinity_survive() -> None:
    fields = CALLS.model_dump()
    fields["choices"][0]["logprobs"] = {"content": [{"token": "a", "top_logprobs": [{"token": "b"}]}]}
    run = paused(completion=ChatCompletion.model_validate(fields))
    assert ToolRun.from_json(run.to_json(KEY), KEY).completion == run.completion


def test_the_text_is_ascii_and_may_be_written_anew_by_whoever_keeps_it() -> None:
    assert SAVED.isascii()
    kept = json.dumps(dict(reversed(json.loads(SAVED).items())), indent=2, ensure_ascii=False)
    assert ToolRun.from_json(kept, KEY) == ToolRun.from_json(SAVED.encode(), KEY.encode())


def test_an_approval_of_the_run_holds_for_what_is_read_of_it() -> None:
    approvals = [RUN.pending[0].approve()]
    (job,) = ToolLoop.resumed(ToolRun.from_json(SAVED, KEY), approvals, TOOLS).jobs
    assert job.start() == "2 nights"


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("nights", "weeks"),
        (r"{\\\"nights\\\": 2}", r"{\\\"nights\\\": 9}"),
        ("sunny", "rainy"),
        (RUN.id, "0" * 32),
        ('"signature": "', '"signature": "0'),
    ],
    ids=["result", "arguments", "answer", "id", "signature"],
)
def test_an_edited_run_is_refused(old: str, new: str) -> None:
    assert old in SAVED
    with pytest.raises(InvalidRequestError, match="was edited, or was signed with another key") as caught:
        ToolRun.from_json(SAVED.replace(old, new), KEY)
    assert caught.value.parameter == "text"


@given(place=st.integers(0, len(SAVED) - 1), character=st.characters(codec="utf-8"))
@example(place=0, character="[")
@example(place=len(SAVED) - 1, character=" ")
def test_no_edit_of_a_character_changes_a_run(place: int, character: str) -> None:
    text = SAVED[:place] + character + SAVED[place + 1 :]
    try:
        read = ToolRun.from_json(text, KEY)
    except InvalidRequestError:
        return
    assert read == ToolRun.from_json(SAVED, KEY)


def test_another_key_is_refused() -> None:
    with pytest.raises(InvalidRequestError, match="signed with another key"):
        ToolRun.from_json(SAVED, KEY[::-1])


@pytest.mark.parametrize("key", ["", "ü" * 7, b"x" * 15])
def test_a_short_key_is_refused(key: str | bytes) -> None:
    for use in (lambda: RUN.to_json(key), lambda: ToolRun.from_json(SAVED, key)):
        with pytest.raises(
            InvalidRequestError, match=f"key has {len(key if isinstance(key, bytes) else key.encode())}"
        ):
            use()
    assert RUN.to_json("ü" * 8)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "run",
        "[]",
        "{}",
        '"state"',
        b"\xff",
        '{"state": {}, "signature": ""}',
        '{"state": "\\ud800", "signature": "\\ud800"}',
        '{"state": ' + "[" * 100_000,
    ],
    ids=range(9),
)
def test_what_is_no_saved_run_is_refused(text: str | bytes) -> None:
    with pytest.raises(InvalidRequestError, match="This is no saved run"):
        ToolRun.from_json(text, KEY)


@pytest.mark.parametrize(
    "changed",
    [
        {"turns": ...},
        {"turns": "many"},
        {"messages": [["DeveloperMessage", {"content": "Hi"}]]},
        {"messages": [["UserMessage", {"text": "Hi"}]]},
    ],
    ids=["missing", "type", "class", "message"],
)
def test_a_run_of_another_version_is_refused(changed: dict[str, object], monkeypatch: pytest.MonkeyPatch) -> None:
    state: dict[str, object] = json.loads(json.loads(SAVED)["state"]) | changed

    def dump(*_: object, **__: object) -> object:
        return {name: value for name, value in state.items() if value is not ...}

    monkeypatch.setattr("pydantic.TypeAdapter.dump_python", dump)
    text = RUN.to_json(KEY)
    with pytest.raises(InvalidRequestError, match="written by another version"):
        ToolRun.from_json(text, KEY)


def test_a_run_that_is_not_paused_is_not_written() -> None:
    with pytest.raises(InvalidRequestError, match="A run that is completed can't be resumed"):
        replace(RUN, status="completed").to_json(KEY)


def test_a_message_that_is_no_json_is_named() -> None:
    run = paused([{"role": "user", "content": "Hello", "when": object()}])
    with pytest.raises(InvalidRequestError, match=r"messages\[0\] can't be written as JSON") as caught:
        run.to_json(KEY)
    assert caught.value.parameter == "messages[0]"
    assert not run.saved


def fails(run_id: str) -> bool:
    raise OSError(run_id)


def itself(run: ToolRun) -> ToolRun:
    return run


def same_fields(run: ToolRun) -> ToolRun:
    return replace(run)


@pytest.mark.parametrize("copied", [itself, copy.copy, copy.deepcopy, same_fields])
def test_a_run_is_resumed_once_in_a_process(copied: Callable[[ToolRun], ToolRun]) -> None:
    run = paused([UserMessage(content="Hello")])
    claim_run(run, None)
    with pytest.raises(InvalidRequestError, match="was resumed before") as caught:
        claim_run(copied(run), None)
    assert caught.value.parameter == "messages"


def written(run: ToolRun) -> ToolRun:
    run.to_json(KEY)
    return run


def read(run: ToolRun) -> ToolRun:
    return ToolRun.from_json(run.to_json(KEY), KEY)


def pickled(run: ToolRun) -> ToolRun:
    pickle.dumps(run)
    return run


def unpickled(run: ToolRun) -> ToolRun:
    same: ToolRun = pickle.loads(pickle.dumps(run))  # noqa: S301 - our own
    return same


@pytest.mark.parametrize("saved", [written, read, pickled, unpickled])
def test_a_run_that_may_have_left_the_process_needs_a_claim(saved: Callable[[ToolRun], ToolRun]) -> None:
    run = saved(paused([UserMessage(content="Hello")]))
    with pytest.raises(InvalidRequestError, match=r"was saved.*give claim=") as caught:
        claim_run(run, None)
    assert caught.value.parameter == "claim"
    claimed: list[str] = []

    def claim(run_id: str) -> bool:
        claimed.append(run_id)
        return claimed.count(run_id) == 1

    claim_run(run, claim)
    with pytest.raises(InvalidRequestError, match="was resumed before"):
        claim_run(run, claim)
    assert claimed == [run.id] * 2


def test_a_run_that_was_resumed_without_a_claim_is_not_resumed_with_one() -> None:
    run = paused()
    claim_run(run, None)
    with pytest.raises(InvalidRequestError, match="was resumed before"):
        claim_run(run, lambda _: True)


def test_a_claim_that_fails_leaves_the_run_as_it_was() -> None:
    run = paused()
    with pytest.raises(OSError, match=run.id):
        claim_run(run, fails)
    claim_run(run, lambda _: True)


@pytest.mark.parametrize("told", [1, "yes", None])
def test_a_claim_that_tells_no_bool_is_refused(told: object) -> None:
    run = paused()
    with pytest.raises(InvalidRequestError, match=r"claim returned .*: give a plain function") as caught:
        claim_run(run, lambda _: told)  # type: ignore[arg-type, return-value] # pyright: ignore[reportArgumentType, reportReturnType] - on purpose
    assert caught.value.parameter == "claim"
    claim_run(run, None)


def test_to_look_at_a_run_as_a_dict_does_not_save_it() -> None:
    run = paused([UserMessage(content="Hello")])
    assert asdict(run)["status"] == "paused"
    assert not run.saved
    claim_run(run, None)


def test_a_run_is_forgotten_with_its_last_reference() -> None:
    gc.collect()
    gc.disable()
    try:
        ToolRun("completed", ())
        assert gc.collect() == 0
    finally:
        gc.enable()


def test_of_many_threads_one_resumes_a_run() -> None:
    run, together = paused(), Barrier(8)

    def resume() -> bool:
        together.wait()
        try:
            claim_run(run, None)
        except InvalidRequestError:
            return False
        return True

    with ThreadPoolExecutor(8) as pool:
        assert sum(each.result() for each in [pool.submit(resume) for _ in range(8)]) == 1


def test_a_new_run_needs_no_claim() -> None:
    claim_run("Hello", fails)
    claim_run([UserMessage(content="Hello")], None)


def test_what_is_for_the_requests_is_told_apart() -> None:
    loop, rest = started("Hello", TOOLS, {"seed": 1, "timeout": 2, "max_turns": 3, "context": 4}, approvals=())
    assert rest == {"seed": 1, "timeout": 2}
    assert loop.asking(rest) == {"seed": 1, "timeout": 2, "tools": loop.definitions}


@pytest.mark.parametrize(
    ("options", "wrong"),
    [
        ({"temperature": 3}, "temperature=3 is not possible"),
        ({"temprature": 1}, r"temprature is not a parameter\. Did you mean temperature"),
        ({"max_retries": -1}, "max_retries=-1 is not possible"),
        ({"max_turns": 0}, "max_turns=0 is not possible"),
        ({"n": 2}, r"n can't be given here: the agent loop asks for one answer a turn"),
        ({"response_format": {"type": "json_object"}}, r"response_format can't be given here"),
        ({"stream": True}, r"stream can't be given here"),
        ({"extra_body": {"n": 2}}, r"n can't be given in extra_body"),
        ({"extra_body": {"tools": []}}, r"tools can't be given in extra_body"),
        ({"extra_body": {"messages": []}}, r"messages can't be given in extra_body"),
        ({"extra_body": {"tool_choice": "required"}}, r"tool_choice can't be given in extra_body"),
    ],
)
def test_a_bad_option_is_refused_before_anything_runs(options: dict[str, object], wrong: str) -> None:
    with pytest.raises(InvalidRequestError, match=wrong):
        started("Hello", TOOLS, options, approvals=())
    with pytest.raises(InvalidRequestError, match=wrong):
        started(RUN, TOOLS, options, approvals=[RUN.pending[0].approve()])
    assert started(RUN, TOOLS, {}, approvals=[RUN.pending[0].approve()])[0].status == "running"


def test_what_is_none_is_not_set() -> None:
    started("Hello", TOOLS, {"n": None, "seed": None, "timeout": None, "extra_body": {"n": None}}, approvals=())


def test_approvals_without_a_paused_run_are_refused() -> None:
    with pytest.raises(InvalidRequestError, match="no paused run to use them on") as caught:
        started("Hello", TOOLS, {}, approvals=[RUN.pending[0].approve()])
    assert caught.value.parameter == "approvals"
