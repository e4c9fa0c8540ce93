"""How long a session takes from its first instruction to its end, when its command does nothing."""

from __future__ import annotations

import statistics

from support.users import SHELL, User, Users

from benchmarks import ground, peers
from benchmarks.clock import INTERPRETER, Command, as_user, interleaved
from benchmarks.peers import Peer
from benchmarks.table import Row, Section

OURS = "ssh2container -c true"
BARE = "python3 -I -S -c pass"
LIMIT_BAR = "<= 1.25, aim 1.0"
FIREJAIL_BAR = ">= 2"
_IN_TURNS = "it / ours, in turns with it"


def measure(users: Users, user: User, rounds: int, place: str) -> Section:
    """Compare ``ssh2container -c true`` with a bare interpreter plus bubblewrap, and with the others.

    place: an empty directory.
    """
    absent: dict[str, str] = {}

    def that_run(candidates: list[Peer]) -> list[Peer]:
        reasons = {peer.name: peer.why_not() for peer in candidates}
        absent.update({name: why for name, why in reasons.items() if why})
        return [peer for peer in candidates if not reasons[peer.name]]

    with ground.kernel_thread():
        found = that_run(peers.of_user(user, f"{place}/user"))
        ours: dict[str, Command] = {OURS: [SHELL, "-c", "true"]}
        limited = ours | {BARE: INTERPRETER}
        limited |= {peer.name: peer.timed() for peer in found if peer.name == peers.BUBBLEWRAP}
        compared = ours | {peer.name: peer.timed() for peer in found if peer.name not in limited}
        rows = _rows(as_user(user, lambda: interleaved(limited, rounds, user.environment())))
        beside = _rows(as_user(user, lambda: interleaved(compared, rounds, user.environment())))
    table = list(rows.values())
    if peers.BUBBLEWRAP in rows:
        table[1:1] = _limit(rows[OURS], rows[BARE], rows[peers.BUBBLEWRAP])
    if peers.FIREJAIL in beside:
        beside[peers.FIREJAIL].bar = FIREJAIL_BAR
    beside.pop(OURS)
    table += beside.values()
    session = Peer(OURS, [SHELL, "-c"], user, ("true",))
    others = [*peers.slow_ones(user, f"{place}/slow"), *peers.of_others(users, f"{place}/others")]
    for peer in that_run(others):
        pairs = [(_once(peer), _once(session)) for _ in range(max(3, rounds // 6))]
        theirs = Row(peer.name, "ms", [pair[0] for pair in pairs])
        theirs.ratio = theirs.median / statistics.median(pair[1] for pair in pairs)
        theirs.against = _IN_TURNS
        table.append(theirs)
    note = "wall time, in turns with ours: the limit's two, then a user's peers, then each of the slow ones"
    return Section("start-up and end", note, table, absent)


def _rows(times: dict[str, list[float]]) -> dict[str, Row]:
    """Return the rows of what was run in turns, each but the interpreter's with its ratio to ours."""
    rows = {name: Row(name, "ms", samples) for name, samples in times.items()}
    for name, row in rows.items():
        if name not in (OURS, BARE):
            row.ratio, row.against = row.median / rows[OURS].median, _IN_TURNS
    return rows


def _limit(ours: Row, interpreter: Row, bubblewrap: Row) -> list[Row]:
    """Hold ``ours`` against the limit, pair by pair; return the limit's rows."""
    limit = [sum(pair) for pair in zip(interpreter.samples, bubblewrap.samples, strict=True)]
    of_pairs = sorted(mine / theirs for mine, theirs in zip(ours.samples, limit, strict=True))
    ours.ratio, ours.against, ours.bar = of_pairs[len(of_pairs) // 2], "the limit, pair by pair", LIMIT_BAR
    minimum = interpreter.minimum + bubblewrap.minimum
    return [
        Row("limit: interpreter + bubblewrap", "ms", limit),
        Row("same, of minima", "ms", [minimum], ours.minimum / minimum, "ours / limit"),
    ]


def _once(peer: Peer) -> float:
    def work() -> float:
        return interleaved({peer.name: peer.timed()}, 1, peer.environment)[peer.name][0]

    if peer.user is None:
        return work()
    sample: float = as_user(peer.user, work, first=False)
    return sample
