"""The planner, against the table of docs/explanation/protocol.md ("Sizing") and its own rules."""

import math
import re
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nemotron_client.errors import ConfigurationError
from nemotron_client.launch import GPU, GPUS, Machines, Model, Wish, plan
from nemotron_client.launch.plan import spread
from nemotron_client.launch.sizes import GIB

SMALL = Model.of(23.57e9, layers=40, kv_heads=8, head_dim=128, heads=32)
LARGE = Model.of(123e9, layers=88, kv_heads=8, head_dim=128, heads=96)
# Its recipe tells 134 GB: embeddings and the part that sees are kept in 16 bits.
LARGER = replace(LARGE, weights=134_000_000_000, weights_fp8=134_000_000_000, precision="fp8", parameters=None)
H100 = GPUS["H100"]

PROTOCOL = Path(__file__).parents[2] / "docs/explanation/protocol.md"
ROWS = re.findall(r"^\| (\d+B \w+) \| \d+ x \d+ x \d+ \|", PROTOCOL.read_text(), re.MULTILINE)
TABLE = {
    "24B bf16": (SMALL, Wish()),
    "24B fp8": (SMALL, Wish(fp8=True)),
    "123B bf16": (LARGE, Wish()),
    "123B fp8": (LARGE, Wish(fp8=True)),
    "128B fp8": (LARGER, Wish()),
}


def cells(row: str) -> list[str]:
    line = next(line for line in PROTOCOL.read_text().splitlines() if line.startswith(f"| {row} |"))
    return [cell.strip() for cell in line.strip("|").split("|")]


@pytest.mark.parametrize("row", TABLE)
def test_the_table_of_the_protocol_page_is_what_the_planner_works_out(row: str) -> None:
    model, wish = TABLE[row]
    _, shape, kv, weights, left = cells(row)
    assert shape == f"{model.layers} x {model.kv_heads} x {model.head_dim}"
    assert kv == " / ".join(f"{model.kv_bytes(each) * 131_072 / GIB:.0f}" for each in ("bf16", "fp8")) + " GiB"
    # 70 GiB of each card and nothing set aside, as the page says.
    usable = Machines(GPU("", 70 * GIB), 8, share=1.0, reserve=0)
    free = {tensor: spread(model, usable, wish, tensor, 1).room * tensor / GIB for tensor in (1, 2, 4, 8)}
    assert weights == f"{spread(model, usable, wish, 1, 1).weights / GIB:.0f} GiB"
    assert left == ", ".join(f"{room:.0f}" if room > 0 else "-" for room in free.values())


def test_a_gib_holds_as_many_tokens_as_vllm_itself_says_at_a_real_start() -> None:
    log = (Path(__file__).parents[1] / "fixtures/vllm-logs/good.log").read_text()
    told = re.search(r"set \(1\.0/.*CPU KV cache size: ([\d,]+) tokens", log, re.DOTALL)
    assert told
    tiny = Model.of(34e6, layers=2, kv_heads=2, head_dim=32, heads=4)
    assert f"{GIB // tiny.kv_bytes('bf16'):,}" == told[1]


def test_the_table_has_a_row_for_each_class() -> None:
    assert list(TABLE) == ROWS


def test_an_80_gb_card_is_78_gib_of_which_vllm_gets_70() -> None:
    assert H100.memory == 78 * GIB
    assert 70 * GIB < Machines(H100, 8).usable < 71 * GIB


def test_123_billion_parameters_in_bf16_take_eight_h100_and_hold_six_full_windows() -> None:
    made = plan(LARGE, Machines(H100, 8), Wish())
    assert made.chosen is not None
    assert (str(made.chosen), made.chosen.sequences) == ("TP 8 x PP 1 x DP 1", 6)
    assert made.chosen.gpus == 8
    assert made.chosen.tokens // 131_072 == 6
    assert made.nearest == ()


def test_what_does_not_fit_comes_with_the_nearest_that_does() -> None:
    made = plan(LARGE, Machines(H100, 4), Wish())
    assert made.chosen is None
    assert [(text, layout.sequences) for text, layout in made.nearest] == [
        ("--window 94208", 1),
        ("--kv-cache fp8", 1),
        ("--gpus 8xH100", 6),
        ("--gpus 4xH100-NVL", 1),
    ]


def test_what_fits_less_often_than_wanted_is_offered_as_often_as_it_fits() -> None:
    made = plan(LARGE, Machines(H100, 8), Wish(concurrency=10))
    assert made.chosen is None
    assert dict(made.nearest)["--concurrency 6"].sequences == 6
    assert dict(made.nearest)["--gpus 8xH100 --nodes 2"].data == 2


def test_fp8_weights_and_cache_together_are_offered_where_neither_alone_is_enough() -> None:
    made = plan(LARGE, Machines(GPUS["B200"], 1), Wish())
    assert [text for text, _ in made.nearest if "fp8" in text] == ["--precision fp8 --kv-cache fp8"]


def test_nothing_is_offered_where_nothing_helps() -> None:
    huge = Model.of(30e12, layers=88, kv_heads=8, head_dim=128)
    assert plan(huge, Machines(H100, 1), Wish(fp8=True, kv="fp8")).nearest == ()


def test_unknown_cards_are_named_in_words() -> None:
    made = plan(SMALL, Machines(GPU("A30", 24 * GIB), 1), Wish(fp8=True, kv="fp8"))
    assert "2x A30" in dict(made.nearest)


def test_two_nodes_hold_a_copy_each_where_one_node_holds_the_model() -> None:
    made = plan(LARGE, Machines(H100, 8, 2), Wish())
    assert str(made.chosen) == "TP 8 x PP 1 x DP 2"
    assert str(made.machines) == "2 nodes of 8x H100 80 GB"


def test_a_model_too_large_for_a_node_is_spread_over_nodes_in_stages() -> None:
    made = plan(Model.of(400e9, layers=88, kv_heads=8, head_dim=128, heads=96), Machines(H100, 8, 2), Wish())
    assert str(made.chosen) == "TP 8 x PP 2 x DP 1"


def test_where_the_nodes_do_not_make_whole_copies_a_layout_is_left_out() -> None:
    layouts = plan(LARGE, Machines(H100, 8, 3), Wish()).layouts
    assert {each.pipeline for each in layouts if each.tensor == 8} == {1, 3}


def test_where_the_layers_do_not_divide_the_largest_stage_counts() -> None:
    whole, uneven = (spread(LARGE, Machines(H100, 8, 3), Wish(), 8, pipeline) for pipeline in (1, 3))
    assert uneven.weights == -(-whole.weights * 30 // 88)  # stages of 30, 29 and 29 layers
    assert uneven.kv_bytes * 88 == whole.kv_bytes * 30


def test_the_embeddings_count_in_the_first_stage_alone_and_the_output_head_in_the_last() -> None:
    gib = Model(layers=8, kv_heads=8, head_dim=128, weights=13 * GIB, weights_fp8=13 * GIB, precision="bf16")
    model, machines = replace(gib, embeddings=2 * GIB, head=3 * GIB), Machines(H100, 8)  # 1 GiB for each layer
    one, two, four = (spread(model, machines, Wish(), 1, pipeline) for pipeline in (1, 2, 4))
    assert [each.weights for each in (one, two, four)] == [13 * GIB, 7 * GIB, 5 * GIB]  # the last is the largest
    tied = replace(model, head=0, weights=10 * GIB)  # the last stage has the embeddings a second time
    assert [spread(tied, machines, Wish(), 1, pipeline).weights for pipeline in (1, 2)] == [10 * GIB, 6 * GIB]
    assert spread(gib, machines, Wish(), 1, 2).weights == 13 * GIB // 2  # unknown: an even part


def test_the_stage_that_counts_is_the_one_with_room_for_the_fewest_tokens() -> None:
    # 3 stages of 3, 4 and 3 layers: the middle one has more to keep of each token, the last one less room for it.
    model = Model(layers=10, kv_heads=8, head_dim=128, weights=15 * GIB, weights_fp8=15 * GIB, precision="bf16")
    middle = spread(replace(model, embeddings=2 * GIB, head=3 * GIB), Machines(H100, 3), Wish(), 1, 3)
    assert (middle.weights, middle.kv_bytes) == (4 * GIB, 2 * 4 * 8 * 128 * 2)
    large = replace(model, weights=165 * GIB, weights_fp8=165 * GIB, embeddings=15 * GIB, head=50 * GIB)
    last = spread(large, Machines(H100, 3), Wish(), 1, 3)
    assert (last.weights, last.kv_bytes) == (80 * GIB, 2 * 3 * 8 * 128 * 2)
    assert last.room < 0


def test_sizes_that_were_asked_for_and_are_too_small_are_offered_to_be_left_away() -> None:
    made = plan(LARGE, Machines(H100, 8), Wish(tensor=2, pipeline=1))
    assert made.chosen is None
    assert str(dict(made.nearest)["no parallel sizes given"]) == "TP 8 x PP 1 x DP 1"


def test_many_nodes_are_offered_where_few_do_not_do() -> None:
    made = plan(Model.of(2e12, layers=88, kv_heads=8, head_dim=128), Machines(H100, 1), Wish())
    assert [text for text, _ in made.nearest] == ["--gpus 8xH100 --nodes 8"]


def test_kv_heads_are_repeated_where_there_are_fewer_than_gpus() -> None:
    model = replace(LARGE, kv_heads=2, heads=96)
    one, eight = (spread(model, Machines(H100, 8), Wish(), tensor, 1) for tensor in (2, 8))
    assert one.kv_bytes == eight.kv_bytes


def test_without_the_number_of_heads_only_the_kv_heads_are_divided() -> None:
    known = replace(LARGE, kv_heads=4)
    unknown = replace(known, heads=None)
    assert [known.divides(8), unknown.divides(8), unknown.divides(4)] == [True, False, True]


def test_sizes_that_are_asked_for_are_kept_to() -> None:
    made = plan(SMALL, Machines(H100, 8), Wish(tensor=2, pipeline=2))
    assert str(made.chosen) == "TP 2 x PP 2 x DP 2"


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (
            lambda: plan(SMALL, Machines(H100, 8), Wish(tensor=3)),
            "tensor 3, pipeline any.*Possible are: TP 1 x PP 1 x DP 8",
        ),
        (lambda: plan(replace(SMALL, heads=None), Machines(H100, 8), Wish(pipeline=7)), "the model's 8 KV heads"),
        (
            lambda: plan(replace(SMALL, window=32_768), Machines(H100, 8), Wish()),
            "131,072 tokens: the model was made for",
        ),
        (lambda: Machines(H100, 0), r"gpus \(0\): give a number from 1 to 128\."),
        (lambda: Machines(H100, 10**9), r"gpus \(too many\): give a number from 1 to 128\."),
        (lambda: Machines(H100, 8, 10**5000), r"nodes \(too many\): give a number from 1 to 1,000\."),
        (lambda: Model.of(math.inf, layers=88, kv_heads=8, head_dim=128), r"weights \(too many\)"),
        (lambda: Model.of(0, layers=88, kv_heads=8, head_dim=128), r"weights \(0\)"),
        (lambda: replace(SMALL, layers=10**6), r"layers \(too many\): give a number from 1 to 10,000"),
        (
            lambda: plan(replace(SMALL, precision="gptq"), Machines(H100, 8), Wish(fp8=True)),
            r"--precision fp8: the weights are quantized already \(gptq\)",
        ),
        (lambda: Machines(H100, 8, share=math.nan), "A share of nan of a GPU's memory"),
        (lambda: Machines(H100, 8, share=1.5), "A share of 1.5 of a GPU's memory"),
        (lambda: replace(SMALL, head=-1), r"embeddings and head \(0, -1\): give parts of the 23,570,000,000 bytes"),
        (lambda: replace(SMALL, embeddings=20 * 10**9, head=4 * 10**9), r"embeddings and head \(20000000000, 4"),
        (lambda: Wish(concurrency=0), r"concurrency \(0\): give a number from 1"),
    ],
)
def test_what_can_not_be_is_refused_by_name(make: object, message: str) -> None:
    assert callable(make)
    with pytest.raises(ConfigurationError, match=message):
        make()


def model_of(size: float, layers: int, kv_heads: int, each: int, ends: tuple[float, float]) -> Model:
    model = Model.of(size * 1e9, layers=layers, kv_heads=kv_heads, head_dim=128, heads=kv_heads * each)
    return replace(model, embeddings=int(model.weights * ends[0]), head=int(model.weights * ends[1]))


SHAPES = st.builds(
    model_of,
    st.floats(1, 700),
    st.integers(1, 120),
    st.sampled_from([1, 2, 4, 8, 16]),
    st.sampled_from([1, 3, 4, 12]),
    st.sampled_from([(0, 0), (0.02, 0), (0.05, 0.05), (0.1, 0.3)]),
)
HARDWARE = st.builds(Machines, st.sampled_from(list(GPUS.values())), st.integers(1, 8), st.integers(1, 4))
WISHES = st.builds(
    Wish,
    fp8=st.booleans(),
    kv=st.sampled_from(["bf16", "fp8"]),
    window=st.integers(1, 131_072),
    concurrency=st.integers(1, 50),
)


def stages(layers: int, pipeline: int) -> list[int]:
    """Return the layers of each stage as vLLM 0.32 spreads them (`get_pp_indices`)."""
    partitions = [layers // pipeline for _ in range(pipeline)]
    for i in range(2, layers % pipeline + 2):
        partitions[-i] += 1
    return partitions


def weights_of_stages(model: Model, wish: Wish, pipeline: int) -> list[float]:
    """Return the bytes of each stage: its part of the layers, and what stands before and behind them."""
    whole = model.weights_fp8 if wish.fp8 else model.weights
    found = [(whole - model.embeddings - model.head) * each / model.layers for each in stages(model.layers, pipeline)]
    found[0] += model.embeddings
    if pipeline == 1:
        return [found[0] + model.head]
    found[-1] += model.head or model.embeddings
    return found


@given(SHAPES, HARDWARE, WISHES)
def test_a_plan_never_promises_more_than_there_is(model: Model, machines: Machines, wish: Wish) -> None:
    made = plan(model, machines, wish)
    for layout in made.layouts:
        assert layout.gpus * layout.data == machines.gpus * machines.nodes
        assert model.divides(layout.tensor)
        tokens = layout.sequences // layout.data * wish.window
        heads = max(model.kv_heads // layout.tensor, 1)
        for layers, weights in zip(
            stages(model.layers, layout.pipeline), weights_of_stages(model, wish, layout.pipeline), strict=True
        ):
            used = weights / layout.tensor + tokens * 2 * layers * heads * 128 * (1 if wish.kv == "fp8" else 2)
            assert not tokens or used + machines.reserve <= machines.usable
    if made.chosen:
        assert made.chosen.sequences >= wish.concurrency
        fitting = [each for each in made.layouts if each.sequences >= wish.concurrency]
        assert made.chosen.pipeline == min(each.pipeline for each in fitting)
    for _, layout in made.nearest:
        assert made.chosen is None
        assert layout.sequences >= 1
