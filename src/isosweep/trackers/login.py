"""Whether wandb has a key for its server, found out without the network and without a question to the user."""

import configparser
import netrc
import os
from pathlib import Path
from urllib.parse import urlsplit


def logged_in() -> bool:
    """Whether wandb has a key for its server, in the environment or in netrc."""
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
            continue  # no such file, no netrc file, or no home folder: this file holds no key
    return False


def server_url() -> str:
    """URL of the server that wandb uses: from the environment, else its settings file, else the public server."""
    if url := os.environ.get("WANDB_BASE_URL"):
        return url
    folder = os.environ.get("WANDB_CONFIG_DIR") or "~/.config/wandb"
    parser = configparser.ConfigParser()
    try:
        parser.read(Path(folder).expanduser() / "settings")
        return parser.get("default", "base_url")
    except (configparser.Error, RuntimeError, UnicodeDecodeError):
        return "https://api.wandb.ai"
