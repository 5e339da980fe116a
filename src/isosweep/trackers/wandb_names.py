"""Names that W&B refuses, told before training: of the project, of the entity and of tags.

wandb's own check of its settings gives the reason. wandb takes long to import, so plain names are accepted without it.
"""

import importlib.util
import re
from collections.abc import Sequence

from isosweep.errors import InputError

LONGEST_TAG = 64
"""Characters of a tag that W&B accepts."""

_PLAIN = re.compile(r"[\w.\-]([\w.\- ]{0,62}[\w.\-])?")
"""Names that W&B accepts everywhere; others are shown to wandb."""


def require_wandb_names(project: str, entity: str | None, tags: Sequence[str]) -> None:
    """Check that W&B takes the names.

    Raises:
        InputError: it refuses one; the message has wandb's reason.
    """
    if not project.strip():
        raise InputError("tracker.project is empty, and W&B would name the project 'uncategorized': name one")
    if entity is not None and not re.fullmatch(r"[\w.\-]+", entity):
        # wandb has no check of its own: its server would answer 'not found' when the run starts
        raise InputError(
            f"tracker.entity={entity!r} is no name of a W&B user or team, which has letters, digits, '-', '_' and '.'; "
            "the project is tracker.project, and tracker.entity=null takes your default"
        )
    if not _PLAIN.fullmatch(project) and (reason := _refusal(project=project)):
        raise InputError(f"tracker.project={project!r}: W&B refuses it ({reason})")
    if not all(_PLAIN.fullmatch(str(tag)) for tag in tags) and (
        reason := _refusal(run_tags=list(map(str, tags)))
    ):
        raise InputError(f"tracker.tags={list(tags)}: W&B refuses them ({reason})")


def _refusal(**settings: object) -> str | None:
    """Why wandb refuses these of its settings; None if it takes them, or is not installed."""
    if importlib.util.find_spec("wandb") is None:
        return None
    import wandb
    from pydantic import ValidationError
    from wandb.errors import Error

    try:
        wandb.Settings(**settings)  # type: ignore[arg-type]
    except ValidationError as error:
        return "; ".join(e["msg"].removeprefix("Value error, ") for e in error.errors())
    except Error as error:
        return str(error)
    return None
