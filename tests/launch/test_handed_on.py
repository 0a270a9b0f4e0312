"""Which of vLLM's own flags may stand after ``--``. Its parser takes each in many spellings; the last counts."""

import json
from pathlib import Path

import pytest

from nemotron_client.errors import ConfigurationError
from nemotron_client.launch.handed_on import KEY, TABLE, check, rule_of, warnings

FLAGS = list(json.loads((Path(__file__).parents[1] / "fixtures/vllm-0.32-flags.json").read_text()))
REFUSED = [flag for flag, rule in TABLE.items() if rule.refused]


def test_every_flag_of_the_table_is_one_of_vllms() -> None:
    assert set(FLAGS) >= TABLE.keys()


def test_of_all_flags_of_vllm_those_of_the_table_alone_have_a_rule() -> None:
    assert {flag: rule for flag in FLAGS if (rule := rule_of(flag))} == TABLE


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
    check([word])
    assert list(warnings([word])) == []


def test_flags_that_the_plan_does_not_know_of_are_handed_on_with_a_warning() -> None:
    given = ["--enable_lora", "--seed", "1", "--max-num-s=8", "-sc.method", "ngram"]
    check(given)
    assert [flag for flag, _ in warnings(given)] == ["--enable-lora", "--max-num-s", "-sc"]
