"""Which of vLLM's own flags may stand after ``--``. Pure.

All that the plan, the checks, the wait for an answer or the printed lines would contradict is in one table: refused, or
handed on with a warning. It was made from the whole list of vLLM 0.32's flags (tests/fixtures/vllm-0.32-flags.json).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from nemotron_client.config import MODEL
from nemotron_client.errors import ConfigurationError

KEY = "VLLM_API_KEY"
"""Where vLLM itself looks for the key that clients must send."""


@dataclass(frozen=True, slots=True)
class _Rule:
    """What is done about some flags.

    Attributes:
        flags: Their names, with a space between.
        why: What to do instead; of those that are handed on, what the plan does not know.
        refused: Whether they are not handed on.
    """

    flags: str
    why: str
    refused: bool = True


_COPIES = "how many copies there are follows from --gpus, --nodes, --tensor-parallel and --pipeline-parallel"
_CHAT = "the server must answer chats, by which it is found ready"
_HTTP = "it is watched by plain http: put what speaks https before it"
_MEMORY = "it takes memory of each GPU that the plan does not count: leave a margin"
_OFFLOAD = "weights in main memory: each GPU has more left than the plan says, and is slower"
_AT_ONCE = "fewer requests may run at once than the plan has room for"
_SET = "it is set already"
_EAGER = "with --cpu it is set already; on GPUs CUDA graphs are planned for, without which it is slower"

_RULES = (
    # What the plan is made of, and what the machine was looked at for.
    _Rule("--config", "give its settings as flags; here they would go past the plan"),
    _Rule("--model", "use --weights"),
    _Rule("--config-format --hf-config-path --hf-overrides", "the plan is made from the files in --weights"),
    _Rule("--load-format", "it follows from the files in --weights, which were looked at"),
    _Rule("--tokenizer --tokenizer-mode", "the tokenizer is the one in --weights, which was looked for"),
    _Rule("--max-model-len", "use --window"),
    _Rule("--dtype --quantization -q --quantization-config", "use --precision"),
    _Rule("--kv-cache-dtype --kv-cache-dtype-skip-layers", "use --kv-cache; the plan counts all layers alike"),
    _Rule(
        "--gpu-memory-utilization --device-memory-utilization --kv-cache-memory-bytes --num-gpu-blocks-override",
        "the KV cache gets what --gpu-memory-utilization, before the --, leaves for it",
    ),
    _Rule("--tensor-parallel-size -tp", "use --tensor-parallel"),
    _Rule("--pipeline-parallel-size -pp", "use --pipeline-parallel"),
    _Rule(
        "--decode-context-parallel-size -dcp --prefill-context-parallel-size -pcp",
        "the plan divides the KV cache by --tensor-parallel and --pipeline-parallel alone",
    ),
    _Rule("--data-parallel-size -dp --data-parallel-size-local -dpl", _COPIES),
    _Rule("--data-parallel-rank -dpn --data-parallel-start-rank -dpr", _COPIES),
    _Rule("--data-parallel-external-lb -dpe --data-parallel-hybrid-lb -dph", _COPIES),
    _Rule("--data-parallel-multi-port-external-lb -dpm --enable-elastic-ep --elastic-ep-max-dp-size", _COPIES),
    _Rule("--device-ids", "set CUDA_VISIBLE_DEVICES, by which the GPUs are looked at too"),
    # How several machines find each other.
    _Rule("--nnodes -n", "use --nodes"),
    _Rule("--node-rank -r", "use --node-rank before the --"),
    _Rule("--headless", "it follows from --node-rank"),
    _Rule("--master-addr --data-parallel-address -dpa", "use --head"),
    _Rule("--master-port", "it is 29501"),
    _Rule("--data-parallel-rpc-port -dpp", "it is 29550"),
    _Rule("--distributed-executor-backend --data-parallel-backend -dpb", "use --backend"),
    # Where it answers, what, and who may ask.
    _Rule("--host", "use --host before the --"),
    _Rule("--port", "use --port before the --"),
    _Rule("--uds", "the server must have a port to be watched"),
    _Rule("--ssl-certfile --ssl-keyfile", _HTTP),
    _Rule("--root-path", "the server is asked at /v1: let the proxy before it take the path away"),
    _Rule("--served-model-name", f"it is {MODEL}, which clients look for"),
    _Rule("--response-role", "clients know an answer by the role assistant"),
    _Rule("--runner --convert --tokens-only --skip-tokenizer-init --mm-encoder-only --grpc", _CHAT),
    _Rule("--help -h", "it starts no server: run `vllm serve --help` itself"),
    _Rule("--api-key", f"set the environment variable {KEY}, which no list of processes shows"),
    _Rule("--hf-token", "the weights are in --weights, and a list of processes would show it"),
    # Handed on, with what the plan does not know of them.
    _Rule("--speculative-config -sc --spec-method --spec-model", _MEMORY, refused=False),
    _Rule("--enable-lora --max-num-batched-tokens --mm-ipc-gpu-memory-gb", _MEMORY, refused=False),
    _Rule("--performance-mode --no-enable-chunked-prefill --eplb-config", _MEMORY, refused=False),
    _Rule("--cpu-offload-gb --offload-group-size", _OFFLOAD, refused=False),
    _Rule("--max-num-seqs --max-num-active-seqs --max-num-queued-reqs --watermark", _AT_ONCE, refused=False),
    _Rule("--max-num-queued-tokens --max-num-scheduled-tokens", _AT_ONCE, refused=False),
    _Rule("--shutdown-timeout", "a server that takes longer than 30 seconds to end is killed", refused=False),
    _Rule("--api-server-count -asc", "with 0 nothing answers, and it is never found ready", refused=False),
    _Rule(
        "--logging-config --log-config-file --log-level", "why it ends is looked for in what it prints", refused=False
    ),
    # Handed on, though the command says otherwise, or the same, before it.
    _Rule(
        "--tool-call-parser", "it takes the place of mistral, which is how the model writes tool calls", refused=False
    ),
    _Rule("--no-enable-auto-tool-choice", "tool calls stay plain text or are refused", refused=False),
    _Rule("--no-enable-prefix-caching", "what requests share is worked out for each of them", refused=False),
    _Rule("--enable-auto-tool-choice --enable-prefix-caching", _SET, refused=False),
    _Rule(
        "--structured-outputs-config",
        "it takes the place of the launcher's own, without which the first request decides how all are held to schemas",
        refused=False,
    ),
    _Rule("--enforce-eager --no-enforce-eager", _EAGER, refused=False),
)
TABLE = {flag: rule for rule in _RULES for flag in rule.flags.split()}
_FLAG = re.compile(r"--?[A-Za-z]")  # and not -1, which is a value
_OTHER = "-dc"  # a flag of its own (--diffusion-config), and no beginning of -dcp


def check(extra: Sequence[str]) -> None:
    """Refuse flags that would make untrue what was planned, checked or printed.

    Args:
        extra: The words after ``--``. In an error stands a flag's name alone, since its value may be a key.

    Raises:
        ConfigurationError: One is refused, or can't be shown.
    """
    if extra and not _FLAG.match(extra[0]):  # it may be a key
        raise ConfigurationError("The first word after -- is no flag: vLLM would refuse it. Folder: --weights DIR.")
    for word in extra:
        rule, name = rule_of(word), _name(word)
        if rule and rule.refused:
            shown = name if name.isprintable() else repr(name)
            raise ConfigurationError(f"{shown} can't be handed on after --: {rule.why}.")
        if not word.isprintable():
            raise ConfigurationError(f"{word!r} after -- holds characters that can't be printed.")


def warnings(extra: Sequence[str]) -> Iterator[tuple[str, str]]:
    """Yield each flag that is handed on although the plan does not know of it, with what that means."""
    for word in extra:
        rule = rule_of(word)
        if rule and not rule.refused:
            yield _name(word), rule.why


def parts(extra: Sequence[str]) -> list[tuple[str, ...]]:
    """Divide the words after ``--``, of which the first is a flag, into flags, each with its values."""
    found: list[tuple[str, ...]] = []
    for word in extra:
        if _FLAG.match(word):
            found.append((word,))
        else:
            found[-1] += (word,)
    return found


def rule_of(word: str) -> _Rule | None:
    """Return the rule for a word as vLLM would take it: it knows any beginning of a flag, and ``-n2`` as ``-n 2``."""
    name = _name(word)
    if name in TABLE:
        return TABLE[name]
    if name.startswith("--"):
        flags = (each for each in TABLE if len(name) > 2 and each.startswith(name))
    else:
        flags = (each for each in TABLE if len(name) > 1 and name != _OTHER and _is_short(name, each))
    return next((TABLE[each] for each in flags), None)


def _is_short(name: str, flag: str) -> bool:
    return flag.startswith(name) or (len(flag) == 2 and name.startswith(flag))


def _name(word: str) -> str:
    name = word.partition("=")[0].partition(".")[0]  # --hf-overrides.key value is a part of a JSON value to vLLM
    return name.replace("_", "-") if name.startswith("--") else name  # as vLLM does
