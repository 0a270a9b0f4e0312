"""Whatever address a snippet talks to, the mock server answers; one that a snippet starts answers for itself."""

import ssl
from collections.abc import Iterator

import httpx2
import pytest

from nemotron_client.testing import MockServer


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[MockServer]:
    with MockServer() as server:
        monkeypatch.setenv("NVIDIA_BASE_URL", server.base_url)
        monkeypatch.setenv("NVIDIA_API_KEY", "nvapi-made-up")
        no_certificates = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)

        def without_them(**_: object) -> ssl.SSLContext:
            return no_certificates

        # A page names the certificates of a company that isn't here.
        monkeypatch.setattr(ssl, "create_default_context", without_them)
        port = httpx2.URL(server.base_url).port
        send, send_async = httpx2.HTTPTransport.handle_request, httpx2.AsyncHTTPTransport.handle_async_request

        def redirect(request: httpx2.Request) -> httpx2.Request:
            if request.url.host != "127.0.0.1":
                request.url = request.url.copy_with(scheme="http", host="127.0.0.1", port=port)
            return request

        def handle(transport: httpx2.HTTPTransport, request: httpx2.Request) -> httpx2.Response:
            return send(transport, redirect(request))

        async def handle_async(transport: httpx2.AsyncHTTPTransport, request: httpx2.Request) -> httpx2.Response:
            return await send_async(transport, redirect(request))

        monkeypatch.setattr(httpx2.HTTPTransport, "handle_request", handle)
        monkeypatch.setattr(httpx2.AsyncHTTPTransport, "handle_async_request", handle_async)
        yield server
