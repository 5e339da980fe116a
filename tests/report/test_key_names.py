"""Keys by their endings, and keys that cannot change a result."""

from pathlib import Path

import pytest

from isosweep.report import Refused, ReportError, TableRequest, make_table
from isosweep.report.collect import read_folder
from tests.report.hand import put, record

EIKONAL = "loss.terms.eikonal.weight"


def table(root: Path, **changes):
    return make_table(TableRequest(sources=(str(root),), **{"metrics": ("psnr",), **changes}))


def sweep(root: Path) -> Path:
    for weight in (0.05, 0.1):
        for seed in (0, 1):
            put(root, record(seed=seed, config={EIKONAL: weight}, values={"nvs/psnr": 30 + weight}))
    return root


@pytest.mark.parametrize("word", ["eikonal.weight", "terms.eikonal.weight", EIKONAL])
def test_a_unique_ending_names_a_key_in_every_option(tmp_path: Path, word: str) -> None:
    sweep(tmp_path)
    made = table(tmp_path, rows=(word,), against=((word, "0.05"),))
    assert made.document.blocks[0].labels == ("eikonal.weight",)
    (one,) = made.comparisons
    assert (one.row, one.baseline) == ((0.1,), (0.05,))
    assert table(tmp_path, rows=("model",), cols=(word,)).table.spec.cols == (EIKONAL,)
    assert table(tmp_path, rows=("model",), over=("seed", word)).table.spec.over == ("seed", EIKONAL)
    (line,) = table(tmp_path, conditions=((word, "0.1"),), rows=("model",)).document.blocks[0].lines
    assert line.cells[0].main == "30.10"
    put(tmp_path, record(seed=2, config={EIKONAL: 0.5}))
    with pytest.raises(Refused, match="seed=0"):
        table(
            tmp_path, rows=("model",), allow=(word,)
        )  # tolerated as settings, but never two runs of one seed


def test_default_rows_and_against_by_the_heading(tmp_path: Path) -> None:
    made = table(sweep(tmp_path), against=(("eikonal.weight", "0.05"),))
    assert made.table.spec.rows == (EIKONAL,)
    assert len(made.comparisons) == 1


def test_an_ending_of_several_keys_is_refused_with_their_names(tmp_path: Path) -> None:
    sweep(tmp_path)
    with pytest.raises(
        ReportError, match=r"2 keys end in it.*loss.terms.eikonal.weight, loss.terms.rgb_l1.weight"
    ):
        table(tmp_path, rows=("weight",))


@pytest.mark.parametrize("option", ["rows", "cols", "over", "allow", "conditions", "against"])
def test_a_misspelt_key_is_told_what_it_may_mean(tmp_path: Path, option: str) -> None:
    sweep(tmp_path)
    word = "eikonal.wieght"
    given = ((word, "0.05"),) if option in ("conditions", "against") else (word,)
    with pytest.raises(ReportError, match=r"Did you mean loss\.terms\.eikonal\.weight"):
        table(tmp_path, **{option: given})


def test_how_often_a_run_validates_splits_no_rows_of_last_checkpoints(tmp_path: Path) -> None:
    for seed, every in ((0, 10), (1, 20), (2, 30)):
        put(tmp_path / "last", record(seed=seed, config={"train.val_every": every, "train.threads": seed}))
    made = table(tmp_path / "last")
    assert made.table.spec.rows == ("model",)
    assert made.document.blocks[0].lines[0].cells[0].n == 3
    assert "val_every" not in "\n".join(made.document.notes)
    for seed, every in ((0, 10), (1, 20)):
        put(tmp_path / "best", record(seed=seed, config={"train.val_every": every}, scores_of="best"))
    with pytest.raises(Refused, match=r"train\.val_every"):
        table(tmp_path / "best", rows=("model",))


def test_further_keys_are_read_from_where_they_stand(tmp_path: Path) -> None:
    ours, other = (
        record(device="NVIDIA X", code_hash="c1"),
        record(seed=1, backend="external", code_hash="c2"),
    )
    put(tmp_path, ours, other)
    one, two = read_folder(tmp_path).runs
    assert (one.get("device_name"), one.get("code_hash"), one.get("protocol")) == (
        "NVIDIA X",
        "c1",
        "standard",
    )
    assert two.get("code_hash") is None, "of another program's record it is its scorer's, not the method's"
    assert one.get("train.no_such_key") is None


def test_a_name_of_thousands_of_characters_is_shown_by_its_ends(tmp_path: Path) -> None:
    endless = f"geometry{'a' * 9000}/chamfer"
    put(tmp_path, record(), record(seed=1, values={"geometry/chamfer": "absent", endless: 0.1}))
    with pytest.raises(Refused) as error:
        table(tmp_path, metrics=("chamfer",))
    assert "geometryaaaa" in str(error.value)
    assert "aaa/chamfer" in str(error.value)
    assert len(str(error.value)) < 2000
