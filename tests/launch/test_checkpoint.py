"""Reading a folder of weights: what it tells of the model, and what is wrong with it."""

import json
import os
import re
from collections.abc import Callable
from pathlib import Path

import pytest

from nemotron_client.errors import ConfigurationError
from nemotron_client.launch.checkpoint import HF, MISTRAL, Checkpoint, Facts, locate, read
from nemotron_client.launch.sizes import Model
from nemotron_client.launch.weights import LONGEST_JSON
from tests.launch.folders import CONFIG, PARAMS, hugging_face, mistral, safetensors

SHARD = "consolidated.safetensors"

Damage = Callable[[Path], None]


def problems(folder: Path) -> tuple[str, ...]:
    return read(folder).problems


def test_a_folder_in_mistrals_format_tells_all_that_planning_needs(tmp_path: Path) -> None:
    found = read(mistral(tmp_path))
    assert found == Checkpoint(
        tmp_path,
        MISTRAL,
        mistral_tokenizer=True,
        facts=Facts(
            layers=2,
            kv_heads=2,
            head_dim=32,
            heads=4,
            window=131_072,
            parameters=52,
            weights=104,
            weights_fp8=64 + 16 + 8,  # embeddings and norms stay in 16 bits
            precision="bf16",
        ),
        problems=(),
    )
    assert found.facts.model().kv_bytes("bf16") == 2 * 2 * 2 * 32 * 2


def test_a_folder_in_hugging_faces_format_does_as_well(tmp_path: Path) -> None:
    found = read(hugging_face(tmp_path))
    assert (found.format, found.mistral_tokenizer, found.problems) == (HF, False, ())
    assert (found.facts.head_dim, found.facts.window, found.facts.weights) == (32, 4096, 64)


def test_where_both_are_there_mistrals_is_taken(tmp_path: Path) -> None:
    hugging_face(tmp_path)
    assert read(mistral(tmp_path)).format is MISTRAL


def test_a_model_that_sees_describes_its_text_part_apart(tmp_path: Path) -> None:
    hugging_face(tmp_path, {"text_config": dict(CONFIG)})
    assert read(tmp_path).facts.layers == 2


def test_without_a_window_in_mistrals_format_vllm_takes_128000(tmp_path: Path) -> None:
    told = {name: value for name, value in PARAMS.items() if name != "max_position_embeddings"}
    assert read(mistral(tmp_path, told)).facts.window == 128_000
    told = {name: value for name, value in CONFIG.items() if name != "max_position_embeddings"}
    assert read(hugging_face(tmp_path / "hf", told)).facts.window is None


def test_a_model_without_kv_heads_of_its_own_has_one_for_each_head(tmp_path: Path) -> None:
    assert read(mistral(tmp_path, {"dim": 64, "n_layers": 1, "n_heads": 4})).facts.kv_heads == 4


def test_fp8_weights_stay_as_they_are(tmp_path: Path) -> None:
    mistral(tmp_path)
    tensors = {"w": ("F8_E4M3", [64, 64]), "tok_embeddings.weight": ("BF16", [8, 4])}
    (tmp_path / SHARD).write_bytes(safetensors(tensors))
    facts = read(tmp_path).facts
    assert (facts.precision, facts.weights, facts.weights_fp8) == ("fp8", 4096 + 64, 4096 + 64)


def test_of_packed_weights_only_the_bytes_are_known(tmp_path: Path) -> None:
    mistral(tmp_path)
    (tmp_path / SHARD).write_bytes(safetensors({"w": ("I32", [64, 8])}))
    facts = read(tmp_path).facts
    assert (facts.precision, facts.weights, facts.weights_fp8, facts.parameters) == ("i32", 2048, 2048, None)


def break_off(folder: Path) -> None:
    whole = (folder / SHARD).read_bytes()
    (folder / SHARD).write_bytes(whole[:-10])


def lie_about_the_header(folder: Path) -> None:
    (folder / SHARD).write_bytes((1 << 62).to_bytes(8, "little") + b"{}")


def write(name: str, text: str) -> Damage:
    def do(folder: Path) -> None:
        (folder / name).write_text(text)

    return do


def headed(header: object) -> Damage:
    def do(folder: Path) -> None:
        text = json.dumps(header).encode()
        (folder / SHARD).write_bytes(len(text).to_bytes(8, "little") + text)

    return do


def without(name: str) -> Damage:
    def do(folder: Path) -> None:
        (folder / name).unlink()

    return do


def make_the_index_a_folder(folder: Path) -> None:
    (folder / f"{SHARD}.index.json").mkdir()


def split(*, of: int, there: int) -> Damage:
    def do(folder: Path) -> None:
        (folder / SHARD).unlink()
        for number in range(1, there + 1):
            name = f"consolidated-{number:05}-of-{of:05}.safetensors"
            (folder / name).write_bytes(safetensors({f"layers.{number}.w": ("BF16", [4])}))

    return do


def index(*names: str, **more: object) -> Damage:
    told = {"weight_map": {f"w{number}": name for number, name in enumerate(names)}, **more}
    return write(f"{SHARD}.index.json", json.dumps(told))


@pytest.mark.parametrize(
    ("damage", "problem"),
    [
        (break_off, r"consolidated.safetensors: has \d+ of \d+ bytes"),
        (lie_about_the_header, "is no safetensors file, or cut short: it has 10 bytes"),
        (write(SHARD, ""), "is no safetensors file, or cut short: it has 0 bytes"),
        (headed([]), "can't be understood:  Input should be an object"),
        (
            headed({"w": {"dtype": "BF16", "shape": [-1], "data_offsets": [0, 2]}}),
            "can't be understood: w.shape.0 Input",
        ),
        (without(SHARD), r"there is no consolidated\*.safetensors"),
        (without("tekken.json"), "there is no tokenizer"),
        (split(of=3, there=2), "1 of the 3 files consolidated-...-of-00003.safetensors are missing"),
        (index(SHARD, "consolidated-2.safetensors"), "consolidated-2.safetensors: is not there"),
        (index("../../etc/passwd"), r"names a file '../../etc/passwd', which is no plain name"),
        (index("a\nb.safetensors"), r"names a file 'a\\nb.safetensors', which is no plain name"),
        (index(SHARD, weight_map=[]), "index.json: can't be understood: weight_map Input should be"),
        (make_the_index_a_folder, "index.json: is no file"),
    ],
)
def test_what_vllm_could_not_load_is_told(tmp_path: Path, damage: Damage, problem: str) -> None:
    damage(mistral(tmp_path))
    (told,) = problems(tmp_path)
    assert re.search(problem, told), told


def test_an_index_tells_the_size_though_the_files_are_not_there(tmp_path: Path) -> None:
    index("consolidated-1.safetensors", metadata={"total_size": 10**12})(mistral(tmp_path))
    assert read(tmp_path).facts.weights == 10**12


def test_all_parts_there_is_no_problem(tmp_path: Path) -> None:
    split(of=2, there=2)(mistral(tmp_path))
    assert problems(tmp_path) == ()


def test_a_pipe_in_place_of_a_file_is_not_waited_for(tmp_path: Path) -> None:
    mistral(tmp_path)
    (tmp_path / SHARD).unlink()
    os.mkfifo(tmp_path / SHARD)
    assert problems(tmp_path) == ("consolidated.safetensors: is no file",)
    (tmp_path / "params.json").unlink()
    os.mkfifo(tmp_path / "params.json")
    with pytest.raises(ConfigurationError, match="is no description of a model: is no file"):
        read(tmp_path)


def test_a_file_that_may_not_be_read_is_told_of(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mistral(tmp_path)

    def refuse(_: Path) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("nemotron_client.launch.weights._header", refuse)
    assert problems(tmp_path) == ("consolidated.safetensors: Permission denied",)
    monkeypatch.setattr(Path, "read_bytes", refuse)
    with pytest.raises(ConfigurationError, match=r"params.json: Permission denied\."):
        read(tmp_path)


def test_a_description_of_unlikely_size_is_not_read(tmp_path: Path) -> None:
    with (mistral(tmp_path) / "params.json").open("wb") as file:
        file.truncate(LONGEST_JSON + 1)
    with pytest.raises(ConfigurationError, match="has more than 100,000,000 bytes"):
        read(tmp_path)


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({**PARAMS, "n_layers": "many"}, "n_layers is 'many', and must be a number from 1"),
        ({**PARAMS, "n_heads": 0}, "n_heads is 0, and"),
        ({**PARAMS, "n_kv_heads": True}, "n_kv_heads is True, and"),
        ({**PARAMS, "kv_lora_rank": 512}, "a model with latent attention"),
        ([1], "params.json is no description of a model"),
    ],
)
def test_a_description_that_can_not_be_used_is_refused(tmp_path: Path, params: object, message: str) -> None:
    mistral(tmp_path)
    (tmp_path / "params.json").write_text(json.dumps(params))
    with pytest.raises(ConfigurationError, match=message):
        read(tmp_path)


def test_a_folder_that_is_not_there_or_holds_something_else_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"nowhere: No such file or directory\."):
        read(tmp_path / "nowhere")
    with pytest.raises(ConfigurationError, match=r"neither params\.json .* nor config\.json"):
        read(tmp_path)


@pytest.mark.parametrize("name", ["two words", "it's; rm -rf $(HOME) `x` \"&|", "-rf", "größe"])
def test_any_name_that_can_be_shown_is_taken_as_it_is(
    tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    mistral(tmp_path / name)
    assert locate(name) == tmp_path / name
    assert problems(locate(name)) == ()


@pytest.mark.parametrize("name", ["a\nb", "a\x1b[31mb", "a\0b", "a\udcffb"])
def test_a_name_that_can_not_be_shown_is_refused(name: str) -> None:
    with pytest.raises(ConfigurationError, match="holds characters that can't be printed"):
        locate(name)


def test_what_the_user_tells_comes_before_what_was_read() -> None:
    read_off = Facts(layers=2, kv_heads=2, head_dim=32, weights=104, weights_fp8=88, precision="bf16", parameters=52)
    model = read_off.overridden(Facts(layers=4)).model()
    assert (model.layers, model.weights) == (4, 104)
    model = read_off.overridden(Facts(parameters=1000)).model()
    assert (model.weights, model.weights_fp8) == (2000, 1000)


def test_what_is_told_alone_is_an_estimate() -> None:
    told = Facts(parameters=1000, layers=2, kv_heads=2, head_dim=32)
    assert Facts().overridden(told).model() == Model.of(1000, layers=2, kv_heads=2, head_dim=32)


def test_weights_of_unknown_precision_are_taken_as_they_are() -> None:
    model = Facts(layers=2, kv_heads=2, head_dim=32, weights=10**9).model()
    assert (model.precision, model.weights_fp8) == ("unknown", 10**9)


def test_what_is_not_known_is_named_with_the_option_that_tells_it() -> None:
    with pytest.raises(ConfigurationError, match="Not known of the model: --params, --head-dim"):
        Facts(layers=2, kv_heads=2).model()
