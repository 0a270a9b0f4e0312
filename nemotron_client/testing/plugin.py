"""What the fixtures of `nemotron_client_pytest` do, imported when the first of them is used."""

import hashlib
import re
from collections.abc import Callable, Generator, Iterable
from contextlib import ExitStack
from typing import TYPE_CHECKING, TypeAlias

import pytest

from nemotron_client.testing.cassettes import Cassette
from nemotron_client.testing.fake import FakeServer
from nemotron_client.testing.guard import GUARD
from nemotron_client.testing.redaction import Redaction

if TYPE_CHECKING:
    from nemotron_client.testing.server import MockServer

Explain: TypeAlias = Callable[[BaseException], None]

_BROKEN = pytest.StashKey[bool]()  # so far, or a part of it
_FAILED = pytest.StashKey[bool]()  # or was skipped
_EXPLAINING = pytest.StashKey[list[Explain]]()
_OUTCOMES = "nemotron_outcomes"
_LONGEST_NAME = 100


class _Outcomes:
    """Keep in mind which tests have failed, and have their fixtures say what may be why."""

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_makereport(
        self, item: pytest.Item, call: pytest.CallInfo[None]
    ) -> Generator[None, pytest.TestReport, pytest.TestReport]:
        if call.when == "setup":
            item.stash[_BROKEN] = False
        if call.excinfo is not None:  # also that of a subtest, after which the test goes on
            for explain in item.stash.get(_EXPLAINING, list[Explain]()):
                explain(call.excinfo.value)
        report = yield
        # There is none of the setup if the first fixture of these was asked for in the test.
        item.stash[_BROKEN] = item.stash.get(_BROKEN, False) or report.failed
        item.stash[_FAILED] = item.stash[_BROKEN] or call.excinfo is not None
        return report


def fake(request: pytest.FixtureRequest) -> Generator[FakeServer]:
    """Give a fake server; a mistake in its script fails the test."""
    server = FakeServer()
    failed = _outcome(request, server.explain)
    yield server
    server.close(failed=failed())


def server(request: pytest.FixtureRequest) -> "Generator[MockServer]":
    """Give a server; a mistake in its script fails the test."""
    from nemotron_client.testing.server import MockServer  # needs uvicorn, which the others don't

    server = MockServer().start()
    failed = _outcome(request, server.explain)
    yield server
    server.close(failed=failed())


def cassette(request: pytest.FixtureRequest, redact: Iterable[Redaction]) -> Generator[Cassette]:
    """Give the test's own cassette, in the mode that the command line names."""
    path = request.path.parent / "cassettes" / request.path.stem / f"{cassette_name(request.node.nodeid)}.json"
    cassette = Cassette(path, request.config.option.nemotron_cassettes, redact=redact)
    failed = _outcome(request, cassette.explain)
    with ExitStack() as stack:
        if not cassette.plays:
            stack.enter_context(GUARD.paused())
        yield cassette
    cassette.close(failed=failed())


def cassette_name(node: str) -> str:
    """Return a file's name for a test, in which nothing leads to another folder and no two tests meet.

    Args:
        node: The test's id, such as "tests/test_app.py::TestChat::test_hello[fast]".
    """
    name = node.partition("::")[2]
    test, bracket, parameters = name.partition("[")
    # Only once: no test has a hyphen or a dot in its own name, but parameters may have all of these.
    simple = test.replace("::", ".") + (f"-{parameters.removesuffix(']')}" if bracket else "")
    plain = re.sub(r"[^A-Za-z0-9_.-]+", "-", simple)
    if plain == simple and len(plain) <= _LONGEST_NAME:
        return plain
    return f"{plain[:_LONGEST_NAME]}-{hashlib.blake2b(name.encode(), digest_size=4).hexdigest()}"


def _outcome(request: pytest.FixtureRequest, explain: Explain) -> Callable[[], bool]:
    """Have a failure of the test explained; return what tells whether it has failed."""
    manager = request.config.pluginmanager
    if not manager.has_plugin(_OUTCOMES):
        manager.register(_Outcomes(), _OUTCOMES)
    item: pytest.Item = request.node
    item.stash.setdefault(_EXPLAINING, []).append(explain)
    return lambda: item.stash.get(_FAILED, False)
