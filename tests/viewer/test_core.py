"""Who looks, how long it may take, pause, stop and meshes; and a training that somebody looks at."""

import logging
import signal
import threading
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from isosweep.runtime.interrupts import Interrupts, RunInterrupted
from isosweep.training import checkpoint
from isosweep.types import Mesh
from isosweep.viewer.canvas import Drawn
from isosweep.viewer.core import Viewer
from isosweep.viewer.subject import Subject
from tests.support.analytic import SphereModel, sphere_scene
from tests.training import test_loop as loop
from tests.viewer.doubles import ball, from_the_side


def step(viewer: Viewer, number: int, seconds: float, signals: Interrupts | None = None) -> None:
    viewer.between_steps(number, seconds, signals or Interrupts())


def test_looking_takes_a_fifth_of_the_time_and_nothing_while_nobody_looks() -> None:
    model, subject = ball()
    viewer = Viewer([subject], longest=96, clock=model.clock)
    for number in range(100):
        step(viewer, number, 1.0)
    assert (model.clock.now, viewer.watched) == (0.0, False)
    shown: list[Drawn] = []
    viewer.open(7, shown.append)
    step(viewer, 100, 1.0)
    assert model.clock.now == 0.0  # a window that has not said yet where it looks from
    viewer.look(7, from_the_side())
    trained = 0.0
    for number in range(101, 301):
        step(viewer, number, 1.0)
        trained += 1.0
    # a quarter of 201 s, of which the first second was saved up, and at most a piece of a second more
    assert 0.25 * trained - 1 <= model.clock.now <= 0.25 * (trained + 1) + 1
    assert [d.columns[0]["rgb"].shape[0] for d in shown[:3]] == [32, 64, 64]
    viewer.close(7)
    before = model.clock.now
    for number in range(50):
        step(viewer, number, 1.0)
    assert model.clock.now == before


def test_two_windows_take_turns() -> None:
    model, subject = ball()
    viewer = Viewer([subject], longest=96, clock=model.clock)
    shown: list[int] = []
    for window in (1, 2):
        viewer.open(window, lambda _, window=window: shown.append(window))
        viewer.look(window, from_the_side(window))
    while viewer.work():
        pass
    assert shown == [1, 2, 1, 2]


def test_what_a_closed_window_sees_is_of_no_account() -> None:
    _, subject = ball()
    viewer = Viewer([subject])
    viewer.look(3, from_the_side())
    viewer.close(3)
    assert not viewer.work()


def test_a_paused_training_waits_and_is_drawn_without_a_bound(caplog: pytest.LogCaptureFixture) -> None:
    model, subject = ball()
    viewer = Viewer([subject], longest=96, clock=model.clock)
    viewer.open(1, lambda drawn: viewer.pause(False) if drawn.columns[0]["rgb"].shape[0] == 64 else None)
    viewer.look(1, from_the_side())
    with caplog.at_level(logging.INFO, "isosweep"):
        viewer.pause(True)
        step(viewer, 1, 0.001)
    assert model.clock.now == (32 * 48 + 64 * 96) / 1024
    assert [r.getMessage() for r in caplog.records] == [
        "the viewer has paused the training", "the viewer has let the training go on"
    ]  # fmt: skip


def test_what_is_drawn_in_a_pause_is_not_paid_back() -> None:
    model, subject = ball()
    viewer = Viewer([subject], longest=96, clock=model.clock)
    turns = iter(range(50))

    def turn(drawn: Drawn) -> None:
        number = next(turns)
        viewer.look(1, from_the_side(number))
        viewer.pause(number < 20)

    viewer.open(1, turn)
    viewer.look(1, from_the_side())
    viewer.pause(True)
    step(viewer, 1, 0.001)
    paused = model.clock.now
    assert paused > 20
    for number in range(2, 10):
        step(viewer, number, 1.0)
    assert model.clock.now > paused + 1


def test_a_pause_ends_with_the_button_with_stop_and_with_a_signal() -> None:
    for end in ("button", "stop", "signal"):
        _, subject = ball()
        viewer, signals = Viewer([subject]), Interrupts()
        viewer.pause(True)
        waiting = threading.Thread(target=step, args=(viewer, 1, 1.0, signals))
        waiting.start()
        waiting.join(0.05)
        assert waiting.is_alive()
        if end == "button":
            viewer.pause(False)
        elif end == "stop":
            viewer.stop()
        else:
            signals.ask_to_end()
        waiting.join(5)
        assert not waiting.is_alive()
        assert signals.signal == {"button": None, "stop": signal.SIGINT, "signal": signal.SIGTERM}[end]


def test_stop_is_the_first_ctrl_c() -> None:
    _, subject = ball()
    viewer, signals = Viewer([subject]), Interrupts()
    step(viewer, 1, 1.0, signals)
    assert not signals.wants_checkpoint
    viewer.stop()
    step(viewer, 2, 1.0, signals)
    assert signals.wants_checkpoint
    with pytest.raises(RunInterrupted, match="SIGINT"):
        signals.check()


def test_a_mesh_on_demand_is_in_the_frame_of_the_window_and_cropped() -> None:
    model, subject = ball()
    scene = replace(subject.scene, to_world=np.diag([5.0, 5.0, 5.0, 1.0]))
    viewer = Viewer([replace(subject, scene=scene)], mesh_cells=16)
    found: list[Mesh | str] = []
    viewer.want_mesh(1, None, found.append)
    viewer.want_mesh(1, ((-1.0, -1.0, 0.0), (1.0, 1.0, 1.0)), found.append)  # the last wish counts
    assert viewer.work()
    assert not viewer.work()
    (mesh,) = found
    assert isinstance(mesh, Mesh)
    assert mesh.colors is not None
    np.testing.assert_allclose(np.linalg.norm(mesh.vertices, axis=1), 0.5, atol=0.02)
    assert mesh.vertices[:, 2].min() >= 0.0
    model.sphere.radius = 10.0  # no surface in the box
    viewer.want_mesh(1, None, found.append)
    viewer.work()
    assert "no surface at level 0" in str(found[1])


def test_each_of_two_windows_gets_its_mesh_and_a_closed_one_none() -> None:
    _, subject = ball()
    viewer = Viewer([subject], mesh_cells=8)
    got: list[int] = []
    for window in (1, 2, 3):
        viewer.open(window, lambda _: None)
        viewer.want_mesh(window, None, lambda _, window=window: got.append(window))
    viewer.close(2)
    while viewer.work():
        pass
    assert got == [1, 3]


def test_a_mesh_that_does_not_fit_into_memory_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    _, subject = ball()
    viewer = Viewer([subject])

    def full(*_: object) -> None:
        raise torch.OutOfMemoryError

    monkeypatch.setattr("isosweep.viewer.core.export_mesh", full)
    found: list[Mesh | str] = []
    viewer.want_mesh(1, None, found.append)
    step(viewer, 1, 1.0)
    viewer.open(1, lambda _: None)
    step(viewer, 2, 1.0)
    assert not viewer.broken
    assert "not enough memory" in str(found[0])


def test_a_signal_while_a_mesh_is_extracted_ends_the_run_only_after_its_checkpoint(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    _, subject = ball()
    viewer = Viewer([subject], mesh_cells=16)

    def asked() -> None:
        raise RunInterrupted

    monkeypatch.setattr("isosweep.runtime.interrupts.check", asked)
    found: list[Mesh | str] = []
    viewer.want_mesh(1, None, found.append)
    assert viewer.work()
    assert found == ["the run was asked to end"]


def test_an_error_switches_the_viewer_off_and_not_the_training(caplog: pytest.LogCaptureFixture) -> None:
    model, subject = ball()
    viewer = Viewer([subject], clock=model.clock)
    viewer.open(1, lambda _: None)
    viewer.look(1, from_the_side())
    model.breaks = True
    said: list[str] = []
    viewer.on_broken = said.append
    viewer.pause(True)
    step(viewer, 1, 1.0)
    assert "the viewer is switched off, and the training goes on: this model is broken" in caplog.text
    assert not viewer.paused
    step(viewer, 2, 1.0)
    assert said == ["this model is broken"]
    assert caplog.text.count("switched off") == 1
    viewer = Viewer([subject])
    viewer.open(1, lambda _: None)
    viewer.look(1, from_the_side())
    with pytest.raises(RuntimeError, match="this model is broken"):
        viewer.work()  # where nothing trains, an error is an error


class Client:
    """Somebody who turns the camera after every picture, asks for meshes, pauses, and goes on."""

    def __init__(self, viewer: Viewer) -> None:
        self.viewer, self.seen, self.meshes = viewer, 0, 0
        viewer.open(1, self.show)
        viewer.look(1, from_the_side(hw=(8, 12)))

    def show(self, drawn: Drawn) -> None:
        self.seen += 1
        self.viewer.pause(self.seen % 4 == 1)
        self.viewer.look(1, from_the_side(self.seen / 5, hw=(8, 12)))
        if self.seen % 3 == 0:
            self.viewer.want_mesh(1, None, self.count)

    def count(self, mesh: Mesh | str) -> None:
        self.meshes += 1


def test_a_training_that_is_watched_equals_one_that_is_not_bit_for_bit(tmp_path: Path) -> None:
    scene = sphere_scene(SphereModel())
    (tmp_path / "alone").mkdir()
    alone, state, record = loop.run(tmp_path / "alone", scene=scene)
    net = loop.model()
    (tmp_path / "watched").mkdir()
    subject = Subject(
        "a run", net, scene, lambda: net.knobs(viewer.step if viewer else 0, loop.SMALL.max_steps)
    )
    viewer: Viewer | None = None
    viewer = Viewer([subject], longest=24, share=0.5, mesh_cells=8)
    client = Client(viewer)
    watched, state2, record2 = loop.run(tmp_path / "watched", scene=scene, net=net, onlooker=viewer)
    assert client.seen > 4
    assert client.meshes > 0
    assert not viewer.broken
    assert loop.same(alone, watched)
    assert record.lines == record2.lines
    assert (state.rays, state.step, state.drawn) == (state2.rays, state2.step, state2.drawn)
    one, other = (checkpoint.load(tmp_path / d / "last.pt", "cpu") for d in ("alone", "watched"))
    assert torch.equal(one["generator"], other["generator"])
    for key, values in one["optimizer"]["state"].items():
        assert all(torch.equal(v, other["optimizer"]["state"][key][n]) for n, v in values.items())
    assert all(part.training for part in watched.modules())


def test_a_training_that_is_stopped_saves_and_goes_on_later(tmp_path: Path, monkeypatch) -> None:
    signals = Interrupts()
    monkeypatch.setattr("isosweep.runtime.interrupts.current", lambda: signals)
    scene = sphere_scene(SphereModel())
    net = loop.model()
    viewer = Viewer([Subject("a run", net, scene, lambda: net.knobs(0, 24))])

    def stop_at(number, scalars):
        if number == 8:
            viewer.stop()

    with pytest.raises(RunInterrupted):
        loop.run(tmp_path, scene=scene, net=net, onlooker=viewer, on_log=stop_at)
    assert checkpoint.load(tmp_path / "last.pt", "cpu")["step"] == 8
