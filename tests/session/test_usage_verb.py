"""``ssh2containerctl usage`` of real sessions: what they used is what it adds up."""

from __future__ import annotations

import json
import pathlib
import re
import shlex
from typing import Any

from support.host import run, until
from support.login import inside, live
from support.syslog import Syslog
from support.users import MakeUser, User

BURNT_S = 0.2
BURN = "python3 -c " + shlex.quote(f"import time\nwhile time.process_time() < {BURNT_S}: pass")


def used(syslog: Syslog, tmp_path: pathlib.Path, *users: User, ended: int) -> dict[str, Any]:
    """What the verb says, as soon as so many last records of the users are there."""
    path = tmp_path / "auth.log"

    def records() -> list[str]:
        lines = [line for user in users for line in syslog.of(f'uid="{user.uid}"')]
        return lines if sum("event=close" in line for line in lines) >= ended else []

    lines = until(records, f"{ended} last records")
    # As a syslog daemon writes it: without the priority, with the host.
    path.write_text("".join(re.sub(r"^<\d+>(.{15}) ", r"\1 host ", line) + "\n" for line in lines))
    done = run(["ssh2containerctl", "usage", "--json", "--file", str(path), *(u.name for u in users)])
    return dict(json.loads(done.ok().text))


def test_two_users_and_what_each_used(make_user: MakeUser, syslog: Syslog, tmp_path: pathlib.Path) -> None:
    one, other = make_user("image: host\n"), make_user("image: host\n")
    for _ in range(2):
        inside(one, BURN).ok()
    inside(other, "exit 0").ok()
    found = used(syslog, tmp_path, one, other, ended=3)
    rows = {row["user"]: row for row in found["rows"]}
    assert {name: row["sessions"] for name, row in rows.items()} == {one.name: 2, other.name: 1}
    assert rows[one.name]["cpu_usec"] >= 2 * BURNT_S * 1e6
    assert rows[one.name]["connected_ms"] >= 2 * BURNT_S * 1e3
    assert rows[one.name]["input"] is None
    total = found["total"]
    for name in ("sessions", "cpu_usec", "connected_ms"):
        assert total[name] == sum(row[name] for row in rows.values())
    assert (found["not_ended"], found["left_out"]) == (0, {"bad": 0, "forged": 0, "strange": 0})


def test_a_session_that_runs_is_left_out_and_told(
    make_user: MakeUser, syslog: Syslog, tmp_path: pathlib.Path
) -> None:
    user = make_user("image: host\n")
    inside(user, "exit 0").ok()
    with live(user):
        found = used(syslog, tmp_path, user, ended=1)
    assert (found["total"]["sessions"], found["not_ended"]) == (1, 1)


def test_logins_of_a_shared_container(make_user: MakeUser, syslog: Syslog, tmp_path: pathlib.Path) -> None:
    """The processor time is the container's, and its user's: the owner tells no name."""
    user = make_user("image: host\ncontainer_per: user\n")
    inside(user, BURN).ok()
    syslog_has_it = f'event=container-close uid="{user.uid}"'
    until(lambda: any(syslog_has_it in line for line in syslog.of(f'uid="{user.uid}"')), syslog_has_it)
    found = used(syslog, tmp_path, user, ended=1)
    (row,) = found["rows"]
    assert row["user"] == user.name
    assert row["cpu_usec"] >= BURNT_S * 1e6
    assert (row["sessions"], row["without_cpu"]) == (1, 1)
