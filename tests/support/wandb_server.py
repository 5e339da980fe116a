"""A stand-in for W&B's server on the loopback interface that the real client logs, resumes and syncs to.

It speaks the ends the client needs (GraphQL by operation name, the file stream, uploads) and keeps
what a person would see in the browser: one `SeenRun` a run id. What the client must find in answers:

- CreateRunFiles has an upload url for every file asked for: an empty list ends the client's core.
- RunResumeStatus gives line counts and the last history line: they are where a resumed run goes on.
- A file stream's lines come with an offset; a line sent twice replaces itself, as on the server.
"""

import gzip
import json
import re
import sys
import threading
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import urlsplit

from tests.support.wandb_sweeps import Sweeps

ENTITY = "lab"


@dataclass
class SeenRun:
    """What the server holds of one run id."""

    id: str
    project: str = ""
    name: str = ""
    group: str | None = None
    job_type: str | None = None
    sweep: str | None = None
    tags: list[str] = field(default_factory=list)
    config: dict[str, Any] = field(default_factory=dict)
    lines: dict[str, dict[int, str]] = field(default_factory=dict)
    files: set[str] = field(default_factory=set)
    exit_codes: list[int] = field(default_factory=list)
    preemptions: int = 0
    starts: int = 0

    @property
    def history(self) -> list[dict[str, Any]]:
        lines = self.lines.get("wandb-history.jsonl", {})
        return [json.loads(lines[i]) for i in sorted(lines)]

    @property
    def summary(self) -> dict[str, Any]:
        lines = self.lines.get("wandb-summary.json", {})
        return json.loads(lines[max(lines)]) if lines else {}

    @property
    def steps(self) -> list[int]:
        """The run's own steps of the lines that hold scalars of training, in the server's order."""
        return [line["step"] for line in self.history if "train/loss" in line]


class WandbServer:
    """``with WandbServer() as server``: answers at ``server.url``; ``server.runs`` is id -> SeenRun."""

    def __init__(self, *, refuse: bool = False) -> None:
        self.runs: dict[str, SeenRun] = {}
        self.views: list[dict[str, Any]] = []
        """Workspaces and reports that were saved."""
        self.asked: list[str] = []
        """GraphQL operations and paths, in order."""
        self.sweeps = Sweeps(ENTITY)
        self.refuse = refuse
        """Answer every upload of history with 'forbidden'."""
        self.lock = threading.Lock()
        self._http = _Server(("127.0.0.1", 0), type("Handler", (_Handler,), {"owner": self}))
        self.url = f"http://127.0.0.1:{self._http.server_port}"

    def __enter__(self) -> "WandbServer":
        threading.Thread(target=self._http.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._http.shutdown()
        self._http.server_close()

    def answer(self, operation: str, given: dict[str, Any]) -> dict[str, Any]:
        """The data of one GraphQL operation."""
        if (found := self.sweeps.answer(operation, given)) is not None:
            return found
        match operation:
            case "UpsertBucket":
                return {"upsertBucket": self._upsert(given)}
            case "RunResumeStatus":
                return {"model": self._resume(given)}
            case "CreateRunFiles":
                files = [
                    {"name": f, "uploadUrl": f"{self.url}/upload/{given['run']}/{f}"} for f in given["files"]
                ]
                return {"createRunFiles": {"runID": "cnVu", "uploadHeaders": [], "files": files}}
            case "Viewer" | "viewer" | "GetDefaultEntity":
                who = {
                    "id": "dXNlcg==",
                    "entity": ENTITY,
                    "username": "me",
                    "name": "me",
                    "email": "me@localhost",
                }
                return {"viewer": who | {"flags": "{}", "admin": False, "teams": {"edges": []}}}
            case "UpsertView2" | "upsertView":
                self.views.append(given)
                view = {"id": "dmlldw==", "name": given["name"], "displayName": given["displayName"]}
                project = {"id": "cHJvag==", "name": given["projectName"], "entityName": given["entityName"]}
                kept = {"description": "", "spec": given["spec"], "project": project}
                times = {"createdAt": "2026-01-01T00:00:00", "updatedAt": "2026-01-01T00:00:00"}
                user = {"name": "me", "username": "me", "userInfo": {}}
                return {"upsertView": {"view": view | kept | times | {"user": user}, "inserted": True}}
            case "ProjectInternalId":
                return {"project": {"id": "cHJvag==", "internalId": "cHJvag=="}}
            case "GetProjects":
                facts = {"__typename": "Project", "id": "cHJvag==", "name": "isosweep", "entityName": ENTITY}
                node = facts | {"createdAt": "2026-01-01T00:00:00", "isBenchmark": False, "user": None}
                page = {"__typename": "PageInfo", "endCursor": None, "hasNextPage": False}
                return {"models": {"pageInfo": page, "edges": [{"node": node}]}}
            case "ServerFeaturesQuery":
                return {"serverInfo": {"features": []}}
        return {}

    def stream(self, run_id: str, body: dict[str, Any]) -> None:
        """One request of the file stream: lines with offsets, and at the end the exit code."""
        run = self.runs.setdefault(run_id, SeenRun(run_id))
        for name, part in (body.get("files") or {}).items():
            kept = run.lines.setdefault(name, {})
            for i, line in enumerate(part["content"]):
                kept[part["offset"] + i] = line
        run.preemptions += bool(body.get("preempting"))
        if body.get("complete"):
            run.exit_codes.append(body["exitcode"])

    def _upsert(self, given: dict[str, Any]) -> dict[str, Any]:
        run_id = given["name"]
        new = run_id not in self.runs
        run = self.runs.setdefault(run_id, SeenRun(run_id))
        run.starts += given.get("config") is not None and given.get("host") is not None
        run.project = given.get("project") or run.project
        run.name = given.get("displayName") or run.name
        run.sweep = given.get("sweep") or run.sweep
        run.group = given.get("groupName") or run.group
        run.job_type = given.get("jobType") or run.job_type
        run.tags = given.get("tags") or run.tags
        if given.get("config"):
            run.config = {k: v["value"] for k, v in json.loads(given["config"]).items() if "value" in v}
        project = {"id": "cHJvag==", "name": run.project, "entity": {"id": "ZW50", "name": ENTITY}}
        bucket = {"id": "cnVu", "name": run_id, "displayName": run.name, "description": "", "config": "{}"}
        counted = {"sweepName": None, "historyLineCount": len(run.history), "project": project}
        return {"bucket": bucket | counted, "inserted": new}

    def _resume(self, given: dict[str, Any]) -> dict[str, Any]:
        project = {"id": "cHJvag==", "name": given["project"], "entity": {"id": "ZW50", "name": ENTITY}}
        run = self.runs.get(given["name"])
        if run is None:
            return project | {"bucket": None}
        history = run.lines.get("wandb-history.jsonl", {})
        tail = [history[max(history)]] if history else []
        counts = {"historyLineCount": len(history), "logLineCount": 0}
        counts["eventsLineCount"] = len(run.lines.get("wandb-events.jsonl", {}))
        state = {
            "historyTail": json.dumps(tail),
            "eventsTail": "[]",
            "summaryMetrics": json.dumps(run.summary),
        }
        config = json.dumps({k: {"value": v} for k, v in run.config.items()})
        about = {"id": "cnVu", "name": run.id, "displayName": run.name, "tags": run.tags, "notes": ""}
        return project | {"bucket": about | counts | state | {"config": config, "wandbConfig": '{"t": 1}'}}


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: Any, client_address: Any) -> None:
        if not isinstance(sys.exc_info()[1], ConnectionError):  # a killed client hangs up
            super().handle_error(request, client_address)


class _Handler(BaseHTTPRequestHandler):
    owner: WandbServer
    protocol_version = "HTTP/1.1"

    def log_message(self, format: str, *args: Any) -> None:
        pass

    def do_GET(self) -> None:
        self._send({})

    def do_PUT(self) -> None:
        self._body()
        parts = urlsplit(self.path).path.split("/", 3)
        with self.owner.lock:
            self.owner.runs.setdefault(parts[2], SeenRun(parts[2])).files.add(parts[3])
        self._send({})

    def do_POST(self) -> None:
        data = self._body()
        path = urlsplit(self.path).path
        if "json" not in self.headers.get("Content-Type", ""):
            self._send({})  # the client's own telemetry, protobuf
            return
        body = json.loads(data)
        if path.endswith("/file_stream"):
            if self.owner.refuse:
                self._send({"error": "this server takes nothing"}, 403)
                return
            with self.owner.lock:
                self.owner.stream(path.split("/")[-2], body)
            self._send({"exitcode": None, "limits": {}})
            return
        found = re.search(r"(?:query|mutation)\s+(\w+)", body.get("query", ""))
        operation = found[1] if found else path
        with self.owner.lock:
            self.owner.asked.append(operation)
            data = self.owner.answer(operation, body.get("variables") or {})
        self._send({"data": data})

    def _body(self) -> bytes:
        data = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        return gzip.decompress(data) if self.headers.get("Content-Encoding") == "gzip" else data

    def _send(self, answer: dict[str, Any], status: int = 200) -> None:
        data = json.dumps(answer).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)
