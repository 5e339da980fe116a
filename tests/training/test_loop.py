"""The loop: it learns, repeats itself, resumes bit for bit, and stops on the first non-finite loss."""

from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
import torch

from isosweep.config.settings import OptimSettings, TrainSettings
from isosweep.encodings.hashgrid import HashGrid
from isosweep.fields.color import ColorField
from isosweep.fields.surface import SurfaceField
from isosweep.losses import terms
from isosweep.losses.total import NonFiniteLoss, TotalLoss
from isosweep.models.neus import NeuS
from isosweep.samplers.occupancy import OccupancyGrid
from isosweep.training import checkpoint
from isosweep.training.descent import next_ray_count
from isosweep.training.loop import TrainState, init_from, rate_factor, start, train
from tests.support.analytic import SphereModel, sphere_scene

CPU = torch.device("cpu")
SMALL = TrainSettings(
    max_steps=24, rays=32, target_samples=1024, log_every=4, val_every=0, checkpoint_every=12
)


class Log:
    """A record in memory."""

    def __init__(self) -> None:
        self.lines: list[tuple[int, dict[str, float]]] = []

    def log(self, step, scalars):
        self.lines.append((step, dict(scalars)))

    def check(self):
        pass

    def checkpointed(self, step):
        pass

    def may_be_killed(self) -> None:
        raise AssertionError("nobody sent a signal")


def model(seed: int = 0) -> NeuS:
    torch.manual_seed(seed)
    field = SurfaceField(HashGrid(3, 2, 9, 8), hidden_dim=16, feature_dim=5)
    color = ColorField(5, use_normal=True, hidden_dim=16)
    return NeuS(field, color, OccupancyGrid(resolution=16, warmup=8, update_every=4))


def loss() -> TotalLoss:
    fns = {"rgb_l1": 1.0, "eikonal": 0.1, "mask": 0.1}
    return TotalLoss({k: {"weight": w, "fn": partial(getattr(terms, k))} for k, w in fns.items()})


def run(
    folder: Path,
    settings=SMALL,
    scene=None,
    net=None,
    resume=False,
    seed=0,
    optim=OptimSettings(),  # noqa: B008 - nothing changes it
    **options,
) -> tuple[NeuS, TrainState, Log]:
    net = net or model(seed)
    state = start(net, settings, optim, seed, CPU)
    if resume:
        path = folder / "last.pt"
        state.restore(checkpoint.load(path, CPU, "k"), net, path)
    record = Log()
    train(
        net,
        loss(),
        scene or sphere_scene(SphereModel()),
        state,
        settings,
        optim,
        folder=folder,
        run_key="k",
        record=record,
        device=CPU,
        **options,
    )
    return net, state, record


def same(a: NeuS, b: NeuS) -> bool:
    left, right = a.state_dict(), b.state_dict()
    return all(torch.equal(left[k], right[k]) for k in left)


def test_the_loss_falls_and_the_log_names_what_matters(tmp_path):
    settings = replace(SMALL, max_steps=120, log_every=20)
    _, _, record = run(tmp_path, settings)
    first, last = record.lines[0][1], record.lines[-1][1]
    assert last["train/loss"] < 0.6 * first["train/loss"]
    assert last["train/psnr"] > first["train/psnr"] + 3
    assert {"loss/eikonal", "loss/mask", "train/sharpness", "train/rays", "train/samples"} <= set(last)
    assert {"train/weight/eikonal", "train/lr/tables", "train/empty_rays"} <= set(last)


def test_weights_and_rates_are_those_of_the_step(tmp_path):
    optim = OptimSettings(lr_tables=0.02, lr_networks=0.01, lr_sharpness=0.001, schedule=0.5, warmup=0.0)
    net, record = model(), Log()
    ramp = [0.0, 0.0, 1.0, 1.0]
    fns = {"rgb_l1": 2.0, "eikonal": ramp}
    total = TotalLoss({k: {"weight": w, "fn": partial(getattr(terms, k))} for k, w in fns.items()})
    settings = replace(SMALL, max_steps=8, log_every=4)
    train(
        net,
        total,
        sphere_scene(SphereModel()),
        start(net, settings, optim, 0, CPU),
        settings,
        optim,
        folder=tmp_path,
        run_key="k",
        record=record,
        device=CPU,
    )
    (at, first), (_, last) = record.lines
    assert at == 4
    # the fourth step is the one from 3 on
    assert (first["train/weight/rgb_l1"], first["train/weight/eikonal"]) == (2.0, pytest.approx(3 / 8))
    assert last["train/weight/eikonal"] == pytest.approx(7 / 8)
    rates = [last[f"train/lr/{kind}"] for kind in ("tables", "networks", "sharpness")]
    assert rates == pytest.approx([0.01, 0.005, 0.0005])


def test_one_seed_gives_one_run_and_another_seed_another(tmp_path):
    a, b, c = (run(tmp_path, seed=s)[0] for s in (0, 0, 1))
    assert same(a, b)
    assert not same(a, c)


def test_resume_equals_an_uninterrupted_run_bit_for_bit(tmp_path):
    whole, state, record = run(tmp_path / "whole" if (tmp_path / "whole").mkdir() is None else tmp_path)

    class Killed(Exception):
        pass

    def kill(step, scalars):
        if step == 16:
            raise Killed

    cut = tmp_path / "cut"
    cut.mkdir()
    with pytest.raises(Killed):
        run(cut, on_log=kill)
    resumed, state2, record2 = run(cut, resume=True)
    assert record2.lines[0][0] == 16  # went on from the checkpoint at 12
    assert same(whole, resumed)
    assert (state.rays, state.step) == (state2.rays, state2.step)
    assert [x for x in record.lines if x[0] > 12] == record2.lines
    a, b = (checkpoint.load(tmp_path / d / "last.pt", CPU) for d in ("whole", "cut"))
    for k, v in a["optimizer"]["state"].items():
        assert all(torch.equal(v[n], b["optimizer"]["state"][k][n]) for n in v)


def test_two_scenes_in_one_process_share_nothing(tmp_path):
    alone = run(tmp_path)[0]
    run(tmp_path, scene=sphere_scene(SphereModel(radius=0.3)), seed=5)
    assert same(alone, run(tmp_path)[0])


def test_a_non_finite_loss_stops_and_keeps_the_last_good_checkpoint(tmp_path):
    net = model()

    def poison(step, scalars):
        if step == 16:
            with torch.no_grad():
                net.color_field.mlp.head.bias.fill_(float("nan"))

    with pytest.raises(NonFiniteLoss, match=r"step 16: rgb_l1=nan"):
        run(tmp_path, net=net, on_log=poison)
    kept = checkpoint.load(tmp_path / "last.pt", CPU, "k")
    assert kept["step"] == 12
    assert all(torch.isfinite(v).all() for v in kept["model"].values())


def test_non_finite_weights_are_never_saved(tmp_path):
    net, state, _ = run(tmp_path)
    good = (tmp_path / "last.pt").read_bytes()
    with torch.no_grad():
        net.log_sharpness.fill_(float("inf"))
    with pytest.raises(ArithmeticError, match="'log_sharpness' is non-finite"):
        state.save(tmp_path / "last.pt", net, "k")
    assert (tmp_path / "last.pt").read_bytes() == good


def test_best_follows_the_validation_score_only(tmp_path):
    scores = iter([20.0, 30.0, 25.0, 24.0])
    settings = replace(SMALL, val_every=6)
    _, state, record = run(tmp_path, settings, validate=lambda: next(scores))
    assert state.best == 30.0
    assert checkpoint.load(tmp_path / "best.pt", CPU)["step"] == 12
    assert [s["val/psnr"] for _, s in record.lines if "val/psnr" in s] == [20.0, 30.0, 25.0, 24.0]


def test_checkpoints_of_another_kind_are_refused_with_the_words_to_change(tmp_path):
    run(tmp_path)
    path = tmp_path / "last.pt"
    with pytest.raises(ValueError, match=r"belongs to run k, and this config is run other.*train.init_from="):
        checkpoint.load(path, CPU, "other")
    with pytest.raises(FileNotFoundError, match=r"no checkpoint at .*train the run first"):
        checkpoint.load(tmp_path / "none.pt", CPU)
    path.write_bytes(path.read_bytes()[:500])
    with pytest.raises(ValueError, match="not a readable checkpoint"):
        checkpoint.load(path, CPU)
    (tmp_path / "list.pt").write_bytes(b"")
    torch.save([1], tmp_path / "list.pt")
    with pytest.raises(ValueError, match="checkpoint format 'list'"):
        checkpoint.load(tmp_path / "list.pt", CPU)


def test_init_from_takes_weights_and_refuses_what_does_not_fit(tmp_path):
    trained, _, _ = run(tmp_path)
    fresh = model(seed=9)
    init_from(fresh, str(tmp_path), CPU)
    assert same(trained, fresh)
    other = NeuS(
        SurfaceField(HashGrid(3, 2, 10, 8), hidden_dim=16, feature_dim=5),
        ColorField(5),
        OccupancyGrid(resolution=16),
    )
    with pytest.raises(ValueError, match="do not fit this model: "):
        init_from(other, str(tmp_path), CPU)
    with pytest.raises(FileNotFoundError, match=r"no checkpoint last.pt in"):
        init_from(fresh, str(tmp_path.parent), CPU)


def test_the_ray_count_follows_the_samples_met(tmp_path):
    net = model()
    scene = sphere_scene(SphereModel())
    from isosweep.data.batches import draw

    batch = draw(scene, 64, "random", 0.0, torch.Generator().manual_seed(0), CPU)
    out = net(batch.rays, net.knobs(0, 1), frozenset(), torch.Generator().manual_seed(0))
    settings = TrainSettings(target_samples=2 * len(out.samples), ray_ema=0.5, max_rays=10_000)
    assert next_ray_count(out.n_samples, 64, settings) == 96
    assert next_ray_count(out.n_samples, 64, replace(settings, max_rays=70)) == 70
    assert next_ray_count(1000 * out.n_samples, 64, replace(settings, ray_ema=0.0)) == 16
    assert next_ray_count(1000 * out.n_samples, 64, replace(settings, ray_ema=0.0, min_rays=48)) == 48
    assert next_ray_count(out.n_samples, 64, replace(settings, target_samples=0)) == 64


def test_warm_up_times_decay():
    decay = {"kind": "exponential", "begin": 0.0, "start": 1.0, "end": 0.01, "until": 1.0}
    settings = OptimSettings(schedule=decay, warmup=0.1, warmup_start=0.0)
    assert rate_factor(settings, 0, 100) == 0.0
    assert rate_factor(settings, 5, 100) == pytest.approx(0.5 * 0.01**0.05)
    assert rate_factor(settings, 50, 100) == pytest.approx(0.1)
