"""Asking a server about itself: its models, whether it is ready, its version; and which model it serves."""

import socket
from collections.abc import Iterator

import httpx2
import pytest
from anyio import Event, create_task_group, fail_after
from anyio.lowlevel import checkpoint

from nemotron_client import (
    APIConnectionError,
    APITimeoutError,
    AuthenticationError,
    ConfigurationError,
    InternalServerError,
    InvalidResponseError,
    ModelGoneError,
    NotFoundError,
    RateLimitError,
)
from nemotron_client.testing import MockServer, Reply, error, problem
from tests.client.conftest import Clock, Connect, InProcess
from tests.client.either import Either, in_thread

NO_ROUTE = Reply(status=404, body={"detail": "Not Found"})
NIM_ROUTES = ("/v1/health/ready", "/v1/health/live", "/v1/version", "/v1/metadata")
VLLM_ROUTES = ("/health", "/version")


@pytest.fixture
def vllm(server: MockServer) -> MockServer:
    for path in NIM_ROUTES:
        server.always(NO_ROUTE, path=path)
    return server


@pytest.fixture
def bare(vllm: MockServer) -> MockServer:
    """Only the API itself is there."""
    for path in VLLM_ROUTES:
        vllm.always(NO_ROUTE, path=path)
    return vllm


@pytest.fixture
def closed_port() -> Iterator[int]:
    with socket.socket() as bound:  # and never listening
        bound.bind(("127.0.0.1", 0))
        yield bound.getsockname()[1]


def paths(server: MockServer) -> list[str]:
    return [request.path for request in server.requests]


async def test_a_nim_is_asked_by_its_own_routes(client: Either, server: MockServer) -> None:
    ready = await client.ready()
    assert ready
    assert (ready.detail, ready.status_code) == ("ready", 200)
    assert await client.live()
    version = await client.version()
    assert (version.version, version.api) == ("2.1.5", "2.1.5")
    assert (await client.metadata())["version"] == "2.1.5"
    assert paths(server) == list(NIM_ROUTES)
    assert server.posts == 0


async def test_vllm_is_asked_by_its_own_routes(client: Either, vllm: MockServer) -> None:
    assert await client.ready()
    assert await client.live()
    assert (await client.version()).version == "0.32.0"
    with pytest.raises(NotFoundError):
        await client.metadata()
    assert [path for path in paths(vllm) if path not in NIM_ROUTES] == ["/health", "/health", "/version"]


async def test_a_server_with_neither_is_asked_for_its_models(client: Either, bare: MockServer) -> None:
    assert await client.ready()
    assert paths(bare)[-1] == "/v1/models"
    assert not await client.live()
    with pytest.raises(NotFoundError):
        await client.version()


@pytest.mark.parametrize("status", [500, 503])
async def test_a_server_that_is_loading_is_not_ready(status: int, client: Either, server: MockServer) -> None:
    server.always(Reply(status=status, body="Loading"), path="/v1/health/ready")
    ready = await client.ready()
    assert not ready
    assert ready.status_code == status
    assert "Loading" in ready.detail
    assert len(server.requests) == 1


async def test_a_server_that_is_not_there_is_not_ready(connect: Connect, closed_port: int) -> None:
    client = connect(base_url=f"http://127.0.0.1:{closed_port}/v1")
    ready = await client.ready()
    assert not ready
    assert ready.status_code is None
    assert "nothing listens there" in ready.detail
    assert not await client.live()
    with pytest.raises(APIConnectionError):
        await client.version()


async def test_a_version_that_is_none_is_told(client: Either, server: MockServer) -> None:
    server.reply(Reply(body="<html>"), path="/v1/version")
    with pytest.raises(InvalidResponseError, match="HTML"):
        await client.version()


async def test_waiting_ends_when_the_server_is_ready(client: Either, server: MockServer, clock: Clock) -> None:
    loading = Reply(status=503, body="Loading")
    server.reply(loading, loading, loading, path="/v1/health/ready")
    assert await client.wait_until_ready()
    assert clock.waits == pytest.approx([0.5, 0.75, 1.125])


async def test_waiting_ends_when_the_time_is_up(client: Either, server: MockServer, clock: Clock) -> None:
    server.always(Reply(status=503, body="Loading"), path="/v1/health/ready")
    with pytest.raises(APITimeoutError, match=r"not ready within 20 s\. It last said: 503 .*Loading"):
        await client.wait_until_ready(20)
    assert 15 < sum(clock.waits) <= 20


class TestHosted:
    """The hosted model is asked by the free GET /v1/models/{model}."""

    async def test_ready(self, in_process: InProcess) -> None:
        urls: list[str] = []

        def answer(request: httpx2.Request) -> httpx2.Response:
            urls.append(f"{request.method} {request.url}")
            return httpx2.Response(200, json={"id": "m"})

        assert await in_process(answer).ready()
        assert urls == ["GET https://integrate.api.nvidia.com/v1/models/mistralai/mistral-nemotron"]

    @pytest.mark.parametrize(
        ("status", "kind"), [(404, NotFoundError), (410, ModelGoneError), (401, AuthenticationError)]
    )
    async def test_what_waiting_does_not_help(
        self, status: int, kind: type[Exception], in_process: InProcess, clock: Clock
    ) -> None:
        client = in_process(lambda _: httpx2.Response(status, text="No"))
        with pytest.raises(kind):
            await client.ready()
        with pytest.raises(kind):
            await client.wait_until_ready()
        assert clock.waits == []

    @pytest.mark.parametrize("status", [429, 500, 503])
    async def test_what_may_pass(self, status: int, in_process: InProcess, clock: Clock) -> None:
        answers = iter([httpx2.Response(status), httpx2.Response(status), httpx2.Response(200)])
        client = in_process(lambda _: next(answers))
        ready = await client.ready()
        assert (ready.ready, ready.status_code) == (False, status)
        assert await client.wait_until_ready()
        assert clock.waits == [0.5]

    async def test_an_answer_put_aside_is_asked_for_at_nvidias_own_host(
        self, in_process: InProcess, clock: Clock
    ) -> None:
        seen: list[tuple[str, str]] = []

        def answer(request: httpx2.Request) -> httpx2.Response:
            seen.append((f"{request.method} {request.url}", request.headers["authorization"]))
            if len(seen) < 3:
                return httpx2.Response(202, headers={"nvcf-reqid": "r-1", "location": "https://elsewhere.example"})
            return httpx2.Response(200, json={"choices": [{"message": {"content": "Hi"}}]})

        assert (await in_process(answer).create()).text == "Hi"
        status = ("GET https://api.nvcf.nvidia.com/v2/nvcf/pexec/status/r-1", "Bearer made-up")
        assert seen[1:] == [status, status]
        assert clock.waits == [0.5, 1.0]

    async def test_its_model_needs_no_question(self, in_process: InProcess) -> None:
        bodies: list[bytes] = []

        def answer(request: httpx2.Request) -> httpx2.Response:
            bodies.append(request.content)
            return httpx2.Response(200, json={"choices": [{}]})

        await in_process(answer).create()
        assert b'"model":"mistralai/mistral-nemotron"' in bodies[0]
        assert len(bodies) == 1


class TestModels:
    async def test_they_are_listed(self, client: Either) -> None:
        models = await client.models()
        assert [model.id for model in models] == ["mistralai/mistral-nemotron"]
        assert models.data[0].max_model_len == 131_072

    async def test_one_is_retrieved(self, connect: Connect) -> None:
        with MockServer(personality="hosted") as server:
            client = connect(base_url=server.base_url)
            assert (await client.model("mistralai/mistral-nemotron")).owned_by == "mistralai"
            assert len(server.requests) == 1
            with pytest.raises(NotFoundError, match="Model does not exist by the name of nope"):
                await client.model("nope")

    async def test_one_is_found_in_the_list_of_a_server_without_that_route(self, client: Either) -> None:
        assert (await client.model("mistralai/mistral-nemotron")).owned_by == "vllm"
        with pytest.raises(NotFoundError):
            await client.model("other")

    @pytest.mark.parametrize(
        ("reply", "kind"),
        [
            (problem(410, "Gone", "end of life"), ModelGoneError),
            (problem(503, "Service Unavailable"), InternalServerError),
            (Reply(body=b"[]"), InvalidResponseError),
        ],
    )
    async def test_a_gone_one_and_an_offline_one_are_told_apart(
        self, reply: Reply, kind: type[Exception], connect: Connect, server: MockServer
    ) -> None:
        server.always(reply, path="/v1/models/m")
        with pytest.raises(kind):
            await connect(max_retries=0).model("m")

    async def test_what_is_no_list_is_told(self, client: Either, server: MockServer) -> None:
        server.always(Reply(body={"data": "none"}), path="/v1/models")
        with pytest.raises(InvalidResponseError, match="a list of models"):
            await client.models()


class TestServed:
    """Without `model=`, a server of one's own is asked which it serves."""

    @pytest.fixture
    def client(self, connect: Connect) -> Either:
        return connect(model=None)

    @staticmethod
    def offer(server: MockServer, *models: dict[str, object]) -> None:
        server.always(Reply(body={"object": "list", "data": models}), path="/v1/models")

    async def test_it_is_asked_once(self, client: Either, server: MockServer) -> None:
        self.offer(server, {"id": "my-nemotron"}, {"id": "my-adapter", "parent": "my-nemotron"})
        server.always(Reply(body=b'{"choices":[{}]}'))
        await client.create()
        await client.create()
        await Either(client.inner.with_options(timeout=5)).complete()
        assert paths(server) == ["/v1/models", *["/v1/chat/completions"] * 2, "/v1/completions"]
        assert all(request.json["model"] == "my-nemotron" for request in server.requests[1:])

    async def test_it_is_asked_once_by_many_at_once(self, client: Either, server: MockServer) -> None:
        async with create_task_group() as tasks:
            for _ in range(20):
                tasks.start_soon(client.create)
        assert paths(server).count("/v1/models") == 1
        assert server.posts == 20

    async def test_who_waits_for_the_question_of_another_waits_no_longer_than_it_may(
        self, client: Either, server: MockServer
    ) -> None:
        server.always(Reply(status=0, end="hang"), path="/v1/models")
        asked = Event()

        async def ask_for_ever() -> None:
            with pytest.raises(APIConnectionError):
                await client.create(max_retries=0)
            asked.set()

        async with create_task_group() as tasks:
            tasks.start_soon(ask_for_ever)
            while not server.requests:
                await checkpoint()
            with (
                fail_after(5),
                pytest.raises(APITimeoutError, match=r"not done in time \(the time was up before it was sent"),
            ):
                await client.create(timeout=0.05)
            assert not asked.is_set()
            await in_thread(server.close)
        assert len(server.requests) == 1

    async def test_it_is_asked_for_a_stream_too(self, client: Either, server: MockServer) -> None:
        async with client.stream() as stream:
            assert await stream.get_final_text()
        assert paths(server) == ["/v1/models", "/v1/chat/completions"]

    async def test_nemotron_is_taken_from_several(self, client: Either, server: MockServer) -> None:
        self.offer(server, {"id": "other"}, {"id": "mistralai/mistral-nemotron"})
        await client.create()
        assert server.requests[-1].json["model"] == "mistralai/mistral-nemotron"

    async def test_several_others_need_a_choice(self, client: Either, server: MockServer) -> None:
        self.offer(server, {"id": "one"}, {"id": "two"})
        with pytest.raises(ConfigurationError, match=r"\(one, two\): pass model="):
            await client.create()
        server.always(Reply(body=b'{"choices":[{}]}'))
        await client.create(model="two")
        assert server.posts == 1

    async def test_none_at_all_is_told(self, client: Either, server: MockServer) -> None:
        self.offer(server)
        with pytest.raises(ConfigurationError, match="none at all"):
            await client.create()

    async def test_a_server_without_that_route_gets_the_default(self, client: Either, server: MockServer) -> None:
        server.always(NO_ROUTE, path="/v1/models")
        await client.create()
        assert server.requests[-1].json["model"] == "mistralai/mistral-nemotron"

    async def test_a_server_that_fails_is_told(self, client: Either, server: MockServer, clock: Clock) -> None:
        server.always(error(500, "Oops"), path="/v1/models")
        with pytest.raises(InternalServerError, match="GET"):
            await client.create()
        assert len(clock.waits) == 2
        assert server.posts == 0

    async def test_a_429_for_the_question_is_waited_out_as_well(
        self, client: Either, server: MockServer, clock: Clock
    ) -> None:
        server.reply(problem(429, "Too Many Requests"), path="/v1/models")
        assert (await client.create()).text
        assert 2 <= clock.waits[0] <= 3

    async def test_a_429_that_stays_is_told(self, connect: Connect, server: MockServer, clock: Clock) -> None:
        server.always(problem(429, "Too Many Requests", headers={"retry-after": "99"}), path="/v1/models")
        with pytest.raises(RateLimitError):
            await connect(model=None).create()
        assert clock.waits == []
