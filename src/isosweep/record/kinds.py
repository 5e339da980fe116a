"""Names for the ``_target_`` entries of a config that stay the same when code moves. The run key contains them."""

RENAMED: dict[str, str] = {"neus_layout": "neus"}
"""Kind in an earlier version -> today's kind of the same thing.

Add an entry when a class or a loader's module gets another *name*. Moving it to another folder needs none.
"""
PACKAGE = "isosweep"
GENERIC = ("load",)
"""Function names that many modules share. Their kind is the module's name instead."""


def kind_of(target: str) -> str:
    """The kind of a ``_target_``: the name of its class or function, or a loader's module.

    ``isosweep.models.neus.NeuS`` is ``NeuS`` and ``isosweep.data.colmap.load`` is ``colmap``, wherever in the
    package they lie. The kind of another package's code begins with that package's name, ``lab:NeuS``, because two
    packages may use one name for different methods.
    """
    *modules, name = target.split(".")
    if name in GENERIC and modules:
        name = modules[-1]
    name = RENAMED.get(name, name)
    top = modules[0] if modules else ""
    return name if top in ("", PACKAGE) else f"{top}:{name}"
