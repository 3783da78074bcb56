"""The preemption watcher against a metadata server of our own that answers as Google's does."""

import subprocess
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest
import yaml

from search.ray_nodes.preemption import drain_command, main, wait_for_notice
from tests.conftest import GCP


class Metadata(ThreadingHTTPServer):
    """Says FALSE at once, and to who waits for a change nothing until there is one."""

    def __init__(self) -> None:
        self.preempted, self.asked = threading.Event(), list[dict[str, list[str]]]()
        self.failures = 0
        super().__init__(("127.0.0.1", 0), Answer)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/computeMetadata/v1/instance/preempted"


class Answer(BaseHTTPRequestHandler):
    server: Metadata

    def do_GET(self) -> None:
        query = parse_qs(urlsplit(self.path).query)
        self.server.asked.append(query)
        if self.server.failures:
            self.server.failures -= 1
            return self._say(503, "", "")
        if self.headers.get("Metadata-Flavor") != "Google":
            return self._say(403, "", "")
        if "wait_for_change" in query:
            assert query["last_etag"] == ["one"]
            assert self.server.preempted.wait(30)
        return self._say(200, *(("TRUE", "two") if self.server.preempted.is_set() else ("FALSE", "one")))

    def _say(self, code: int, text: str, etag: str) -> None:
        self.send_response(code)
        self.send_header("ETag", etag)
        self.end_headers()
        self.wfile.write(text.encode())

    def log_message(self, *what: object) -> None:
        pass


@pytest.fixture
def metadata() -> Iterator[Metadata]:
    with Metadata() as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield server
        server.preempted.set()
        server.shutdown()
        thread.join()


@pytest.fixture
def drained() -> list[list[str]]:
    """The commands that were run to drain."""
    return []


def node() -> tuple[str, str]:
    return "10.0.0.2:6379", "ab12"


def test_the_node_is_drained_when_the_notice_comes(metadata: Metadata, drained: list[list[str]]) -> None:
    watching = threading.Thread(
        target=main, args=(metadata.url, node, lambda command: drained.append(command) or len(drained) - 1)
    )
    watching.start()
    while len(metadata.asked) < 2:
        assert watching.is_alive()
    assert not drained
    metadata.preempted.set()
    watching.join(30)
    assert drained == [drain_command("10.0.0.2:6379", "ab12")]
    assert "wait_for_change" not in metadata.asked[0]


def test_a_notice_from_before_the_start_is_seen(metadata: Metadata) -> None:
    metadata.preempted.set()
    wait_for_notice(metadata.url)
    assert len(metadata.asked) == 1


def test_a_server_that_fails_for_a_while_is_retried(metadata: Metadata) -> None:
    metadata.failures = 3
    metadata.preempted.set()
    wait_for_notice(metadata.url, retry_seconds=0.0)
    assert len(metadata.asked) == 4


def test_a_machine_without_a_metadata_server_is_reported(
    metadata: Metadata, drained: list[list[str]], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    metadata.failures = 1000
    monkeypatch.setattr("search.ray_nodes.preemption.wait_for_notice", lambda url: wait_for_notice(url, 0.0, 0.0))
    assert main(metadata.url, node, lambda command: drained.append(command) or 0) == 1
    message = "preempted does not answer (HTTP Error 503: Service Unavailable); run this on a Google Cloud VM\n"
    assert capsys.readouterr().err.endswith(message)
    assert not drained


def test_ray_accepts_the_drain_command() -> None:
    from ray.scripts.scripts import cli

    program, *words = drain_command("10.0.0.2:6379", "ab12")[2:]
    assert program == "ray.scripts.scripts"
    command = cli.commands[words[0]]
    settings = command.make_context("drain-node", words[1:]).params
    assert settings["reason"] == "DRAIN_NODE_REASON_PREEMPTION"
    assert (settings["address"], settings["node_id"], settings["deadline_remaining_seconds"]) == (
        "10.0.0.2:6379",
        "ab12",
        25,
    )


def test_spot_workers_start_the_preemption_watcher_and_restart_it_with_ray(tmp_path: Path) -> None:
    python = tmp_path / "chexpert-search/.venv/bin/python"
    python.parent.mkdir(parents=True)
    python.write_text('#!/bin/sh\necho "$@" "$(readlink /proc/$$/fd/0)"\n')
    (tmp_path / "pkill").write_text('#!/bin/sh\necho "$@" >> ~/killed\nexit 1\n')
    for program in (python, tmp_path / "pkill"):
        program.chmod(0o755)
    watching = yaml.safe_load(GCP.read_text(encoding="utf-8"))["worker_start_ray_commands"][-1]
    environment = {"HOME": str(tmp_path), "PATH": f"{tmp_path}:/usr/bin:/bin"}
    subprocess.run(["bash", "-c", f"{watching}\nwait"], env=environment, check=True, timeout=60)
    assert (tmp_path / "killed").read_text() == "-f [s]earch.ray_nodes.preemption\n"
    assert (tmp_path / "preemption.log").read_text() == "-m search.ray_nodes.preemption /dev/null\n"
