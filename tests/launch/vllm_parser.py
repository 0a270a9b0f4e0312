"""Ask vLLM's own parser; run by vLLM's Python, which has none of our packages.

    PYTHON vllm_parser.py flags > tests/fixtures/vllm-0.32-flags.json   every flag, with the number of its values
    PYTHON vllm_parser.py check < commands.json                         lists of words: parsed and checked
    PYTHON vllm_parser.py configure < commands.json                     also made into vLLM's own configuration

`configure` needs a DIR with a model, whose heads the sizes divide. On a command line that vLLM refuses it ends with 1.
"""

import argparse
import json
import sys
from importlib import import_module
from typing import Any

# By name, since the type checkers of this project can't find them.
ARGUMENTS = import_module("vllm.entrypoints.launchers.cli_args")
ENGINE = import_module("vllm.engine.arg_utils")
PARSERS = import_module("vllm.utils.argparse_utils")


def parser() -> argparse.ArgumentParser:
    made: argparse.ArgumentParser = ARGUMENTS.make_arg_parser(PARSERS.FlexibleArgumentParser(prog="vllm serve"))
    return made


def flags() -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = {}
    for action in parser()._actions:  # noqa: SLF001 - argparse has no other way to list them
        takes = "1" if action.nargs is None else str(action.nargs)
        about = {"takes": takes} | ({"choices": sorted(map(str, action.choices))} if action.choices else {})
        found |= dict.fromkeys(action.option_strings, about)
    return dict(sorted(found.items()))


def check(*, configure: bool) -> int:
    refused = 0
    for words in json.load(sys.stdin):
        try:
            options = parser().parse_args(words)
            options.model = options.model_tag
            ARGUMENTS.validate_parsed_serve_args(options)
            if configure:
                ENGINE.AsyncEngineArgs.from_cli_args(options).create_engine_config(headless=options.headless)
        except (SystemExit, TypeError, ValueError) as error:
            sys.stderr.write(f"refused: {words}: {error}\n")
            refused += 1
    return 1 if refused else 0


if __name__ == "__main__":
    if sys.argv[1:] == ["flags"]:
        lines = (f"{json.dumps(name)}: {json.dumps(about)}" for name, about in flags().items())
        sys.stdout.write("{\n" + ",\n".join(lines) + "\n}\n")
    else:
        sys.exit(check(configure=sys.argv[1:] == ["configure"]))
