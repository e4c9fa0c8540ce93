"""The probes of the group Network, and promises on networks, on a host with an internet behind it."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from support import internet as of
from support.host import run
from support.internet import Internet, internet
from support.outward import on_the_host_of
from support.users import MakeUser, User
from support.verification import CONTROL, Report, failed

REACHES_OUT = (
    "the metadata service of a cloud is out of reach",
    "a service of the host, by each of the host's addresses",
    "a service of the host, by IPv4 addresses within IPv6 ones",
    "a service of the host's loopback, by the gateway",
    "a datagram to each of the host's addresses",
    "a route of the sender's through the gateway to the host",
    "send from an address of somebody else",
)
MEETING = "two sessions of one user do not meet"


@pytest.fixture(scope="module")
def net(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Internet]:
    with internet(str(tmp_path_factory.mktemp("internet"))) as made, on_the_host_of(made):
        yield made


@pytest.mark.usefixtures("net")
def test_a_private_network_passes(make_user: MakeUser, verify: Callable[[User], Report]) -> None:
    report = verify(make_user("image: host\nnetwork_mode: private\n"))
    assert failed(report) == set()
    network = {name: row["result"] for name, row in report.items() if row["group"] == "Network"}
    assert len(network) >= 20
    assert set(network.values()) == {"pass"}
    assert report[MEETING]["result"] == "pass"


@pytest.mark.usefixtures("net")
def test_what_any_lets_through_is_found_and_told_with_its_key(
    make_user: MakeUser, verify: Callable[[User], Report]
) -> None:
    report = verify(make_user("image: host\nnetwork_mode: private\negress: any\n"))
    assert failed(report) == set()
    for name in (REACHES_OUT[0], REACHES_OUT[1], REACHES_OUT[4]):
        assert (report[name]["result"], report[name]["key"]) == ("expected-by-policy", "egress"), report[name]


@pytest.mark.usefixtures("net")
def test_nothing_goes_to_the_network_of_the_administrator(
    make_user: MakeUser, verify: Callable[[User], Report]
) -> None:
    report = verify(make_user("image: host\nnetwork_mode: host\n"))
    assert failed(report) == set()
    for name in REACHES_OUT:
        assert (report[name]["result"], report[name]["key"]) == ("expected-by-policy", "network_mode")
        assert name in (REACHES_OUT[1], REACHES_OUT[4]) or report[name]["detail"].startswith("not tried")


PROMISES = f"""
    can:
      - connect {of.PUBLIC4}:443
      - connect public.example:443
      - connect [{of.PUBLIC6}]:443
      - resolve public.example
      - ping {of.PUBLIC4}
      - ping {of.PUBLIC6}
      - listen 8080
    cannot:
      - connect {of.HOST4}:443
      - connect {of.PRIVATE4}:443
      - connect private.example:443
      - resolve absent.example
      - ping {of.HOST4}
      - ping {of.METADATA4}
"""


@pytest.mark.usefixtures("net")
def test_promises_on_networks(make_user: MakeUser, tmp_path: Path) -> None:
    private, closed = (make_user(f"image: host\nnetwork_mode: {mode}\n") for mode in ("private", "none"))
    file = tmp_path / "networks.yaml"
    file.write_text(
        f"{private.name}:{PROMISES}{closed.name}:\n"
        f"  cannot: [connect public.example:443, 'ping {of.PUBLIC4}', resolve public.example]\n"
    )
    done = run([CONTROL, "test", str(file), "--json"])
    kept = json.loads(done.out)
    assert [row for row in kept["results"] if row["result"] != "kept"] == []
    assert done.status == 0, done
    assert len(kept["results"]) == 16
    broken = tmp_path / "broken.yaml"
    broken.write_text(f"{closed.name}:\n  can: [ping {of.PUBLIC4}, resolve public.example]\n")
    done = run([CONTROL, "test", str(broken)])
    assert done.status == 1
    assert "ping" in done.text
    assert "resolve" in done.text
