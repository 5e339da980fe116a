"""The loop's arithmetic on a model of five numbers: rates, warm-up, ray counts, what is logged, kept and passed on."""

import inspect
import math
import signal
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from torch import nn

from isosweep.config.settings import OptimSettings, TrainSettings
from isosweep.errors import NumericalError
from isosweep.losses import terms
from isosweep.losses.total import NonFiniteLoss, TotalLoss
from isosweep.models.base import Model
from isosweep.runtime import interrupts
from isosweep.runtime.interrupts import RunPreempted
from isosweep.training import checkpoint, coverage
from isosweep.training.descent import Descent, autocast_dtype, next_ray_count
from isosweep.training.loop import TrainState, make_optimizer, rate_factor, start, train
from isosweep.training.step import Outcome
from isosweep.types import Level, RenderOut, Sampled, Samples, Scene
from tests.support.analytic import KNOBS, SphereModel, StoredImages, sphere_scene

CPU = torch.device("cpu")
LOOP = inspect.getmodule(train)
"""The module with the loop, whatever it is called."""
LOSS = TotalLoss({"rgb_mse": {"weight": 1.0, "fn": terms.rgb_mse}})
PLAIN = OptimSettings(warmup=0.0)
SMALL = TrainSettings(
    max_steps=6, rays=32, target_samples=0, log_every=1, val_every=0, checkpoint_every=0, background="black"
)


def grey(**changes) -> Scene:
    """Views that are 0.8 everywhere: every batch has the same colours."""
    images = StoredImages([torch.full((32, 40, 3), 0.8)] * 6, None, is_alpha=False)
    return sphere_scene(SphereModel(), images=images, composite=False, use_masks=False, **changes)


class Behind(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.table, self.shade = nn.Parameter(torch.zeros(3)), nn.Parameter(torch.zeros(3))


class Five(Model):
    """One colour, the sum of a parameter of each group; so many samples a ray. Keeps what it was given."""

    provides = frozenset({"rgb", "opacity", "point_level"})

    def __init__(self, per_ray: int = 4) -> None:
        super().__init__()
        self.table, self.shade = nn.Parameter(torch.zeros(3)), nn.Parameter(torch.zeros(3))
        self.log_sharpness, self.background = nn.Parameter(torch.zeros(())), Behind()
        self.per_ray, self.calls, self.updated, self.asked = per_ray, [], [], []
        self.knobs_of: list[tuple[int, int]] = []

    def knobs(self, step, max_steps):
        self.knobs_of.append((step, max_steps))
        return replace(KNOBS, step=step)

    def sample(self, rays, knobs, generator=None):
        n, k = len(rays), self.per_ray
        t = torch.ones(n * k)
        return Sampled(Samples(torch.arange(n).repeat_interleave(k), t, t, torch.arange(n + 1) * k))

    def render(self, rays, sampled, knobs, want, generator=None):
        assert self.training
        self.calls.append((knobs.step, want, generator, len(rays)))
        color = self.table + self.shade + self.log_sharpness + self.background.table + self.background.shade
        n, samples = len(rays), sampled.samples
        return RenderOut(color.expand(n, 3), torch.ones(n), torch.ones(n), samples, samples.t)

    def level(self, points, knobs):
        self.asked.append((points, knobs.step))
        return points.norm(dim=-1) - 0.25

    def color(self, points, dirs, knobs):
        raise AssertionError("no mesh is extracted")

    def update(self, *given):
        self.updated.append(given)

    def stats(self):
        return {"sharpness": 7.0}


class Log:
    """A record in memory."""

    def __init__(self) -> None:
        self.lines: list[tuple[int, dict[str, float]]] = []
        self.saved: list[int] = []
        self.warned = 0

    def log(self, step, scalars):
        self.lines.append((step, dict(scalars)))

    def check(self):
        pass

    def checkpointed(self, step):
        self.saved.append(step)

    def may_be_killed(self):
        self.warned += 1


def run(folder: Path, settings=SMALL, optim=PLAIN, net=None, scene=None, weights=None, **options):
    net = net or Five()
    state = start(net, settings, optim, 3, CPU)
    record = Log()
    weighed = weights or {"rgb_mse": 1.0}
    train(
        net,
        TotalLoss({k: {"weight": w, "fn": getattr(terms, k)} for k, w in weighed.items()}),
        scene or grey(),
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


RATES = {"lr_tables": 0.01, "lr_networks": 0.02, "lr_sharpness": 0.04, "lr_background": 0.08}


def test_every_group_moves_by_its_own_rate_times_the_factor(tmp_path):
    optim = replace(PLAIN, **RATES, schedule=0.5)
    net, _, record = run(tmp_path, replace(SMALL, max_steps=1), optim)
    # Adam's first step is the rate along the sign of the gradient, whatever its size
    moved = {name: float(p.detach().abs().max()) for name, p in net.named_parameters()}
    assert moved == {
        "table": pytest.approx(0.005, rel=1e-3),
        "shade": pytest.approx(0.01, rel=1e-3),
        "log_sharpness": pytest.approx(0.02, rel=1e-3),
        "background.table": pytest.approx(0.005, rel=1e-3),
        "background.shade": pytest.approx(0.04, rel=1e-3),
    }
    assert all((p > 0).all() for p in net.parameters())  # towards the lighter images
    assert record.lines[-1][1]["train/lr_factor"] == 0.5


def test_the_optimiser_has_the_rates_decays_and_constants_of_its_settings():
    optim = replace(PLAIN, **RATES, weight_decay=0.3, betas=[0.5, 0.75], eps=1e-7)
    made = make_optimizer(Five(), optim)
    assert type(made).__base__ is torch.optim.Adam
    found = {g["name"]: (g["lr"], g["base_lr"], g["weight_decay"]) for g in made.param_groups}
    assert found == {
        "tables": (0.01, 0.01, 0.0),
        "networks": (0.02, 0.02, 0.3),
        "sharpness": (0.04, 0.04, 0.0),
        "background_tables": (0.01, 0.01, 0.0),
        "background": (0.08, 0.08, 0.3),
    }
    assert {(g["betas"], g["eps"]) for g in made.param_groups} == {((0.5, 0.75), 1e-7)}
    assert type(make_optimizer(Five(), replace(optim, name="adamw"))).__base__ is torch.optim.AdamW


def test_warm_up_rises_from_its_start_to_one():
    settings = OptimSettings(warmup=0.2, warmup_start=0.1, schedule=2.0)
    found = [rate_factor(settings, step, 100) for step in (0, 5, 10, 19, 20, 60)]
    assert found == pytest.approx([0.2, 0.65, 1.1, 1.91, 2.0, 2.0])


def test_a_sine_warms_up_as_a_quarter_of_a_wave():
    settings = OptimSettings(warmup=0.2, warmup_start=0.1, warmup_shape="sine", schedule=2.0)
    found = [rate_factor(settings, step, 100) for step in (0, 10, 20, 60)]
    assert found == pytest.approx([0.2, 2 * (0.1 + 0.9 * math.sqrt(0.5)), 2.0, 2.0])


def out(samples: int, background: int | None = None) -> RenderOut:
    def packed(n: int) -> Samples:
        return Samples(torch.zeros(n, dtype=torch.long), torch.ones(n), torch.ones(n), torch.tensor([0, n]))

    one = torch.ones(1)
    levels = {} if background is None else {"background": Level(packed(background), torch.ones(background))}
    return RenderOut(one.expand(1, 3), one, one, packed(samples), torch.ones(samples), levels=levels)


def test_the_ray_count_keeps_its_share_of_the_old_one():
    settings = TrainSettings(target_samples=1000, ray_ema=0.75, max_rays=400)
    assert next_ray_count(out(500).n_samples, 100, settings) == 125  # 3/4 of 100 and 1/4 of 200
    assert (
        next_ray_count(out(300, 200).n_samples, 100, settings) == 125
    )  # the background's samples cost as much
    assert next_ray_count(out(0, 500).n_samples, 100, settings) == 125
    assert next_ray_count(out(0).n_samples, 100, settings) == 100
    assert next_ray_count(out(0, 0).n_samples, 100, settings) == 100
    assert next_ray_count(out(100_000).n_samples, 16, settings) == 16  # never fewer
    assert next_ray_count(out(100_000).n_samples, 20, settings) == 16
    assert next_ray_count(out(1).n_samples, 399, settings) == 400
    assert next_ray_count(out(1).n_samples, 100, replace(settings, target_samples=0)) == 100


def test_the_next_batch_has_the_rays_that_were_counted(tmp_path):
    net, state, record = run(tmp_path, replace(SMALL, max_steps=4, target_samples=256, ray_ema=0.75))
    # four samples a ray: 64 rays are the aim, and a quarter of the way there is gone each time
    assert [n for _, _, _, n in net.calls] == [32, 40, 46, 50]
    assert state.rays == 53
    assert [line["train/rays"] for _, line in record.lines] == [32, 40, 46, 50]
    assert [line["train/samples"] for _, line in record.lines] == [128, 160, 184, 200]


@pytest.mark.parametrize("clip", [None, 0.05])
def test_gradients_are_clipped_to_their_norm_where_asked(tmp_path, clip):
    net, _, _ = run(tmp_path, replace(SMALL, max_steps=1, grad_clip=clip))
    norm = math.sqrt(sum(float(p.grad.square().sum()) for p in net.parameters()))
    # each of three channels has the slope -1.6 / 3 in four vectors, and the sharpness has all three
    free = math.sqrt(4 * 3 * (1.6 / 3) ** 2 + 1.6**2)
    assert norm == pytest.approx(free if clip is None else clip, rel=1e-3)


def test_every_step_gets_its_own_knobs_and_the_states_generator(tmp_path):
    net, state, _ = run(tmp_path, replace(SMALL, max_steps=3))
    assert [call[:2] for call in net.calls] == [(k, frozenset({"rgb"})) for k in range(3)]
    assert all(call[2] is state.generator for call in net.calls)
    assert {k for k, _ in net.knobs_of} == {0, 1, 2}
    assert {whole for _, whole in net.knobs_of} == {3}
    assert len(net.updated) == 3
    assert all(given[1] is state.generator for given in net.updated)
    assert state.step == 3
    assert state.train_s > 0


def test_gradients_do_not_add_up_over_steps(tmp_path):
    """With rates of nothing every step has the same gradient."""
    still = replace(PLAIN, **dict.fromkeys(RATES, 0.0))
    once, _, _ = run(tmp_path, replace(SMALL, max_steps=1), still)
    many, _, _ = run(tmp_path, replace(SMALL, max_steps=4), still)
    torch.testing.assert_close(many.shade.grad, once.shade.grad)
    torch.testing.assert_close(once.shade.grad, torch.full((3,), -1.6 / 3))


def spy_on_draw(monkeypatch) -> list[dict]:
    given, real = [], LOOP.draw

    def draw(scene, n, background, crop, generator, device, **more):
        given.append({"n": n, "background": background, "crop": crop, **more})
        return real(scene, n, background, crop, generator, device, **more)

    monkeypatch.setattr(LOOP, "draw", draw)
    return given


def test_the_crop_ends_at_its_fraction(tmp_path, monkeypatch):
    given = spy_on_draw(monkeypatch)
    run(tmp_path, replace(SMALL, precrop=0.5, precrop_until=0.5))
    assert [g["crop"] for g in given] == [0.5] * 3 + [0.0] * 3
    assert {g["background"] for g in given} == {"black"}
    assert {(g["points"], g["n_points"], g["working"]) for g in given} == {(None, 0, None)}


def test_a_large_scene_draws_from_a_working_set_that_moves_with_the_step(tmp_path, monkeypatch):
    made, steps, given, real = [], [], [], LOOP.draw

    class Spy:
        def __init__(self, *arguments):
            made.append(arguments)

        def advance(self, step):
            steps.append(step)

    def draw(*arguments, working=None, **more):
        given.append(working)
        return real(*arguments, **more)

    monkeypatch.setattr(LOOP, "is_large", lambda scene: True)
    monkeypatch.setattr(LOOP, "WorkingSet", Spy)
    monkeypatch.setattr(LOOP, "new_pieces", lambda *sizes: sizes)
    monkeypatch.setattr(LOOP, "draw", draw)
    scene = grey()
    run(tmp_path, replace(SMALL, max_steps=3, rays=20, target_samples=100), scene=scene)
    assert made == [(scene, 3, (20, 100), CPU)]  # 3 is the seed
    assert steps == [0, 1, 2]
    assert all(isinstance(working, Spy) for working in given)


def test_points_are_drawn_and_the_models_level_is_put_where_the_term_reads_it(tmp_path):
    points = torch.tensor([[0.5, 0.0, 0.0], [0.0, 0.3, 0.4]])
    net, _, record = run(
        tmp_path,
        replace(SMALL, max_steps=2),
        scene=grey(points=points),
        weights={"rgb_mse": 1.0, "sfm": 0.5},
    )
    assert [step for _, step in net.asked] == [0, 1]
    assert net.asked[0][0].shape == (1024, 3)
    first = record.lines[0][1]
    assert first["loss/sfm"] == pytest.approx(0.25)
    assert first["train/loss"] == pytest.approx(first["loss/rgb_mse"] + 0.5 * 0.25)


def test_a_line_says_loss_psnr_terms_and_what_the_model_tells(tmp_path):
    heard = []
    settings = replace(SMALL, max_steps=5, log_every=2)
    _, _, record = run(tmp_path, settings, on_log=lambda step, scalars: heard.append((step, dict(scalars))))
    assert [step for step, _ in record.lines] == [2, 4, 5]
    for (step, line), (at, told) in zip(record.lines, heard, strict=True):
        assert line["train/psnr"] == pytest.approx(-10 * math.log10(line["loss/rgb_mse"]), rel=1e-5)
        assert line["train/loss"] == line["loss/rgb_mse"]
        assert line["train/sharpness"] == 7.0
        assert step == at
        assert told.pop("train/rays_per_s") > 0
        assert told == line


def test_a_perfect_batch_has_a_finite_psnr():
    scalars = LOOP._scalars(
        Outcome(torch.ones(()), {}, torch.zeros(()), 1, 1, 1, torch.zeros(())), 1.0, Five()
    )
    assert scalars["train/psnr"] == pytest.approx(100.0)


def test_validation_comes_when_due_and_at_the_end_and_the_best_is_kept(tmp_path):
    scores, heard = iter([20.0, 20.0, 21.0]), []
    net, state, record = run(
        tmp_path,
        replace(SMALL, max_steps=5, val_every=2, log_every=100),
        validate=lambda: (net_of[0].eval(), next(scores))[1],
        on_log=lambda step, scalars: heard.append((step, dict(scalars))),
        net=(net_of := [Five()])[0],
    )
    found = [(step, line["val/psnr"]) for step, line in record.lines if "val/psnr" in line]
    assert found == [(2, 20.0), (4, 20.0), (5, 21.0)]
    assert [(s, line) for s, line in heard if "val/psnr" in line] == [(s, {"val/psnr": p}) for s, p in found]
    assert state.best == 21.0
    assert checkpoint.load(tmp_path / "best.pt", CPU, "k")["step"] == 5
    assert checkpoint.load(tmp_path / "last.pt", CPU, "k")["best"] == 21.0
    assert net.training


class Spoiled(Five):
    """Its colour is nan from a step on, or at that step alone."""

    def __init__(self, step: int) -> None:
        super().__init__()
        self.spoiled_from = step

    def render(self, rays, sampled, knobs, want, generator=None):
        out = super().render(rays, sampled, knobs, want, generator)
        return replace(out, rgb=out.rgb * math.nan) if knobs.step >= self.spoiled_from else out


@pytest.mark.parametrize(
    ("card", "text"),
    [(False, "at step 18: rgb_mse=nan"), (True, "at step 32 or in the 15 steps before it: rgb_mse")],
)
def test_a_loss_that_is_not_finite_ends_the_run_a_little_later_on_a_card(tmp_path, monkeypatch, card, text):
    monkeypatch.setattr("isosweep.ops.on_card", lambda: card)
    long = replace(SMALL, max_steps=100, log_every=100)
    with pytest.raises(NonFiniteLoss, match=text):
        run(tmp_path, long, net=Spoiled(18))
    assert not (tmp_path / "last.pt").exists()


def test_on_a_card_a_checkpoint_in_between_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr("isosweep.ops.on_card", lambda: True)
    long = replace(SMALL, max_steps=100, log_every=100, checkpoint_every=20)
    with pytest.raises(NumericalError, match="non-finite after step 20; the last good checkpoint is kept"):
        run(tmp_path, long, net=Spoiled(18))
    assert not (tmp_path / "last.pt").exists()


def test_an_equal_score_is_not_better(tmp_path):
    scores = iter([20.0, 20.0, 19.0])
    run(tmp_path, replace(SMALL, max_steps=3, val_every=1), validate=lambda: next(scores))
    assert checkpoint.load(tmp_path / "best.pt", CPU)["step"] == 1


def test_without_an_interval_validation_comes_at_the_end_only(tmp_path):
    _, _, record = run(tmp_path, replace(SMALL, max_steps=3, log_every=100), validate=lambda: 1.0)
    assert [step for step, line in record.lines if "val/psnr" in line] == [3]


@pytest.mark.parametrize(
    ("every", "minutes", "expected"),
    [(0, 5.0, [6]), (4, 5.0, [4, 6]), (3, 5.0, [3, 6]), (0, 0.0, [1, 2, 3, 4, 5, 6])],
)
def test_checkpoints_come_by_steps_by_the_clock_and_at_the_end(tmp_path, every, minutes, expected):
    _, _, record = run(tmp_path, replace(SMALL, checkpoint_every=every, checkpoint_minutes=minutes))
    assert record.saved == expected


def test_the_clock_counts_minutes_since_the_last_checkpoint(tmp_path, monkeypatch):
    clock = iter(range(0, 10_000, 40))  # a look at it takes 40 seconds
    # the loop's own clock: of the module's, a thread that an earlier test left would take a tick
    monkeypatch.setattr(
        LOOP, "time", SimpleNamespace(monotonic=lambda: next(clock), perf_counter=lambda: 0.0)
    )
    _, _, record = run(tmp_path, replace(SMALL, max_steps=8, checkpoint_minutes=1.5))
    # 40, 80 and 120 seconds after the start, and again after each that was written
    assert record.saved == [3, 6, 8]


def test_who_asks_for_a_checkpoint_gets_one_and_training_goes_on(tmp_path):
    heard = interrupts.listen()

    def ask(step, scalars):
        if step == 2:
            heard._save = True

    _, state, record = run(tmp_path, on_log=ask)
    assert (record.saved, record.warned, state.step) == ([2, 6], 1, 6)
    assert not heard.wants_checkpoint


def test_who_asks_for_the_end_gets_a_checkpoint_of_the_last_step(tmp_path):
    heard = interrupts.listen()

    def stop(step, scalars):
        heard.signal = signal.SIGINT if step == 4 else None

    with pytest.raises(RunPreempted, match="SIGINT"):
        run(tmp_path, on_log=stop)
    interrupts.listen()
    assert checkpoint.load(tmp_path / "last.pt", CPU, "k")["step"] == 4


def test_a_state_comes_back_as_it_was_saved(tmp_path):
    net, state, _ = run(tmp_path)
    state.best, state.rays = 12.5, 77
    state.save(tmp_path / "x.pt", net, "k")
    fresh, other = Five(), None
    other = start(fresh, SMALL, PLAIN, 99, CPU)
    other.restore(checkpoint.load(tmp_path / "x.pt", CPU, "k"), fresh, tmp_path / "x.pt")
    assert (other.step, other.rays, other.best, other.train_s) == (6, 77, 12.5, state.train_s)
    assert torch.equal(other.generator.get_state(), state.generator.get_state())
    for a, b in zip(net.parameters(), fresh.parameters(), strict=True):
        assert torch.equal(a, b)
    moments = [s.optimizer.state_dict()["state"] for s in (state, other)]
    for k, entry in moments[0].items():
        assert all(torch.equal(v, moments[1][k][name]) for name, v in entry.items())


def test_a_fresh_state_begins_at_nothing():
    state = start(Five(), SMALL, PLAIN, 5, CPU)
    assert isinstance(state, TrainState)
    assert (state.step, state.rays, state.best, state.train_s, state.drawn) == (0, 32, -math.inf, 0.0, 0)
    assert state.generator.initial_seed() == 5
    assert not state.scaler.is_enabled()
    assert state.optimizer.state_dict()["state"] == {}


@pytest.mark.parametrize(
    ("precision", "on_cuda"),
    [("auto", torch.float16), ("float16", torch.float16), ("bfloat16", torch.bfloat16), ("float32", None)],
)
def test_autocast_is_for_the_gpu_only(precision, on_cuda):
    settings = replace(SMALL, precision=precision)
    assert autocast_dtype(settings, torch.device("cuda")) == on_cuda
    assert autocast_dtype(settings, CPU) is None


def test_the_progress_line_by_hand(monkeypatch):
    clock = iter([100.0, 110.0, 115.0])
    monkeypatch.setattr(LOOP, "time", SimpleNamespace(perf_counter=lambda: next(clock)))
    progress = LOOP._Pace(1000, 100)
    for _ in range(100):
        progress.count(300)
    line = progress.line(200, {"train/loss": 0.125, "train/psnr": 21.237, "train/sharpness": 64.4})
    # 100 steps in ten seconds, 800 left
    assert line == "step 200/1000  3.0k rays/s  loss 0.1250  PSNR 21.24 dB  s 64  ETA 1:20"
    assert progress.rate == pytest.approx(3000)
    progress.count(5000)
    line = progress.line(210, {"train/loss": 1.0, "train/psnr": 3.0})
    # ten steps in five seconds, 790 left
    assert line == "step 210/1000  1.0k rays/s  loss 1.0000  PSNR 3.00 dB  ETA 6:35"


def test_the_share_of_the_pixels_that_was_drawn_is_logged(tmp_path):
    settings = replace(SMALL, max_steps=3, rays=96)
    _, state, record = run(tmp_path, settings)
    total = 4 * 32 * 40  # training views
    seen = [line["train/pixels_seen"] for _, line in record.lines if "train/pixels_seen" in line]
    assert state.drawn == 3 * 96
    assert seen == pytest.approx([1 - (1 - 1 / total) ** (96 * k) for k in (1, 2, 3)], rel=1e-6)
    _, _, record = run(tmp_path, replace(settings, replacement=False))
    shares = [line["train/pixels_seen"] for _, line in record.lines if "train/pixels_seen" in line]
    assert shares == pytest.approx([96 * k / total for k in (1, 2, 3)])


def test_a_long_schedule_that_will_see_few_pixels_is_told_once_it_knows_its_rays(
    tmp_path, caplog, monkeypatch
):
    monkeypatch.setattr(coverage, "TRIAL", 40)
    run(tmp_path, replace(SMALL, max_steps=40, rays=8))
    # 8 rays a step from the third step on, a twentieth of the schedule: 320 of 5,120 pixels
    (told,) = [r.message for r in caplog.records if "training pixels" in r.message]
    assert told.startswith(
        "with 8 rays a step, 40 steps will see about 6 % of the 0.0 million training pixels"
    )


@pytest.mark.parametrize("recorded", [False, True], ids=["as it is", "recorded"])
def test_the_ray_count_keeps_its_bounds_however_steps_are_computed(recorded, monkeypatch):
    settings = replace(SMALL, target_samples=1000, min_rays=70, max_rays=200, ray_ema=0.0)
    net = Five()
    state = start(net, settings, PLAIN, 3, CPU)
    descent = Descent(net, LOSS, state.optimizer, state.scaler, state.generator, settings, CPU)
    if recorded:
        monkeypatch.setattr(descent, "_graphs", SimpleNamespace(failed=False))
    assert descent.next_ray_count(100_000, 400) == 70
    assert descent.next_ray_count(10, 80) == 200
