"""Trackers see neither this machine's account nor its stores."""

import os

import pytest


@pytest.fixture(autouse=True)
def no_account(tmp_path, monkeypatch):
    for name in [n for n in os.environ if n.startswith(("WANDB_", "TRACKIO_"))]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("NETRC", str(tmp_path / "home" / ".netrc"))
