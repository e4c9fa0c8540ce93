"""Every key of the policy language, declared once.

From these declarations come validation, ``show``, the JSON Schema, the reference table and the
manual page. A key joins the language in its module below ``keys/``; what a session does with it is its
consumer's to say (CONTRIBUTING.md). A key whose feature does not exist yet has ``supported=False`` there and
is rejected.
"""

from __future__ import annotations

from ssh2container.admin.policy.schema.declaration import Language
from ssh2container.admin.policy.schema.keys import (
    access,
    confinement,
    environment,
    files,
    hooks,
    host_commands,
    identity,
    limits,
    network,
    record,
    schedule,
    site,
)

POLICY = Language(
    {
        "Image and identity": identity.SETTINGS,
        "Files": files.SETTINGS,
        "Access": access.SETTINGS,
        "Environment": environment.SETTINGS,
        "Network": network.SETTINGS,
        "Limits": limits.SETTINGS,
        "Confinement": confinement.SETTINGS,
        "Record": record.SETTINGS,
        "Hooks": hooks.SETTINGS,
        "Commands of the host": host_commands.SETTINGS,
        "Schedule": schedule.SETTINGS,
    }
)
"""The keys of defaults.yaml, groups/*.yaml, users/*.yaml, enforced.yaml and profiles."""

SITE = Language({"Site": site.SETTINGS})
"""The keys of config.yaml."""
