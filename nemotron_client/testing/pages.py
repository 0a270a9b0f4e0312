"""What vLLM answers by the path alone: its pages, those of the NIM around it, and that something is not found. Pure."""

from collections.abc import Collection

from nemotron_client.testing.answers import CREATED
from nemotron_client.testing.model import Served
from nemotron_client.testing.recorded import RecordedRequest
from nemotron_client.testing.replies import Reply, error

# Routes of vLLM that aren't imitated, and by which method they are asked.
_ELSEWHERE = {
    **dict.fromkeys(("/docs", "/redoc", "/openapi.json", "/metrics", "/kv_event_sources"), "GET"),
    **dict.fromkeys(
        ("/v1/responses", "/v1/messages", "/v1/messages/count_tokens", "/v1/chat/completions/batch"), "POST"
    ),
    **dict.fromkeys(("/invocations", "/generative_scoring", "/v1/systemone"), "POST"),
    **dict.fromkeys(("/scale_elastic_ep", "/is_scaling_elastic_ep"), "POST"),
}
_RESPONSES = "/v1/responses/"
_EITHER = "/ping"  # asked by GET or by POST


def page(request: RecordedRequest, served: Served, posted: Collection[str]) -> Reply | None:
    """Return what there is to say by the path; None if the body decides.

    Args:
        request: What is asked.
        served: What the server serves.
        posted: The paths of which the body decides.
    """
    path, method = request.path, request.method
    shown = _page(path, served)
    if path.startswith(_RESPONSES):
        return _not_imitated(path)
    if shown is None and path not in posted and path not in _ELSEWHERE:
        return _not_found(request, {*posted, *_ELSEWHERE}, served)
    allowed = _ELSEWHERE.get(path, "GET" if shown else "POST")
    if method != allowed and (method, path) != ("POST", _EITHER):
        return Reply(status=405, headers={"allow": allowed}, body={"detail": "Method Not Allowed"})
    return _not_imitated(path) if path in _ELSEWHERE else shown


def _not_imitated(path: str) -> Reply:
    told = f"vLLM has {path}, but this test server doesn't imitate it."
    return error(501, told, headers={"x-should-retry": "false"})


def _not_found(request: RecordedRequest, known: Collection[str], served: Served) -> Reply:
    """Send a client to the path that it meant, with or without a slash at its end, or nowhere."""
    path = request.path.rstrip("/") if request.path.endswith("/") else f"{request.path}/"
    if path not in known and _page(path, served) is None:
        return Reply(status=404, body={"detail": "Not Found"})
    query = f"?{request.query}" if request.query else ""
    return Reply(status=307, headers={"location": f"http://{request.headers.get('host', '')}{path}{query}"})


def _page(path: str, served: Served) -> Reply | None:
    model = served.model
    card: dict[str, object] = {"id": model, "object": "model", "created": CREATED, "owned_by": "vllm"}
    card |= {"root": model, "parent": None, "max_model_len": served.max_model_len, "permission": []}
    metadata: dict[str, object] = {"assetInfo": [], "licenseInfo": {}, "repository_override": "", "version": "2.1.5"}
    metadata |= {"modelInfo": [{"shortName": model, "modelUrl": ""}], "selectedModelProfileId": ""}
    bodies: dict[str, bytes | dict[str, object]] = {
        "/v1/models": {"object": "list", "data": [card]},
        "/health": b"",
        _EITHER: b"",
        "/load": {"server_load": 0},
        "/version": {"version": "0.32.0"},
        "/v1/health/ready": {"object": "health.response", "message": "Service is ready."},
        "/v1/health/live": {"object": "health.response", "message": "Service is live."},
        "/v1/version": {"release": "2.1.5", "api": "2.1.5"},
        "/v1/metadata": metadata,
    }
    return Reply(body=bodies[path]) if path in bodies else None
