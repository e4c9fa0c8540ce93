"""The tests' own listener in the place of the machine's log daemon."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest
from support import syslog
from support.syslog import Syslog


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the listener listens in these tests."""
    path = tmp_path / "log"
    monkeypatch.setattr(syslog, "PATH", str(path))
    monkeypatch.setattr(syslog, "ASIDE", str(tmp_path / "aside"))
    monkeypatch.setattr(syslog, "JOURNAL", str(tmp_path / "journal"))
    monkeypatch.setattr(syslog, "JOURNAL_ASIDE", str(tmp_path / "journal-aside"))
    return path


@pytest.fixture
def listener(place: Path) -> Syslog:
    made = Syslog()
    made.start()
    assert place.is_socket()
    return made


def send(place: Path, record: bytes) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
        sender.sendto(record, str(place))


def test_it_keeps_what_arrives(place: Path, listener: Syslog) -> None:
    send(place, b"<6>ssh2container[7]: alice enters")
    assert listener.of("alice") == ["<6>ssh2container[7]: alice enters"]
    listener.stop()
    assert not place.exists()


def test_it_stops_though_another_listener_has_taken_its_place(place: Path, listener: Syslog) -> None:
    place.unlink()
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as other:
        other.bind(str(place))
        listener.stop()
        other.setblocking(False)
        with pytest.raises(BlockingIOError):
            other.recv(1)


def test_what_was_there_before_is_there_again(place: Path) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as daemon:
        daemon.bind(str(place))
        made = Syslog()
        made.start()
        send(place, b"to the tests")
        made.stop()
        send(place, b"to the daemon")
        assert daemon.recv(100) == b"to the daemon"
