"""``hydra/sweeper=optuna``: a line for each trial, the best at the end, and a study that goes on.

The search itself is hydra-optuna-sweeper's. It is told from outside: this file stands between it and the launcher.
"""

import logging
import math
import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from hydra.core.utils import JobReturn, JobStatus
from hydra.plugins.launcher import Launcher
from hydra.types import HydraContext
from omegaconf import DictConfig

from isosweep.config.check import ConfigError
from isosweep.config.titles import short_keys
from isosweep.launchers import hydra_sweeps

STOPPED = "stopped"
"""Attribute of a trial that Ctrl-C or a signal ended; its run can be resumed."""
GOES_ON = "goes on as another trial"
"""Attribute of a study: the numbers of the stopped trials that were proposed again."""


@runtime_checkable
class OptunaSearch(Protocol):
    """What the plugin hands over."""

    context: HydraContext
    config: DictConfig
    launcher: Launcher
    settings: dict[str, Any]


def search(sweeper: OptunaSearch, arguments: Sequence[str], implementation: Callable[[], type[Any]]) -> None:
    """Run the trials that are left of a study; raises SweepFailed where too many of them fail.

    Args:
        implementation: imports ``OptunaSweeperImpl``, which may be absent; ImportError then.
    """
    try:
        import optuna

        base = implementation()
    except ImportError as error:
        raise ConfigError(
            f"hydra/sweeper=optuna needs hydra-optuna-sweeper ({error}): pip install 'isosweep[optuna]'"
        ) from error
    optuna.logging.set_verbosity(logging.WARNING)  # it tells of studies that it makes
    settings = dict(sweeper.settings)
    _refuse_settings(settings)
    config = sweeper.config
    settings["study_name"] = settings["study_name"] or hydra_sweeps.name_of(config, [])
    url = None
    if settings["storage"] is not None:
        settings["storage"], url = _opened(str(settings["storage"]))
        settings["n_trials"] -= _goes_on(settings["study_name"], settings["storage"])
    told = Told(sweeper)

    class Search(base):
        def _configure_trials(self, trials: Any, *others: Any) -> Any:
            found = super()._configure_trials(trials, *others)
            told.trials = list(trials)
            return found

    made = Search(**settings)
    made.config, made.hydra_context, made.launcher, made.job_idx = config, sweeper.context, told, 0
    Path(config.hydra.sweep.dir).mkdir(parents=True, exist_ok=True)
    if settings["n_trials"] > 0:
        try:
            made.sweep(list(arguments))
        except Exception as error:
            if error not in told.failures:
                raise
            raise hydra_sweeps.SweepFailed(f"study {settings['study_name']}") from error
    study, storage = told.study, settings["storage"]
    if study is None:
        if storage is None:
            raise ConfigError(f"hydra.sweeper.n_trials={settings['n_trials']}: give 1 or more")
        study = optuna.load_study(study_name=settings["study_name"], storage=storage)
        print(
            f"the study has its {sweeper.settings['n_trials']} trials: raise hydra.sweeper.n_trials for more"
        )
    print(last_lines(study, url), flush=True)


class Told:
    """The launcher, as the search sees it: it says what every trial gave."""

    def __init__(self, sweeper: OptunaSearch) -> None:
        self.sweeper = sweeper
        self.trials: list[Any] = []
        self.study: Any = None
        self.failures: list[BaseException] = []

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> Sequence[JobReturn]:
        """Launch one batch of trials. Trials that are stopped with it are marked, so that they go on."""
        from optuna.trial import TrialState

        self.study = self.trials[0].study
        try:
            hydra_sweeps.require_objective(self.sweeper.context, self.sweeper.config, job_overrides)
            returns = self.sweeper.launcher.launch(job_overrides, initial_job_idx=initial_job_idx)
        except BaseException as error:
            for trial in self.trials:
                if isinstance(error, KeyboardInterrupt):
                    trial.set_user_attr(STOPPED, True)
                self.study.tell(trial, state=TrialState.FAIL)
            raise
        every = [t for t in self.study.trials if t.value is not None]
        values = {t.number: t.value for t in every}
        params = [t.params for t in self.study.trials]
        for trial, result in zip(self.trials, returns, strict=True):
            value = _value(result)
            if value is None:
                self.failures.append(_failure(result))
            else:
                values[trial.number] = value
            print(trial_line(trial.number, trial.params, value, values, params), flush=True)
        return returns


def trial_line(
    number: int,
    params: Mapping[str, Any],
    value: float | None,
    values: Mapping[int, float],
    every: Sequence[Mapping[str, Any]],
) -> str:
    """One trial: its parameters, its value, and the best so far.

    Args:
        values: number -> value of all trials so far, in dB.
        every: the parameters of all trials, from which this one's are to be distinguished.
    """
    short = short_keys(params)
    shown = " ".join(f"{short[k]}={brief(v, [p.get(k) for p in every])}" for k, v in params.items())
    given = "failed" if value is None else f"{value:.3f} dB"
    if not values:
        return f"trial {number}: {shown}: {given}"
    best = max(values, key=lambda n: (values[n], -n))
    so_far = "the best so far" if best == number else f"best so far {values[best]:.3f} dB (trial {best})"
    return f"trial {number}: {shown}: {given}; {so_far}"


def brief(value: Any, others: Sequence[Any], digits: int = 3) -> str:
    """A value as text. A float has the digits that tell it from the other floats, and ``digits`` at least."""
    if not isinstance(value, float):
        return str(value)
    floats = {v for v in others if isinstance(v, float)} | {value}
    while digits < 17 and len({f"{v:.{digits}g}" for v in floats}) < len(floats):
        digits += 1
    return f"{value:.{digits}g}"


def last_lines(study: Any, storage: str | None) -> str:
    """The best trial with its full parameters, and where the study lies."""
    done = [t for t in study.trials if t.value is not None]
    if not done:
        return "no trial gave a value"
    best = max(done, key=lambda t: (t.value, -t.number))
    where = (
        f"study {study.study_name} in {storage}"
        if storage
        else "the study was in memory (hydra.sweeper.storage=)"
    )
    full = " ".join(f"{k}={v}" for k, v in best.params.items())
    return f"best of {len(done)} trials: trial {best.number}, {best.value:.3f} dB: {full}\n{where}"


def _refuse_settings(settings: Mapping[str, Any]) -> None:
    direction = getattr(settings["direction"], "name", settings["direction"])
    if direction != "maximize":
        raise ConfigError(
            f"hydra.sweeper.direction={direction}: the objective is the validation PSNR, of which higher is better; "
            "leave it out, or set maximize"
        )


def _opened(url: str) -> tuple[Any, str]:
    """The storage of a URL, and the URL without its password. SQLite makes its file, and not the file's folder.

    Every statement is committed at once. optuna 2.10, which the extra needs, expects that of SQLAlchemy, and
    SQLAlchemy 2 does so only if it is asked to: without it the first study ends in "database is locked".
    """
    from optuna.storages import RDBStorage
    from sqlalchemy.engine.url import make_url

    found = make_url(url)
    if found.drivername.startswith("sqlite") and found.database not in (None, "", ":memory:"):
        Path(found.database).parent.mkdir(parents=True, exist_ok=True)
    return RDBStorage(url, engine_kwargs={"isolation_level": "AUTOCOMMIT"}), repr(found)


def _goes_on(name: str, storage: Any) -> int:
    """Propose the stopped trials of a study again. Returns the number of trials that are complete."""
    import optuna

    study = optuna.create_study(study_name=name, storage=storage, direction="maximize", load_if_exists=True)
    before = set(study.user_attrs.get(GOES_ON, []))
    stopped = [t for t in study.trials if t.user_attrs.get(STOPPED) and t.number not in before]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        for trial in stopped:
            study.enqueue_trial(trial.params)
    study.set_user_attr(GOES_ON, sorted(before | {t.number for t in stopped}))
    done = sum(t.value is not None for t in study.trials)
    if done or stopped:
        again = f", and {len(stopped)} that were stopped go on" if stopped else ""
        print(f"study {name} goes on: it has {done} trials{again}", flush=True)
    return done


def _value(result: JobReturn) -> float | None:
    """A trial's value; None if its run failed. A value that is nan becomes a failure with its reason."""
    if result.status == JobStatus.FAILED:
        return None
    value = float(result.return_value)
    if math.isfinite(value):
        return value
    result.status = JobStatus.FAILED
    result.return_value = RuntimeError(
        "an earlier version trained the run without validation views, and measured no objective: score it again with "
        "mode=eval, or train it again with run.force=true"
    )
    return None


def _failure(result: JobReturn) -> BaseException:
    cause = result._return_value
    return cause if isinstance(cause, BaseException) else RuntimeError(str(cause))
