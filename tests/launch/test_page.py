"""The page "Your own server": its commands are understood, its output and its table are right."""

import re
import shlex
from doctest import ELLIPSIS, OutputChecker
from pathlib import Path

import pytest

from nemotron_client.launch import GPUS, Machines, Model, Wish, plan
from nemotron_client.launch.__main__ import main
from nemotron_client.launch.arguments import parse

PAGE = (Path(__file__).parents[2] / "docs/how-to/your-own-server.md").read_text()
COMMANDS = re.findall(r"^python -m nemotron_client\.launch (.+)$", PAGE, re.MULTILINE)
SHOWN = re.findall(
    r"^```bash\npython -m nemotron_client\.launch ([^\n]+)\n```\n\n```text\n(.*?)^```", PAGE, re.DOTALL | re.MULTILINE
)
ROWS = re.findall(r"^\| (24B|123B), (bf16|fp8) / (bf16|fp8) \| (.+) \|$", PAGE, re.MULTILINE)
MODELS = {
    "24B": Model.of(23.57e9, layers=40, kv_heads=8, head_dim=128, heads=32),
    "123B": Model.of(123e9, layers=88, kv_heads=8, head_dim=128, heads=96),
}
MACHINES = [
    *(Machines(GPUS["H100"], gpus) for gpus in (1, 2, 4, 8)),
    Machines(GPUS["H200"], 8),
    Machines(GPUS["H100"], 8, 2),
]


@pytest.mark.parametrize("words", COMMANDS)
def test_each_command_of_the_page_is_understood(words: str) -> None:
    assert parse(shlex.split(words)).weights in {"/data/weights", None}


def test_what_a_command_prints_is_what_the_page_shows(capsys: pytest.CaptureFixture[str]) -> None:
    ((words, shown),) = SHOWN
    assert main(shlex.split(words)) == 1
    printed = capsys.readouterr().out
    assert OutputChecker().check_output(shown, printed, ELLIPSIS), printed


@pytest.mark.parametrize(("name", "weights", "kv", "cells"), ROWS)
def test_each_row_of_the_table_is_what_the_planner_says(name: str, weights: str, kv: str, cells: str) -> None:
    wish = Wish(fp8=weights == "fp8", kv="fp8" if kv == "fp8" else "bf16")
    chosen = [plan(MODELS[name], machines, wish).chosen for machines in MACHINES]
    assert [layout.sequences if layout else "-" for layout in chosen] == [
        cell if cell == "-" else int(cell) for cell in cells.split(" | ")
    ]


def test_the_page_has_what_is_tested_here() -> None:
    assert (len(COMMANDS), len(SHOWN), len(ROWS)) == (6, 1, 6)
