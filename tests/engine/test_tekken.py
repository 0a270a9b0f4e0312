"""The vocabulary that tokens are counted with, and what is remembered of counts."""

import runpy
import zlib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from importlib.resources import files
from pathlib import Path
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nemotron_client import _tekken
from nemotron_client._tekken import ENCODING, Counts, count, encoded
from tests.engine import conversations, judge

DATA = files("nemotron_client") / "_data"
SCRIPT = Path(__file__).parents[2] / "scripts" / "tekken.py"


def test_the_package_holds_what_the_script_makes_of_mistral_commons_file() -> None:
    script = runpy.run_path(str(SCRIPT))
    converted: Callable[[], bytes] = script["converted"]
    assert zlib.decompress((DATA / "tekken.bin").read_bytes()) == converted()
    assert script["SHA256"] in (DATA / "README.md").read_text()


def test_the_vocabulary_comes_with_its_licence() -> None:
    licence = (DATA / "LICENSE").read_text()
    assert "Apache License" in licence
    assert "Copyright 2024 Mistral AI" in licence


def test_a_text_is_cut_by_mistrals_own_pattern() -> None:
    assert judge.tekken()["config"]["pattern"] == _tekken.PATTERN
    assert ENCODING.n_vocab == _tekken.ENTRIES


@given(st.randoms(use_true_random=True) | st.text())
def test_a_text_has_the_tokens_that_mistral_common_makes_of_it(source: Random | str) -> None:
    text = source if isinstance(source, str) else conversations.text(source)
    ids = judge.tekkenizer().encode(text, bos=False, eos=False)
    assert [token + 1000 for token in ENCODING.encode_ordinary(text)] == ids
    assert count(text) == len(ids) <= len(text.encode())


def test_half_a_surrogate_pair_is_counted_as_a_replacement_character() -> None:
    assert count("a\ud800b") == count("a\ufffdb")


def test_a_million_blanks_in_a_row_are_counted_where_tiktoken_panics() -> None:
    assert 1_000_000 / 64 <= count(" " * 1_000_000) <= 1_000_000 / 64 + 2  # the longest entry of blanks has 64


def test_only_a_text_with_too_many_blanks_in_a_row_is_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_tekken, "LONGEST_BLANK", 100)
    text = "begin" + " " * 250 + "end"
    whole = len(ENCODING.encode_ordinary(text))
    assert whole < encoded(text) <= whole + 3
    text = "begin" + (" " * 50 + "=") * 50 + "end"
    assert encoded(text) == len(ENCODING.encode_ordinary(text))


def recording(texts: list[str]) -> Callable[[str], int]:
    """Return something that counts words and writes down what it is asked."""

    def words(text: str) -> int:
        texts.append(text)
        return len(text.split())

    return words


def test_a_text_is_counted_once() -> None:
    asked: list[str] = []
    counts = Counts(recording(asked))
    assert [counts(text) for text in ("a b", "c", "a b", "", "")] == [2, 1, 2, 0, 0]
    assert asked == ["a b", "c", ""]


def test_what_was_not_asked_for_lately_is_forgotten() -> None:
    asked: list[str] = []
    counts = Counts(recording(asked), room=1000)
    counts("used often")
    for number in range(100):
        counts(f"text {number}")
        counts("used often")
    assert asked.count("used often") == 1
    counts("text 99")
    counts("text 0")
    assert (asked.count("text 99"), asked.count("text 0")) == (1, 2)


def test_a_text_longer_than_the_room_is_remembered_for_the_moment() -> None:
    asked: list[str] = []
    counts = Counts(recording(asked), room=10)
    assert [counts("word " * 100), counts("word " * 100)] == [100, 100]
    assert len(asked) == 1


def test_threads_may_count_at_the_same_time() -> None:
    texts = [f"{number} words " * number for number in range(60)] * 20
    counts = Counts(recording([]), room=2000)
    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(counts, texts)) == [len(text.split()) for text in texts]
