"""What a ``_target_`` is called in a run's identity: a name that stays when code moves."""

RENAMED: dict[str, str] = {"neus_layout": "neus"}
"""Kind derived from a path of an earlier version -> today's kind of the same thing.

An entry is due when a class or a loader's module gets another *name*; a new folder alone needs none.
"""
PACKAGE = "isosweep"
GENERIC = ("load",)
"""Names that say nothing by themselves: their module's name is the kind."""


def kind_of(target: str) -> str:
    """The kind that a dotted path builds: its class or function, or the module of a loader.

    ``isosweep.models.neus.NeuS`` is ``NeuS`` and ``isosweep.data.colmap.load`` is ``colmap``, wherever in the
    package they lie. Code of another package keeps that package's name in front, ``lab:NeuS``: two
    packages may use one name for two methods.
    """
    *modules, name = target.split(".")
    if name in GENERIC and modules:
        name = modules[-1]
    name = RENAMED.get(name, name)
    top = modules[0] if modules else ""
    return name if top in ("", PACKAGE) else f"{top}:{name}"
