"""The Python SDK for NVIDIA's mistralai/mistral-nemotron.

from nemotron_client import Nemotron

client = Nemotron()  # NVIDIA_API_KEY
print(client.chat.completions.create(messages="Say hello").text)
"""

from typing import TYPE_CHECKING

from .client import Nemotron
from .config import __version__
from .errors import (
    APIConnectionError,
    APIError,
    APIStatusError,
    APITimeoutError,
    Attempt,
    AuthenticationError,
    BadRequestError,
    ConfigurationError,
    ConflictError,
    ContextLengthExceededError,
    ContextOverflowError,
    DegradedError,
    GatewayTimeoutError,
    InternalServerError,
    InvalidRequestError,
    InvalidResponseError,
    ModelDeprecationWarning,
    ModelGoneError,
    NemotronError,
    NotFoundError,
    PaymentRequiredError,
    PermissionDeniedError,
    RateLimitError,
    StreamInterruptedError,
    StreamTimeoutError,
    UnprocessableEntityError,
)
from .events import (
    DeprecationNoticed,
    Finished,
    HookEvent,
    PollScheduled,
    RateLimited,
    ReasoningDelta,
    RequestSent,
    ResponseReceived,
    RetryScheduled,
    StreamEvent,
    TextDelta,
    TextDone,
    ToolCallDelta,
    ToolCallDone,
    UsageReported,
)
from .messages import (
    AssistantMessage,
    ChatCompletion,
    ChatCompletionChunk,
    Choice,
    Completion,
    FunctionCall,
    Message,
    Model,
    ModelList,
    Readiness,
    ResponseInfo,
    ServerVersion,
    SystemMessage,
    ToolCall,
    ToolMessage,
    Usage,
    UserMessage,
)
from .options import ChatOptions, StreamOptions, TextOptions
from .retry import RetryPolicy
from .streams import AsyncChatStream, AsyncStream, ChatStream, Stream
from .timeouts import Timeout

if TYPE_CHECKING:
    from .async_client import AsyncNemotron
else:

    def __getattr__(name: str) -> object:
        """Import the asynchronous client when it is first asked for: blocking programs need no anyio."""
        if name == "AsyncNemotron":
            from .async_client import AsyncNemotron

            globals()[name] = AsyncNemotron
            return AsyncNemotron
        msg = f"module {__name__!r} has no attribute {name!r}"
        raise AttributeError(msg)


__all__ = [
    "APIConnectionError",
    "APIError",
    "APIStatusError",
    "APITimeoutError",
    "AssistantMessage",
    "AsyncChatStream",
    "AsyncNemotron",
    "AsyncStream",
    "Attempt",
    "AuthenticationError",
    "BadRequestError",
    "ChatCompletion",
    "ChatCompletionChunk",
    "ChatOptions",
    "ChatStream",
    "Choice",
    "Completion",
    "ConfigurationError",
    "ConflictError",
    "ContextLengthExceededError",
    "ContextOverflowError",
    "DegradedError",
    "DeprecationNoticed",
    "Finished",
    "FunctionCall",
    "GatewayTimeoutError",
    "HookEvent",
    "InternalServerError",
    "InvalidRequestError",
    "InvalidResponseError",
    "Message",
    "Model",
    "ModelDeprecationWarning",
    "ModelGoneError",
    "ModelList",
    "Nemotron",
    "NemotronError",
    "NotFoundError",
    "PaymentRequiredError",
    "PermissionDeniedError",
    "PollScheduled",
    "RateLimitError",
    "RateLimited",
    "Readiness",
    "ReasoningDelta",
    "RequestSent",
    "ResponseInfo",
    "ResponseReceived",
    "RetryPolicy",
    "RetryScheduled",
    "ServerVersion",
    "Stream",
    "StreamEvent",
    "StreamInterruptedError",
    "StreamOptions",
    "StreamTimeoutError",
    "SystemMessage",
    "TextDelta",
    "TextDone",
    "TextOptions",
    "Timeout",
    "ToolCall",
    "ToolCallDelta",
    "ToolCallDone",
    "ToolMessage",
    "UnprocessableEntityError",
    "Usage",
    "UsageReported",
    "UserMessage",
    "__version__",
]
