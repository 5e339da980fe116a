"""The training loop, from top to bottom.

All state is in `TrainState`, and in the model's parameters and buffers. Everything that depends on the step comes from
``model.knobs(step)`` and the schedules.
"""

import logging
import math
import time
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import torch
from torch import nn

from isosweep import ops
from isosweep.config.settings import CHECKPOINTS, OptimSettings, TrainSettings
from isosweep.data.batches import Targets, add_point_rays, draw
from isosweep.data.photos import make_photos
from isosweep.data.point_rays import PointRays
from isosweep.data.shuffled import ShuffledPixels
from isosweep.data.working_set import WorkingSet, is_large, new_pieces
from isosweep.errors import InputError, NumericalError
from isosweep.losses.total import TotalLoss, check_finite
from isosweep.models.base import Model
from isosweep.record import checkpoint_path
from isosweep.runtime import interrupts
from isosweep.runtime.progress import TRAINING, Progress, clock, tell
from isosweep.runtime.text import printable
from isosweep.training import checkpoint
from isosweep.training.average import Average
from isosweep.training.coverage import Coverage
from isosweep.training.deaths import Deaths
from isosweep.training.descent import Descent, autocast_dtype
from isosweep.training.optimizer import make_optimizer, rate_factor, restore_optimizer
from isosweep.training.step import Moment, Outcome
from isosweep.training.team import ALONE, Team
from isosweep.types import Scene

log = logging.getLogger("isosweep")

FINITE_EVERY = 16
"""Steps between two looks at the loss on a card, which would wait for each. A loss that is not finite leaves parameters
that are not, so that the following losses are not either, and a checkpoint is refused."""

MEASURED_AFTER = 0.05
"""Fraction of a schedule after which its ray count tells how many pixels it will see."""


@runtime_checkable
class RunLog(Protocol):
    """What training needs of a run's record."""

    def log(self, step: int, scalars: Mapping[str, float]) -> None:
        """Write the scalars of a step."""
        ...

    def check(self) -> None:
        """Raise an error if this process no longer owns the run."""
        ...

    def checkpointed(self, step: int) -> None:
        """Note that the checkpoint of ``step`` is on the disk."""
        ...

    def may_be_killed(self) -> None:
        """Note that the scheduler may end this process at any moment."""
        ...


@runtime_checkable
class Onlooker(Protocol):
    """What training needs of somebody who looks at it."""

    def between_steps(self, step: int, seconds: float, signals: interrupts.Interrupts) -> None:
        """Look at the model after ``step`` steps, the last of which took ``seconds``, and leave it as it is."""
        ...


@dataclass
class TrainState:
    """Everything that changes in training, but for the model's own parameters and buffers."""

    optimizer: torch.optim.Optimizer
    scaler: torch.amp.GradScaler
    """Scales the loss under float16 autocast; switched off otherwise."""
    generator: torch.Generator
    """Draws rays and their samples."""
    rays: int
    """Rays of the next batch."""
    drawn: int = 0
    """Pixels drawn so far: the place in the order of draws without replacement."""
    step: int = 0
    """Steps done."""
    best: float = -math.inf
    """Highest validation PSNR so far, dB."""
    train_s: float = 0.0
    """Seconds spent in steps."""
    average: Average | None = None
    """Of the parameters, which is validated and scored; None where it is off."""

    def save(self, path: Path, model: Model, run_key: str) -> None:
        """Write a checkpoint.

        Raises:
            NumericalError: a parameter is not finite; the last checkpoint is kept.
        """
        for name, parameter in model.named_parameters():
            if not bool(torch.isfinite(parameter).all()):
                raise NumericalError(
                    f"parameter '{name}' is non-finite after step {self.step}; the last good checkpoint "
                    "is kept: lower the learning rates or set train.grad_clip=1, and resume"
                )
        state = {
            "run_key": run_key,
            "step": self.step,
            "model": model.state_dict(),
            "average": None if self.average is None else self.average.state(),
            "optimizer": self.optimizer.state_dict(),
            "scaler": self.scaler.state_dict(),
            "generator": self.generator.get_state(),
            "rays": self.rays,
            "drawn": self.drawn,
            "best": self.best,
            "train_s": self.train_s,
        }
        checkpoint.save(path, state)

    def restore(self, state: Mapping[str, Any], model: Model, source: Path) -> None:
        """Take over the state of a checkpoint, with the model's weights; ``source`` names its file in messages.

        Raises:
            InputError: the weights do not fit the model, or the file lacks something of the training's state.
        """
        checkpoint.require(state, checkpoint.TO_GO_ON, source)
        checkpoint.load_weights(model, state["model"], source)
        try:
            restore_optimizer(self.optimizer, state["optimizer"])
            self.scaler.load_state_dict(state["scaler"])
            self.generator.set_state(state["generator"].cpu())
        except (KeyError, TypeError, ValueError, AttributeError, IndexError, RuntimeError) as error:
            raise InputError(
                f"{source}: the state of the optimiser or of the random numbers in it does not fit this training "
                f"({type(error).__name__}: {printable(str(error))[:200]}): move it aside and train again, resume from "
                "another one, or start a new run from its weights with train.init_from="
            ) from error
        self.step, self.rays = state["step"], state["rays"]
        self.drawn = state.get("drawn", 0)  # checkpoints of earlier versions drew with replacement only
        self.best, self.train_s = state["best"], state["train_s"]
        if self.average is not None:
            if (average := state.get("average")) is not None:
                checkpoint.require_fit(dict(model.named_parameters()), average["values"], source)
            self.average.restore(average)


def start(
    model: Model, settings: TrainSettings, optim: OptimSettings, seed: int, device: torch.device
) -> TrainState:
    """The state at step 0: a new optimiser, and a generator with the run's seed."""
    generator = torch.Generator(device=device).manual_seed(seed)
    scaler = torch.amp.GradScaler(device.type, enabled=autocast_dtype(settings, device) == torch.float16)
    average = Average(model, optim.average) if optim.average else None
    return TrainState(make_optimizer(model, optim), scaler, generator, settings.rays, average=average)


def train(
    model: Model,
    loss: TotalLoss,
    scene: Scene,
    state: TrainState,
    settings: TrainSettings,
    optim: OptimSettings,
    *,
    folder: Path,
    run_key: str,
    record: RunLog,
    device: torch.device,
    validate: Callable[[], float] | None = None,
    on_log: Callable[[int, Mapping[str, float]], None] | None = None,
    look: Callable[[], None] | None = None,
    team: Team = ALONE,
    onlooker: Onlooker | None = None,
) -> None:
    """Train from ``state.step`` to ``settings.max_steps``.

    Args:
        scene: with cameras on ``device``.
        folder: where checkpoints are written.
        run_key: is stored in them.
        record: gets the scalars.
        validate: gives the mean PSNR (dB) of validation views; None if there are none.
        on_log: gets the scalars as well (a tracker).
        look: called after each step, before its checkpoint; changes nothing.
        team: the processes that train together. The first of them writes the checkpoints.
        onlooker: may look at the model between two steps.

    Raises:
        NonFiniteLoss: a term of the loss is not finite; the message names it, and nothing is written after it.
        NumericalError: a parameter is not finite when a checkpoint is to be written.
        RunPreempted, RunTimeout: a signal asked the run to stop; the checkpoint of the last step is written.
    """
    last_save = time.monotonic()
    signals = interrupts.current()
    pace = _Pace(settings.max_steps, state.step)
    targets = Targets(scene, device) if loss.points else None
    known = PointRays(scene) if loss.point_rays else None
    photos = make_photos(scene, device) if loss.patches else None
    working = None
    if is_large(scene):
        new = new_pieces(settings.rays, settings.target_samples)
        working = WorkingSet(scene, state.generator.initial_seed(), new, device)
    shuffled = None
    if not settings.replacement:
        hw, views = scene.cameras.hw, scene.splits["train"]
        shuffled = ShuffledPixels(hw, views, state.generator.initial_seed())
    coverage = Coverage(scene.cameras.hw, scene.splits["train"], settings.replacement)
    deaths = Deaths(model.against_death)
    descent = Descent(model, loss, state.optimizer, state.scaler, state.generator, settings, device, team)
    team.follow(model)
    model.train()
    while state.step < settings.max_steps:
        began = time.perf_counter()
        step = state.step
        factor = rate_factor(optim, step, settings.max_steps)
        for group in state.optimizer.param_groups:
            group["lr"] = group["base_lr"] * factor
        knobs = model.knobs(step, settings.max_steps)
        model.update(knobs, state.generator, settings.target_samples)
        crop = settings.precrop if step < settings.precrop_until * settings.max_steps else 0.0
        if working is not None:
            working.advance(step)
        batch = draw(
            scene,
            state.rays,
            settings.background,
            crop,
            state.generator,
            device,
            points=targets,
            n_points=loss.points,
            photos=photos,
            n_patches=loss.patches,
            working=working,
            one_image=settings.batch_from == "one_image",
            shuffled=shuffled,
            drawn=state.drawn,
            cones=model.takes_cones,
            with_views=model.most_views is not None,
        )
        state.drawn += len(batch.rays)
        if known is not None:
            batch = add_point_rays(
                batch,
                scene,
                known,
                loss.point_rays,
                settings.background,
                state.generator,
                device,
                cones=model.takes_cones,
                with_views=model.most_views is not None,
            )
        done = step + 1 == settings.max_steps
        logged = done or (step + 1) % settings.log_every == 0
        moment = Moment(step, settings.max_steps, knobs, logged)
        outcome = descent.step(batch, moment)
        every = FINITE_EVERY if ops.on_card() else 1
        if logged or step % every == 0:
            check_finite(outcome.total, outcome.terms, step, min(step, every - 1))
        if settings.grad_clip is not None:
            state.scaler.unscale_(state.optimizer)
            nn.utils.clip_grad_norm_(model.parameters(), settings.grad_clip)
        state.scaler.step(state.optimizer)
        state.scaler.update()
        if state.average is not None:
            state.average.update()
        state.rays = descent.next_ray_count(outcome.cost, state.rays)
        state.step += 1
        state.train_s += time.perf_counter() - began
        pace.count(len(batch.rays))

        if logged:
            record.check()
            scalars = _scalars(outcome, factor, model)
            scalars |= _in_force(loss, state.optimizer, step, settings.max_steps)
            scalars["train/pixels_seen"] = coverage.share(state.drawn)
            if step >= settings.max_steps * MEASURED_AFTER:
                coverage.foretell(state.drawn, state.rays, state.step, settings.max_steps)
            deaths.note(state.step, scalars["train/empty_rays"])
            record.log(state.step, scalars)
            log.info(pace.line(state.step, scalars))
            tell(pace.progress(state.step))
            if on_log is not None:
                on_log(state.step, {**scalars, "train/rays_per_s": pace.rate})
        if validate is not None and due(state.step, settings.val_every, done):
            with nullcontext() if state.average is None else state.average.in_place():
                psnr = validate()
            model.train()
            record.log(state.step, {"val/psnr": psnr})
            log.info("step %d  validation PSNR %.2f dB", state.step, psnr)
            tell(replace(pace.progress(state.step), val_psnr=psnr))
            if on_log is not None:
                on_log(state.step, {"val/psnr": psnr})
            if psnr > state.best:
                record.check()
                state.best = psnr
                if team.leads:
                    state.save(folder / CHECKPOINTS["best"], model, run_key)
        if look is not None:
            look()
        if onlooker is not None:
            onlooker.between_steps(state.step, time.perf_counter() - began, signals)
        overdue = time.monotonic() - last_save > 60 * settings.checkpoint_minutes
        asked = team.asked(signals)
        if team.leads and (overdue or asked.save or due(state.step, settings.checkpoint_every, done)):
            record.check()
            state.save(folder / CHECKPOINTS["last"], model, run_key)
            record.checkpointed(state.step)
            last_save = time.monotonic()
        if team.leads and settings.keep_every is not None and state.step % settings.keep_every == 0:
            record.check()
            state.save(checkpoint_path(folder, state.step), model, run_key)
        if asked.save:
            signals.saved()
            if asked.end:
                signals.check()
            record.may_be_killed()


def init_from(model: Model, source: str, device: torch.device) -> None:
    """Load the weights of another run, from its folder or one of its checkpoints. Optimiser and step start anew.

    Raises:
        FileNotFoundError: there is no checkpoint.
        InputError: the file is not a checkpoint, or its weights do not fit the model.
    """
    path = checkpoint.find(Path(source))
    checkpoint.load_weights(model, checkpoint.trained(checkpoint.load(path, device)), path)
    log.info("starting from the weights of %s", path)


def due(step: int, every: int, done: bool) -> bool:
    """Whether what is to happen each ``every`` steps, 0 for never, and at the end happens after ``step`` steps."""
    return done or (every > 0 and step % every == 0)


def _scalars(outcome: Outcome, factor: float, model: Model) -> dict[str, float]:
    return {
        "train/loss": float(outcome.total),
        "train/psnr": -10 * math.log10(max(float(outcome.mse), 1e-10)),  # pyright: ignore[reportArgumentType]
        **{f"loss/{name}": float(value) for name, value in outcome.terms.items()},
        "train/rays": float(outcome.n_rays),
        "train/samples": float(outcome.n_samples),
        "train/empty_rays": float(outcome.empty),  # pyright: ignore[reportArgumentType]
        "train/lr_factor": factor,
        **{f"train/{name}": value for name, value in model.stats().items()},
    }


def _in_force(
    loss: TotalLoss, optimizer: torch.optim.Optimizer, step: int, max_steps: int
) -> dict[str, float]:
    """The weight of each loss term and the learning rate of each group of parameters in the step from ``step``."""
    weights = dict(zip(loss.terms, loss.weights(step, max_steps), strict=True))
    return {f"train/weight/{name}": weight for name, weight in weights.items()} | {
        f"train/lr/{group['name']}": group["lr"] for group in optimizer.param_groups
    }


class _Pace:
    """The line of the terminal: rays per second and the time left, from the steps since the last line."""

    def __init__(self, max_steps: int, step: int) -> None:
        self.max_steps, self.first, self.seen = max_steps, step, step
        self.rays, self.rate, self.left_s, self.mark = 0, 0.0, 0.0, time.perf_counter()

    def count(self, rays: int) -> None:
        self.rays += rays

    def line(self, step: int, scalars: Mapping[str, float]) -> str:
        now = time.perf_counter()
        span = max(now - self.mark, 1e-9)
        self.rate = self.rays / span
        self.left_s = (self.max_steps - step) * span / max(step - self.seen, 1)
        self.mark, self.rays, self.seen = now, 0, step
        sharp = f"  s {scalars['train/sharpness']:.0f}" if "train/sharpness" in scalars else ""
        return (
            f"step {step}/{self.max_steps}  {self.rate / 1e3:.1f}k rays/s  loss {scalars['train/loss']:.4f}  "
            f"PSNR {scalars['train/psnr']:.2f} dB{sharp}  ETA {clock(self.left_s)}"
        )

    def progress(self, step: int) -> Progress:
        """The same for tables of runs."""
        return Progress(TRAINING, step, self.max_steps, self.left_s, self.rate)
