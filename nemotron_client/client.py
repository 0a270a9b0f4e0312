"""The blocking client: what it is told, and its parts."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Self

from ._engine.sending import Client, Shared
from ._transport.blocking import Blocking
from ._transport.observe import observer
from .base import BaseClient
from .budget import TokenBudget
from .chat import Chat
from .config import UNCHANGED, hidden, resolve
from .resources import Models, Server, TextCompletions, Tokens
from .retry import RetryPolicy
from .timeouts import Timeout

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from types import TracebackType

    from ._transport.clients import Verify
    from ._transport.http import HTTPClient
    from .events import HookEvent


class Nemotron(BaseClient[Blocking]):
    """Talk to mistral-nemotron, hosted by NVIDIA or on a server of one's own.

    Thread-safe; make one and keep it. Use it in ``with``, or ``close()`` it.

    Attributes:
        chat: ``chat.completions.create``, ``.stream``, ``.parse``, ``.run_tools``, ...
        completions: ``completions.create``, for a bare prompt.
        models: ``models.list`` and ``.retrieve``.
        tokens: ``tokens.count``, ``.check``, ``.fit``, ``.count_on_server``.
        server: ``server.ready``, ``.live``, ``.wait_until_ready``, ``.version``, ``.metadata``.
    """

    def __init__(
        self,
        *,
        api_key: str | None = None,
        base_url: str | None = None,
        model: str | None = None,
        timeout: Timeout | float | None = UNCHANGED,
        max_retries: int | None = None,
        retry: RetryPolicy | None = None,
        budget: TokenBudget | None = None,
        headers: Mapping[str, str] | None = None,
        proxy: str | None = None,
        verify: Verify = True,
        http_client: HTTPClient | None = None,
        on_event: Callable[[HookEvent], object] | None = None,
        allow_insecure: bool = False,
    ) -> None:
        """Settle where to talk to; nothing is sent yet.

        Args:
            api_key: The key; by default NVIDIA_API_KEY, which goes only to NVIDIA or to NVIDIA_BASE_URL.
            base_url: Where the API is, up to ``/v1``; by default NVIDIA_BASE_URL, or else NVIDIA's endpoint.
            model: The model's name; by default mistralai/mistral-nemotron there, and what a server of one's own says
                it serves.
            timeout: A Timeout; a number of seconds for everything; or None for no limit.
            max_retries: How often an outage is tried again; 0 turns off the waiting out of 429s too.
            retry: When a failed request is sent again.
            budget: How many tokens a request may take, and what happens to one that would take more.
            headers: Sent with every request.
            proxy: The URL of a proxy; by default what HTTPS_PROXY and the like say.
            verify: Whether and by what to check TLS certificates: a CA bundle's path, an SSLContext, or False for not
                at all.
            http_client: An ``httpx2.Client`` or ``httpx.Client`` to use in place of an own one; it is not closed here.
            on_event: Called with each request, answer, retry and wait.
            allow_insecure: Send prompts and key over plain http to a host that may be public.

        Raises:
            ConfigurationError: Something is missing or can't be.
        """
        environment, api_key, headers, proxy, wrong = hidden(os.environ, api_key, headers, proxy)
        if wrong is not None:
            raise wrong
        config = resolve(
            environment,
            api_key=api_key,
            base_url=base_url,
            model=model,
            timeout=timeout,
            max_retries=max_retries,
            retry=retry,
            headers=headers,
            budget=budget,
            allow_insecure=allow_insecure,
        )
        driver = Blocking(http_client, proxy=proxy, verify=verify)
        self._set(Client(config, Shared(observer(on_event))), driver, owns=True)

    def _set(self, client: Client, driver: Blocking, *, owns: bool) -> None:
        super()._set(client, driver, owns=owns)
        self.chat: Chat = Chat(client, driver)
        self.completions: TextCompletions = TextCompletions(client, driver)
        self.models: Models = Models(client, driver)
        self.tokens: Tokens = Tokens(client, driver)
        self.server: Server = Server(client, driver)

    def close(self) -> None:
        """Close the connections; an ``http_client`` that was given stays open."""
        if self._owns:
            self._driver.close()

    aclose = close

    def __enter__(self) -> Self:
        """Give the client."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the connections."""
        self.close()
