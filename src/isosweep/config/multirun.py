"""What of a sweep's command line Hydra composes at once, and what belongs to each job.

Hydra composes one config for the whole sweep before it asks the sweeper for the jobs, with every override that is not
swept. A key that only some swept options have (``sampler=hierarchical,upsample sampler.n_fine=32``) does not exist in
that config. So the command line of our own sweepers (grid, until) is split here: Hydra sees what concerns the sweep
itself, and each job is composed with all of it.
"""

import re
from collections.abc import Sequence

from hydra._internal import utils as hydra_utils
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException

_held: list[str] | None = None


def split(argv: Sequence[str]) -> list[str]:
    """The command line without the overrides that belong to the jobs; `arguments_of_jobs` has those.

    Only a multirun of our own sweepers is split. A command line that cannot be read is left to Hydra.
    """
    global _held
    _held = None
    args, rest = hydra_utils.get_args_parser().parse_known_args(list(argv))
    if not args.multirun or rest or not _ours(args.overrides):
        return list(argv)
    _held = [text for text in args.overrides if not _is_hydras(text)]
    return [text for text in argv if text not in args.overrides or _concerns_the_sweep(text)]


def arguments_of_jobs(given: Sequence[str]) -> list[str]:
    """All overrides of the jobs, in the order of the command line; ``given`` if it was not split."""
    return list(given) if _held is None else list(_held)


def _ours(overrides: Sequence[str]) -> bool:
    chosen = [text.partition("=")[2] for text in overrides if text.startswith("hydra/sweeper=")]
    return not chosen or chosen[-1] in ("grid", "until")


def _is_hydras(text: str) -> bool:
    return re.match(r"[+~]*hydra[./]", text) is not None


def _concerns_the_sweep(text: str) -> bool:
    """Whether Hydra composes the sweep with it: its own settings, those of ``run``, and options of whole groups.

    An option may hold settings of Hydra (``sweep=dtu``). A deletion, a key inside an option and a group that is placed
    into another one (``encoding@model.background.encoding``) may exist for some of the jobs only.
    """
    if _is_hydras(text) or text.lstrip("+").startswith("run."):
        return True
    try:
        (override,) = OverridesParser.create().parse_overrides([text])
    except HydraException:
        return True
    key = override.key_or_group
    return not (override.is_delete() or override.package or "." in key)
