"""What hinders a viewer is said before anything loads, with what to do."""

import importlib.util
import socket
from collections.abc import Iterator

import pytest

from isosweep.config.settings import ViewSettings
from isosweep.errors import InputError
from isosweep.viewer import address

FIND = importlib.util.find_spec


@pytest.fixture
def viser(monkeypatch: pytest.MonkeyPatch) -> None:
    """As if it was installed."""
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name: FIND("json") if name == "viser" else FIND(name)
    )


@pytest.fixture
def busy() -> Iterator[int]:
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        held.listen()
        yield held.getsockname()[1]


def test_without_viser_it_says_how_to_install_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(InputError, match=r"needs the package viser.*pip install 'isosweep\[view\]'"):
        address.require(ViewSettings())


@pytest.mark.usefixtures("viser")
def test_a_busy_port_is_named_with_a_free_one(busy: int) -> None:
    with pytest.raises(
        InputError, match=rf"port {busy} of 127\.0\.0\.1 is in use.*set view\.port=\d+$"
    ) as told:
        address.require(ViewSettings(port=busy))
    other = int(str(told.value).rpartition("=")[2])
    assert busy < other < busy + address.TRIES
    address.require(ViewSettings(port=other))


@pytest.mark.usefixtures("viser")
def test_an_address_of_another_machine_and_a_port_that_is_none_are_refused() -> None:
    with pytest.raises(
        InputError, match=r"cannot be opened at view\.host=192\.0\.2\.1 view\.port=8099.*this machine"
    ):
        address.require(ViewSettings(host="192.0.2.1", port=8099))
    with pytest.raises(InputError, match=r"view\.port=70000: the last port is 65535"):
        address.require(ViewSettings(port=70000))


def test_the_way_from_another_machine_is_told() -> None:
    own = address.lines(ViewSettings(port=9001))
    assert own.startswith(
        "the viewer is at http://127.0.0.1:9001; from another machine: ssh -L 9001:127.0.0.1:9001 "
    )
    assert "everybody who can reach this machine" in address.lines(ViewSettings(host="0.0.0.0"))
    assert "http://[::1]:8080" in address.lines(ViewSettings(host="::1"))
