import socket
import threading
from collections.abc import Iterator

import pytest

from search import lifeline
from search.lifeline import listens, tied_to


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server


def address(server: socket.socket) -> str:
    return f"127.0.0.1:{server.getsockname()[1]}"


def test_an_address_listens_until_its_server_is_gone(listener: socket.socket) -> None:
    where = address(listener)
    assert listens(where)
    listener.close()
    assert not listens(where)


def test_a_host_that_cannot_be_asked_has_not_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    def slow(*how: object, **more: object) -> socket.socket:
        raise TimeoutError

    monkeypatch.setattr(socket, "create_connection", slow)
    assert listens("192.0.2.1:6379")


def test_a_command_whose_ray_is_gone_says_so_and_leaves(
    listener: socket.socket, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(lifeline, "EVERY_SECONDS", 0.01)
    left, codes = threading.Event(), list[int]()

    def leave(code: int) -> None:
        codes.append(code)
        left.set()

    other = socket.create_server(("127.0.0.1", 0))
    with other, tied_to([address(other), address(listener)], "Ray ended", 130, leave):
        listener.close()
        assert left.wait(30)
    assert codes == [130]
    assert capsys.readouterr().err.endswith("\nRay ended\n")


def test_a_command_that_ends_before_its_ray_is_let_go(listener: socket.socket, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lifeline, "EVERY_SECONDS", 0.01)
    codes = list[int]()
    with tied_to([address(listener)], "Ray ended", 130, codes.append):
        pass
    listener.close()
    assert not [thread for thread in threading.enumerate() if thread.name == "lifeline"]
    assert codes == []
