"""Where a run computes: the device, the backend and the number of threads."""

import logging
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from omegaconf import DictConfig

from isosweep import ops
from isosweep.config.check import ConfigError
from isosweep.data.cache import cache_folder
from isosweep.ops.cpu.process import prepare_process
from isosweep.ops.tested import use_tested
from isosweep.runtime.cores import usable_cores
from isosweep.runtime.ranks import Place, place

log = logging.getLogger("isosweep")


@dataclass(frozen=True)
class Machine:
    """Where a run computes."""

    device: torch.device
    device_name: str
    backend: ops.Choice
    threads: int
    asked: bool = False
    """Whether the config names the backend, instead of 'auto'."""

    def __str__(self) -> str:
        return f"{self.device_name}, {self.threads} threads, backend {self.backend.name} ({self.backend.why})"


def resolve_machine(cfg: DictConfig) -> Machine:
    """The device, the backend and the number of CPU threads that ``cfg`` means here; `activate` selects them.

    Of several processes of a run, each has the card with its number and its share of the cores.

    Raises:
        ConfigError: this machine does not have the device, or has fewer than the run's processes need.
    """
    mine = place()
    threads = cfg.train.threads or max(1, usable_cores() // mine.sharers)
    has_cuda = torch.cuda.is_available()
    name = ("cuda" if has_cuda else "cpu") if cfg.device == "auto" else cfg.device
    if mine.size > 1:
        name = _own_card(name, mine)
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise ConfigError(f"device={name} is no device: use auto, cpu, cuda or cuda:<index>") from error
    if device.type not in ("cpu", "cuda"):
        raise ConfigError(f"device={name} is not supported: use auto, cpu, cuda or cuda:<index>")
    if device.type == "cuda" and (not has_cuda or (device.index or 0) >= torch.cuda.device_count()):
        found = f"{torch.cuda.device_count()} CUDA devices" if has_cuda else "no CUDA device"
        raise ConfigError(
            f"device={name}: this machine has {found} that torch can use: set device=cpu or auto"
        )
    label = torch.cuda.get_device_name(device) if device.type == "cuda" else _cpu_name()
    return Machine(device, label, ops.choose(cfg.backend, device), threads, cfg.backend != "auto")


def _own_card(name: str, mine: Place) -> str:
    """The name of the device of one process among several."""
    if name.startswith("cuda:"):
        raise ConfigError(
            f"device={name} names one card for {mine.local_size} processes: use device=cuda, and choose the cards "
            "with CUDA_VISIBLE_DEVICES"
        )
    if name != "cuda":
        return name
    cards = torch.cuda.device_count()
    if torch.cuda.is_available() and cards < mine.local_size:
        raise ConfigError(
            f"{mine.local_size} processes of this run are on this machine, and torch can use {cards} cards here: "
            "start as many processes as there are cards (torchrun --nproc-per-node)"
        )
    return f"cuda:{mine.local_rank}"


def activate(machine: Machine) -> Machine:
    """Select threads, memory and backend for this process. The CPU kernels are compiled on their first use.

    Returns: the machine with the backend in use, which is plain PyTorch if kernels are wrong on this card.

    Raises:
        InputError: kernels of a backend that the config names are wrong on this card.
    """
    if machine.device.type == "cpu":
        prepare_process()
    torch.set_num_threads(machine.threads)
    backend = use_tested(machine.backend, machine.device, cache_folder(), machine.asked)
    if backend.name != machine.backend.name:
        machine = replace(machine, backend=backend)
    log.info("%s", machine)
    return machine


def _cpu_name() -> str:
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.is_file() else []
    return next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), "CPU")
