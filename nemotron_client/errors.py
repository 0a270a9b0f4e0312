"""Every error this library raises.

    NemotronError
    ├── ConfigurationError              the client can't be made as asked: no key, a bad base URL, ...
    ├── InvalidRequestError             an option that is misspelt, impossible or can't be sent
    ├── InvalidConversationError        messages that break a rule of the model and can't be put right
    ├── ToolDefinitionError             a tool without a name, two of one name, a schema that is none
    ├── ToolArgumentsError              the model's arguments for a tool are broken or don't fit
    ├── ToolError                       for your tools to raise: its text is what the model reads
    ├── ResponseFormatError             an answer that isn't of the type that was asked for
    ├── ContextOverflowError            the prompt and the answer don't fit the window
    │   ├── TokenBudgetExceededError    ... as counted here, before anything is sent
    │   └── ContextLengthExceededError  ... as the server says (also a BadRequestError)
    └── APIError                        something came, or failed to come, from the server
        ├── APIConnectionError          no answer: refused, DNS, TLS, reset
        │   └── APITimeoutError         no answer in time
        ├── InvalidResponseError        a 200 that isn't what was asked for
        ├── StreamInterruptedError      anything wrong after a stream began; has what had arrived
        │   └── StreamTimeoutError      ... because nothing more came in time (also an APITimeoutError)
        └── APIStatusError              the server refused
            ├── BadRequestError            400
            ├── AuthenticationError        401
            ├── PaymentRequiredError       402
            ├── PermissionDeniedError      403
            ├── NotFoundError              404
            ├── ConflictError              409
            ├── ModelGoneError             410
            ├── UnprocessableEntityError   422
            ├── RateLimitError             429
            └── InternalServerError        5xx
                ├── GatewayTimeoutError    504
                └── DegradedError          a 400 that is an outage

All of them pickle and copy whole; none holds a key or an object of the HTTP library.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .completions import ChatCompletion, Completion
    from .runs import ToolRun


@dataclass(frozen=True, slots=True)
class Attempt:
    """One try at sending a request.

    Attributes:
        number: 1 for the first try.
        status_code: The HTTP status that came back; None when none did.
        reason: What was wrong, in a few words; None for the try that succeeded.
        elapsed: Seconds from sending to the end of this try.
        waited: Seconds waited before it was sent.
    """

    number: int
    status_code: int | None
    reason: str | None
    elapsed: float
    waited: float = 0.0


class NemotronError(Exception):
    """Catch this to catch everything that the library raises.

    Attributes:
        run: The agent's run as far as it came, if one was going on.
    """

    run: ToolRun | None = None

    @property
    def message(self) -> str:
        """What happened, without what to do about it."""
        return str(self.args[0]) if self.args else ""

    def __reduce__(self) -> tuple[object, ...]:
        # Exception's own way calls __init__ with args, which fails for keyword-only fields.
        return _rebuild, (type(self), self.args, self.__dict__)


def _rebuild(kind: type[NemotronError], args: tuple[object, ...], state: dict[str, object]) -> NemotronError:
    error = kind.__new__(kind, *args)
    error.__dict__.update(state)
    return error


class ModelDeprecationWarning(FutureWarning):
    """The server says that the model will be taken away."""


class TokenBudgetWarning(UserWarning):
    """The prompt leaves little room for an answer, or may be more than the window holds."""


class ConfigurationError(NemotronError):
    """The client can't be made or used as asked; nothing was sent."""


class InvalidRequestError(NemotronError):
    """An option is misspelt, impossible, or can't be written as JSON; nothing was sent.

    Attributes:
        parameter: The option at fault, with the place inside it: ``"temperature"``, ``"messages[2].content"``.
    """

    def __init__(self, message: str, *, parameter: str | None = None) -> None:
        super().__init__(message)
        self.parameter = parameter


class InvalidConversationError(NemotronError):
    """A message breaks a rule of the model and can't be put right without losing something; nothing was sent.

    Attributes:
        parameter: The message at fault: ``"messages[3]"``.
    """

    def __init__(self, message: str, *, parameter: str | None = None) -> None:
        super().__init__(message)
        self.parameter = parameter


class ToolDefinitionError(NemotronError):
    """A tool can't be offered to the model as it is defined; nothing was sent.

    Attributes:
        parameter: The place at fault: ``"tools[0].function.parameters.properties.city.type"``.
    """

    def __init__(self, message: str, *, parameter: str | None = None) -> None:
        super().__init__(message)
        self.parameter = parameter


class ToolArgumentsError(NemotronError):
    """The model's arguments for a tool are no JSON, or not what the tool takes; the tool was not run.

    The message is short and names the fields, so that the model can be told.

    Attributes:
        tool_name: The tool, by the name under which it was offered.
        arguments: What the model wrote.
    """

    def __init__(self, message: str, *, tool_name: str = "", arguments: str = "") -> None:
        super().__init__(message)
        self.tool_name = tool_name
        self.arguments = arguments


class ToolError(NemotronError):
    """Raise this in a tool to tell the model what went wrong: its text is what the model reads as the result."""


class ResponseFormatError(NemotronError):
    """The answer is not of the type that was asked for, or was refused or cut off.

    Attributes:
        completion: The last answer, whole; None if there was none.
        errors: What is wrong with it, one sentence for each field.
        discarded: The answers before it, which were not of the type either.
    """

    def __init__(
        self,
        message: str,
        *,
        completion: ChatCompletion | None = None,
        errors: Sequence[str] = (),
        discarded: Sequence[ChatCompletion] = (),
    ) -> None:
        super().__init__(message)
        self.completion = completion
        self.errors: tuple[str, ...] = tuple(errors)
        self.discarded: tuple[ChatCompletion, ...] = tuple(discarded)

    @property
    def text(self) -> str:
        """The text of the last answer."""
        return "" if self.completion is None else self.completion.text


class ContextOverflowError(NemotronError):
    """The prompt and the room for an answer don't fit the model's window.

    Attributes:
        limit: The window, in tokens; None where unknown.
        prompt_tokens: What the prompt takes, in tokens; None where unknown.
        completion_tokens: What was asked for as an answer, in tokens; None where unknown.
    """

    limit: int | None = None
    prompt_tokens: int | None = None
    completion_tokens: int | None = None


class TokenBudgetExceededError(ContextOverflowError):
    """The prompt and the room for an answer were counted here, and don't fit; nothing was sent.

    Attributes:
        excess: By how many tokens: so many have to be cut.
        heaviest: The messages that weigh most, or the prompt of several, as pairs of index and tokens, the heaviest
            first.
        template: The chat template it was counted with: of those that the model may have, the one that takes the fewest
            tokens. Empty for a text completion, which has none.
    """

    excess: int = 0
    heaviest: tuple[tuple[int, int], ...] = ()
    template: str = ""


class APIError(NemotronError):
    """Something came, or failed to come, from the server.

    Attributes:
        body: What the server sent: parsed JSON where it was JSON, else its text; None if there was nothing.
        request_id: The id to quote to whoever runs the server (``nvcf-reqid`` or ``x-request-id``).
        attempts: Every try, in order; the last one is the one that raised this.
        hint: What to do about it, where that is known.
    """

    def __init__(
        self,
        message: str,
        *,
        body: object = None,
        request_id: str | None = None,
        attempts: Sequence[Attempt] = (),
        hint: str | None = None,
    ) -> None:
        super().__init__(message)
        self.body = body
        self.request_id = request_id
        self.attempts: tuple[Attempt, ...] = tuple(attempts)
        self.hint = hint

    @property
    def took(self) -> float:
        """Seconds that all attempts took, with the waits between them."""
        return sum(attempt.waited + attempt.elapsed for attempt in self.attempts)

    def __str__(self) -> str:
        """Tell what happened, what to do, how often it was tried, and the id to quote."""
        lines = [self.message]
        if self.hint:
            lines.append(f"What to do: {self.hint}")
        tail: list[str] = []
        if len(self.attempts) > 1:
            tail.append(f"{len(self.attempts)} attempts")
        if self.request_id:
            tail.append(f"request id {self.request_id}")
        if tail:
            lines[0] += f" ({', '.join(tail)})"
        return "\n".join(lines)


class APIConnectionError(APIError):
    """No answer came: the connection was refused, reset, or could not be made.

    Attributes:
        may_pass: Whether it is a kind that goes by, and the request surely isn't running: another try may succeed.
    """

    may_pass: bool = False


class APITimeoutError(APIConnectionError):
    """No answer came in time."""


class InvalidResponseError(APIError):
    """The server said 200, but sent something else than what was asked for."""


class StreamInterruptedError(APIError):
    """Something went wrong after a stream began.

    Attributes:
        partial: The completion as far as it had arrived; a choice that had not ended has the ``finish_reason`` None.
    """

    partial: ChatCompletion | Completion | None = None


class StreamTimeoutError(StreamInterruptedError, APITimeoutError):
    """A stream began, and then nothing more came in time."""


class APIStatusError(APIError):
    """The server refused the request.

    Attributes:
        status_code: The HTTP status.
        code: The server's own code, where it has one.
        type: The server's own name for the error, where it has one.
        param: The parameter at fault, where the server says so.
        retry_after: Seconds that the server asks to wait, where it says so; a date counts from the answer's own Date.
        should_retry: Whether another try is welcome, where the server says so (``x-should-retry``).
    """

    status_code: int = 0
    code: str | int | None = None
    type: str | None = None
    param: str | None = None
    retry_after: float | None = None
    should_retry: bool | None = None


class BadRequestError(APIStatusError):
    """400: the server can't accept the request as it is."""


class ContextLengthExceededError(ContextOverflowError, BadRequestError):
    """400, sometimes 500: the server says that the prompt, or prompt and answer, don't fit its window."""


class AuthenticationError(APIStatusError):
    """401: no key, or not a valid one."""


class PaymentRequiredError(APIStatusError):
    """402: the account has no credits left."""


class PermissionDeniedError(APIStatusError):
    """403: the key is not allowed to use this model."""


class NotFoundError(APIStatusError):
    """404: no such route, no such model, or not for this account; the message tells which."""


class ConflictError(APIStatusError):
    """409: the request is at odds with another one."""


class ModelGoneError(APIStatusError):
    """410: the model has reached its end of life."""


class UnprocessableEntityError(APIStatusError):
    """422: a field of the request is not accepted."""


class RateLimitError(APIStatusError):
    """429: too many requests."""


class InternalServerError(APIStatusError):
    """5xx: the server failed."""


class GatewayTimeoutError(InternalServerError):
    """504: a gateway gave up waiting for the model."""


class DegradedError(InternalServerError):
    """400 "DEGRADED function cannot be invoked": an outage in the words of a caller's mistake."""


_BY_STATUS: dict[int, type[APIStatusError]] = {
    400: BadRequestError,
    401: AuthenticationError,
    402: PaymentRequiredError,
    403: PermissionDeniedError,
    404: NotFoundError,
    409: ConflictError,
    410: ModelGoneError,
    422: UnprocessableEntityError,
    429: RateLimitError,
    504: GatewayTimeoutError,
}


def status_error(status_code: int) -> type[APIStatusError]:
    """Return the class for an HTTP status that is not a success."""
    return _BY_STATUS.get(status_code) or (InternalServerError if status_code >= 500 else APIStatusError)
