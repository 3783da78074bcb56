"""The commands of `chex-search cluster`, with a machine that only notes what it is asked to run."""

import json
import shlex
import subprocess
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml

from search.cluster import cluster_config, gcp_api, running_machines
from search.cluster import commands as cluster
from search.cluster.ray_commands import PROJECT
from search.command import main as chex_search
from search.config.resources import Resources
from search.config.search_config import load_search
from search.storage.remote_path import connect
from search.storage.uri import child_uri, without_query
from tests.conftest import GCP, LOCAL, WriteCluster, filled

Ran = list[list[str]]
Bucket = Callable[[str], str]


@pytest.fixture
def ran(monkeypatch: pytest.MonkeyPatch) -> Ran:
    """The commands that would have been run; the last one's exit code is 7 where it ends in `fail`."""
    commands: Ran = []

    def run(command: list[str], **_: Any) -> Any:
        if command[:2] == ["ssh", "-G"]:
            return SimpleNamespace(stdout="user ada\ngatewayports no\n", returncode=0)
        commands.append(command)
        return SimpleNamespace(returncode=7 if "fail" in command[-1] else 0)

    monkeypatch.setattr(cluster.subprocess, "run", run)
    monkeypatch.setattr(gcp_api, "client_is_installed", lambda: True)
    monkeypatch.setattr(cluster_config, "check_instance", lambda *_: None)
    return commands


@pytest.fixture
def gcp(write_cluster: WriteCluster, bucket: Bucket, monkeypatch: pytest.MonkeyPatch) -> str:
    """A cluster on Google's machines that keeps searches in the emulated bucket."""
    monkeypatch.setattr(running_machines, "running_instances", lambda *_: [])
    return str(write_cluster(filled(GCP), lambda content: content["metadata"].update(storage_uri=bucket("searches"))))


@pytest.fixture
def tiny(tmp_path: Path) -> str:
    content = {
        "base": {"model": {"backbone": "test_resnet"}},
        "space": {"optimizer.lr": {"loguniform": [1e-4, 1e-2]}},
        "budget": {"hours": 2.0, "trials": 4},
        "resources": {"gpus_per_trial": 0.25},
    }
    (tmp_path / "tiny.yaml").write_text(yaml.safe_dump(content))
    return str(tmp_path / "tiny.yaml")


def message(capsys: pytest.CaptureFixture[str]) -> str:
    return capsys.readouterr().err.strip()


def test_up_prints_and_runs_rays_command(gcp: str, ran: Ran, capsys: pytest.CaptureFixture[str]) -> None:
    assert chex_search(["cluster", "up", gcp]) == 0
    assert ran == [["ray", "up", "--yes", gcp]]
    assert capsys.readouterr().out == f"$ ray up --yes {gcp}\n"


def test_up_leaves_a_running_cluster_of_that_name_alone(
    gcp: str, ran: Ran, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(running_machines, "running_instances", lambda *_: ["ray-chexpert-head-1"])
    assert chex_search(["cluster", "up", gcp]) == 2
    assert message(capsys) == (
        f"chex-search cluster: {gcp}: cluster_name: chexpert is in use: ray-chexpert-head-1 is running; give this "
        "cluster another name, or use --update to update that one"
    )
    assert ran == []
    assert chex_search(["cluster", "up", gcp, "--update"]) == 0


def test_a_recorded_cluster_of_own_machines_is_in_use(
    write_cluster: WriteCluster,
    ran: Ran,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    recorded = tmp_path / "cluster.state"
    monkeypatch.setattr("ray.autoscaler._private.local.config.get_state_path", lambda name: str(recorded))
    path = str(write_cluster(filled(LOCAL)))
    assert chex_search(["cluster", "up", path]) == 0
    recorded.write_text(json.dumps({"10.0.0.1": {"state": "terminated"}, "10.0.0.2": {"state": "running"}}))
    assert chex_search(["cluster", "up", path]) == 2
    assert "cluster_name: chexpert-local is in use: 10.0.0.2 is running; " in message(capsys)


def test_up_on_gcp_without_googles_client_says_what_to_install(
    gcp: str, ran: Ran, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(gcp_api, "client_is_installed", lambda: False)
    assert chex_search(["cluster", "up", gcp]) == 2
    assert message(capsys) == (
        f"chex-search cluster: {gcp}: provider.type: gcp needs Google's client for Python, which is not installed; "
        "install the extra: pip install 'chexpert-search[cluster]'"
    )


def test_submit_prints_the_cost_bound_and_starts_the_search_on_the_head(
    gcp: str, ran: Ran, tiny: str, bucket: Bucket, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    results, data = str(tmp_path / "results"), bucket("tree")
    (connect(data) / "train.csv").write(b"Path")
    assert chex_search(["cluster", "submit", gcp, tiny, "--data", data, "--results", results]) == 0
    own = tmp_path / "results/tiny/submitted.yaml"
    check, send, start = ran
    assert send == ["ray", "rsync-up", gcp, str(own), f"{PROJECT}/submitted/tiny.yaml"]
    assert check[:3] == start[:3] == ["ray", "exec", gcp]
    assert "ray job submit" in start[3]
    assert "--no-wait --submission-id tiny -- " in start[3]
    assert (
        f"run {PROJECT}/submitted/tiny.yaml --data {shlex.quote(data)} --name tiny --results {PROJECT}/results"
        in start[3]
    )
    assert start[3].endswith(" --cluster auto")
    out = capsys.readouterr().out
    assert out.index("At most 4.13 USD") < out.index("$ ray exec")
    sent = load_search(own, [], None)
    assert (sent.base.image.cache_dir, sent.storage_uri) == (Path("/mnt/cache"), bucket("searches"))
    assert sent.resources == Resources(gpus_per_trial=0.25, cpus_per_trial=2, max_concurrent_trials=16)


def test_missing_data_is_reported_before_anything_runs(
    gcp: str, ran: Ran, tiny: str, bucket: Bucket, capsys: pytest.CaptureFixture[str]
) -> None:
    where = bucket("nothing")
    assert chex_search(["cluster", "submit", gcp, tiny, "--data", where]) == 2
    assert message(capsys) == f"chex-search cluster: {without_query(where)}: nothing exists there; correct the address"
    assert ran == []


def test_a_read_only_storage_is_reported_before_anything_runs(
    gcp: str, ran: Ran, tiny: str, bucket: Bucket, capsys: pytest.CaptureFixture[str]
) -> None:
    where = bucket("x").replace("@images", "@nobodys")
    assert chex_search(["cluster", "submit", gcp, tiny, "--data", "/d", "--storage", where]) == 2
    assert message(capsys) == (
        f"chex-search cluster: {without_query(where)}: it cannot be written, nothing exists there, or the bucket does "
        "not exist; create the bucket, or correct the address"
    )
    assert ran == []


def test_a_search_without_its_head_resumes_from_its_storage(
    gcp: str, ran: Ran, bucket: Bucket, capsys: pytest.CaptureFixture[str]
) -> None:
    saved = child_uri(bucket("searches"), "tiny")
    assert chex_search(["cluster", "resume", gcp, "tiny"]) == 2
    assert message(capsys) == f"chex-search cluster: {without_query(saved)}: nothing exists there; correct the address"
    assert ran == []
    (connect(saved) / "search.yaml").write(b"base: {}")
    assert chex_search(["cluster", "resume", gcp, "tiny"]) == 0
    assert f"chex-search resume {shlex.quote(saved)} --results {PROJECT}/results --cluster auto" in ran[1][-1]


def test_a_cluster_without_a_storage_needs_the_storage_option(
    write_cluster: WriteCluster, ran: Ran, tiny: str, capsys: pytest.CaptureFixture[str]
) -> None:
    path = str(write_cluster(filled(GCP), lambda content: content["metadata"].pop("storage_uri")))
    assert chex_search(["cluster", "resume", path, "tiny"]) == 2
    assert message(capsys) == (
        f"chex-search cluster: {path}: metadata.storage_uri: blank; say where tiny is stored with --storage"
    )
    assert chex_search(["cluster", "submit", path, tiny, "--data", "/d"]) == 2
    assert message(capsys) == (
        f"chex-search cluster: storage_uri: blank, and files on the workers of {path} are deleted with them; write "
        "the bucket into its metadata.storage_uri, or give --storage gs://BUCKET/searches"
    )
    assert ran == []


def test_a_dry_run_checks_prints_and_runs_nothing(
    gcp: str, ran: Ran, tiny: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["cluster", "submit", gcp, tiny, "--data", "/d", "--dry-run", "--results", str(tmp_path / "results")]
    assert chex_search(arguments) == 0
    assert (ran, (tmp_path / "results").exists()) == ([], False)
    assert capsys.readouterr().out.count("$ ray ") == 3


def test_an_invalid_job_name_is_refused(gcp: str, ran: Ran, tiny: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert chex_search(["cluster", "submit", gcp, tiny, "--data", "/d", "--name", "a b"]) == 2
    assert message(capsys) == (
        "chex-search cluster: 'a b' cannot be the name of a search on a cluster; use letters, digits, . _ and - with "
        "--name"
    )
    assert ran == []


def test_a_search_that_does_not_fit_is_refused_before_anything_runs(
    gcp: str, ran: Ran, tiny: str, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["cluster", "submit", gcp, tiny, "--data", "/d", "--set", "resources.gpus_per_trial=2"]
    assert chex_search(arguments) == 2
    assert message(capsys).startswith(
        "chex-search cluster: resources: a trial asks for 1 CPU and 2 GPUs, and a node of"
    )
    assert ran == []


ACTIONS: dict[str, tuple[list[str], Callable[[str], Ran]]] = {
    "fetch": (
        ["results/tiny"],
        lambda c: [
            ["mkdir", "-p", "results/tiny"],
            ["ray", "rsync-down", c, f"{PROJECT}/results/tiny/", "results/tiny/"],
        ],
    ),
    "down": ([], lambda c: [["ray", "down", "--yes", c]]),
}


@pytest.mark.parametrize("action", ACTIONS)
def test_fetch_and_down_run_rays_commands(action: str, gcp: str, ran: Ran) -> None:
    arguments, expected = ACTIONS[action]
    assert chex_search(["cluster", action, gcp, *arguments]) == 0
    assert ran == expected(gcp)


def test_status_asks_the_head(gcp: str, ran: Ran) -> None:
    assert chex_search(["cluster", "status", gcp]) == 0
    assert chex_search(["cluster", "status", gcp, "tiny"]) == 0
    assert "ray status; ray job list" in ran[0][-1]
    assert f"chex-search status {PROJECT}/results/tiny" in ran[1][-1]


def test_logs_shows_a_failed_trial_with_one_command(gcp: str, ran: Ran) -> None:
    assert chex_search(["cluster", "logs", gcp, "tiny", "7"]) == 0
    assert f"chex-search logs {PROJECT}/results/tiny 7; ray job logs" in ran[0][-1]


def test_the_tunnel_ends_on_this_machines_loopback(gcp: str, ran: Ran, capsys: pytest.CaptureFixture[str]) -> None:
    assert chex_search(["cluster", "tunnel", gcp]) == 0
    (command,) = ran
    assert command[:7] == ["ray", "exec", "--port-forward", "8265", "--port-forward", "6006", gcp]
    assert "--host 127.0.0.1 --port 6006" in command[7]
    assert "http://127.0.0.1:8265   TensorBoard: http://127.0.0.1:6006" in capsys.readouterr().out


def test_a_tunnel_that_ssh_would_open_to_others_is_refused(
    gcp: str, ran: Ran, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(cluster.subprocess, "run", lambda *_, **__: SimpleNamespace(stdout="gatewayports yes\n"))
    assert chex_search(["cluster", "tunnel", gcp]) == 2
    assert message(capsys) == (
        "chex-search cluster: ssh's configuration has GatewayPorts yes, which would open the tunnel to other machines; "
        "remove it"
    )


def test_the_first_command_that_fails_gives_the_exit_code(gcp: str, ran: Ran, tmp_path: Path) -> None:
    assert chex_search(["cluster", "fetch", gcp, str(tmp_path / "fail")]) == 7
    assert len(ran) == 1


def test_ctrl_c_in_a_tunnel_prints_no_error(
    gcp: str, ran: Ran, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupted(command: list[str], **_: Any) -> Any:
        if command[0] == "ssh":
            return subprocess.CompletedProcess(command, 0, stdout="")
        raise KeyboardInterrupt

    monkeypatch.setattr(cluster.subprocess, "run", interrupted)
    assert chex_search(["cluster", "tunnel", gcp]) == 130
    assert message(capsys) == ""


def test_down_works_after_local_changes(write_cluster: WriteCluster, ran: Ran) -> None:
    path = str(write_cluster(filled(GCP), lambda content: content["file_mounts"].update({"~/x": "gone"})))
    assert chex_search(["cluster", "up", path]) == 2
    assert chex_search(["cluster", "down", path]) == 0
    assert ran == [["ray", "down", "--yes", path]]
