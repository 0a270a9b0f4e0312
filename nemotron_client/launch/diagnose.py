"""Find in a server's log why it ended, and say what to change. Pure.

The lines that count stand far above the end: each process that waited for the one that failed adds a traceback.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

_SHOWN = 15  # lines of the log's end, where nothing is recognised
_LONGEST = 600  # characters of a line: some list every value that would have been possible
_SIGKILL = 9

# "(Worker pid=1) ERROR 11-23 22:05:02 [multiproc_executor.py:953] " and the like; "  Value error, " is pydantic's.
_PREFIX = re.compile(r"^(?:\([\w-]+ pid=\d+\) *)*(?:(?:ERROR|WARNING|INFO) [\d-]+ [\d:]+ \[[^\]]*\] ?)? *")
_LAST_OF_TRACEBACK = re.compile(r"[\w.]*(?:Error|Exception)\b.*: |Value error, |[\w ]*: error: ")
_CONSEQUENCE = re.compile(r"See (?:root cause|stack trace)|validation errors? for \w+$")


@dataclass(frozen=True, slots=True)
class Cause:
    """Why a server ended.

    Attributes:
        what: In a few words; None where nothing in the log is known.
        lines: The lines of the log that say so.
        remedy: What to change.
    """

    what: str | None
    lines: tuple[str, ...]
    remedy: str


@dataclass(frozen=True, slots=True)
class _Known:
    what: str
    pattern: re.Pattern[str]
    remedy: str


def _known(what: str, pattern: str, remedy: str) -> _Known:
    return _Known(what, re.compile(pattern), remedy)


# Words of vLLM 0.32, PyTorch, NCCL and safetensors. The first that is found wins: the more special come first.
_KNOWN = (
    _known(
        "a flag that this vLLM does not know",
        r"error: (?:unrecognized arguments|argument .*: (?:invalid|expected|not allowed)|ambiguous option)",
        "look it up in `vllm serve --help=all`; flags after -- go to vLLM as they are",
    ),
    _known(
        "the port is in use",
        r"Address already in use|EADDRINUSE",
        "end what uses it, or choose another with --port (with several machines, 29501 must be free on the first too)",
    ),
    _known(
        "vLLM and mistral_common don't go together",
        r"get_lark_from_jinja|(?:ImportError|ModuleNotFoundError|AttributeError|TypeError)\b.*mistral_common",
        "install the version that this vLLM was built with; for vLLM 0.32: pip install 'mistral_common<1.13'",
    ),
    _known(
        "no GPU that vLLM can use",
        r"No CUDA GPUs are available|Failed to infer device type|libcuda\.so|NVIDIA driver .*too old|"
        r"driver version is insufficient|no NVIDIA driver",
        "check nvidia-smi; in a container pass --gpus all; on a machine without GPUs use --cpu",
    ),
    _known(
        "the window doesn't fit what is left for the KV cache",
        r"To serve at least one request with the model's max seq len|No available memory for the cache blocks",
        "use a smaller --window, --kv-cache fp8, a higher --gpu-memory-utilization, or more GPUs (see `plan`)",
    ),
    _known(
        "another program holds GPU memory",
        r"Free memory on device .* is less than (?:desired|the engine)",
        "end the programs that nvidia-smi lists, or lower --gpu-memory-utilization",
    ),
    _known(
        "out of GPU memory",
        r"OutOfMemoryError|CUDA out of memory|CUDA error: out of memory|cudaErrorMemoryAllocation",
        "lower --gpu-memory-utilization (activations need room beside it), use a smaller --window, fp8, or more GPUs",
    ),
    _known(
        "too little shared memory",
        r"Bus error|No space left on device.*(?:shm|/dev)|[Ss]hared memory.*(?:fail|error|unable)",
        "start the container with --ipc=host or --shm-size=16g",
    ),
    _known(
        "out of main memory",
        r"\bMemoryError|Cannot allocate memory|DefaultCPUAllocator: can't allocate|"
        r"Available memory on node .* is less than desired",
        "free memory on this machine, or use a smaller --window",
    ),
    _known(
        "the weight files are damaged, not whole, or of another model",
        r"SafetensorError|Cannot find any model weights|were not initialized from checkpoint|"
        r"size mismatch for|no module or parameter named|safetensors.*No such file|"
        r"start \(\d+\) \+ length \(\d+\) exceeds dimension size|Attempted to load weight \(",
        "copy or download the folder again, whole; check that its params.json belongs to these files",
    ),
    _known(
        "the tokenizer or the model's description is missing",
        r"No tokenizer file found|Failed to load mistral 'params\.json'|Repo id must be|"
        r"Invalid repository ID|is not a valid model identifier",
        "--weights must be the folder with params.json (or config.json), tekken.json and the weight files",
    ),
    _known(
        "the window is longer than the model's",
        r"max_model_len \(\d+\) is greater than the derived",
        "use a smaller --window",
    ),
    _known(
        "the model can't be divided like that",
        r"must be divisible by tensor parallel size|World size .* is larger than the number of available GPUs|"
        r"not divisible by|must evenly divide",
        "let the plan choose: leave --tensor-parallel and --pipeline-parallel away, and give --gpus what is there",
    ),
    _known(
        "the machines don't find each other",
        r"DistStoreError|TCPStore|DistNetworkError|ncclRemoteError|ncclSystemError|NCCL error|"
        r"Timed out after \d+ seconds waiting for clients|Could not find any running Ray|ConnectionError: ray|"
        r"Failed to connect to GCS",
        "start all nodes, with --head an address that each reaches; open the ports between them (29501, 29550, Ray's "
        "6379, NCCL's own); set NCCL_SOCKET_IFNAME and VLLM_HOST_IP where a machine has several networks",
    ),
    _known(
        "VLLM_PORT is set to what is no port, as Kubernetes does where a service is called vllm",
        r"VLLM_PORT '.*' (?:appears to be a URI|must be a valid integer)",
        "unset VLLM_PORT before the start, or name the service otherwise",
    ),
    _known(
        "the weights are quantized in another way than was asked for",
        r"Quantization method specified in the model config .* does not match",
        "leave --precision away: they are served as they are",
    ),
    _known(
        "a parser name that vLLM does not know",
        r"invalid (?:tool call|reasoning) parser",
        "leave --tool-call-parser away after --: it is mistral",
    ),
)


def diagnose(lines: Sequence[str], status: int) -> Cause:
    """Say why a server ended.

    Args:
        lines: The end of its log, a few thousand lines.
        status: Its exit status; below 0 the signal that ended it.
    """
    bare = (_PREFIX.sub("", line)[:_LONGEST] for line in lines)
    told = [line for line in bare if not line.startswith("raise ")]  # a line of code in a traceback
    for known in _KNOWN:
        found = tuple(dict.fromkeys(line for line in told if known.pattern.search(line)))
        if found:
            return Cause(known.what, found[:3], known.remedy)
    if status == -_SIGKILL:
        remedy = "mostly the kernel, for want of main memory: see dmesg; free memory or start the container with more"
        return Cause("something ended it by force (SIGKILL)", tuple(told[-3:]), remedy)
    raised = (line for line in told if _LAST_OF_TRACEBACK.match(line) and not _CONSEQUENCE.search(line))
    last = tuple(dict.fromkeys(raised))[:3] or tuple(told[-_SHOWN:])
    return Cause(None, last, "read on in the log above; the first error in it counts, those below follow from it")
