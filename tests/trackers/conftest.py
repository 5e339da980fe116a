"""Trackers see neither this machine's account nor its stores."""

import os

import pytest

from tests.support.wandb_server import WandbServer


@pytest.fixture(autouse=True)
def no_account(tmp_path, monkeypatch):
    for name in [n for n in os.environ if n.startswith(("WANDB_", "TRACKIO_"))]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("NETRC", str(tmp_path / "home" / ".netrc"))


@pytest.fixture
def server():
    with WandbServer() as server:
        yield server


@pytest.fixture
def environment(server, tmp_path):
    """Of a user who is logged in at the server and has nothing else of wandb's."""
    own = {k: v for k, v in os.environ.items() if not k.startswith("WANDB_")}
    for name in ("DIR", "CONFIG_DIR", "CACHE_DIR", "DATA_DIR"):
        (tmp_path / name).mkdir()
        own[f"WANDB_{name}"] = str(tmp_path / name)
    own |= {"WANDB_BASE_URL": server.url, "WANDB_API_KEY": "a" * 40, "NETRC": str(tmp_path / "netrc")}
    return own | {"no_proxy": "127.0.0.1", "NO_PROXY": "127.0.0.1"}
