"""The gradient of every step of a run: in one piece, in parts that fit into the memory, or from a recorded step."""

import logging

import torch

from isosweep.config.settings import TrainSettings
from isosweep.losses.total import TotalLoss
from isosweep.models.base import Model
from isosweep.training import graphs
from isosweep.training.memory import Parts
from isosweep.training.step import Moment, Outcome, gradient
from isosweep.training.team import ALONE, Team
from isosweep.types import Batch

log = logging.getLogger("isosweep")


class Descent:
    """Computes gradients by the settings of a run, and falls back where a card cannot do as it is told."""

    def __init__(
        self,
        model: Model,
        loss: TotalLoss,
        optimizer: torch.optim.Optimizer,
        scaler: torch.amp.GradScaler,
        generator: torch.Generator,
        settings: TrainSettings,
        device: torch.device,
        team: Team = ALONE,
    ) -> None:
        self._model, self._loss, self._optimizer = model, loss, optimizer
        self._scaler, self._generator, self._team = scaler, generator, team
        self._settings, self._autocast = settings, autocast_dtype(settings, device)
        self._parts, self._measured = Parts(model, device, settings.micro_batches), False
        self._graphs = self._recorder(device) if settings.cuda_graphs else None

    def step(self, batch: Batch, moment: Moment) -> Outcome:
        """Put the gradient of the loss on ``batch`` into the parameters' ``grad``.

        Raises:
            torch.OutOfMemoryError: the card does not hold a single ray, or the team would have to agree on more parts.
        """
        self._optimizer.zero_grad(set_to_none=True)
        outcome = self._recorded(batch, moment)
        if outcome is None:
            outcome = self._in_parts(batch, moment)
        self._parts.seen(outcome.n_rays, outcome.cost)
        return outcome

    def next_ray_count(self, samples: int, rays: int) -> int:
        """The number of rays of the next batch after one of ``samples`` samples of all rounds."""
        if self._records:
            settings = self._settings
            bounds = settings.min_rays, settings.max_rays
            return graphs.held_ray_count(samples, rays, settings.target_samples, bounds)
        return next_ray_count(samples, rays, self._settings)

    @property
    def _records(self) -> bool:
        return self._graphs is not None and not self._graphs.failed

    def _recorded(self, batch: Batch, moment: Moment) -> Outcome | None:
        if self._graphs is None or self._graphs.failed:
            return None
        return self._graphs.gradient(batch, moment, self._generator)

    def _in_parts(self, batch: Batch, moment: Moment) -> Outcome:
        n_rays, before = len(batch.rays), self._generator.get_state()
        # Alone: in a team each process would count another number of parts, and so take other rows. The state is what a
        # step leaves in memory, so the first step has to be over.
        if self._team.size == 1 and self._optimizer.state and not self._measured:
            self._parts.limit()
            self._measured = True
        while True:
            try:
                return gradient(
                    self._model,
                    self._loss,
                    batch,
                    moment,
                    self._generator,
                    scaler=self._scaler,
                    autocast=self._autocast,
                    micro_batches=self._parts.of(n_rays),
                    team=self._team,
                )
            except torch.OutOfMemoryError:
                if self._team.size > 1 or not self._parts.too_few(n_rays):
                    raise
                torch.cuda.empty_cache()
                self._optimizer.zero_grad(set_to_none=True)
                self._generator.set_state(before)

    def _recorder(self, device: torch.device) -> "graphs.Graphs | None":
        why = graphs.hindrance(self._model, self._loss)
        if device.type != "cuda":
            why = f"the device is {device}"
        elif self._settings.micro_batches > 1 or self._team.size > 1:
            why = "the batch is computed in parts"
        if why is not None:
            log.warning("train.cuda_graphs: steps are not recorded, because %s", why)
            return None
        return graphs.Graphs(
            self._model, self._loss, self._scaler, self._autocast, self._settings.target_samples
        )


def next_ray_count(samples: int, rays: int, settings: TrainSettings) -> int:
    """The number of rays of the next batch, so that it has about ``target_samples`` samples (as in Instant-NGP).

      next = clip(e rays + (1 - e) rays target_samples / samples, min_rays, max_rays), with e = ``ray_ema``.
    A batch without samples keeps the number of rays, and so does ``target_samples`` = 0.

    Args:
        samples: of all rounds of the last batch.
    """
    if settings.target_samples == 0 or samples == 0:
        return rays
    ideal = rays * settings.target_samples / samples
    mixed = settings.ray_ema * rays + (1 - settings.ray_ema) * ideal
    return int(min(max(mixed, settings.min_rays), settings.max_rays))


def autocast_dtype(settings: TrainSettings, device: torch.device) -> torch.dtype | None:
    kinds = {"auto": torch.float16, "float16": torch.float16, "bfloat16": torch.bfloat16, "float32": None}
    return kinds[settings.precision] if device.type == "cuda" else None
