"""Keys of how much and how long."""

from __future__ import annotations

from ssh2container.admin.language.declaration import Setting
from ssh2container.admin.language.entries import Ulimits
from ssh2container.admin.language.scalars import Choice, Count, Duration, Fraction, Optional, Size

GIB = 1024**3
WEEK_SECONDS = 7 * 24 * 3600.0

SETTINGS = [
    Setting(
        "mem_limit",
        Optional(Size(4 * 1024**2, 64 * 1024 * GIB), "none"),
        None,
        "The memory of all processes of the session together.",
        "mem_limit: 512m",
        supported=False,
    ),
    Setting(
        "cpus",
        Optional(Fraction(0.01, 4096), "none"),
        None,
        "The processors that the session may use, as a fraction.",
        "cpus: 0.5",
        supported=False,
    ),
    Setting(
        "pids_limit",
        Optional(Count(1, 4_194_304), "none"),
        None,
        "The number of processes and threads of the session.",
        "pids_limit: 100",
        supported=False,
    ),
    Setting(
        "ulimits",
        Ulimits(),
        {},
        "Resource limits of each process, as in setrlimit(2).",
        "ulimits: {nofile: {soft: 1024, hard: 4096}, nproc: 200}",
    ),
    Setting(
        "limits",
        Choice("required", "best_effort"),
        "required",
        "What happens when mem_limit, cpus or pids_limit cannot be set: refuse the login, or log and go on.",
        "limits: required",
        supported=False,
    ),
    Setting(
        "sessions.max",
        Optional(Count(1, 10_000), "none"),
        None,
        "The number of sessions that the user may have at once.",
        "sessions: {max: 4}",
    ),
    Setting(
        "sessions.idle_timeout",
        Optional(Duration(1, WEEK_SECONDS), "none"),
        None,
        "The time without input and output after which a session with a terminal ends.",
        "sessions: {idle_timeout: 15m}",
    ),
    Setting(
        "sessions.max_duration",
        Optional(Duration(1, 52 * WEEK_SECONDS), "none"),
        None,
        "The time after which a session ends.",
        "sessions: {max_duration: 8h}",
    ),
    Setting(
        "sessions.warn_before",
        Duration(0, 3600),
        60.0,
        "The time before such an end at which the session is warned, half the limit at most; 0s is never.",
        "sessions: {warn_before: 1m}",
    ),
    Setting(
        "container_per",
        Choice("session", "connection", "user"),
        "session",
        "What shares one container: nothing (session), the sessions of a connection, or all of the user's.",
        "container_per: session",
    ),
    Setting(
        "linger",
        Duration(0, WEEK_SECONDS),
        0.0,
        "How long a container_per: user container lives on after the last session.",
        "linger: 10m",
    ),
    Setting(
        "stop_grace_period",
        Duration(0, 600),
        10.0,
        "The time between the request to end and the kill.",
        "stop_grace_period: 10s",
    ),
]
