"""Keys of how much and how long."""

from __future__ import annotations

from ssh2container.admin.policy.schema.declaration import Setting
from ssh2container.admin.policy.schema.keys import bounds
from ssh2container.admin.policy.types.entries import Ulimits
from ssh2container.admin.policy.types.numbers import Count, Duration
from ssh2container.admin.policy.types.scalars import Choice, Optional

WEEK_SECONDS = 7 * 24 * 3600.0

SETTINGS = [
    *bounds.settings("", "the session's processes"),
    Setting(
        "limits",
        Choice("required", "best"),
        "required",
        "What happens when one of these limits cannot be set: refuse the login, or log and go on.",
        "limits: required",
    ),
    Setting(
        "user_limits",
        Choice("none"),
        "none",
        "Limits over everything of the user, cron and other services included.",
        "user_limits: {mem_limit: 2g, cpus: 2, pids_limit: 400}",
        mapping="limits",
    ),
    *bounds.settings("user_limits", "everything of the user"),
    Setting(
        "ulimits",
        Ulimits(),
        {},
        "Limits as in setrlimit(2); unless written, nofile is 1024 (hard 4096) and nproc 512; core is 1.",
        "ulimits: {nofile: {soft: 1024, hard: 4096}, nproc: 200}",
    ),
    Setting(
        "sessions.max",
        Optional(Count(1, 10_000), "none"),
        50,
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
