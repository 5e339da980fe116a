"""The text of a new method's yaml: what looks likely from its folder, and questions for the rest."""

from pathlib import Path

TRAINERS = ("train.py", "launch.py", "exp_runner.py", "run.py", "main.py", "run_nerf.py")
"""File names that are often the program that trains, the likeliest first."""


def template(name: str, folder: Path) -> str:
    """The yaml, which composes as it is and runs nothing useful before its questions are answered."""
    trainer = next((one for one in TRAINERS if (folder / one).is_file()), "train.py")
    environment = (
        "{kind: venv, name: " + f'"{folder / ".venv"}"' + "}"
        if (folder / ".venv").is_dir()
        else "{kind: none} # 4. Where are its packages? {kind: venv, name: <folder>}, {kind: conda, name: <name>} ..."
    )
    git = (
        "auto # the git commit of the folder"
        if (folder / ".git").exists()
        else "auto # a digest of its sources"
    )
    return f"""# What is it, by whom? Which settings of its paper does this file have?
defaults:
  - override /model@_global_.model: external
  - _self_
name: {name}
about: 1. what is it, in one line?
source: 2. address of the documentation that this file follows
tried: null # a date and a machine, once it has run
folder: {folder}
version: {git}
environment: {environment}
# 3. Which layout does it read: neus, blender, nerfstudio, colmap or llff? With the object's masks? With points to
# start from? Does its reader take the principal point? Does it hold out every n-th image, whatever it is asked?
prepare:
  layout: blender
  masks: true
  test_views: true # it can render them
  points: false
  principal_point: true
  test_every: null # that n, such as 8
# 5. How is it started? A line a command, the training first; then what makes the mesh, and what renders test views.
commands:
  - "{{python}} {trainer} --data {{data}} --out {{out}} --steps {{steps}} --seed {{seed}} {{args}} {{resume}}"
args: {{}} # 6. Its arguments that you want to sweep as method.args.<name>, with their usual values.
args_as: "--{{name}} {{value}}" # or "--{{name}}={{value}}", "{{name}}={{value}}"
booleans: flag # or lower (true, false), title (True, False)
steps: 30000
limit_minutes: null # after which it is ended
# 7. What does it print while it trains? A group `step`, perhaps `total`; numbers for the curves.
watch:
  progress: '(?P<step>\\d+)/(?P<total>\\d+) \\['
  metrics: {{}} # psnr: 'PSNR[:= ]+([\\d.]+)'
  silent_minutes: null # without a line, after which it counts as hanging
# 8. Where does it write the mesh, and in which coordinates: data, neus, nerfstudio, ngp or matrix? Where the test
# renders, named as the prepared images (pairing: name) or in their order (pairing: order)? What it does not make is
# null, with the reason.
collect:
  mesh: "{{out}}/**/*.ply"
  no_mesh: this method makes no mesh
  frame: data
  background: false # true if the mesh has what lies around the object
  renders: null
  no_renders: this method renders no chosen views
  pairing: name
# 9. How does it go on from a checkpoint of its own after a kill or a time limit?
resume: {{checkpoint: null, words: ""}}
"""
