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
        commands: dict[str, Command] = {OURS: [SHELL, "-c", "true"], BARE: INTERPRETER}
        commands |= {peer.name: peer.timed() for peer in that_run(peers.of_user(user, f"{place}/user"))}
        times = as_user(user, lambda: interleaved(commands, rounds, user.environment()))
    rows = {name: Row(name, "ms", samples) for name, samples in times.items()}
    for name, row in rows.items():
        if name not in (OURS, BARE):
            row.ratio, row.against = row.median / rows[OURS].median, "it / ours"
    if peers.FIREJAIL in rows:
        rows[peers.FIREJAIL].bar = FIREJAIL_BAR
    table = list(rows.values())
    if peers.BUBBLEWRAP in rows:
        table[1:1] = _limit(rows[OURS], rows[BARE], rows[peers.BUBBLEWRAP])
    session = Peer(OURS, [SHELL, "-c"], user, ("true",))
    others = [*peers.slow_ones(user, f"{place}/slow"), *peers.of_others(users, f"{place}/others")]
    for peer in that_run(others):
        pairs = [(_once(peer), _once(session)) for _ in range(max(3, rounds // 6))]
        theirs, ours = Row(peer.name, "ms", [pair[0] for pair in pairs]), [pair[1] for pair in pairs]
        theirs.ratio, theirs.against = theirs.median / statistics.median(ours), "it / ours, in turns with it"
        table.append(theirs)
    note = "wall time, runs interleaved; the last rows without real-time priority, each in turns with ours"
    return Section("start-up and end", note, table, absent)


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
