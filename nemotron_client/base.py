"""What the two clients have in common: all that is no I/O."""

from __future__ import annotations

from typing import TYPE_CHECKING, Generic, NoReturn, Self, TypeVar

from ._engine import counting
from ._engine.sending import Client
from .config import UNCHANGED

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from .budget import BudgetReport, Fitted, TokenBudget
    from .messages import Message
    from .options import Function
    from .retry import RetryPolicy
    from .timeouts import Timeout
    from .tokens import TokenCount

DriverT = TypeVar("DriverT")


class BaseClient(Generic[DriverT]):
    """A client's settings, and its copies with others."""

    _client: Client
    _driver: DriverT
    _owns: bool

    def _set(self, client: Client, driver: DriverT, *, owns: bool) -> None:
        self._client, self._driver, self._owns = client, driver, owns

    def with_options(
        self,
        *,
        model: str | None = None,
        timeout: Timeout | float | None = UNCHANGED,
        max_retries: int | None = None,
        retry: RetryPolicy | None = None,
        budget: TokenBudget | None = None,
    ) -> Self:
        """Return a client with other settings that shares this one's connections; closing it closes nothing.

        Args:
            model: The model's name.
            timeout: A Timeout; a number of seconds for everything; or None for no limit.
            max_retries: How often an outage is tried again.
            retry: When a failed request is sent again.
            budget: How many tokens a request may take.

        Raises:
            ConfigurationError: A setting is not possible.
        """
        config = self._client.config.changed(model, timeout, max_retries, retry, budget)
        copy = type(self).__new__(type(self))
        copy._set(Client(config, self._client.shared), self._driver, owns=False)  # noqa: SLF001 - of the same class
        return copy

    def __repr__(self) -> str:
        """Show where it talks to, and no key."""
        if not hasattr(self, "_client"):  # as in the traceback of the error that kept it from being made
            return f"{type(self).__name__}()"
        config, served = self._client.config, self._client.shared.served
        model = config.model or (served.id if served else None)
        shown = "<asked of the server>" if model is None else repr(model)
        return f"{type(self).__name__}(base_url={config.base_url!r}, model={shown})"

    def __reduce__(self) -> NoReturn:
        """Refuse: a pickle would carry the key, and connections can't be carried.

        Raises:
            TypeError: Always.
        """
        msg = f"{type(self).__name__} can't be pickled or copied: it holds a key and connections. Make another one."
        raise TypeError(msg)


class LocalTokens:
    """Counting that asks nobody, and so is the same in both clients."""

    _client: Client

    def count(
        self, messages: str | Sequence[Message], *, tools: Sequence[Function | Mapping[str, object]] | None = None
    ) -> TokenCount:
        """Count the tokens of a conversation, here, as ``create`` would send it: put right where it has to be.

        Args:
            messages: The conversation; a string is one user message. An assistant's at the end is taken for one that is
                to be continued; what ``create`` would refuse is counted as it is.
            tools: What is offered with it.

        Returns:
            The count, by the template that takes the most of those that the model may have.

        Raises:
            InvalidRequestError: A message is none.
            ToolDefinitionError: A tool can't be offered.
        """
        return self.check(messages=messages, tools=tools).most

    def check(
        self,
        messages: str | Sequence[Message],
        *,
        tools: Sequence[Function | Mapping[str, object]] | None = None,
        max_tokens: int | None = None,
    ) -> BudgetReport:
        """Compare a conversation with the budget, here; it is counted as by ``count``.

        The window of a server of one's own is known once a call has needed it, or ``models.list()`` was called; until
        then it is taken for 131,072.

        Args:
            messages: The conversation; a string is one user message.
            tools: What is offered with it.
            max_tokens: How long the answer may be; by default the budget's reserve.

        Returns:
            What it takes, what is left, and whether it fits; prints as a table.

        Raises:
            InvalidRequestError: A message is none, or ``max_tokens`` is not possible.
            ToolDefinitionError: A tool can't be offered.
        """
        return counting.check(self._client, messages, tools, max_tokens)

    def fit(
        self,
        messages: str | Sequence[Message],
        *,
        tools: Sequence[Function | Mapping[str, object]] | None = None,
        max_tokens: int | None = None,
    ) -> Fitted:
        """Drop the oldest messages until the rest fits, here; the limit is that of ``check``.

        Args:
            messages: The conversation; a string is one user message.
            tools: What is offered with it.
            max_tokens: How long the answer may be; by default the budget's reserve.

        Returns:
            The messages that fit, whichever of its templates the model has, and those that were dropped.

        Raises:
            TokenBudgetExceededError: What has to stay overflows by one of them.
            InvalidConversationError: A message breaks a rule of the model and can't be put right.
            InvalidRequestError: A message is none, or ``max_tokens`` is not possible.
            ToolDefinitionError: A tool can't be offered.
        """
        return counting.fit(self._client, messages, tools, max_tokens)
