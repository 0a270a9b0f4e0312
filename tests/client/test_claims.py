"""`FileClaims` notes each paused run once, for all threads and processes that share its directory."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier

import pytest

from nemotron_client import FileClaims, InvalidRequestError

ID = "0123456789abcdef" * 2


def test_a_run_is_new_once(tmp_path: Path) -> None:
    claims = FileClaims(tmp_path / "some" / "claims")
    assert claims(ID)
    assert not claims(ID)
    assert claims(ID[::-1])


def test_whoever_has_the_same_directory_sees_it(tmp_path: Path) -> None:
    assert FileClaims(tmp_path)(ID)
    assert not FileClaims(str(tmp_path))(ID)
    assert [path.name for path in tmp_path.iterdir()] == [ID]


def test_of_two_threads_one_gets_it(tmp_path: Path) -> None:
    claims, together = FileClaims(tmp_path), Barrier(2)

    def claim(run_id: str) -> bool:
        together.wait()
        return claims(run_id)

    with ThreadPoolExecutor(2) as pool:
        for number in range(20):
            assert sorted(pool.map(claim, [f"{number:032x}"] * 2)) == [False, True]


@pytest.mark.parametrize(
    "run_id",
    [
        "",
        "run",
        f"../{ID[3:]}",
        f"/{ID[1:]}",
        f"{ID}\n",
        ID.upper(),
        f"{ID}\0",
        f"{ID}/..",
        "\N{ARABIC-INDIC DIGIT ZERO}" * 32,
    ],
)
def test_what_is_no_id_never_becomes_a_path(run_id: str, tmp_path: Path) -> None:
    with pytest.raises(InvalidRequestError, match=r"is no run's id") as caught:
        FileClaims(tmp_path / "claims")(run_id)
    assert caught.value.parameter == "claim"
    assert list(tmp_path.iterdir()) == []


def test_a_link_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / ID).symlink_to(tmp_path / "elsewhere")
    assert not FileClaims(tmp_path)(ID)
    assert not (tmp_path / "elsewhere").exists()
