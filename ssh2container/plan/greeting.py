"""What a login's terminal shows before the shell does: banner, what is kept and what is not, motd. Pure."""

from __future__ import annotations

from _blake2 import blake2b

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ssh2container.policy.policy import Policy

_MINUTE_S, _HOUR_S = 60, 3600
_MIB = 1 << 20
_MARK_BYTES = 8


def compose(policy: Policy, *, home: str, hushed: bool, known: bytes = b"") -> tuple[bytes, bytes]:
    """Return the text with the line ends of a terminal in raw mode, and the mark of its welcome.

    home: the home inside. hushed: the user wants no welcome (~/.hushlogin, login(1)).
    known: the mark of the welcome that they saw last; the same one is not shown again, and its mark is b"".
    """
    welcome, mark = "", b""
    if policy.welcome and not hushed:
        welcome = "\n".join(_welcome(policy, home))
        mark = blake2b(welcome.encode("utf-8", "replace"), digest_size=_MARK_BYTES).hexdigest().encode()
        if mark == known:
            welcome, mark = "", b""
    parts = (policy.banner or "", welcome, policy.motd or "")
    text = "".join(part.rstrip("\n") + "\n" for part in parts if part)
    return text.replace("\r\n", "\n").replace("\n", "\r\n").encode("utf-8", "replace"), mark


def _welcome(policy: Policy, home: str) -> list[str]:
    kept = [volume.target for volume in policy.volumes if not volume.read_only]
    if policy.home is not None and not policy.home.read_only:
        kept.insert(0, home)
    whose = "its own" if policy.container_per == "session" else "your own"
    lines = [f"This session runs in a container of {whose}."]
    size = spell_size(policy.storage_opt.size)
    when = "at logout" if policy.container_per == "session" else "after your last logout"
    if kept:
        lines += [
            f"Kept:  what you write in {', '.join(kept)}",
            f"Gone {when}:  whatever you write anywhere else ({size} at most)",
        ]
    else:
        lines.append(f"Nothing is kept: whatever you write is gone {when} ({size} at most).")
    limits = policy.sessions
    if policy.access.times is not None:
        lines.append(policy.access.times.words())
    if limits.max_duration is not None:
        lines.append(f"It ends after {spell(limits.max_duration)}.")
    if limits.idle_timeout is not None:
        lines.append(f"It ends when nothing is typed or shown for {spell(limits.idle_timeout)}.")
    if policy.record.terminal:
        lines.append("It is recorded" + (", what you type included." if policy.record.input else "."))
    return lines


def spell(seconds: float) -> str:
    """Return a time as people say it, rounded: "8 hours", "90 seconds"."""
    for unit_s, name in ((_HOUR_S, "hour"), (_MINUTE_S, "minute")):
        if seconds >= unit_s and round(seconds) % unit_s == 0:
            return _count(round(seconds) // unit_s, name)
    if seconds >= 2 * _MINUTE_S:
        return _count(round(seconds / _MINUTE_S), "minute")
    return _count(round(seconds), "second")


def _count(number: int, name: str) -> str:
    return f"{number} {name}" if number == 1 else f"{number} {name}s"


def spell_size(size_bytes: int) -> str:
    """Return an amount of memory as people say it: "256 MiB"."""
    return f"{size_bytes / _MIB:.0f} MiB" if size_bytes >= _MIB else f"{size_bytes >> 10} KiB"
