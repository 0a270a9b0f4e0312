"""The pytest plugin of `nemotron_client`: fixtures, a network guard, and the option that records cassettes.

It stands outside the package, as Hypothesis' plugin does, because pytest loads the plugins of all that is installed:
importing anything within `nemotron_client` would import the client, for every project that has it and tests something
else. So nothing of it is imported here, before a fixture is used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Generator, Iterable

    from nemotron_client.testing import Cassette, FakeServer, MockServer
    from nemotron_client.testing.redaction import Redaction


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add what the command line and the configuration file may say."""
    parser.getgroup("nemotron-client").addoption(
        "--nemotron-cassettes",
        choices=("replay", "auto", "record", "off"),
        default="replay",
        help="replay cassettes (default), record those that are missing (auto), record all anew, or use none (off)",
    )
    parser.addini("nemotron_guard", "refuse connections that leave this machine, in every test", "bool", default=False)


def pytest_configure(config: pytest.Config) -> None:
    """Begin to guard, if the configuration file says so."""
    config.addinivalue_line("markers", "nemotron_network: let this test through the network guard")
    if config.getini("nemotron_guard"):
        from nemotron_client.testing.guard import Everywhere

        config.pluginmanager.register(Everywhere(), "nemotron_guard")


@pytest.fixture
def nemotron_fake(request: pytest.FixtureRequest) -> Generator[FakeServer]:
    """Give a `FakeServer`: a server in the process, without sockets."""
    from nemotron_client.testing import plugin

    yield from plugin.fake(request)


@pytest.fixture
def nemotron_server(request: pytest.FixtureRequest) -> Generator[MockServer]:
    """Give a `MockServer`: a real HTTP server on a free loopback port."""
    from nemotron_client.testing import plugin

    yield from plugin.server(request)


@pytest.fixture
def nemotron_cassette(request: pytest.FixtureRequest, nemotron_redact: Iterable[Redaction]) -> Generator[Cassette]:
    """Give the test's own `Cassette`, in the mode that --nemotron-cassettes names."""
    from nemotron_client.testing import plugin

    yield from plugin.cassette(request, nemotron_redact)


@pytest.fixture(scope="session")
def nemotron_redact() -> Iterable[Redaction]:
    """Override this to have more taken out of cassettes: texts as they stand, or patterns."""
    return ()


@pytest.fixture
def nemotron_guard(request: pytest.FixtureRequest) -> Generator[None]:
    """Refuse connections that leave this machine."""
    from nemotron_client.testing.guard import GUARD, guarding

    with guarding(request.node):
        yield
        GUARD.tell()  # what fixtures met after the test
