"""What is refused, what is tolerated by name and printed, what is not compared."""

from pathlib import Path

import pytest

from isosweep.report import Refused, ReportError, TableRequest, make_table, render_files
from tests.report.hand import put, record


def table(root: Path, **changes):
    return make_table(
        TableRequest(
            sources=(str(root),), metrics=changes.pop("metrics", ("psnr",)), rows=("model",), **changes
        )
    )


def notes(made) -> str:
    return "\n".join(made.document.notes)


def test_mixed_protocols_are_refused_over_the_whole_table(tmp_path: Path) -> None:
    put(tmp_path, record("nerf"), record("neus", protocol="quick"))
    with pytest.raises(Refused, match=r"protocol protocol: standard \(1 runs\), quick \(1 runs\)") as refused:
        table(tmp_path)
    assert "nothing was written" in str(refused.value)
    assert "--allow protocol" in str(refused.value)
    assert "standard (1 runs), quick (1 runs)" in notes(table(tmp_path, allow=("protocol",)))
    assert table(tmp_path, conditions=(("protocol", "quick"),)).document.blocks[0].lines[0].labels == (
        "neus",
    )
    both = make_table(TableRequest(sources=(str(tmp_path),), rows=("model", "protocol"), metrics=("psnr",)))
    assert len(both.document.blocks[0].lines) == 2


def test_held_out_and_training_views_do_not_stand_in_one_table(tmp_path: Path) -> None:
    put(tmp_path, record("nerf"), record("neus", values={"nvs/psnr": "absent", "train_view/psnr": 33.0}))
    with pytest.raises(Refused, match=r"mixed protocols: name one, e.g. --metrics nvs/psnr"):
        table(tmp_path)
    one = table(tmp_path, metrics=("nvs/psnr",))
    assert [line.cells[0].main for line in one.document.blocks[0].lines] == ["30.00", "–"]
    both = table(tmp_path, allow=("protocol",))
    assert [line.cells[0].main for line in both.document.blocks[0].lines] == ["30.00", "33.00"]
    assert "psnr is nvs/psnr (1 runs), train_view/psnr (1 runs)" in notes(both)


def test_two_lpips_backbones_do_not_mix(tmp_path: Path) -> None:
    put(tmp_path, record("nerf"), record("neus", values={"nvs/lpips_vgg": "absent", "nvs/lpips_alex": 0.05}))
    with pytest.raises(Refused, match=r"nvs/lpips_vgg \(1 runs\), nvs/lpips_alex \(1 runs\)"):
        table(tmp_path, metrics=("lpips",))
    table(tmp_path)


def test_other_settings_than_the_seed_are_refused_with_their_keys_and_values(tmp_path: Path) -> None:
    put(
        tmp_path,
        record(seed=0),
        record(
            seed=1,
            config={"train.max_steps": 5000, "loss.terms.eikonal.weight": 0.5},
            overrides=["train.max_steps=5000"],
        ),
    )
    with pytest.raises(Refused) as refused:
        table(tmp_path)
    said = str(refused.value)
    assert "model=neus, scene=mug:" in said
    assert "setting train.max_steps: 2000, 5000" in said
    assert "setting loss.terms.eikonal.weight: 0.1, 0.5" in said
    assert "--rows ...,train.max_steps" in said, "the key that was set by hand comes first"
    with pytest.raises(Refused, match="eikonal") as one_key:
        table(tmp_path, allow=("train",))
    assert "max_steps" not in str(one_key.value)
    for allow in (("settings",), ("train.max_steps", "loss.terms")):
        made = table(tmp_path, allow=allow)
        assert made.table.cells[("neus",), made.table.columns[0], made.table.metrics[0]].n == 2
        assert "Tolerated (setting), model=neus, scene=mug: train.max_steps is 2000, 5000." in notes(made)
    table(tmp_path, over=("seed", "train.max_steps", "loss.terms.eikonal.weight"))


def test_a_key_that_one_config_lacks_is_a_difference(tmp_path: Path) -> None:
    put(tmp_path, record(seed=0), record(seed=1, config={"model.near": 0.1}))
    with pytest.raises(Refused, match=r"setting model.near: \(absent\), 0.1"):
        table(tmp_path)


def test_an_encoding_that_is_no_row_is_named_before_its_settings(tmp_path: Path) -> None:
    put(tmp_path, record(encoding="freq"), record(encoding="hashgrid"))
    with pytest.raises(Refused, match=r"neus, scene=mug:\n    setting encoding: freq, hashgrid"):
        table(tmp_path)


@pytest.mark.parametrize(
    "key", ["train.log_every", "train.threads", "dataset.root", "run.root", "eval.chunk", "export.video"]
)
def test_what_cannot_change_a_result_may_differ(tmp_path: Path, key: str) -> None:
    put(tmp_path, record(seed=0), record(seed=1, config={key: "other"}))
    made = table(tmp_path)
    assert made.table.cells[("neus",), made.table.columns[0], made.table.metrics[0]].n == 2


def test_two_codes_are_refused_in_a_cell_and_in_a_mean_and_said_across_rows(tmp_path: Path) -> None:
    put(tmp_path / "cell", record(seed=0), record(seed=1, code_hash="beef", git={"sha": "1"}))
    with pytest.raises(Refused, match=r"code code_hash: c0de \(1 runs\), beef \(1 runs\)"):
        table(tmp_path / "cell")
    assert "code_hash is c0de (1 runs), beef (1 runs)" in notes(table(tmp_path / "cell", allow=("code",)))
    put(tmp_path / "mean", record(), record(scene="rings", code_hash="beef"))
    with pytest.raises(Refused, match="model=neus on demo"):
        table(tmp_path / "mean")
    put(tmp_path / "rows", record("nerf"), record("neus", code_hash="beef"))
    assert "2 versions of the numerical code: beef, c0de" in notes(table(tmp_path / "rows"))
    put(tmp_path / "sha", record(seed=0, git={"sha": "1"}), record(seed=1, git={"sha": "2"}))
    table(tmp_path / "sha")


def test_score_settings_must_agree_within_a_scene_for_the_scores_they_concern(tmp_path: Path) -> None:
    put(tmp_path / "a", record("nerf"), record("neus", settings={"background": [0, 0, 0], "samples": 10}))
    with pytest.raises(Refused, match=r"scene demo/mug, nvs/psnr:\n    score setting scores.background"):
        table(tmp_path / "a")
    with pytest.raises(Refused, match=r"scores.samples: 1000000, 10"):
        table(tmp_path / "a", metrics=("chamfer",))
    made = table(tmp_path / "a", allow=("scores.background",))
    assert "Tolerated (score setting)" in notes(made)
    table(tmp_path / "a", metrics=("psnr", "chamfer"), allow=("protocol",))
    put(
        tmp_path / "b",
        record("nerf", scene="mug"),
        record("nerf", scene="rings", settings={"background": [0, 0, 0]}),
    )
    table(tmp_path / "b")  # another scene may have another background
    put(tmp_path / "c", record(seed=0), record(seed=1, settings={"step": 1500}))
    table(tmp_path / "c")  # the best checkpoint of each seed has its own step
    put(tmp_path / "d", record("nerf"), record("neus", config={"export.resolution": 512}))
    table(tmp_path / "d")
    with pytest.raises(Refused, match=r"export.resolution: 256, 512"):
        table(tmp_path / "d", metrics=("chamfer",))
    put(tmp_path / "e", record("nerf"), record("neus", settings={"lpips_weights": "other"}))
    table(tmp_path / "e")
    with pytest.raises(Refused, match="lpips_weights"):
        table(tmp_path / "e", metrics=("lpips",))


def test_two_runs_of_one_seed_are_refused(tmp_path: Path) -> None:
    one, two = put(tmp_path, record(run_key="a"), record(run_key="b"))
    for allow in ((), ("settings",), ("seed",), ("settings", "code", "protocol")):
        for metrics in (("psnr",), ("time",)):
            with pytest.raises(Refused, match="seed seed=0:") as refused:
                table(tmp_path, allow=allow, metrics=metrics)
            assert str(one.parent) in str(refused.value), "the refusal names both runs"
            assert str(two.parent) in str(refused.value)
            assert "--allow" not in str(refused.value)


def test_runs_of_one_seed_are_not_pooled_where_their_settings_may_differ(tmp_path: Path) -> None:
    put(tmp_path, record(), record(config={"train.max_steps": 9}), record(seed=1))
    with pytest.raises(Refused) as settings:
        table(tmp_path)
    assert "train.max_steps" in str(settings.value)
    assert "seed seed=0" not in str(settings.value), "a key separates them, which is the first thing to do"
    for allow in (("settings",), ("train.max_steps",)):
        with pytest.raises(Refused, match="two runs of one seed are never averaged"):
            table(tmp_path, allow=allow)
    made = table(tmp_path, over=("seed", "train.max_steps"))
    assert made.table.cells[("neus",), made.table.columns[0], made.table.metrics[0]].n == 3


def test_settings_that_rows_differ_in_beside_their_keys_are_said(tmp_path: Path) -> None:
    put(tmp_path, record("nerf"), record("neus", config={"train.max_steps": 4000}))
    assert "Rows also differ in settings: train.max_steps (2000, 4000)." in notes(table(tmp_path))


def external(**changes):
    scores = {"protocol": "standard", "values": {"nvs/psnr": 33.5}}
    return {"dataset": "demo", "scene": "mug", "model": "gsplat", "scores": scores, **changes}


def test_records_of_other_programs_enter_and_are_called_external(tmp_path: Path) -> None:
    put(tmp_path, record(), external(), external(model="", label="by_hand"))
    made = table(tmp_path)
    page = render_files(made, ["md"])[".md"].decode()
    assert "gsplat (external)" in page
    assert "External: model=by_hand; model=gsplat." in page
    assert "by_hand (external)" in page
    assert "33.50" in page


def test_an_external_record_is_refused_for_what_it_says_and_not_for_what_it_does_not(tmp_path: Path) -> None:
    put(tmp_path / "a", record(seed=0), external(model="neus", seed=1))
    made = table(tmp_path / "a")
    assert made.table.cells[("neus",), made.table.columns[0], made.table.metrics[0]].n == 2


def test_an_external_row_of_another_protocol_stands_beside_ours_unranked(tmp_path: Path) -> None:
    other = {"protocol": "images", "values": {"nvs/psnr": 99.0}}
    put(tmp_path, record("nerf", values={"nvs/psnr": 20.0}), record(), external(scores=other))
    made = table(tmp_path)
    marks = {line.labels[0]: line.cells[0].mark for line in made.document.blocks[0].lines}
    assert marks == {"gsplat": "", "nerf": "second", "neus": "best"}
    assert "model=gsplat: psnr under protocol images, not ranked with ours." in notes(made)
    allowed = table(tmp_path, allow=("protocol",))
    assert [line.cells[0].mark for line in allowed.document.blocks[0].lines] == ["best", "", "second"]
    assert "under protocol images, ranked with ours (--allow protocol)" in notes(allowed)
    versus = table(tmp_path, against=(("model", "neus"),))
    assert [c.row for c in versus.comparisons] == [("nerf",)]
    assert "model=gsplat in psnr: scored under other protocols (images and standard)" in notes(versus)
    untold = external(model="untold", scores={"values": {"nvs/psnr": 98.0}})
    put(tmp_path, untold)
    assert "model=untold: psnr under protocol not named, not ranked with ours." in notes(table(tmp_path))


def test_an_external_row_itself_has_one_protocol_and_so_have_external_rows_alone(tmp_path: Path) -> None:
    other = {"protocol": "images", "values": {"nvs/psnr": 1.0}}
    put(tmp_path / "row", record(), external(seed=0), external(seed=1, scores=other))
    with pytest.raises(
        Refused, match=r"model=gsplat on demo:\n    protocol protocol: standard \(1 runs\), images"
    ):
        table(tmp_path / "row")
    put(tmp_path / "ours", record(seed=0), external(model="neus", seed=1, scores=other))
    with pytest.raises(
        Refused, match=r"model=neus on demo:\n    protocol protocol: standard \(1 runs\), images"
    ):
        table(tmp_path / "ours")
    put(tmp_path / "alone", external(), external(model="other", scores=other))
    with pytest.raises(Refused, match=r"the table:\n    protocol protocol: standard \(1 runs\), images"):
        table(tmp_path / "alone")


def test_each_score_has_a_protocol_of_its_own(tmp_path: Path) -> None:
    mesh = {"protocol": "dtu-neus", "values": {"geometry/chamfer": 0.8}}
    images = {"protocol": "images", "values": {"nvs/psnr": 31.0}}
    put(
        tmp_path,
        record("nerf", values={"geometry/chamfer": "absent"}),
        external(scores=mesh, run_key="x", backend="external"),
        external(scores=images, run_key="x", backend="external"),
    )
    made = table(tmp_path, metrics=("psnr", "chamfer"))
    gsplat, nerf = made.document.blocks[0].lines
    assert [c.main for c in gsplat.cells] == ["31.00", "0.800"], "two records of one method make one row"
    assert [c.main for c in nerf.cells] == ["30.00", "–"]
    assert made.document.notes[0].startswith("Protocol standard (psnr), dtu-neus (chamfer); ")
    assert made.document.causes == [
        "model=nerf, scene=mug, seed=0 (chamfer): its record has no geometry/chamfer"
    ]
    put(tmp_path, external(scores=images, run_key="x", backend="external"))
    with pytest.raises(Refused, match=r"seed not named: .*00002, .*00003"):
        table(tmp_path, metrics=("psnr", "chamfer"))


def test_what_evaluate_py_writes_is_external_and_its_facts_do_not_conflict(tmp_path: Path) -> None:
    for seed in (0, 1):
        facts = {
            "world_unit": "mm",
            "cull": "neus",
            "seed": seed,
            "mesh_sha256": f"{seed}",
            "faces": seed,
            "mesh": "m.ply",
        }
        scores = {"protocol": "dtu-neus", "values": {"geometry/chamfer": 0.8 + seed}, "settings": facts}
        small = {
            "dataset": {"name": "dtu", "scene": "scan24"},
            "model": {"name": "2dgs"},
            "seed": seed,
            "backend": "external",
        }
        put(
            tmp_path,
            external(
                scene="scan24", dataset="dtu", model="2dgs", seed=seed, scores=scores, config=small,
                code_hash=f"c{seed}", run_key=f"{seed}", backend="external", times={"total_s": 5.0},
            ),
        )  # fmt: skip
    made = make_table(
        TableRequest(sources=(str(tmp_path),), rows=("model",), metrics=("chamfer",), columns=("gpu_hours",))
    )
    (line,) = made.document.blocks[0].lines
    assert (line.kind, [c.main for c in line.cells]) == ("external", ["1.30", "–"]), (
        "two decimals of mm, no scoring time"
    )
    assert "numerical code" not in notes(made)
    put(tmp_path / "more", record(scene="scan24", dataset="dtu"))
    assert "also differ" not in notes(table(tmp_path))


def test_seeds_that_are_not_averaged_over_are_a_row_or_refused(tmp_path: Path) -> None:
    put(tmp_path, record(seed=0), record(seed=1))
    assert (
        len(
            make_table(TableRequest(sources=(str(tmp_path),), rows=("model", "seed")))
            .document.blocks[0]
            .lines
        )
        == 2
    )
    assert make_table(TableRequest(sources=(str(tmp_path),), over=())).table.spec.rows == ("seed",)
    with pytest.raises(Refused, match="setting seed: 0, 1"):
        table(tmp_path, over=())


def test_rows_that_are_protocols_are_ranked_within_each(tmp_path: Path) -> None:
    for protocol in ("standard", "quick"):
        put(tmp_path, record("nerf", protocol=protocol, run_key=protocol, values={"nvs/psnr": 20.0}))
        put(tmp_path, record("neus", protocol=protocol, run_key=f"{protocol}s"))
    made = make_table(TableRequest(sources=(str(tmp_path),), rows=("model", "protocol"), metrics=("psnr",)))
    assert [line.cells[0].mark for line in made.document.blocks[0].lines] == [
        "second",
        "second",
        "best",
        "best",
    ]


@pytest.mark.parametrize("word", ["cod", "setting", "train.max_step", "scores.backgrund"])
def test_a_misspelt_tolerance_is_refused(tmp_path: Path, word: str) -> None:
    put(tmp_path, record())
    with pytest.raises(ReportError, match=f"--allow {word}: there is no such word or key. Did you mean"):
        table(tmp_path, allow=(word,))


def test_a_difference_in_many_cells_is_told_once(tmp_path: Path) -> None:
    for scene in ("mug", "rings", "vase"):
        put(tmp_path, record(encoding="freq", scene=scene), record(encoding="hashgrid", scene=scene))
    with pytest.raises(Refused) as refused:
        table(tmp_path)
    said = str(refused.value)
    assert said.count("setting encoding: freq, hashgrid") == 1
    assert "likewise in 2 more: model=neus, scene=rings; model=neus, scene=vase" in said
    assert "label" not in said
