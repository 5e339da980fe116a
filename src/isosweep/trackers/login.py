"""Whether wandb would find a key for its server, without asking the server or the user."""

import configparser
import netrc
import os
from pathlib import Path
from urllib.parse import urlsplit


def logged_in() -> bool:
    """Whether wandb has a key for its server, from the environment or netrc; asks nobody, reads no network."""
    if os.environ.get("WANDB_API_KEY") or os.environ.get("WANDB_IDENTITY_TOKEN_FILE"):
        return True
    host = urlsplit(server_url()).hostname or ""
    named = os.environ.get("NETRC")
    files = [Path(named)] if named else [Path("~/.netrc"), Path("~/_netrc")]
    for file in files:
        try:
            if netrc.netrc(file.expanduser()).authenticators(host):
                return True
        except (OSError, netrc.NetrcParseError, RuntimeError):
            continue  # no such file, not one of ours, or no home: not logged in through it
    return False


def server_url() -> str:
    """Where wandb would log in: the environment, its settings file, the public server."""
    if url := os.environ.get("WANDB_BASE_URL"):
        return url
    folder = os.environ.get("WANDB_CONFIG_DIR") or "~/.config/wandb"
    parser = configparser.ConfigParser()
    try:
        parser.read(Path(folder).expanduser() / "settings")
        return parser.get("default", "base_url")
    except (configparser.Error, RuntimeError, UnicodeDecodeError):
        return "https://api.wandb.ai"
