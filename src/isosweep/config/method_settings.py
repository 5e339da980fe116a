"""The settings of a method that is not ours, as conf/method/<name>.yaml gives them (``model=external method=<name>``).

Placeholders in ``commands``, ``files`` and the patterns of ``collect`` and ``resume``:

==========================  ===================================================================================
``{data}``, ``{out}``       what was prepared; the method's own folder of results
``{folder}``, ``{python}``  its code; the Python of its environment
``{model}``                 ``method.model``
``{scene}``, ``{seed}``, ``{steps}``
``{threads}``, ``{device}``, ``{gpu}``
                            cuda or cpu; 0, of the cards that the run may see
``{width}``, ``{height}``, ``{images}``
                            of the first view, in pixels; how many images were prepared
``{radius}``                half the side of the scene's box
``{test_every}``            of layouts that cannot name the test views: every so many images is one
``{left}``                  ``method.steps`` less what the checkpoint has done (``resume.step``), for a method that
                            counts the steps of a resumed training anew
``{latest}``                the newest file that fits ``resume.checkpoint``, when the command starts
``{args}``, ``{resume}``, ``{background}``
                            each stands alone and becomes several words, or none
==========================  ===================================================================================
"""

from dataclasses import dataclass, field
from typing import Any

from isosweep.config.settings import at_least, one_of

LAYOUTS = ("neus", "blender", "nerfstudio", "colmap", "llff")
FRAMES = ("data", "neus", "nerfstudio", "ngp", "matrix")
ENVIRONMENTS = ("none", "venv", "conda", "docker", "apptainer")
PAIRINGS = ("name", "order")
BOOLEANS = ("flag", "lower", "title")
PLACEHOLDERS = (
    "data", "out", "folder", "python", "scene", "seed", "steps", "threads", "device", "gpu", "width", "height",
    "radius", "images", "test_every", "model", "latest", "left", "background", "args", "resume",
)  # fmt: skip


class External:
    """What the group ``model`` builds for a method that is not ours: nothing. The method builds its own."""


@dataclass
class PrepareSettings:
    """The scene as the method's own loader reads it."""

    layout: str = one_of("neus", *LAYOUTS)
    # the method is given the object's masks: as alpha in the layout blender, as files in the others
    masks: bool = False
    test_views: bool = True  # the layout names the test views; false: it has the training views alone
    # structure-from-motion points, for layouts that have them: the scene's own, or triangulated with its cameras
    points: bool = False
    # with `points`: which views see each point, too. The scene's own points do not say it, so they are triangulated
    tracks: bool = False
    # its loader reads the principal point; false: it takes the image's centre, which is told
    principal_point: bool = True
    # n of a loader that holds out every n-th image, whatever is asked of it; null: it can be told ({test_every})
    test_every: int | None = at_least(None, 2)


@dataclass
class EnvironmentSettings:
    """Where the method's packages are."""

    kind: str = one_of("none", *ENVIRONMENTS)
    name: str | None = None  # a folder (venv, conda), the name of a conda environment, or a container's image
    modules: list[str] = field(default_factory=list)  # that `module load` loads before
    variables: dict[str, str] = field(default_factory=dict)


@dataclass
class WatchSettings:
    """What is read out of the lines that the method prints."""

    # regular expression with a group `step`, and perhaps `total`
    progress: str | None = None
    # name -> regular expression whose first group is a number
    metrics: dict[str, str] = field(default_factory=dict)
    # without a printed line, after which it counts as hanging
    silent_minutes: float | None = at_least(None, 0)


@dataclass
class CollectSettings:
    """What of the method's results is scored, and what its coordinates mean."""

    mesh: str | None = None  # pattern of files; of several the last in natural order
    no_mesh: str = "this method makes no mesh"  # why there is none, where mesh is null
    # of the mesh: `data` is the one of the cameras that were prepared; docs/methods-external.md has the others
    frame: str = one_of("data", *FRAMES)
    frame_file: str | None = None  # pattern of the file that says the frame
    background: bool = False  # the mesh has what lies outside of the scene's box, too
    matrix: Any = None  # 4x4, mesh to data, for frame=matrix
    renders: str | None = None  # pattern of the rendered test views
    panel: str | None = None  # of pictures in a row in one file: 2/4 is the second of four
    no_renders: str = "this method renders no views"
    # of renders and test views: by the name of the prepared image, or by place in the sorted list
    pairing: str = one_of("name", *PAIRINGS)


@dataclass
class ResumeSettings:
    """How the method goes on from a checkpoint of its own."""

    checkpoint: str | None = None  # pattern; where a file fits, the method is resumed
    words: str = ""  # what {resume} becomes then; {checkpoint} in it is that file
    # regular expression in that file's path: its group `last` is the number of its last step, counted from 0, or its
    # group `done` how many steps it has done. It makes {left}
    step: str | None = None


@dataclass
class MethodSettings:
    """How a program that is not ours is run, watched and read."""

    name: str = ""
    model: str | None = None  # of a program with several methods: which; part of the run's name
    about: str = ""  # what it is, in one line
    source: str = ""  # address of the documentation that this file follows
    tried: str | None = None  # where and when it was run by this file; null: never
    folder: str | None = None  # its code; null where it is a package of its environment
    # which code that is: auto (git commit of the folder, digest of the image), pip:<package>, or a text
    version: str = "auto"
    needs: list[str] = field(default_factory=list)  # modules that its environment's Python must have
    prepare: PrepareSettings = field(default_factory=PrepareSettings)
    # one after another, each a line as for a shell, without the shell; the first trains
    commands: list[str] = field(default_factory=list)
    files: dict[str, str] = field(default_factory=dict)  # text files below {out} that are written before
    args: Any = None  # {argument of the method: value}; null leaves one out
    args_as: str = "--{name} {value}"  # how an argument is written; in files with a line end between them
    # flag: the name alone, or nothing; true and false; True and False
    booleans: str = one_of("flag", *BOOLEANS)
    white_words: str = ""  # what {background} becomes where the scene lies on white, and on another colour
    other_words: str = ""
    steps: int = at_least(1, 1)
    limit_minutes: float | None = at_least(None, 0)  # of all commands; null: none but the job's
    environment: EnvironmentSettings = field(default_factory=EnvironmentSettings)
    watch: WatchSettings = field(default_factory=WatchSettings)
    collect: CollectSettings = field(default_factory=CollectSettings)
    resume: ResumeSettings = field(default_factory=ResumeSettings)
