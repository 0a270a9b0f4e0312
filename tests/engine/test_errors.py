"""Errors: their tree, what they say, and that they travel whole."""

import copy
import inspect
import pickle
import re
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from nemotron_client import errors
from nemotron_client.completions import ChatCompletion, Choice, ResponseInfo, Usage
from nemotron_client.errors import (
    APIError,
    APIStatusError,
    Attempt,
    NemotronError,
    StreamInterruptedError,
    StreamTimeoutError,
)
from nemotron_client.messages import AssistantMessage, ToolCall

CLASSES = [kind for _, kind in inspect.getmembers(errors, inspect.isclass) if issubclass(kind, NemotronError)]


def drawn() -> Iterator[tuple[str, set[str]]]:
    """Read the tree in the module's docstring: each class with its bases."""
    above: list[str] = []
    for line in inspect.getdoc(errors).splitlines():  # type: ignore[union-attr] # it has one
        found = re.match(r"(?P<branch>[ │├└─]*)(?P<name>[A-Z]\w+Error)\b(?P<text>.*)", line)
        if found is not None:
            depth = len(found["branch"]) // 4 - 1
            above[depth:] = [found["name"]]
            also = re.findall(r"\(also an? (\w+)\)", found["text"])
            yield found["name"], {above[depth - 1], *also} if depth else {"Exception"}


def test_the_tree_in_the_docstring_is_that_of_the_classes() -> None:
    assert dict(drawn()) == {kind.__name__: {base.__name__ for base in kind.__bases__} for kind in CLASSES}


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (300, errors.APIStatusError),
        (400, errors.BadRequestError),
        (401, errors.AuthenticationError),
        (402, errors.PaymentRequiredError),
        (403, errors.PermissionDeniedError),
        (404, errors.NotFoundError),
        (405, errors.APIStatusError),
        (409, errors.ConflictError),
        (410, errors.ModelGoneError),
        (422, errors.UnprocessableEntityError),
        (429, errors.RateLimitError),
        (499, errors.APIStatusError),
        (500, errors.InternalServerError),
        (503, errors.InternalServerError),
        (504, errors.GatewayTimeoutError),
        (599, errors.InternalServerError),
    ],
)
def test_every_status_has_its_class(status: int, kind: type[APIStatusError]) -> None:
    assert errors.status_error(status) is kind


PLACE: dict[str, Any] = {"parameter": "n"}
FIELDS: dict[type[NemotronError], dict[str, Any]] = {
    errors.InvalidRequestError: PLACE,
    errors.InvalidConversationError: PLACE,
    errors.ToolDefinitionError: PLACE,
    errors.ToolArgumentsError: {"tool_name": "f", "arguments": "{"},
    errors.ResponseFormatError: {
        "completion": ChatCompletion(id="c"),
        "errors": ("a: is missing",),
        "discarded": (ChatCompletion(id="b"),),
    },
}


@pytest.mark.parametrize("kind", FIELDS)
def test_an_error_keeps_what_it_was_made_with(kind: type[NemotronError]) -> None:
    assert vars(kind("what", **FIELDS[kind])) == FIELDS[kind]


def made(kind: type[NemotronError]) -> NemotronError:
    """Make an error with every attribute set to something of its own."""
    if not issubclass(kind, APIError):
        error = kind("what", **FIELDS.get(kind, {}))
    else:
        attempts = [Attempt(1, 500, "InternalServerError (500)", 0.5), Attempt(2, None, "reset", 0.1, 0.7)]
        error = kind("what", body={"a": [1]}, request_id="r", attempts=attempts, hint="do this")
    call = ToolCall.model_validate({"id": "a", "function": {"name": "f", "arguments": "{}"}, "extra": 1})
    choice = Choice(message=AssistantMessage(content="Hel", tool_calls=[call]))
    partial = ChatCompletion(choices=[choice], usage=Usage(total_tokens=3)).answered_by(
        ResponseInfo(200, "r", {"a": "b"})
    )
    own = {"limit": 5, "prompt_tokens": 6, "completion_tokens": 7, "may_pass": True, "partial": partial}
    own |= {"excess": 8, "heaviest": ((3, 9), (0, 1)), "template": "v7"}
    own |= {"status_code": 418, "code": "c", "type": "t", "retry_after": 1.5, "should_retry": False}
    for name, value in own.items():
        if hasattr(kind, name):
            setattr(error, name, value)
    error.add_note("seen in a test")
    return error


def by_pickle(protocol: int) -> Callable[[NemotronError], NemotronError]:
    def copied(error: NemotronError) -> NemotronError:
        twin = pickle.loads(pickle.dumps(error, protocol))  # noqa: S301 - our own
        assert isinstance(twin, NemotronError)
        return twin

    return copied


COPIES: list[Callable[[NemotronError], NemotronError]] = [copy.copy, copy.deepcopy, *map(by_pickle, range(2, 6))]


@pytest.mark.parametrize("kind", CLASSES)
def test_every_error_pickles_and_copies_whole(kind: type[NemotronError]) -> None:
    error = made(kind)
    for make in COPIES:
        twin = make(error)
        assert type(twin) is kind
        assert twin is not error
        assert (str(twin), twin.args, vars(twin)) == (str(error), error.args, vars(error))
    if isinstance(error, StreamInterruptedError):
        copied = copy.deepcopy(error).partial
        assert copied is not None
        assert copied is not error.partial
        assert copied.response == ResponseInfo(200, "r", {"a": "b"})


def test_an_error_says_what_happened_what_to_do_how_often_it_was_tried_and_the_id_to_quote() -> None:
    assert str(made(errors.RateLimitError)) == "what (2 attempts, request id r)\nWhat to do: do this"


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (APIError("what"), "what"),
        (APIError("what", attempts=[Attempt(1, 500, "x", 0.1)]), "what"),
        (APIError("what", request_id="r"), "what (request id r)"),
        (APIError("what", hint="do this"), "what\nWhat to do: do this"),
        (errors.ConfigurationError("what"), "what"),
        (errors.InvalidRequestError("what", parameter="n"), "what"),
    ],
    ids=["plain", "one-attempt", "request-id", "hint", "configuration", "request"],
)
def test_an_error_says_no_more_than_is_known(error: NemotronError, text: str) -> None:
    assert str(error) == text


def test_attempts_are_a_tuple_that_nobody_else_holds() -> None:
    attempts = [Attempt(1, 500, "x", 0.1)]
    error = APIError("what", attempts=attempts)
    attempts.clear()
    assert len(error.attempts) == 1


def test_a_timeout_in_a_stream_is_caught_as_either() -> None:
    assert issubclass(StreamTimeoutError, StreamInterruptedError)
    assert issubclass(StreamTimeoutError, errors.APITimeoutError)
    assert issubclass(errors.ContextLengthExceededError, errors.BadRequestError)


def test_every_error_has_a_sentence_that_explains_it() -> None:
    assert [kind.__name__ for kind in CLASSES if not (kind.__doc__ or "").partition("\n")[0].endswith(".")] == []
