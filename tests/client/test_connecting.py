"""When no connection can be made: the error says which step failed and what to check."""

import socket
import ssl
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest

from nemotron_client import (
    APIConnectionError,
    APITimeoutError,
    AsyncNemotron,
    ConfigurationError,
    Nemotron,
    NotFoundError,
)
from nemotron_client.testing import MockServer, Reply
from tests.client.conftest import Clock, Connect, InProcess


@pytest.fixture
def closed_port() -> Iterator[int]:
    with socket.socket() as bound:  # and never listening
        bound.bind(("127.0.0.1", 0))
        yield bound.getsockname()[1]


async def test_refused(connect: Connect, closed_port: int, clock: Clock) -> None:
    client = connect(base_url=f"http://127.0.0.1:{closed_port}/v1")
    with pytest.raises(APIConnectionError, match=r"nothing listens there \(.*Errno 111") as caught:
        await client.create()
    assert f"127.0.0.1:{closed_port}" in str(caught.value)
    assert "the port in base_url" in (caught.value.hint or "")
    assert len(caught.value.attempts) == 3
    assert len(clock.waits) == 2


async def test_no_such_host(connect: Connect, clock: Clock) -> None:
    client = connect(base_url="https://nemotron.invalid/v1")  # never in DNS (RFC 2606)
    with pytest.raises(APIConnectionError, match="the host name could not be found") as caught:
        await client.create(max_retries=1)
    assert "typing mistake" in (caught.value.hint or "")
    assert len(clock.waits) == 1


@pytest.mark.parametrize(
    "proxy", ["localhost:3128", "ftp://localhost", "http://local\0host", "socks5://localhost:1080"]
)
async def test_a_proxy_that_can_not_be_used_is_told(
    proxy: str, connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "socksio", None)  # as where nobody has installed it
    with pytest.raises(ConfigurationError, match="proxy"):  # at once, or when it is first needed
        await connect(proxy=proxy).create()


async def test_a_proxy_is_used(connect: Connect, server: MockServer) -> None:
    client = connect(base_url="http://nemotron.svc/v1", proxy=server.base_url.removesuffix("/v1"))
    with pytest.raises(NotFoundError):  # the mock server is no proxy
        await client.create()
    assert server.requests[0].headers["host"] == "nemotron.svc"


async def test_tls_can_be_left_unchecked_or_checked_by_a_bundle_of_ones_own(
    connect: Connect,
) -> None:
    bundle = ssl.get_default_verify_paths().openssl_cafile
    assert (await connect(verify=False).create()).text
    assert (await connect(verify=bundle).create()).text
    assert (await connect(verify=Path(bundle)).create()).text


async def test_a_ca_bundle_that_cannot_be_read_is_told_at_once(connect: Connect, tmp_path: Path) -> None:
    empty = tmp_path / "empty.pem"
    empty.write_text("")
    for path in (str(empty), empty, str(tmp_path / "missing.pem"), tmp_path, "no\0path"):
        with pytest.raises(ConfigurationError, match="is no CA bundle that can be read"):
            connect(verify=path)


@pytest.mark.parametrize("verify", [0, "", None, 5], ids=repr)
def test_what_certificates_cannot_be_checked_by_is_told_at_once(verify: object) -> None:
    given: Any = verify
    for kind in (Nemotron, AsyncNemotron):
        with pytest.raises(ConfigurationError, match=f"verify={verify!r}: give True or False, the path"):
            kind(base_url="http://localhost:8000/v1", verify=given)


async def test_tls_with_a_server_that_talks_none(connect: Connect, server: MockServer, clock: Clock) -> None:
    client = connect(base_url=server.base_url.replace("http:", "https:"))
    with pytest.raises(APIConnectionError, match="TLS failed") as caught:
        await client.create()
    assert "plain http" in (caught.value.hint or "")
    assert len(caught.value.attempts) == 1
    assert clock.waits == []


async def test_http_with_a_server_that_talks_something_else(connect: Connect) -> None:
    def greet() -> None:
        peer, _ = listener.accept()
        with peer:
            peer.sendall(b"220 mail.example ESMTP\r\n\r\n")
            while peer.recv(65536):
                pass

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=greet)
        thread.start()
        client = connect(base_url=f"http://127.0.0.1:{listener.getsockname()[1]}/v1", timeout=5)
        with pytest.raises(APIConnectionError, match=r"not HTTP as it should be \(.*220 mail") as caught:
            await client.create()
        thread.join()
    assert len(caught.value.attempts) == 1
    assert "write https://" in (caught.value.hint or "")


async def test_http_with_a_server_that_talks_tls_and_hangs_up(
    connect: Connect, server: MockServer, clock: Clock
) -> None:
    server.always(Reply(status=0, end="reset"))
    with pytest.raises(APIConnectionError, match="closed before an answer came") as caught:
        await connect().create()
    assert "write https://" in (caught.value.hint or "")
    assert len(clock.waits) == 2


class ConnectError(Exception):
    """An application's own, raised in a hook of its HTTP client."""


async def test_an_error_of_the_callers_is_none_of_the_http_librarys_whatever_its_name(in_process: InProcess) -> None:
    def fail(_: httpx2.Request) -> httpx2.Response:
        raise ConnectError

    with pytest.raises(ConnectError):
        await in_process(fail).create()


@pytest.mark.parametrize(
    ("raised", "kind", "message"),
    [
        (httpx2.ConnectError("unreachable"), APIConnectionError, r"no connection could be made \(unreachable\)"),
        (httpx2.ProxyError("407"), APIConnectionError, "the proxy failed"),
        (httpx2.UnsupportedProtocol("gopher"), APIConnectionError, "not HTTP as it should be"),
        (httpx2.PoolTimeout("full"), APITimeoutError, "not done in time"),
        (httpx2.ConnectTimeout(""), APITimeoutError, r"no connection in time after 2.5 s \(ConnectTimeout\)"),
        (httpx2.ReadError("gone"), APIConnectionError, "closed before an answer came"),
    ],
    ids=lambda each: type(each).__name__ if isinstance(each, Exception) else "",
)
async def test_what_an_http_client_raises_is_told_in_our_words(
    raised: Exception, kind: type[Exception], message: str, in_process: InProcess, clock: Clock
) -> None:
    clock.stop()  # as a slow machine would take longer

    def fail(_: httpx2.Request) -> httpx2.Response:
        clock.sleep(2.5)
        raise raised

    with pytest.raises(kind, match=message):
        await in_process(fail, max_retries=0).create()


async def test_the_causes_of_a_group_are_looked_into(in_process: InProcess) -> None:
    """As anyio raises it when a name has several addresses."""

    def fail(_: httpx2.Request) -> httpx2.Response:
        causes = [ConnectionRefusedError(111, "Connection refused"), OSError("unreachable")]
        raise httpx2.ConnectError("All failed") from ExceptionGroup("several", causes)

    with pytest.raises(APIConnectionError, match="nothing listens there"):
        await in_process(fail, max_retries=0).create()


async def test_what_is_no_matter_of_the_network_is_not_hidden(in_process: InProcess) -> None:
    def fail(_: httpx2.Request) -> httpx2.Response:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await in_process(fail).create()
