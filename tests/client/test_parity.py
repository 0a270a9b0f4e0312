"""The two clients are twins: the same names, signatures and words, but for what `async` makes different."""

import inspect
import re
from collections.abc import Iterator

import pytest

import nemotron_client
from nemotron_client import (
    AsyncChatStream,
    AsyncNemotron,
    AsyncParseStream,
    AsyncStream,
    AsyncToolStream,
    AsyncUnopenedStream,
    ChatStream,
    Nemotron,
    ParseStream,
    Stream,
    ToolStream,
    UnopenedStream,
    async_chat,
    async_resources,
    chat,
    resources,
)

PAIRS: list[tuple[type, type]] = [
    (Nemotron, AsyncNemotron),
    (chat.Chat, async_chat.AsyncChat),
    (chat.ChatCompletions, async_chat.AsyncChatCompletions),
    (resources.TextCompletions, async_resources.AsyncTextCompletions),
    (resources.Models, async_resources.AsyncModels),
    (resources.Server, async_resources.AsyncServer),
    (resources.Tokens, async_resources.AsyncTokens),
    (Stream, AsyncStream),
    (ChatStream, AsyncChatStream),
    (ParseStream, AsyncParseStream),
    (ToolStream, AsyncToolStream),
    (UnopenedStream, AsyncUnopenedStream),
]
TWINS = {"__enter__": "__aenter__", "__exit__": "__aexit__", "__iter__": "__aiter__", "__next__": "__anext__"}


def public(kind: type) -> Iterator[str]:
    for name in dir(kind):
        mine = any(name in vars(each) for each in kind.__mro__[:-1] if each.__module__.startswith("nemotron_client"))
        if mine and (not name.startswith("_") or name in {*TWINS, "__reduce__", "__repr__"}):
            yield name
    if kind is Nemotron:  # the others are not made by users
        yield "__init__"


METHODS = [
    pytest.param(sync, asynchronous, name, id=f"{sync.__name__}.{name}")
    for sync, asynchronous in PAIRS
    for name in public(sync)
]


def plain(words: str) -> str:
    """Take out of a signature or a docstring what may differ."""
    words = " ".join(words.split())
    words = re.sub(r"\bAsync(?=[A-Z])|\basync (?=with|for|code)|\bawait ", "", words)
    words = words.replace("AsyncIterator", "Iterator")
    return re.sub(r"Awaitable\[(.*)\]\]", r"\1]", words)


@pytest.mark.parametrize(("sync", "asynchronous"), PAIRS, ids=[sync.__name__ for sync, _ in PAIRS])
def test_they_have_the_same_attributes(sync: type, asynchronous: type) -> None:
    twins = {TWINS.get(name, name) for name in public(sync)}
    named = {name for name in dir(asynchronous) if not name.startswith("_")}
    assert {name for name in twins if not name.startswith("_")} == named
    assert all(hasattr(asynchronous, name) for name in twins)


def test_clients_carry_the_same_resources() -> None:
    pair = Nemotron(base_url="http://localhost/v1"), AsyncNemotron(base_url="http://localhost/v1")
    sync, asynchronous = ({name for name in vars(each) if not name.startswith("_")} for each in pair)
    assert sync == asynchronous == {"chat", "completions", "models", "server", "tokens"}


@pytest.mark.parametrize(("sync", "asynchronous", "name"), METHODS)
def test_they_have_the_same_signatures(sync: type, asynchronous: type, name: str) -> None:
    ours, theirs = getattr(sync, name), getattr(asynchronous, TWINS.get(name, name))
    if callable(ours):
        assert plain(str(inspect.signature(theirs))) == plain(str(inspect.signature(ours)))


@pytest.mark.parametrize(("sync", "asynchronous", "name"), METHODS)
def test_they_have_the_same_words(sync: type, asynchronous: type, name: str) -> None:
    ours, theirs = getattr(sync, name).__doc__, getattr(asynchronous, TWINS.get(name, name)).__doc__
    assert ours
    assert plain(theirs).replace("task", "thread") == plain(ours)


def test_create_shows_every_option() -> None:
    for kind in (chat.ChatCompletions, async_chat.AsyncChatCompletions):
        shown = inspect.signature(kind.create).parameters
        assert {"messages", "stream", "temperature", "tools", "timeout", "extra_body"} <= set(shown)
        assert "stream" not in inspect.signature(kind.stream).parameters


def test_every_public_name_is_there() -> None:
    for name in nemotron_client.__all__:
        assert getattr(nemotron_client, name) is not None
    with pytest.raises(AttributeError, match="'nemotron_client' has no attribute 'Nemtron'"):
        _ = nemotron_client.Nemtron  # type: ignore[attr-defined] # pyright: ignore[reportUnknownVariableType, reportAttributeAccessIssue] - that is tested
