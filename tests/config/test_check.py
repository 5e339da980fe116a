"""Types, unknown keys, targets, and the words of the errors."""

from pathlib import Path

import pytest
from hydra import compose, initialize_config_dir
from hydra.errors import ConfigCompositionException, HydraException
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from isosweep.config import settings
from isosweep.config.check import ConfigError, check, check_targets
from isosweep.config.errors import did_you_mean, explain
from isosweep.config.schema import CONF
from isosweep.config.signatures import find_signature, module_file
from isosweep.record import run_key


def failure(*overrides: str) -> str:
    """The paragraph that the command line would print for overrides that do not compose."""
    with (
        initialize_config_dir(str(CONF), version_base="1.3"),
        pytest.raises((HydraException, OmegaConfBaseException, ValueError)) as caught,
    ):
        compose("config", list(overrides))
    return explain(caught.value, overrides, CONF)


def complaint(*overrides: str) -> str:
    """The words of the check that follows a composition."""
    with initialize_config_dir(str(CONF), version_base="1.3"):
        cfg = compose("config", list(overrides))
    with pytest.raises(ConfigError) as caught:
        check(cfg)
    return str(caught.value)


@pytest.mark.parametrize(
    ("override", "start"),
    [
        (
            "model=neuss",
            "model=neuss: there is no model 'neuss'; did you mean 'neus' or 'neus_bg'? Options of model:",
        ),
        (
            "train=3",
            "train=3: there is no train '3'. Options of train: auto, fast, full, mip_nerf, nerf_original, "
            "neuralangelo, neus_original, published, published_cpu, tiny.",
        ),
        (
            "experiment=neus-dut",
            "experiment=neus-dut: there is no experiment 'neus-dut'; did you mean 'neus-dtu'",
        ),
        ("sweep=sedes", "sweep=sedes: there is no sweep 'sedes'; did you mean 'seeds'?"),
        (
            "modle=nerf",
            "there is no key 'modle'; did you mean 'mode' or 'model'? Top-level keys: backend, dataset",
        ),
        ("train.max_stps=3", "there is no key 'train.max_stps'; did you mean 'train.max_steps' or "),
        ("max_steps=3", "there is no key 'max_steps'; did you mean 'train.max_steps'?"),
        ("model.smapler=3", "there is no key 'model.smapler'; did you mean 'model.sampler'?"),
        (
            "model.field.encoding.n_lvels=3",
            "there is no key 'model.field.encoding.n_lvels'; did you mean 'model.field.e",
        ),
        (
            "loss.terms.eikonl.weight=1",
            "there is no key 'loss.terms.eikonl.weight'; did you mean 'loss.terms.eikonal.we",
        ),
        ("zzz=3", "there is no key 'zzz'. Top-level keys: backend"),
        ("+model=nerf", "+model=nerf: model is chosen already: write model=nerf without the +"),
        (
            "train.max_steps=many",
            "train.max_steps: Value 'many' of type 'str' could not be converted to Integer",
        ),
        ("seed=x", "seed: Value 'x' of type 'str' could not be converted to Integer"),
        ("export.mesh=perhaps", "export.mesh: Value 'perhaps' is not a valid bool"),
        (
            "optim.schedule=[0,1,1,1]",
            "optim.schedule: it is a mapping here, and a mapping cannot become a list: gi",
        ),
        (
            "optim.schedule={kind:chained,parts:[1,0.5]}",
            "optim.schedule: the mapping that is here has no 'parts', and a mapping that is given only changes it. Cl",
        ),
        ("train.rays=[1", "cannot read the argument 'train.rays=[1' (no viable alternative at input '[1')"),
        ("train.rays", "cannot read the argument 'train.rays' (missing EQUAL at '<EOF>')"),
    ],
)
def test_what_does_not_compose_is_explained(override: str, start: str) -> None:
    text = failure(override)
    assert text.startswith(start)
    assert "\n" not in text
    assert "+train" not in text, "Hydra's advice adds a key that nothing reads"


def test_a_wrong_value_after_right_ones_is_the_one_that_is_named() -> None:
    text = failure("model=nerf", "seed=3", "train.max_steps=5", "optim.lr_netwroks=1e-3")
    assert text.startswith("there is no key 'optim.lr_netwroks'; did you mean 'optim.lr_networks'?")


def test_keys_are_looked_up_in_the_config_that_was_asked_for() -> None:
    text = failure("model=nerf", "model.feild.hidden_dim=3")
    assert text.startswith("there is no key 'model.feild.hidden_dim'; did you mean")
    assert "'model.density.hidden_dim'" in text


@pytest.mark.parametrize("node", ["train", "optim", "eval", "export", "tracker", "run", "debug"])
def test_plain_nodes_are_typed_by_their_dataclass(node: str) -> None:
    with initialize_config_dir(str(CONF), version_base="1.3"):
        cfg = compose("config")
    typed = OmegaConf.to_object(cfg[node])
    assert type(typed) is getattr(settings, f"{node.capitalize()}Settings")
    with initialize_config_dir(str(CONF), version_base="1.3"), pytest.raises(ConfigCompositionException):
        compose("config", [f"{node}.no_such_key=1"])


@pytest.mark.parametrize(
    ("override", "start"),
    [
        (
            "+tarin.max_steps=3",
            "there is no top-level key 'tarin'; did you mean 'train'? Top-level keys: backend",
        ),
        ("+train.max_stps=3", "there is no key 'train.max_stps'; did you mean 'train.max_steps' or "),
        (
            "+model.smapler=3",
            "model.smapler: isosweep.models.neus.NeuS has no argument 'smapler'; did you mean 'sampler'",
        ),
        (
            "+encoding.n_lvels=3",
            "encoding.n_lvels: isosweep.encodings.hashgrid.HashGrid has no argument 'n_lvels'; did y",
        ),
        (
            "+loss.terms.eikonal.fn.wieght=3",
            "loss.terms.eikonal.fn.wieght: isosweep.losses.terms.eikonal has no argument",
        ),
        ("~model.color", "model: isosweep.models.neus.NeuS needs color, which the config does not set"),
        (
            "model._target_=isosweep.models.neus.Neus",
            "model: _target_ isosweep.models.neus.Neus: isosweep.models.neus ha",
        ),
        (
            "model._target_=isosweep.modls.neus.NeuS",
            "model: _target_ isosweep.modls.neus.NeuS: there is no module 'isos",
        ),
        ("mode=evl", "mode=evl is none of train, eval, export, render, view; did you mean 'eval'?"),
    ],
)
def test_what_composes_but_nothing_reads_is_refused(override: str, start: str) -> None:
    text = complaint(override)
    assert text.startswith(start)
    assert "\n" not in text


def test_signature_of_functions_classes_dataclasses_and_imported_names(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "own_targets.py").write_text(
        "from dataclasses import dataclass\n"
        "raise RuntimeError('must not be imported')\n"
        "def f(a, b=1, *, c, d=2, **rest): ...\n"
        "class Base:\n    def __init__(self, x, y=0): ...\n"
        "class Child(Base): ...\n"
        "@dataclass\nclass Data:\n    p: int\n    q: int = 3\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    f = find_signature("own_targets.f")
    assert (f.names, f.required, f.accepts_any) == (("a", "b", "c", "d"), {"a", "c"}, True)
    assert find_signature("own_targets.Child").names == ("x", "y")
    data = find_signature("own_targets.Data")
    assert (data.names, data.required) == (("p", "q"), {"p"})
    check_targets({"_target_": "own_targets.f", "a": 1, "c": 2, "anything": 3}, "node")
    with pytest.raises(ConfigError, match=r"^node: own_targets.f needs c, which the config does not set$"):
        check_targets({"_target_": "own_targets.f", "a": 1}, "node")
    check_targets({"_target_": "own_targets.f", "_partial_": True}, "node")
    with pytest.raises(
        ConfigError, match=r"^node\.deep\[0\]\.z: own_targets\.Child has no argument 'z'\. Arg"
    ):
        check_targets({"deep": [{"_target_": "own_targets.Child", "x": 1, "z": 2}]}, "node")


def test_module_file_of_what_is_not_there() -> None:
    assert module_file("") is None
    assert module_file("no_such_package_at_all.x") is None
    assert module_file("isosweep.no_such_module") is None
    assert module_file("isosweep.models.neus") == CONF.parent / "src" / "isosweep" / "models" / "neus.py"


def test_did_you_mean_is_quiet_without_a_near_spelling() -> None:
    assert did_you_mean("zzz", ["alpha", "beta"]) == "."
    assert did_you_mean("alhpa", ["alpha", "beta"]) == "; did you mean 'alpha'?"


def key(*overrides: str) -> str:
    with initialize_config_dir(str(CONF), version_base="1.3"):
        cfg = compose("config", list(overrides))
    plain = OmegaConf.to_container(cfg, resolve=True)
    assert isinstance(plain, dict)
    return run_key({str(k): v for k, v in plain.items()} | {"backend": "cpu", "device": "cpu"})


@pytest.mark.parametrize(
    "override",
    [
        "eval=quick",
        "export=fine",
        "tracker=none",
        "mode=eval",
        "run.root=elsewhere",
        "run.name=study",
        "dataset.root=/elsewhere",
        "debug.anomaly=true",
        "train.threads=1",
        "experiment=fast-demo",
        "scene=" + "mug",
    ],
)
def test_what_cannot_change_the_weights_does_not_change_the_run_key(override: str) -> None:
    assert key(override) == key()


@pytest.mark.parametrize(
    "override",
    [
        "seed=1",
        "model=nerf",
        "encoding=freq",
        "loss=mask",
        "optim.eps=1e-8",
        "train.max_steps=9",
        "scene=x",
        "dataset=dtu",
    ],
)
def test_what_changes_the_weights_changes_the_run_key(override: str) -> None:
    assert key(override) != key()


def test_a_number_that_no_float_holds_is_named() -> None:
    overrides = [f"optim.lr_tables={'9' * 400}"]
    text = explain(OverflowError("int too large to convert to float"), overrides, CONF)
    assert (
        text
        == f"optim.lr_tables={'9' * 20}... has a number of 400 digits, and no setting is that large: see "
        + ("docs/settings.md")
    )
