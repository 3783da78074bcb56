import socket
import threading
from collections.abc import Iterator

import pytest

from search.ray_nodes import ray_watchdog
from search.ray_nodes.ray_watchdog import exit_if_ray_dies, is_listening


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server


def address(server: socket.socket) -> str:
    return f"127.0.0.1:{server.getsockname()[1]}"


def test_an_address_listens_until_its_server_stops(listener: socket.socket) -> None:
    where = address(listener)
    assert is_listening(where)
    listener.close()
    assert not is_listening(where)


def test_an_unreachable_host_counts_as_listening(monkeypatch: pytest.MonkeyPatch) -> None:
    def slow(*how: object, **more: object) -> socket.socket:
        raise TimeoutError

    monkeypatch.setattr(socket, "create_connection", slow)
    assert is_listening("192.0.2.1:6379")


def test_a_command_whose_ray_has_died_says_so_and_exits(
    listener: socket.socket, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(ray_watchdog, "CHECK_SECONDS", 0.01)
    left, codes = threading.Event(), list[int]()

    def leave(code: int) -> None:
        codes.append(code)
        left.set()

    other = socket.create_server(("127.0.0.1", 0))
    with other, exit_if_ray_dies([address(other), address(listener)], "Ray has died", 130, leave):
        listener.close()
        assert left.wait(30)
    assert codes == [130]
    assert capsys.readouterr().err.endswith("\nRay has died\n")


def test_a_command_that_ends_before_its_ray_is_not_exited(
    listener: socket.socket, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ray_watchdog, "CHECK_SECONDS", 0.01)
    codes = list[int]()
    with exit_if_ray_dies([address(listener)], "Ray has died", 130, codes.append):
        pass
    listener.close()
    assert not [thread for thread in threading.enumerate() if thread.name == "lifeline"]
    assert codes == []
