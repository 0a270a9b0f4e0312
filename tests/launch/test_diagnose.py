"""Why a server ended: told from logs of a real vLLM, and from the words of others (GPUs are not at hand)."""

from pathlib import Path

import pytest

from nemotron_client.launch.diagnose import diagnose

LOGS = Path(__file__).parents[1] / "fixtures/vllm-logs"
REAL = {
    "unknown-flag": ("a flag that this vLLM does not know", "unrecognized arguments: --swap-space 4"),
    "refused-value": ("a flag that this vLLM does not know", "argument --kv-cache-dtype: invalid choice: 'fp9'"),
    "weights-cut-short": (
        "the weight files are damaged, not whole, or of another model",
        "incomplete metadata, file not fully covered",
    ),
    "no-weights": ("the weight files are damaged, not whole, or of another model", "Cannot find any model weights"),
    "other-weights": (
        "the weight files are damaged, not whole, or of another model",
        "Following weights were not initialized",
    ),
    "other-shape": (
        "the weight files are damaged, not whole, or of another model",
        "start (0) + length (512) exceeds dimension size (384)",
    ),
    "no-tokenizer": ("the tokenizer or the model's description is missing", "ValueError: No tokenizer file found."),
    "no-params": ("the tokenizer or the model's description is missing", "Failed to load mistral 'params.json'"),
    "no-folder": ("the tokenizer or the model's description is missing", "Repo id must be in the form"),
    "window-too-long": ("the window is longer than the model's", "User-specified max_model_len (400000)"),
    "heads-not-divisible": ("the model can't be divided like that", "attention heads (4) must be divisible by"),
    "port-in-use": ("the port is in use", "OSError: [Errno 98] Address already in use"),
    "unknown-tool-parser": ("a parser name that vLLM does not know", "invalid tool call parser: mistal"),
}


def real(name: str) -> list[str]:
    return (LOGS / f"{name}.log").read_text().splitlines()


@pytest.mark.parametrize("name", REAL)
def test_the_lines_that_say_why_are_found_far_above_the_end(name: str) -> None:
    what, line = REAL[name]
    cause = diagnose(real(name), 1)
    assert cause.what == what
    assert line in cause.lines[0]
    assert len(cause.lines) <= 3
    assert all(len(each) <= 600 for each in cause.lines)
    assert cause.remedy


def test_every_real_log_is_tried() -> None:
    assert {path.stem for path in LOGS.glob("*.log")} == {*REAL, "good"}


def test_in_the_log_of_a_good_start_nothing_is_recognised() -> None:
    assert diagnose(real("good"), 1).what is None


@pytest.mark.parametrize(
    ("line", "what"),
    [
        ("torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2.00 GiB.", "out of GPU memory"),
        (
            "ValueError: To serve at least one request with the model's max seq len (131072), (44.00 GiB KV cache is",
            "the window doesn't fit what is left for the KV cache",
        ),
        (
            "ValueError: Free memory on device cuda:0 (12.00/79.19 GiB) on startup is less than desired GPU memory",
            "another program holds GPU memory",
        ),
        ("RuntimeError: No CUDA GPUs are available", "no GPU that vLLM can use"),
        ("Fatal Python error: Bus error", "too little shared memory"),
        ("torch.distributed.DistStoreError: Timed out after 601 seconds", "the machines don't find each other"),
        (
            "rpc_client.h:153: Failed to connect to GCS at address 10.0.0.1:6379 within 5 seconds.",  # Ray 2.60
            "the machines don't find each other",
        ),
        (
            "TypeError: GrammarFactory.get_lark_from_jinja() missing 1 required positional argument",
            "vLLM and mistral_common don't go together",
        ),
        ("RuntimeError: DefaultCPUAllocator: can't allocate memory", "out of main memory"),
        (
            "ValueError: Available memory on node 0 (3.1/23.4 GiB) on startup is less than desired CPU memory",
            "out of main memory",
        ),
        (
            "ValueError: VLLM_PORT 'tcp://10.0.0.1:8000' appears to be a URI. This may be caused by a Kubernetes",
            "VLLM_PORT is set to what is no port, as Kubernetes does where a service is called vllm",
        ),
        (
            "ValueError: Quantization method specified in the model config (gptq) does not match the",
            "the weights are quantized in another way than was asked for",
        ),
    ],
)
def test_known_words_of_other_failures_are_recognised(line: str, what: str) -> None:
    cause = diagnose([f"(EngineCore pid=1) ERROR 11-23 22:05:02 [core.py:1510] {line}"], 1)
    assert (cause.what, cause.lines) == (what, (line,))


def test_of_an_unknown_failure_the_first_error_counts_and_what_follows_from_it_does_not() -> None:
    log = [
        "INFO starting",
        "Traceback (most recent call last):",
        '    raise LookupError("no such moon")',
        "LookupError: no such moon",
        "RuntimeError: Engine core initialization failed. See root cause above. Failed core proc(s): {}",
    ]
    cause = diagnose(log, 1)
    assert (cause.what, cause.lines) == (None, ("LookupError: no such moon",))


def test_without_any_error_the_end_of_the_log_is_shown() -> None:
    assert diagnose([f"line {number}" for number in range(100)], 3).lines[0] == "line 85"


def test_an_end_by_force_points_to_the_kernel() -> None:
    cause = diagnose(["loading"], -9)
    assert cause.what == "something ended it by force (SIGKILL)"
    assert "dmesg" in cause.remedy
