"""The run key: what is in it, what is not, and that it stays the same."""

import copy
import subprocess
import sys
from pathlib import Path

import pytest

from isosweep.record import key as rules
from isosweep.record.key import ABSENT, EXCLUDED, essential, matters, plain, run_key, score_key
from isosweep.record.kinds import kind_of

CONFIG = {
    "scene": "demo",
    "seed": 0,
    "backend": "torch",
    "device": "cpu",
    "mode": "train",
    "model": {"_target_": "isosweep.models.neus.NeuS", "radius": 1.0, "lr": 0.1, "bg": None},
    "dataset": {"name": "demo", "root": "/data", "path": "/data/demo", "downscale": 1, "splits": [0, 1]},
    "train": {"max_steps": 2000, "log_every": 100, "val_every": 500, "threads": 2, "checkpoint_every": 500},
    "eval": {"protocol": "standard", "chunk": 8192},
    "export": {"resolution": 256},
    "tracker": {"name": "none"},
    "run": {"root": "results/runs"},
    "debug": {"part": None},
}


def changed(path: str, value: object) -> dict:
    config = copy.deepcopy(CONFIG)
    *parents, last = path.split(".")
    node = config
    for name in parents:
        node = node.setdefault(name, {})
    node[last] = value
    return config


def test_pinned():
    """A changed key orphans every run on disk: this literal changes only with a note in the changelog."""
    assert run_key(CONFIG) == "c62b05221828bed6"


def test_number_spelling_and_order_make_no_difference():
    other = {k: CONFIG[k] for k in reversed(CONFIG)}
    other["model"] = {"bg": None, "lr": 1e-1, "radius": 1, "_target_": "isosweep.models.neus.NeuS"}
    other["seed"] = 0.0
    other["dataset"] = {**CONFIG["dataset"], "splits": (0, 1)}
    assert run_key(other) == run_key(CONFIG)


@pytest.mark.parametrize("path", EXCLUDED)
def test_excluded_paths_do_not_change_it(path, monkeypatch):
    if path.startswith("method."):
        monkeypatch.setitem(CONFIG, "method", {"name": "theirs", "version": "1"})
    assert run_key(changed(path, "something else")) == run_key(CONFIG)


def test_of_a_method_its_own_options_data_and_seed_alone_decide(monkeypatch):
    monkeypatch.setitem(CONFIG, "method", {"name": "theirs", "version": "1"})
    for path in ("model.radius", "train.max_steps", "backend"):
        assert run_key(changed(path, 7)) == run_key(CONFIG)
    for path in ("method.version", "method.args.weight", "dataset.downscale", "scene", "seed"):
        assert run_key(changed(path, 7)) != run_key(CONFIG)


@pytest.mark.parametrize("path", ["train.micro_batches", "train.threads", "train.log_every", "run.root"])
def test_how_a_run_is_computed_and_kept_is_no_part_of_it(path):
    """Named here: a path that is no longer excluded would not be missed by the test above."""
    assert run_key(changed(path, 2)) == run_key(CONFIG)


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("scene", "other"),
        ("seed", 1),
        ("backend", "cpu"),
        ("device", "cuda"),
        ("model.lr", 0.1000001),
        ("model.bg", {}),
        ("dataset.splits", [1, 0]),
        ("dataset.downscale", 2),
        ("train.val_every", 100),
        ("train.init_from", "results/runs/a"),
        ("model.radius", True),
        ("model.radius", "1"),
    ],
)
def test_what_changes_the_result_changes_it(path, value):
    assert run_key(changed(path, value)) != run_key(CONFIG)


def test_where_code_lies_makes_no_difference_and_what_it_is_does():
    assert run_key(changed("model._target_", "isosweep.elsewhere.surfaces.NeuS")) == run_key(CONFIG)
    assert run_key(changed("model._target_", "isosweep.models.neus.NeRF")) != run_key(CONFIG)
    assert run_key(changed("model._target_", "lab.models.neus.NeuS")) != run_key(CONFIG)
    for name in ("_partial_", "_convert_", "_recursive_"):
        assert run_key(changed(f"model.{name}", True)) == run_key(CONFIG)


@pytest.mark.parametrize(
    ("target", "kind"),
    [
        ("isosweep.models.neus.NeuS", "NeuS"),
        ("isosweep.data.colmap.load", "colmap"),
        ("isosweep.data.neus_layout.load", "neus"),  # its name before the module was renamed
        ("isosweep.data.neus.load", "neus"),
        ("lab.loaders.mine.load", "lab:mine"),
        ("lab.NeuS", "lab:NeuS"),
        ("load", "load"),
    ],
)
def test_kinds(target, kind):
    assert kind_of(target) == kind


def with_terms(terms: dict) -> dict:
    return changed("loss", {"_target_": "isosweep.losses.total.TotalLoss", "terms": terms})


def test_loss_terms_that_are_off_make_no_difference():
    on = {"rgb_l1": {"weight": 1.0, "fn": {"_target_": "isosweep.losses.terms.rgb_l1", "_partial_": True}}}
    key = run_key(with_terms(on))
    for off in (None, {"weight": 0}, {"weight": 0.0, "fn": {"_target_": "isosweep.losses.terms.new"}}):
        assert run_key(with_terms({**on, "new": off})) == key
    assert run_key(with_terms({**on, "new": {"weight": 0.1}})) != key
    assert run_key(with_terms({**on, "new": {"weight": [0.0, 0.0, 0.1, 1.0]}})) != key
    assert run_key(with_terms({})) != key


def test_an_option_added_later_counts_only_where_it_differs_from_before(monkeypatch):
    monkeypatch.setattr(
        rules,
        "AS_BEFORE",
        (("model.new", None), ("model.*.rates", {}), ("eval.extra", 0), ("optim.n", 1)),
    )
    for path, before, other in [
        ("model.new", None, 0),
        ("model.a.b.rates", {}, {"x": 1}),
        ("optim.n", 1.0, True),
    ]:
        assert run_key(changed(path, other)) != run_key(CONFIG), path
        if path == "model.a.b.rates":  # the node around it is a difference of its own
            assert essential(changed(path, before))["model"]["a"] == {"b": {}}
        elif path == "optim.n":
            assert essential(changed(path, before))["optim"] == {}
        else:
            assert run_key(changed(path, before)) == run_key(CONFIG)
    assert score_key(changed("eval.extra", 0)) == score_key(CONFIG)
    assert score_key(changed("eval.extra", 1)) != score_key(CONFIG)


def test_the_options_added_later_are_named_by_a_path_of_the_config():
    for pattern, _ in rules.AS_BEFORE:
        assert "." in pattern or pattern == "method", (
            "a whole group is no option, but one that a run may lack"
        )


def test_two_names_of_one_result_have_one_key():
    """Masks for scores alone were dataset.masks=false; dataset=dtu said mm."""
    for path, new, old in (("dataset.masks", "auto", False), ("dataset.world_unit", "auto", "mm")):
        assert run_key(changed(path, new)) == run_key(changed(path, old))
        assert run_key(changed(path, new)) != run_key(changed(path, True))
        assert not matters(path, new, old)
        assert not matters(path, old, new)
        assert matters(path, new, "other")
    assert matters("optim.n", 1, True)


def test_options_of_masks_and_axes_at_their_defaults_are_no_part_of_a_key():
    for path, before, other in (
        ("dataset.mask_meaning", "auto", "ignore"),
        ("dataset.mask_folder", None, "anon"),
        ("dataset.axes", "auto", "opencv"),
    ):
        assert run_key(changed(path, before)) == run_key(CONFIG)
        assert run_key(changed(path, other)) != run_key(CONFIG)


def test_the_options_that_mip_nerf_brought_are_no_part_of_an_older_models_key():
    for path, before, other in (
        ("model.coarse.density_activation", "relu", "softplus"),
        ("model.coarse.density_bias", 0.0, -1.0),
        ("model.fine.color_padding", 0.0, 0.001),
        ("optim.warmup_shape", "linear", "sine"),
    ):
        node = path.rpartition(".")[0]
        without = run_key(changed(node, {}))
        name = path.rpartition(".")[2]
        assert run_key(changed(node, {name: before})) == without
        assert run_key(changed(node, {name: other})) != without


def test_no_rates_are_no_rates_however_a_version_wrote_them():
    keys = {
        run_key(changed("optim", {"name": "adam", **rates})) for rates in ({}, {"rates": {}}, {"rates": None})
    }
    assert len(keys) == 1
    assert run_key(changed("optim", {"name": "adam", "rates": {"*table": 0.1}})) not in keys
    assert not matters("optim.rates", ABSENT, {})
    assert not matters("optim.rates", {}, None)


def test_what_matters_between_two_records(monkeypatch):
    monkeypatch.setattr(rules, "AS_BEFORE", (("model.new", None),))
    assert not matters("dataset.path", "/a", "/b")
    assert not matters("device", "cuda:0", "cuda:1")
    assert matters("device", "cuda:0", "cpu")
    assert not matters("dataset._target_", "isosweep.data.neus_layout.load", "isosweep.data.neus.load")
    assert matters("dataset._target_", "isosweep.data.neus.load", "isosweep.data.colmap.load")
    assert matters("dataset._target_", "isosweep.data.neus.load", ABSENT)
    assert not matters("model.new", ABSENT, None)
    assert matters("model.new", ABSENT, 1)
    assert matters("model.old", ABSENT, None)
    assert not matters("loss.terms.sfm.fn._partial_", ABSENT, True)


def test_non_finite_numbers_differ():
    keys = {
        run_key(changed("model.lr", v)) for v in (float("nan"), float("inf"), float("-inf"), "nan", "inf")
    }
    assert len(keys) == 5


def test_device_counts_by_kind():
    assert run_key(changed("device", "cuda:1")) == run_key(changed("device", "cuda"))


@pytest.mark.parametrize("name", ["backend", "device"])
def test_unresolved_choice_is_refused(name):
    with pytest.raises(ValueError, match=rf"the config says {name}=auto: resolve it first"):
        run_key(changed(name, "auto"))


def test_value_that_no_yaml_holds_is_named():
    with pytest.raises(TypeError, match=r"config\.model\.lr holds a object, which a record cannot keep"):
        run_key(changed("model.lr", object()))


def test_score_key_follows_eval_export_and_the_truth_only():
    assert score_key(changed("seed", 7)) == score_key(CONFIG)
    assert score_key(changed("eval.chunk", 1)) == score_key(CONFIG)
    assert score_key(changed("eval.protocol", "neus")) != score_key(CONFIG)
    assert score_key(changed("export.resolution", 128)) != score_key(CONFIG)
    assert score_key(changed("dataset.truth", "stl024_total.ply")) != score_key(CONFIG)


def test_plain_keeps_json_types_and_writes_paths():
    assert plain({"a": (1, Path("x/y")), 2: None}) == {"a": [1, "x/y"], "2": None}


def test_the_package_is_torch_free():
    heavy = ("torch", "numpy", "hydra", "omegaconf")
    code = f"import isosweep.record, sys; print([m for m in {heavy} if m in sys.modules])"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert out.strip() == "[]"
