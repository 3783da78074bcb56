"""Finding a Ray cluster, without one."""

import socket
from pathlib import Path

import pytest

from chex.errors import InputError
from search.command import EXIT_BAD_INPUT, main
from search.config.resources import Node
from search.ray_nodes import nodes


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


def test_a_missing_cluster_is_reported_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_TMPDIR", str(tmp_path))
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    where = f"127.0.0.1:{free_port()}"
    for address, message in (
        (where, rf"--cluster {where}: no Ray cluster answers at {where} \(.*refused\); start one with `ray start"),
        ("head", r"--cluster head: no Ray cluster answers at head \("),
        ("auto", r"--cluster auto: no Ray cluster answers on this machine \("),
        ("ray://head:10001", r"--cluster ray://head:10001: a search runs inside the cluster; give its head as HOST:PO"),
    ):
        with pytest.raises(InputError, match=message):
            nodes._head_address(address)


def test_auto_is_the_cluster_that_ray_has_recorded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_TMPDIR", str(tmp_path))
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    (tmp_path / "ray").mkdir()
    with socket.create_server(("127.0.0.1", 0)) as server:
        where = f"127.0.0.1:{server.getsockname()[1]}"
        (tmp_path / "ray" / "ray_current_cluster").write_text(where + "\n")
        assert nodes._head_address("auto") == where
        monkeypatch.setenv("RAY_ADDRESS", where)  # as in a submitted job
        (tmp_path / "ray" / "ray_current_cluster").write_text("127.0.0.1:1")
        assert nodes._head_address("auto") == where


@pytest.mark.parametrize(
    ("message", "sentence"),
    [
        (
            "Version mismatch: The cluster was started with: Ray: 2.9.0 Python: 3.10.1 This process was started with: "
            "Ray: 2.60.0 Python: 3.11.7",
            "--cluster head:6379: Version mismatch: .* Python: 3.11.7; install requirements.lock with the same Python",
        ),
        ("The actor never ran", r"--cluster head:6379: the cluster at head:6379 refuses this process \(The "),
    ],
)
def test_a_cluster_that_refuses_this_process_is_reported_in_a_sentence(message: str, sentence: str) -> None:
    with pytest.raises(InputError, match=sentence):
        raise nodes._connection_error("head:6379", "head:6379", message)


def test_a_node_has_what_ray_counts() -> None:
    assert nodes._to_node({"CPU": 4.0, "GPU": 1.0, "memory": 1e9}) == Node(4, 1)
    assert nodes._to_node({"memory": 1e9}) == Node(0, 0)


def test_a_process_that_already_uses_ray_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nodes.ray, "is_initialized", lambda: True)
    for session in (nodes.local_ray(), nodes.connect_cluster("auto")):
        with (
            pytest.raises(InputError, match=r"this process already uses Ray, .*; call ray.shutdown\(\) first"),
            session,
        ):
            raise AssertionError


def test_the_command_refuses_a_missing_cluster_before_it_writes(
    tmp_path: Path, tree: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "small.yaml").write_text("base: {}\nspace: {optimizer.lr: {loguniform: [1.0e-4, 1.0e-2]}}\n")
    settings = ["run", str(tmp_path / "small.yaml"), "--data", str(tree), "--results", str(tmp_path / "results")]
    where = f"127.0.0.1:{free_port()}"
    assert main([*settings, "--cluster", where]) == EXIT_BAD_INPUT
    assert f"chex-search run: --cluster {where}: no Ray cluster answers" in capsys.readouterr().err
    assert not (tmp_path / "results").exists()


def test_a_node_that_does_not_see_the_results_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    class Asked:
        def __init__(self, host: str):
            self.host = host

        def remote(self, path: str) -> bool:
            return self.host == "head" and Path(path).exists()

    class Sees:
        def options(self, host: str) -> Asked:
            return Asked(host)

    there = [{"NodeManagerHostname": name, "NodeID": name} for name in ("head", "gpu-7")]
    monkeypatch.setattr(nodes, "_alive_nodes", lambda: there)
    monkeypatch.setattr(nodes, "_on_node", lambda about: {"host": about["NodeID"]})
    monkeypatch.setattr(nodes, "_file_exists", Sees())
    monkeypatch.setattr(nodes.ray, "get", lambda answer: answer)
    (tmp_path / "search.lock").touch()
    with pytest.raises(InputError) as refused:
        nodes.check_shared_folder(tmp_path / "search.lock")
    assert str(refused.value) == (
        f"{tmp_path}: the node gpu-7 does not see it, so its trials' results would be lost; give a storage that "
        "all nodes can reach with --storage, for example gs://BUCKET/searches, or --results on a disk that they share"
    )
    there.pop()
    nodes.check_shared_folder(tmp_path / "search.lock")
