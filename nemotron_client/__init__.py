"""The Python SDK for NVIDIA's mistralai/mistral-nemotron.

from nemotron_client import Nemotron

client = Nemotron()  # NVIDIA_API_KEY
print(client.chat.completions.create(messages="Say hello").text)
"""

from typing import TYPE_CHECKING

from .budget import BudgetReport, Fitted, TokenBudget
from .client import Nemotron
from .completions import ChatCompletion, ChatCompletionChunk, Choice, Completion, ParsedCompletion, ResponseInfo, Usage
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
    InvalidConversationError,
    InvalidRequestError,
    InvalidResponseError,
    ModelDeprecationWarning,
    ModelGoneError,
    NemotronError,
    NotFoundError,
    PaymentRequiredError,
    PermissionDeniedError,
    RateLimitError,
    ResponseFormatError,
    StreamInterruptedError,
    StreamTimeoutError,
    TokenBudgetExceededError,
    TokenBudgetWarning,
    ToolArgumentsError,
    ToolDefinitionError,
    ToolError,
    UnprocessableEntityError,
)
from .events import (
    BudgetWarned,
    ConversationFitted,
    ConversationRepaired,
    DeprecationNoticed,
    Finished,
    HookEvent,
    ParsedDelta,
    ParsedDone,
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
from .messages import AssistantMessage, FunctionCall, Message, Repair, SystemMessage, ToolCall, ToolMessage, UserMessage
from .options import ChatOptions, ParseOptions, RunOptions, StreamOptions, TextOptions
from .retry import RetryPolicy
from .servers import Model, ModelList, Readiness, ServerVersion
from .streams import AsyncChatStream, AsyncStream, AsyncUnopenedStream, ChatStream, Stream, UnopenedStream
from .timeouts import Timeout

if TYPE_CHECKING:
    from ._transport.claims import FileClaims
    from .async_client import AsyncNemotron
    from .loop import ToolLoop
    from .parsestreams import AsyncParseStream, ParseEvent, ParseStream
    from .runs import Approval, PendingCall, ToolResult, ToolRun
    from .tokens import TokenCount, TokenCounter
    from .tools import Tool, ToolContext, tool
    from .toolstreams import (
        AsyncToolStream,
        RunEvent,
        RunFinished,
        ToolFinished,
        ToolStarted,
        ToolStream,
        TurnFinished,
    )
else:
    # What a blocking program's first request doesn't need: imported when it is asked for.
    _LATER = {
        "Approval": "runs",
        "AsyncNemotron": "async_client",
        "AsyncParseStream": "parsestreams",
        "AsyncToolStream": "toolstreams",
        "FileClaims": "_transport.claims",
        "ParseEvent": "parsestreams",
        "ParseStream": "parsestreams",
        "PendingCall": "runs",
        "RunEvent": "toolstreams",
        "RunFinished": "toolstreams",
        "TokenCount": "tokens",
        "TokenCounter": "tokens",
        "Tool": "tools",
        "ToolContext": "tools",
        "ToolFinished": "toolstreams",
        "ToolLoop": "loop",
        "ToolResult": "runs",
        "ToolRun": "runs",
        "ToolStarted": "toolstreams",
        "ToolStream": "toolstreams",
        "TurnFinished": "toolstreams",
        "tool": "tools",
    }

    def __getattr__(name: str) -> object:
        if name not in _LATER:
            msg = f"module {__name__!r} has no attribute {name!r}"
            raise AttributeError(msg)
        from importlib import import_module

        found = getattr(import_module(f"{__name__}.{_LATER[name]}"), name)
        globals()[name] = found
        return found


__all__ = [
    "APIConnectionError",
    "APIError",
    "APIStatusError",
    "APITimeoutError",
    "Approval",
    "AssistantMessage",
    "AsyncChatStream",
    "AsyncNemotron",
    "AsyncParseStream",
    "AsyncStream",
    "AsyncToolStream",
    "AsyncUnopenedStream",
    "Attempt",
    "AuthenticationError",
    "BadRequestError",
    "BudgetReport",
    "BudgetWarned",
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
    "ConversationFitted",
    "ConversationRepaired",
    "DegradedError",
    "DeprecationNoticed",
    "FileClaims",
    "Finished",
    "Fitted",
    "FunctionCall",
    "GatewayTimeoutError",
    "HookEvent",
    "InternalServerError",
    "InvalidConversationError",
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
    "ParseEvent",
    "ParseOptions",
    "ParseStream",
    "ParsedCompletion",
    "ParsedDelta",
    "ParsedDone",
    "PaymentRequiredError",
    "PendingCall",
    "PermissionDeniedError",
    "PollScheduled",
    "RateLimitError",
    "RateLimited",
    "Readiness",
    "ReasoningDelta",
    "Repair",
    "RequestSent",
    "ResponseFormatError",
    "ResponseInfo",
    "ResponseReceived",
    "RetryPolicy",
    "RetryScheduled",
    "RunEvent",
    "RunFinished",
    "RunOptions",
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
    "TokenBudget",
    "TokenBudgetExceededError",
    "TokenBudgetWarning",
    "TokenCount",
    "TokenCounter",
    "Tool",
    "ToolArgumentsError",
    "ToolCall",
    "ToolCallDelta",
    "ToolCallDone",
    "ToolContext",
    "ToolDefinitionError",
    "ToolError",
    "ToolFinished",
    "ToolLoop",
    "ToolMessage",
    "ToolResult",
    "ToolRun",
    "ToolStarted",
    "ToolStream",
    "TurnFinished",
    "UnopenedStream",
    "UnprocessableEntityError",
    "Usage",
    "UsageReported",
    "UserMessage",
    "__version__",
    "tool",
]
