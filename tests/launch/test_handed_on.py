"""Which of vLLM's own flags may stand after ``--``. Its parser takes each in many spellings; the last counts."""

import json
from pathlib import Path

import pytest

from nemotron_client.errors import ConfigurationError
from nemotron_client.launch.handed_on import KEY, TABLE, check, parts, rule_of, warnings
from tests.launch.commands import commands

FLAGS = list(json.loads((Path(__file__).parents[1] / "fixtures/vllm-0.32-flags.json").read_text()))
REFUSED = [flag for flag, rule in TABLE.items() if rule.refused]


def test_every_flag_of_the_table_is_one_of_vllms() -> None:
    assert set(FLAGS) >= TABLE.keys()


def test_of_all_flags_of_vllm_those_of_the_table_alone_have_a_rule() -> None:
    assert {flag: rule for flag in FLAGS if (rule := rule_of(flag))} == TABLE


def test_every_flag_that_the_launcher_writes_and_its_opposite_are_in_the_table() -> None:
    made = [each for nodes in commands(Path("/w")).values() for each in nodes]
    written = {flag.words[0] for each in made for flag in each.flags} & set(FLAGS)
    opposites = {f"--no-{flag.removeprefix('--')}" for flag in written} & set(FLAGS)
    assert {"--load-format", "--enforce-eager", "--headless", "--data-parallel-backend"} <= written
    assert {"--no-enable-auto-tool-choice", "--no-enable-prefix-caching"} <= opposites
    assert written | opposites <= TABLE.keys()


def test_a_flag_that_contradicts_nothing_is_handed_on() -> None:
    for flag in FLAGS:
        if flag not in REFUSED:
            check([flag, "value", f"{flag}=value"])


@pytest.mark.parametrize("flag", REFUSED)
def test_a_flag_that_contradicts_the_plan_is_refused_in_every_spelling(flag: str) -> None:
    for word in (
        flag,
        f"{flag}=secret",
        f"{flag}.key",
        f"{flag}.key=secret",
        f"{flag[:2]}{flag[2:].replace('-', '_')}",
    ):
        with pytest.raises(ConfigurationError) as refused:
            check([word])
        assert str(refused.value) == f"{flag} can't be handed on after --: {TABLE[flag].why}."


@pytest.mark.parametrize(
    ("word", "message"),
    [
        ("--max-model-le", "--max-model-le can't be handed on after --: use --window"),
        ("--api-k=secret", f"--api-k can't be handed on after --: set the environment variable {KEY}"),
        ("--kv_cache_mem=1", "--kv-cache-mem can't be handed on after --: the KV cache gets what"),
        ("--hf-over.max_position_embeddings", "--hf-over can't be handed on after --: the plan is made from the files"),
        ("--load", "--load can't be handed on after --: it follows from the files in --weights"),
        ("--tokenizer_m=hf", "--tokenizer-m can't be handed on after --: the tokenizer is the one in --weights"),
        ("--tokenize", "--tokenize can't be handed on after --: the tokenizer is the one in --weights"),
        ("--help=all", "--help can't be handed on after --: it starts no server: run `vllm serve --help` itself"),
        ("--hel", "--hel can't be handed on after --: it starts no server"),
        ("-hx", "-hx can't be handed on after --: it starts no server"),
        ("-t", "-t can't be handed on after --: use --tensor-parallel"),
        ("-n2", "-n2 can't be handed on after --: use --nodes"),
        ("-r1", "use --node-rank"),
        ("-qfp8", "use --precision"),
        ("-n\n", r"'-n\\n' can't be handed on after --: use --nodes"),
        ("a\nb", r"'a\\nb' after -- holds characters that can't be printed"),
    ],
)
def test_so_is_any_beginning_of_it_and_a_value_that_follows_at_once(word: str, message: str) -> None:
    with pytest.raises(ConfigurationError, match=message) as refused:
        check(["--max-num-seqs", word])
    assert "secret" not in str(refused.value)


@pytest.mark.parametrize("word", ["-", "--", "-1", "-O3", "-cc.mode=none", "64", "", "/a/b.jinja", "ü"])
def test_other_words_are_handed_on(word: str) -> None:
    check(["--seed", word])
    assert list(warnings(["--seed", word])) == []


@pytest.mark.parametrize("word", ["sk-made-up", "--", "-1", "", "/data/weights"])
def test_a_first_word_that_is_no_flag_is_refused_and_not_shown(word: str) -> None:
    with pytest.raises(ConfigurationError) as refused:
        check([word, "--seed", "1"])
    assert str(refused.value) == "The first word after -- is no flag: vLLM would refuse it. Folder: --weights DIR."


def test_flags_that_the_plan_does_not_know_of_are_handed_on_with_a_warning() -> None:
    given = ["--enable_lora", "--seed", "1", "--max-num-s=8", "-sc.method", "ngram", "-asc", "2"]
    check(given)
    assert [flag for flag, _ in warnings(given)] == ["--enable-lora", "--max-num-s", "-sc", "-asc"]


@pytest.mark.parametrize(
    ("word", "why"),
    [
        ("--tool-call-parser=hermes", "it takes the place of mistral, which is how the model writes tool calls"),
        ("--no-enable-auto-tool-choice", "tool calls stay plain text or are refused"),
        ("--no-enable-prefix-caching", "what requests share is worked out for each of them"),
        ("--max-num-scheduled-tokens", "fewer requests may run at once than the plan has room for"),
        ("--max-num-queued-tokens=1k", "fewer requests may run at once than the plan has room for"),
        ("--enable-auto", "it is set already"),
    ],
)
def test_so_are_those_that_undo_what_the_command_says_before_them(word: str, why: str) -> None:
    check([word])
    assert [said for _, said in warnings([word])] == [why]


def test_the_words_are_divided_into_flags_with_their_values_and_none_is_lost() -> None:
    given = ["-O3", "--seed", "-1", "--lora-modules", "a", "b", "-", "--x={}"]
    assert parts(given) == [("-O3",), ("--seed", "-1"), ("--lora-modules", "a", "b", "-"), ("--x={}",)]
    assert parts([]) == []
