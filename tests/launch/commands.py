"""Command lines of every kind that the launcher can write; `tests/launch/real_vllm.py` puts them before a real vLLM."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from nemotron_client.launch import GPUS, Machines, Model, Wish, command, plan
from nemotron_client.launch.checkpoint import HF, MISTRAL
from nemotron_client.launch.command import Command, Server

MODEL = Model.of(123e9, layers=88, kv_heads=8, head_dim=128, heads=96)
BIG = Model.of(400e9, layers=88, kv_heads=8, head_dim=128, heads=96)
TINY = Model.of(34e6, layers=2, kv_heads=2, head_dim=32, heads=4)


def commands(folder: Path) -> Mapping[str, list[Command]]:
    """Return them by what is special about each, for weights in this folder."""
    server = Server(folder=folder, format=MISTRAL)
    nodes = replace(server, head="10.0.0.1", host="0.0.0.0")  # noqa: S104 - nothing listens
    h100, two = Machines(GPUS["H100"], 8), Machines(GPUS["H100"], 8, 2)
    other = replace(server, format=HF, tokenizer="tokenizer.json", port=9000, extra=("--max-num-seqs", "64"))
    return {
        "one node": command.on_gpus(server, plan(MODEL, h100, Wish())),
        "fp8": command.on_gpus(server, plan(MODEL, Machines(GPUS["H100"], 4), Wish(fp8=True, kv="fp8"))),
        "copies": command.on_gpus(server, plan(TINY, h100, Wish(tensor=1, window=8192))),
        "Hugging Face's format": command.on_gpus(other, plan(MODEL, h100, Wish())),
        "a copy on each node": command.on_gpus(nodes, plan(MODEL, two, Wish())),
        "stages over nodes": command.on_gpus(nodes, plan(BIG, two, Wish())),
        "Ray": command.on_gpus(replace(nodes, backend="ray"), plan(BIG, two, Wish())),
        "copies by Ray": command.on_gpus(replace(nodes, backend="ray"), plan(MODEL, two, Wish())),
        "CPU": [command.on_cpu(server, TINY, 8192, 1)],
    }
