"""What is to be sent: a call of a route, checked and written down, before its model's name is known."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Literal, Unpack

from typing_extensions import TypedDict

from nemotron_client._json import is_array, is_object
from nemotron_client.checking import check, picked
from nemotron_client.completions import ResponseInfo, Usage
from nemotron_client.config import Config, Secret, __version__, bad_header, merge_retry
from nemotron_client.errors import ConfigurationError, InvalidRequestError
from nemotron_client.messages import Message, Repair, read_messages
from nemotron_client.options import CallOptions, ChatParameters, Prompt, TextBody
from nemotron_client.timeouts import Timeout

from . import mistral
from .admission import Candidate, Templates, asked_tokens
from .exchange import Request
from .offered import names_of
from .wire import encode

if TYPE_CHECKING:
    from nemotron_client.retry import RetryPolicy


@dataclass(frozen=True, slots=True)
class Call:
    """A checked call, ready to be sent once the model's name is known.

    Attributes:
        url: The whole URL.
        body: The JSON body, with the model's name where the caller or the client gave one; None for a GET.
        model: That name; None if it has still to be asked of the server and put in.
        expect: Whether the answer is read whole or as a stream.
        timeout: The limits.
        retry: When to send again.
        headers: All of them.
        candidate: What is judged by its budget of tokens; None for what can't be counted.
        dropped: The messages that were left out, to make it fit.
        repairs: What was put right in the conversation.
        names: The caller's name for each tool name that was put right.
        offered: The names of the tools, as they are sent.
        most_tokens: How many tokens the answer may have, where the caller says it.
        bridged: The same call for a server that refuses a user's message after a tool's result, where it has one.
    """

    url: str
    body: bytes | None
    model: str | None
    expect: Literal["body", "stream"]
    timeout: Timeout
    retry: RetryPolicy
    headers: Mapping[str, str] = field(repr=False)
    candidate: Candidate | None = field(default=None, repr=False)
    dropped: tuple[Message, ...] = field(default=(), repr=False)
    repairs: tuple[Repair, ...] = ()
    names: Mapping[str, str] = field(default_factory=dict[str, str])
    offered: frozenset[str] = frozenset()
    most_tokens: int | None = None
    bridged: Call | None = field(default=None, repr=False)

    def named(self, model: str) -> Call:
        """Return the same call with the model's name put into its body."""
        bridged = None if self.bridged is None else self.bridged.named(model)
        body = None if self.body is None else b'{"model":' + encode(model) + b"," + self.body[1:]
        return replace(self, body=body, model=model, bridged=bridged)

    def shortened(self, fields: Mapping[str, object], dropped: Sequence[Message]) -> Call:
        """Return the same call with fewer messages."""
        named = fields if self.model is None else {"model": self.model, **fields}
        return replace(self, body=encode(named), dropped=tuple(dropped))

    def answered(self, usage: Usage | None, response: ResponseInfo) -> None:
        """Take note of what the server says that this took, if it was sent as it is: not bridged, nor shortened.

        Args:
            usage: What it took, if the server says so.
            response: What is known of the answer.
        """
        as_it_is = response.repairs == self.repairs and response.dropped == self.dropped
        if usage is not None and self.candidate is not None and self.body is not None and as_it_is:
            self.candidate.templates.answered(self.body, usage.prompt_tokens)

    def ran_out(self, usage: Usage | None, window: int | None) -> bool:
        """Tell whether an answer has all the tokens that it could have, so that it may have been cut.

        Args:
            usage: What it took, if the server says so.
            window: The model's window, in tokens; None if it isn't known.
        """
        if usage is None:
            return False
        by_caller = self.most_tokens is not None and usage.completion_tokens >= self.most_tokens
        return by_caller or (window is not None and usage.total_tokens >= window)

    def request(self, *, now: float) -> Request:
        """Make the request; ``now`` is when the caller began, in seconds of the driver's clock."""
        return Request(
            method="GET" if self.body is None else "POST",
            url=self.url,
            headers=self.headers,
            body=self.body,
            expect=self.expect,
            timeout=self.timeout,
            deadline=None if self.timeout.total is None else now + self.timeout.total,
        )


def chat_call(
    config: Config,
    messages: str | Sequence[Message],
    options: Mapping[str, object],
    *,
    stream: bool,
    bridge: bool = False,
    templates: defaultdict[str, Templates] | None = None,
    kept: int = 1,
) -> Call:
    """Check a chat call, put its conversation right, and write its body.

    Args:
        config: The client's settings.
        messages: The conversation; a string is one user message.
        options: What the caller gave beside it, the call's options included.
        stream: Whether to ask for a stream.
        bridge: Whether the server is known to refuse a user's message after a tool's result.
        templates: By model, what is known of its chat template.
        kept: How many exchanges at its end must not be left out to make it fit.

    Raises:
        InvalidRequestError: A message or an option is not possible, or can't be written as JSON.
        InvalidConversationError: A message breaks a rule of the model and can't be put right.
        ToolDefinitionError: A tool can't be offered.
    """
    given = read_messages(messages)
    body = check(options, ChatParameters)
    own = picked(options, CallOptions)
    given_tools = body.get("tools")
    tools = definitions(given_tools) if is_array(given_tools) else None
    extra = own.get("extra_body") or {}
    countable = _is_countable(extra)

    def prepared(*, bridge: bool) -> mistral.Prepared:
        return mistral.prepare(
            given,
            tools,
            body.get("tool_choice"),
            mode=own.get("repair") or "auto",
            bridge=bridge,
            continues=body.get("continue_final_message") is True,
        )

    def written(sent: mistral.Prepared, bridged: Call | None = None) -> Call:
        fields = {"messages": sent.messages, **body, **sent.tool_fields}
        _complete(fields, config, own, stream=stream)
        known = Templates() if templates is None else templates[str(fields.get("model", ""))]
        budget = own.get("budget") or config.budget
        places = None if "messages" in extra else sent.places
        return _post(
            config,
            "/chat/completions",
            fields,
            own,
            stream=stream,
            candidate=Candidate(fields, budget, known, kept=kept, places=places) if countable else None,
            repairs=sent.repairs,
            names=sent.names,
            offered=frozenset(names_of(sent.tools or ())),
            bridged=bridged,
        )

    first = prepared(bridge=bridge)
    return written(first, written(prepared(bridge=True)) if first.unbridged else None)


def _is_countable(extra: Mapping[str, object]) -> bool:
    """Tell whether messages and tools are still what can be counted: in ``extra_body`` a caller sends what it wants."""
    with suppress(InvalidRequestError):
        if "messages" in extra:
            read_messages(extra["messages"])
        return extra.get("tools") is None or is_array(extra["tools"])
    return False


def definitions(tools: Sequence[object] | None) -> list[Mapping[str, object]] | None:
    """Return what is sent of tools: of functions and tools their definitions, of dicts what they say themselves.

    Raises:
        ToolDefinitionError: One can't be offered.
    """
    return None if tools is None else [each if is_object(each) else _definition(each) for each in tools]


def _definition(tool: object) -> Mapping[str, object]:
    from nemotron_client.tools import as_tool  # dicts don't need it

    return as_tool(tool).definition


def text_call(config: Config, prompt: Prompt, options: Mapping[str, object], *, stream: bool) -> Call:
    """Check a call of the text completions route and write its body; as :func:`chat_call`."""
    body = check({"prompt": prompt, **options}, TextBody)
    if "prompt" not in body:
        msg = "prompt is None: give a string, strings, token ids, or sequences of token ids."
        raise InvalidRequestError(msg, parameter="prompt")
    own = picked(options, CallOptions)
    _complete(body, config, own, stream=stream)
    candidate = Candidate(body, own.get("budget") or config.budget)
    return _post(config, "/completions", body, own, stream=stream, candidate=candidate)


def asking_usage(options: Mapping[str, object]) -> Mapping[str, object]:
    """Return the options of a stream with usage asked for, unless the caller has said something about it."""
    return options if "stream_options" in options else {**options, "stream_options": {"include_usage": True}}


def get_call(config: Config, url: str, *, timeout: Timeout | None = None, retry: RetryPolicy | None = None) -> Call:
    """Make a call that asks for something by its URL."""
    return Call(
        url=url,
        body=None,
        model=config.model,
        expect="body",
        timeout=timeout or config.timeout,
        retry=retry or config.retry,
        headers=_headers(config, None, "application/json"),
    )


def post_call(config: Config, url: str, body: Mapping[str, object]) -> Call:
    """Make a call that sends something to a route beside the completions."""
    return replace(get_call(config, url), body=encode(body))


class _Own(TypedDict, total=False):
    # what not all calls have; as `Call`
    candidate: Candidate | None
    repairs: tuple[Repair, ...]
    names: Mapping[str, str]
    offered: frozenset[str]
    bridged: Call | None


def _complete(body: dict[str, object], config: Config, own: CallOptions, *, stream: bool) -> None:
    """Put in what is not the caller's parameter; what is in ``extra_body`` has the last word."""
    if stream:
        body["stream"] = True
    if config.model is not None:
        body.setdefault("model", config.model)
    body.update(own.get("extra_body") or {})


def _post(
    config: Config, path: str, body: Mapping[str, object], own: CallOptions, *, stream: bool, **own_fields: Unpack[_Own]
) -> Call:
    try:
        timeout = Timeout.of(own["timeout"], config.timeout) if "timeout" in own else config.timeout
        retry = merge_retry(config.retry, own.get("max_retries"), own.get("retry"))
    except ConfigurationError as error:
        parameter = "timeout" if "imeout" in error.message else "retry"
        raise InvalidRequestError(error.message, parameter=parameter) from None
    return Call(
        url=config.base_url + path,
        body=encode(body),
        model=str(body["model"]) if "model" in body else None,
        expect="stream" if stream else "body",
        timeout=timeout,
        retry=retry,
        most_tokens=asked_tokens(body),
        headers=_headers(config, own.get("extra_headers"), "text/event-stream" if stream else "application/json"),
        **own_fields,
    )


def _headers(config: Config, extra: Mapping[str, str] | None, accept: str) -> dict[str, str]:
    headers = {
        "accept": accept,
        "content-type": "application/json",
        "user-agent": f"nemotron-client/{__version__}",
        **config.own_headers,
    }
    if extra:
        bad = bad_header(extra)
        if bad is not None:
            msg = f"extra_headers[{bad!r}] can't be sent: use letters, digits, dashes; printable ASCII in the value."
            raise InvalidRequestError(msg, parameter="extra_headers")
        headers.update({name.lower(): Secret(value) for name, value in extra.items()})
    return headers
