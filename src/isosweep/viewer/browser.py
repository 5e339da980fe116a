"""The viewer in a browser, by viser: windows show what the core draws, and hand on what is moved and clicked.

All functions that viser calls run in threads of its own, several at a time. None of them touches a model or a card:
while a step is recorded as a graph, no other thread may start anything there.
"""

import contextlib
import importlib
import io
import logging
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from isosweep.config import crop
from isosweep.config.crop import Box
from isosweep.config.settings import ViewSettings
from isosweep.errors import InputError
from isosweep.types import Mesh
from isosweep.viewer import address, key_frames, things
from isosweep.viewer.canvas import Drawn
from isosweep.viewer.core import Viewer
from isosweep.viewer.layers import LAYERS, axial_depth, picture
from isosweep.viewer.looks import Look

log = logging.getLogger("isosweep")

JPEG = 85
"""Quality of the pictures on their way to the browser."""
MESH = "mesh"
"""What is shown beside the layers: the surface itself, drawn by the browser."""


class Browser:
    """A server for browsers, until it is closed.

    Args:
        viewer: draws the pictures.
        settings: where the server listens.
        folder: where crops and key frames are saved; None if nothing is.
        training: whether there is something to pause.

    Raises:
        InputError: viser is not there, or the port is in use.
    """

    def __init__(self, viewer: Viewer, settings: ViewSettings, folder: Path | None, training: bool) -> None:
        address.require(settings)
        viser = importlib.import_module("viser")
        self.viewer, self.folder, self.training = viewer, folder, training
        first = viewer.subjects[0]
        self.scene = first.scene
        with contextlib.redirect_stdout(io.StringIO()):  # it prints a panel with its addresses
            self.server: Any = viser.ViserServer(
                settings.host, settings.port, label="isosweep", verbose=False
            )
        if self.server.get_port() != settings.port:  # somebody else was faster; it takes the next one then
            self.close()
            raise InputError(f"port {settings.port} of {settings.host} is in use: set another view.port=")
        self.layers = [name for name in LAYERS if any(name in s.layers for s in viewer.subjects)]
        self.alone = len(viewer.subjects) == 1
        self._windows: dict[int, Window] = {}
        self._files, self._drawing = threading.Lock(), threading.Lock()
        self._stage()
        self._panel()
        self.server.on_client_connect(self._opened)
        self.server.on_client_disconnect(self._closed)
        viewer.on_broken = self._broken
        log.info("%s", address.lines(settings))

    def close(self) -> None:
        """End the server. Browsers show that they have lost it."""
        with contextlib.redirect_stdout(io.StringIO()):
            self.server.stop()

    def __enter__(self) -> "Browser":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # -- what all windows share

    def _stage(self) -> None:
        look, up = things.first_look(self.scene), things.up_of(self.scene)
        self.server.scene.set_up_direction(up)
        start = self.server.initial_camera
        start.position, start.look_at, start.up = look.c2w[:, 3], things.target(look), up
        start.fov = look.fov
        self.cameras: list[Any] | None = None

    def _panel(self) -> None:
        gui = self.server.gui
        titles = " · ".join(s.title for s in self.viewer.subjects)
        gui.add_markdown(f"**{_plain(titles)}**")
        self.status = gui.add_markdown(self._says())
        if self.training:
            self.pause = gui.add_checkbox(
                "pause", False, hint="the training waits; pictures have all the time"
            )
            self.pause.on_update(lambda _: self.viewer.pause(self.pause.value))
        label = "stop" if self.training else "close"
        why = "the run saves and ends, as with Ctrl-C" if self.training else "ends the viewer"
        self.stop = gui.add_button(label, hint=why, color="red")
        self.stop.on_click(self._stop)
        if not self.alone:
            return
        self.show_cameras = gui.add_checkbox("training cameras", False, hint="with their photographs")
        self.show_cameras.on_update(lambda _: self.viewer.want("cameras", self._show_cameras))
        self._crop_sliders()

    def _crop_sliders(self) -> None:
        gui, r = self.server.gui, self.scene.radius
        step = r / 200
        with gui.add_folder("crop", expand_by_default=False):
            self.sliders = [
                gui.add_multi_slider(axis, -r, r, step, (-r, r), min_range=step) for axis in ("x", "y", "z")
            ]
            for slider in self.sliders:
                slider.on_update(lambda _: self._show_crop())
            if self.folder is not None:
                gui.add_button("save the crop", hint="for export.crop").on_click(self._save_crop)
        self.crop_lines: Any = None
        known = None if self.folder is None else self.folder / crop.FILE
        if known is not None and known.is_file() and (box := crop.box_of(str(known))) is not None:
            for slider, low, high in zip(self.sliders, *box, strict=True):
                slider.value = (max(low, -r), min(high, r))
            self._show_crop()

    @property
    def box(self) -> Box | None:
        """The crop that the sliders say; None while it is the whole box of the scene."""
        r = self.scene.radius
        low, high = zip(*(slider.value for slider in self.sliders), strict=True)
        return None if all(a <= -r for a in low) and all(b >= r for b in high) else (low, high)

    def _show_crop(self) -> None:
        with self._drawing:
            if self.crop_lines is not None:
                self.crop_lines.remove()
                self.crop_lines = None
            if self.box is not None:
                self.crop_lines = things.add_box(self.server.scene, self.box)

    def _save_crop(self, event: Any) -> None:
        assert self.folder is not None
        path, box = self.folder / crop.FILE, self.box
        if box is None:
            _tell(event, "nothing is cropped", "move a slider first")
        elif self.kept(event, lambda: crop.write(path, box)):
            _tell(event, "the crop is saved", f"mode=export export.crop={path}")

    def kept(self, event: Any, write: Callable[[], object]) -> bool:
        """Write a file of the run's folder; returns whether it worked, and says in the window why it has not."""
        try:
            with self._files:
                write()
        except (InputError, OSError) as error:
            _tell(event, "nothing is saved", str(error))
            return False
        return True

    def _show_cameras(self) -> None:
        """In the thread of the models: the photographs may be on a card."""
        on = self.show_cameras.value
        if on and self.cameras is None:
            self.cameras = things.add_cameras(self.server.scene, self.scene)
        for handle in self.cameras or []:
            handle.visible = on

    def _stop(self, event: Any) -> None:
        self.stop.disabled = True
        self.viewer.stop()
        _tell(
            event,
            "it ends",
            "the same command goes on from here" if self.training else "start it again to look",
        )

    def _says(self) -> str:
        return " · ".join(f"step {subject.knobs().step}" for subject in self.viewer.subjects)

    def _broken(self, why: str) -> None:
        self.status.content = f"The viewer is switched off, and the training goes on: {_plain(why)}"

    # -- windows

    def _opened(self, client: Any) -> None:
        window = Window(self, client)
        self._windows[client.client_id] = window
        self.viewer.open(client.client_id, window.show)
        client.camera.on_update(lambda _: window.look())
        window.look()  # after it: a camera that moves in between would be drawn by nobody
        if client.client_id not in self.server.get_clients():  # it was closed meanwhile, and is told no more
            self._closed(client)

    def _closed(self, client: Any) -> None:
        self.viewer.close(client.client_id)
        self._windows.pop(client.client_id, None)

    def says(self) -> None:
        """Show at which step the model is."""
        text = self._says()
        if self.status.content != text:
            self.status.content = text


class Window:
    """One browser window: what it shows, and its own switches."""

    def __init__(self, browser: Browser, client: Any) -> None:
        self.browser, self.client = browser, client
        self.last: Drawn | None = None
        self.mesh: Any = None
        self._looking, self._showing = threading.Lock(), threading.Lock()
        layers = [*browser.layers, MESH] if browser.alone else browser.layers
        self.layer = client.gui.add_dropdown("picture", layers, initial_value=layers[0])
        self.layer.on_update(lambda _: self._chosen())
        if browser.alone:
            self.again = client.gui.add_button(
                "mesh anew", hint="extracts the surface as it is now", visible=False
            )
            self.again.on_click(lambda _: self._want_mesh())
        if browser.folder is not None:
            client.gui.add_button("keep this camera", hint="for a video").on_click(self._keep)

    def look(self) -> None:
        """Hand the camera on, as it is now: of several threads, the last one has the newest."""
        with self._looking:
            self.browser.viewer.look(self.client.client_id, self._look())

    def _look(self) -> Look:
        camera = self.client.camera
        c2w = np.concatenate([things.rotation(camera.wxyz), camera.position[:, None]], 1)
        return Look(c2w, camera.fov, (max(1, camera.image_height), max(1, camera.image_width)))

    def show(self, drawn: Drawn) -> None:
        """Show a picture that is complete."""
        with self._showing:
            self.last = drawn
            self._send()
        self.browser.says()

    def _send(self) -> None:
        drawn, layer = self.last, self.layer.value
        if drawn is None or layer == MESH:
            return
        depth = None
        if self.browser.alone and self.browser.scene.cameras.ndc is None:
            aspect = drawn.look.hw[1] / drawn.look.hw[0]
            depth = axial_depth(drawn.columns[0], drawn.look.fov, aspect, things.FAR)
        image = picture(drawn.columns, layer)
        self.client.scene.set_background_image(image, format="jpeg", jpeg_quality=JPEG, depth=depth)

    def _chosen(self) -> None:
        with self._showing:
            is_mesh = self.layer.value == MESH
            self.browser.viewer.rest(self.client.client_id, is_mesh)
            if self.browser.alone:
                self.again.visible = is_mesh
            if self.mesh is not None:
                self.mesh.visible = is_mesh
            if is_mesh:
                self.client.scene.set_background_image(None)
                if self.mesh is None:
                    self._want_mesh()
            else:
                self._send()

    def _want_mesh(self) -> None:
        self.browser.viewer.want_mesh(self.client.client_id, self.browser.box, self._take_mesh)

    def _take_mesh(self, found: Mesh | str) -> None:
        if isinstance(found, str):
            self.client.add_notification("no mesh", found, color="orange")
            return
        with self._showing:
            self.mesh = things.add_mesh(self.client.scene, found)
            self.mesh.visible = self.layer.value == MESH
        self.browser.says()

    def _keep(self, event: Any) -> None:
        assert self.browser.folder is not None
        path, look, world = self.browser.folder / key_frames.FILE, self._look(), self.browser.scene.to_world
        if self.browser.kept(event, lambda: key_frames.append(path, look, world)):
            _tell(event, "the camera is kept", str(path))


def _tell(event: Any, title: str, body: str) -> None:
    if event.client is not None:
        event.client.add_notification(title, body, auto_close_seconds=10.0)


def _plain(text: str) -> str:
    """Text for markdown, in which names of runs are names and nothing else."""
    return "".join(f"\\{c}" if c in "\\`*_{}[]()#+-.!|<>~" else c for c in text)
