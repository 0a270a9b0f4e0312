"""No secret gets into a file piece by piece: over the events of a stream, or token by token."""

import json
import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nemotron_client.testing.redaction import Redactor
from tests.testing.recording import TOKENS, cut_up


@given(secret=TOKENS, cuts=st.lists(st.integers(0, 60), max_size=8), edges=st.lists(st.integers(0, 3000), max_size=8))
def test_a_secret_that_a_model_spells_out_over_many_events_cant_be_put_together(
    secret: str, cuts: list[int], edges: list[int]
) -> None:
    redactor = Redactor()
    redactor.learn({"authorization": f"Bearer {secret}"})
    pieces = cut_up(f"Your key is {secret}, isn't it?", cuts)
    events = "".join(f"data: {json.dumps({'delta': {'content': piece}})}\n\n" for piece in pieces)
    kept = "".join(redactor.chunks(cut_up(events, edges)))
    said = "".join(re.findall(r'"content": "(.*?)"', kept))
    assert said == "Your key is ***, isn't it?"
    assert kept.count("data: ") == len(pieces)


def test_arguments_in_pieces_are_put_together_for_their_names() -> None:
    pieces = ['{\\"pass', 'word\\":', ' \\"swo', 'rdfish\\"', "}"]
    events = [f'data: {{"arguments":"{piece}"}}\n\n' for piece in pieces]
    kept = Redactor().chunks(events)
    assert "".join(re.findall(r'"arguments":"(.*)"}', "".join(kept))) == '{\\"password\\": \\"***\\"}'
    assert len(kept) == len(events)


@pytest.mark.parametrize("end", ["", "\n\n"])
def test_a_key_that_a_choice_spells_out_while_another_speaks_is_found(end: str) -> None:
    said = [(0, "It is nvapi-abc"), (1, "Good "), (0, "def-ghi-jkl."), (1, "day")]
    events = [
        f"data: {json.dumps({'choices': [{'index': index, 'delta': {'content': text}}]})}\n\n" for index, text in said
    ]
    kept = "".join(Redactor().chunks(["".join(events).rstrip() + end]))
    assert "abc" not in kept
    assert "def-ghi" not in kept
    assert "day" in kept


KEY = "nvapi-abc123def456"


def told_in_tokens(text: str, *, as_ids: bool = False) -> dict[str, Any]:
    """Return what vLLM tells of the tokens of a choice, each token two letters."""
    tokens = [text[start : start + 2] for start in range(0, len(text), 2)]
    ids = [1000 + ord(token[0]) for token in tokens]
    names = [f"token_id:{token}" for token in ids] if as_ids else tokens
    entries = [
        {"token": name, "logprob": 0.0, "bytes": [*token.encode()]} for name, token in zip(names, tokens, strict=True)
    ]
    rows = [{**entry, "top_logprobs": [entry, {**entry, "token": "zz"}]} for entry in entries]
    return {
        "logprobs": {
            "content": [*rows],
            "tokens": [*names],
            "token_logprobs": [0.0] * len(ids),
            "top_logprobs": [{name: 0.0} for name in names],
        },
        "token_ids": [*ids],
        "prompt_token_ids": [*ids],
        "prompt_logprobs": [
            None,
            *({str(each): {"decoded_token": name}} for each, name in zip(ids, names, strict=True)),
        ],
    }


@pytest.mark.parametrize("as_ids", [False, True])
@pytest.mark.parametrize("stream", [False, True])
def test_a_key_is_not_told_token_by_token_either(*, stream: bool, as_ids: bool) -> None:
    pieces = ["The key ", "is nv", "api-abc1", "23def456", "."] if stream else [f"The key is {KEY}."]
    events = [
        json.dumps({"choices": [{"index": 0, "text": piece, **told_in_tokens(piece, as_ids=as_ids)}]})
        for piece in pieces
    ]
    kept = "".join(Redactor().chunks([f"data: {event}\n\n" for event in events] if stream else events))
    choices = [json.loads(each.removeprefix("data: "))["choices"][0] for each in kept.split("\n\n") if each]
    assert "".join(choice["text"] for choice in choices) == "The key is ***."
    for choice in choices:
        assert {entry["token"] for entry in choice["logprobs"]["content"]} == {"***"}
        assert not any(entry["bytes"] or entry["top_logprobs"] for entry in choice["logprobs"]["content"])
        assert choice["logprobs"]["tokens"] == choice["logprobs"]["top_logprobs"] == []
        assert choice["token_ids"] == choice["prompt_token_ids"] == choice["prompt_logprobs"] == []


def test_a_key_that_only_log_probabilities_tell_is_found() -> None:
    rows: list[dict[str, object]] = told_in_tokens(KEY)["logprobs"]["content"]
    plain: list[dict[str, object]] = [{**row, "top_logprobs": []} for row in rows]
    (kept,) = Redactor().chunks([json.dumps({"logprobs": {"content": plain}})])
    assert {row["token"] for row in json.loads(kept)["logprobs"]["content"]} == {"***", ""}


def test_tokens_stay_where_no_secret_was_and_go_where_the_request_held_one() -> None:
    body = json.dumps({"choices": [{"text": "Hello", **told_in_tokens("Hello")}]})
    assert Redactor().chunks([body]) == [body]
    (kept,) = Redactor().chunks([body], asked=True)
    assert json.loads(kept)["choices"][0]["token_ids"] == []
    (broken,) = Redactor().chunks([body[: body.index('"prompt_token_ids"') + 25]], asked=True)
    assert broken.endswith('"prompt_token_ids": [')
