"""Error answers, one or more for each shape A-L of docs/explanation/protocol.md, "Error bodies".

The words are those of a source file or a user's report, named in the comment above each entry. The identifiers of
functions, accounts and requests are zeros. Where a report is silent about the content type, one that fits stands here.
"""

from typing import Final, NamedTuple


class ErrorBody(NamedTuple):
    """One error answer."""

    label: str
    """The shape's letter, then words fit for a test id."""
    status: int
    content_type: str | None
    body: bytes


_PROBLEM: Final = "application/problem+json"
_JSON: Final = "application/json"
# What Go's net/http sets when a handler names no type and the body is text: also for the gateway's own JSON.
_TEXT: Final = "text/plain; charset=utf-8"

ERROR_BODIES: Final[tuple[ErrorBody, ...]] = (
    # Rate limiter: no detail, no Retry-After. free-claude-code#30, #690; gateway source.
    ErrorBody("A-too-many-requests", 429, _PROBLEM, b'{"status":429,"title":"Too Many Requests"}'),
    # nvidia-nim-provider#9.
    ErrorBody(
        "B-authentication-failed",
        401,
        _PROBLEM,
        b'{"status":401,"title":"Unauthorized","detail":"Authentication failed"}',
    ),
    # The words are from the gateway source, the members around them from its other answers; no live body is known.
    ErrorBody(
        "B-credits-expired",
        402,
        _PROBLEM,
        b'{"status":402,"title":"Payment Required",'
        b'"detail":"Account \'0\': Cloud credits expired - Please contact NVIDIA representatives"}',
    ),
    # oh-my-pi#499, OpenHarness#233, BallonsTranslator#1233.
    ErrorBody(
        "B-authorization-failed",
        403,
        _PROBLEM,
        b'{"status":403,"title":"Forbidden","detail":"Authorization failed"}',
    ),
    # Gateway source, as above.
    ErrorBody(
        "B-not-shared-with-account",
        403,
        _PROBLEM,
        b'{"status":403,"title":"Forbidden",'
        b"\"detail\":\"Function '00000000-0000-0000-0000-000000000000':  Not shared with the account '0'\"}",
    ),
    # free-claude-code#956, #1021; freellmapi#634.
    ErrorBody(
        "B-function-not-found-for-account",
        404,
        _PROBLEM,
        b'{"status":404,"title":"Not Found",'
        b"\"detail\":\"Function '00000000-0000-0000-0000-000000000000': Not found for account '0'\"}",
    ),
    # Gateway source, as above.
    ErrorBody(
        "B-function-version-not-found",
        404,
        _PROBLEM,
        b'{"status":404,"title":"Not Found","detail":"Function id \'00000000-0000-0000-0000-000000000000\' '
        b"version '00000000-0000-0000-0000-000000000000': Specified function in account '0' is not found\"}",
    ),
    # free-claude-code#1012, #1057: an outage.
    ErrorBody(
        "B-degraded-function",
        400,
        _PROBLEM,
        b'{"status":400,"title":"Bad Request",'
        b'"detail":"Function id \'00000000-0000-0000-0000-000000000000\': DEGRADED function cannot be invoked"}',
    ),
    # Gateway source; the operator's sentence is invented.
    ErrorBody(
        "C-model-offline",
        503,
        _PROBLEM,
        b'{"type":"about:blank","title":"Service Unavailable","status":503,"detail":"Under maintenance."}',
    ),
    # Gateway source; the same sentence reported live in freellmapi#634.
    ErrorBody(
        "C-end-of-life",
        410,
        _PROBLEM,
        b'{"type":"about:blank","title":"Gone","status":410,"detail":"The model \'minimaxai/minimax-m2.7\' has reached '
        b'its end of life on 2026-07-27T00:00:00Z and is no longer available."}',
    ),
    # Gateway source.
    ErrorBody(
        "C-upstream-failed",
        502,
        _PROBLEM,
        b'{"type":"about:blank","title":"Bad Gateway","status":502,"detail":"Upstream request failed."}',
    ),
    # NVIDIA/garak#748.
    ErrorBody(
        "D-extra-inputs",
        422,
        _PROBLEM,
        b'{"type":"urn:inference-service:problem-details:unprocessable-entity","title":"Unprocessable Entity",'
        b'"status":422,"detail":"body -> frequency_penalty\\n  Extra inputs are not permitted (type=extra_forbidden)\\n'
        b"body -> n\\n  Extra inputs are not permitted (type=extra_forbidden)\\nbody -> presence_penalty\\n"
        b'  Extra inputs are not permitted (type=extra_forbidden)",'
        b'"instance":"/v2/nvcf/pexec/functions/00000000-0000-0000-0000-000000000000",'
        b'"requestId":"00000000-0000-0000-0000-000000000000"}',
    ),
    # Gateway source.
    ErrorBody(
        "E-body-too-large",
        400,
        _TEXT,
        b'{"error":{"message":"Please make sure your payload is below 26214400 bytes in size. If larger assets are '
        b'required please refer to our Assets API.","type":"invalid_request_error","param":null,'
        b'"code":"invalid_image_format"}}',
    ),
    # Gateway source.
    ErrorBody(
        "E-model-missing",
        400,
        _TEXT,
        b'{"error":{"message":"model field is required","type":"invalid_request_error","param":null,'
        b'"code":"missing_required_field"}}',
    ),
    # Kilo-Org/kilocode#8698, hosted; what follows the first sentence is vLLM's pattern with the figures it implies.
    ErrorBody(
        "E-context-prompt-and-output",
        400,
        _JSON,
        b'{"error":{"message":"You passed 170753 input tokens and requested 32000 output tokens. However, the model\'s '
        b"context length is only 202752 tokens, resulting in a maximum input length of 170752 tokens. Please reduce "
        b'the length of the input prompt. (parameter=input_tokens, value=170753)",'
        b'"type":"BadRequestError","param":"input_tokens","code":400}}',
    ),
    # free-claude-code#391, hosted: neither param nor vLLM's words.
    ErrorBody(
        "E-context-messages-resulted-in",
        400,
        _JSON,
        b'{"error":{"message":"This model\'s maximum context length is 196608 tokens. However, your messages resulted '
        b'in 199906 tokens. Please reduce the length of the messages.","type":"Bad Request","code":400}}',
    ),
    # Measured by a user on integrate.api.nvidia.com with openai/gpt-oss-20b, September 2026.
    ErrorBody(
        "E-context-negative-max-tokens",
        400,
        _JSON,
        b'{"error":{"message":"max_tokens must be at least 1, got -46771. (parameter=max_tokens, value=-46771)",'
        b'"type":"BadRequestError","param":"max_tokens","code":400}}',
    ),
    # opencode#34613, #35265; this body from a user's log.
    ErrorBody(
        "E-worker-full",
        503,
        _JSON,
        b'{"error":{"message":"ResourceExhausted: Worker local total request limit reached (16/16)",'
        b'"type":"Service Unavailable","code":503}}',
    ),
    # The same behind a router, which answers 200 and puts the failure into the body.
    ErrorBody(
        "E-worker-full-in-a-200",
        200,
        _JSON,
        b'{"error":{"code":502,"message":"ResourceExhausted: Worker local total request limit reached (71/32)"}}',
    ),
    # vLLM 0.32.0, measured.
    ErrorBody("F-unauthorized", 401, _JSON, b'{"error":"Unauthorized"}'),
    # sipeed/picoclaw#1019: the text is a Python repr.
    ErrorBody(
        "F-python-repr",
        400,
        _JSON,
        b"{\"error\":\"[{'type': 'extra_forbidden', 'loc': ('body', 'prompt_cache_key'), "
        b"'msg': 'Extra inputs are not permitted', 'input': 'main'}]\"}",
    ),
    # Kilo-Org/kilocode#9652.
    ErrorBody(
        "F-extra-inputs",
        422,
        _JSON,
        b'{"error":"body -> presence_penalty\\n  Extra inputs are not permitted (type=extra_forbidden)"}',
    ),
    # TensorRT-LLM source: no wrapper.
    ErrorBody(
        "G-max-num-tokens",
        400,
        _JSON,
        b'{"object":"error","message":"The sum of prompt length (38049.0), query length (0) should not exceed '
        b'max_num_tokens (32768)","type":"BadRequestError","param":null,"code":400}',
    ),
    # vLLM to about 0.9; the sentence from vllm#20409.
    ErrorBody(
        "G-context-messages-and-completion",
        400,
        _JSON,
        b'{"object":"error","message":"This model\'s maximum context length is 16384 tokens. However, you requested '
        b"122946 tokens (112946 in the messages, 10000 in the completion). Please reduce the length of the messages or "
        b'completion.","type":"BadRequestError","param":null,"code":400}',
    ),
    # free-claude-code#127.
    ErrorBody(
        "H-unsupported-parameter",
        400,
        _JSON,
        b'{"message":"Validation: Unsupported parameter(s): reasoning_budget","type":"Bad Request","code":400}',
    ),
    # free-claude-code#1515.
    ErrorBody(
        "H-immutable-parameter",
        400,
        _JSON,
        b'{"message":"Validation: \'top_p\' is immutable for this model and must be 0.95, got 1",'
        b'"type":"Bad Request","code":400}',
    ),
    # free-claude-code#993.
    ErrorBody(
        "H-chat-template",
        400,
        _JSON,
        b'{"message":"chat_template is not supported for Mistral tokenizers.","type":"BadRequestError","param":null,'
        b'"code":400}',
    ),
    # vLLM 0.32.0, measured.
    ErrorBody("I-not-found", 404, _JSON, b'{"detail":"Not Found"}'),
    # deepagents#468: an overflow answered as 500 by a server that wraps vLLM.
    ErrorBody(
        "I-context-decoder-prompt",
        500,
        _JSON,
        b'{"detail":"[address=0.0.0.0:43769, pid=1065] The decoder prompt (length 66501) is longer than the maximum '
        b'model length of 65536. Make sure that `max_model_len` is no smaller than the number of text tokens."}',
    ),
    # What FastAPI answers by default to a body it can't validate.
    ErrorBody(
        "I-validation-list",
        422,
        _JSON,
        b'{"detail":[{"type":"missing","loc":["body","messages"],"msg":"Field required","input":{"model":"m"}},'
        b'{"type":"float_parsing","loc":["body","temperature"],"msg":"Input should be a valid number, '
        b'unable to parse string as a number","input":"hot"}]}',
    ),
    # Unknown route or model: continue#10303, Codewhale#286, dify#3958; gateway source.
    ErrorBody("J-page-not-found", 404, _TEXT, b"404 page not found\n"),
    # GET /v1/models/{model}: gateway source.
    ErrorBody("J-model-does-not-exist", 404, _TEXT, b"Model does not exist by the name of mistralai/nope\n"),
    # Gateway source: a 500 that is the caller's fault.
    ErrorBody("J-body-not-json", 500, _TEXT, b"failed to decode json body: unexpected EOF\n"),
    # OmniRoute#6242, free-claude-code#29.
    ErrorBody("J-authorization-missing", 401, _TEXT, b"Header of type `authorization` was missing"),
    # nginx's own page, as any proxy on the way may answer.
    ErrorBody(
        "J-proxy-page",
        502,
        "text/html",
        b"<html>\r\n<head><title>502 Bad Gateway</title></head>\r\n<body>\r\n"
        b"<center><h1>502 Bad Gateway</h1></center>\r\n<hr><center>nginx</center>\r\n</body>\r\n</html>\r\n",
    ),
    # No worker answered in time, about 302 s after the request: NeMo-Agent-Toolkit#1034; gateway source.
    ErrorBody("K-gateway-timeout", 504, None, b""),
    # BerriAI/litellm#4558: an answer to a call that was no stream.
    ErrorBody(
        "L-extra-inputs",
        422,
        _PROBLEM,
        b'data:{"type":"urn:inference-service:problem-details:unprocessable-entity","title":"Unprocessable Entity",'
        b'"status":422,"detail":"body -> frequency_penalty\\n  Extra inputs are not permitted (type=extra_forbidden)\\n'
        b'body -> presence_penalty\\n  Extra inputs are not permitted (type=extra_forbidden)",'
        b'"instance":"/v2/nvcf/pexec/functions/00000000-0000-0000-0000-000000000000",'
        b'"requestId":"00000000-0000-0000-0000-000000000000"}',
    ),
    # BerriAI/litellm#4558: a 500 that is the caller's fault.
    ErrorBody(
        "L-system-role-not-supported",
        500,
        _PROBLEM,
        b'data:{"type":"urn:inference-service:problem-details:internal-server-error","title":"Internal Server Error",'
        b'"status":500,"detail":"System role not supported",'
        b'"instance":"/v2/nvcf/pexec/functions/00000000-0000-0000-0000-000000000000",'
        b'"requestId":"00000000-0000-0000-0000-000000000000"}',
    ),
)
