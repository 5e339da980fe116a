"""A machine that trains nothing: in place of a run's process it writes the record that the run would have left."""

import hashlib
import runpy
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from omegaconf import DictConfig, OmegaConf

from isosweep.config.schema import CONF
from isosweep.launchers import launch_folder, local, planning
from isosweep.launchers.launch_folder import outcome_without_process
from isosweep.record import Record, ScoreRecord
from isosweep.record.outcome import JobOutcome
from isosweep.record.schema import Times, encode_record

MAIN = str(CONF.parent / "main.py")
CODE = "2:the same code"
"""In place of the code hash, which takes a second for every plan."""


def noise(*of: object) -> float:
    """A standard normal number that depends on its arguments alone."""
    digest = hashlib.sha256(repr(of).encode()).digest()
    return float(np.random.default_rng(int.from_bytes(digest[:8], "little")).standard_normal())


@dataclass
class Machine:
    """Stands in for the local launcher's processes: a run is a record with the score of a synthetic objective."""

    root: Path
    psnr: Callable[[dict[str, str], int], float]
    """Overrides and seed of a run -> its score; an exception is the run's failure."""
    configs: dict[str, dict] = field(default_factory=dict)
    trained: list[list[str]] = field(default_factory=list)
    launches: int = 0
    stop_at: int = 0
    """The launch at which Ctrl-C is pressed, after its first run."""

    def sweep(self, sweeper: str, name: str) -> list[str]:
        """The arguments that every sweep on this machine has."""
        own = [f"run.root={self.root}", f"run.name={name}", "debug=tiny", "device=cpu"]
        return ["-m", f"hydra/sweeper={sweeper}", *own]

    def launch_here(self, name, folder, planned, *, run_root, extra, settings) -> dict[int, JobOutcome]:
        self.launches += 1
        outcomes = {}
        for one in planned:
            done = outcome_without_process(one)
            outcomes[one.number] = done or self._run(one)
            if done is None and self.launches == self.stop_at:
                raise KeyboardInterrupt
        return outcomes

    def _run(self, one: planning.Planned) -> JobOutcome:
        assert one.folder is not None
        assert one.key is not None
        self.trained.append(one.overrides)
        values = dict(text.split("=", 1) for text in one.overrides)
        try:
            score = self.psnr(values, one.seed)
        except ValueError:
            return JobOutcome(status="failed")
        record = Record(
            run_key=one.key, name=values["run.name"], dataset=one.dataset, scene=one.scene, label=one.label,
            model="neus", seed=one.seed, status="finished", trained=True, config=self.configs[one.key],
            overrides=one.overrides, code_hash=CODE, times=Times(finished="2026-11-28T00:00:00+00:00"),
            scores=ScoreRecord(protocol="standard", values={"nvs/psnr": score, "nvs/lpips_vgg": 1 / score}),
        )  # fmt: skip
        one.folder.mkdir(parents=True, exist_ok=True)
        (one.folder / "record.json").write_bytes(encode_record(record))
        (one.folder / "metrics.jsonl").write_text(f'{{"step": 1, "val/psnr": {score}, "time_s": 1.0}}\n')
        return JobOutcome(status="finished", value=score)


SET = ("seed", "run.root", "run.name")
"""Keys whose value is set in a config that was composed for other values of them."""
_composed: dict[tuple[str, ...], DictConfig] = {}


def composed(job: list[str], compose: Callable[[list[str]], DictConfig]) -> DictConfig:
    """The job's config. Jobs that differ in ``SET`` alone are composed once in all tests of a process."""
    own = {key: value for key, _, value in (text.partition("=") for text in job) if key in SET}
    others = tuple(text for text in job if text.partition("=")[0] not in SET)
    if others not in _composed:
        _composed[others] = compose(job)
    cfg = _composed[others].copy()
    for key, value in own.items():
        OmegaConf.update(cfg, key, int(value) if key == "seed" else value)
    return cfg


def installed(root: Path, monkeypatch: pytest.MonkeyPatch) -> Machine:
    """A machine that stands behind ``hydra/launcher=local`` of this process."""
    made = Machine(root, lambda values, seed: 0.0)
    original, plan_one, judged = planning.identify, planning._plan_one, planning._judged
    known: dict[tuple[str, ...], tuple[planning.Planned, DictConfig, Mapping[str, Any]]] = {}

    def identify(*arguments, **options):
        found = original(*arguments, **options)
        made.configs[found.key] = found.config
        return found

    def judged_and_kept(planned, cfg, config, code):
        known.setdefault(tuple(planned.overrides), (planned, cfg, config))
        return judged(planned, cfg, config, code)

    def planned_once(number, overrides, compose, *others):
        """Every round of a sweep composes its earlier jobs anew, to the same configs; here it only judges them anew."""
        if tuple(overrides) not in known:
            return plan_one(number, overrides, lambda job: composed(job, compose), *others)
        planned, *config = known[tuple(overrides)]
        return judged(replace(planned, number=number), *config, CODE)

    monkeypatch.setattr(planning, "_judged", judged_and_kept)
    monkeypatch.setattr(planning, "_plan_one", planned_once)
    monkeypatch.setattr(launch_folder, "code_hash", lambda: CODE)
    monkeypatch.setattr(planning, "identify", identify)
    monkeypatch.setattr(planning, "code_hash", lambda: CODE)
    monkeypatch.setattr(local, "launch_here", made.launch_here)
    return made


def main(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    """Exit code of ``python main.py`` in this process."""
    monkeypatch.setattr(sys, "argv", [MAIN, *arguments])
    with pytest.raises(SystemExit) as end:
        runpy.run_path(MAIN, run_name="__main__")
    return int(end.value.code or 0)
