"""The build backend that pip finds: it refuses, as no wheel of ssh2container could work.

A login needs pid 1 as a static program that nobody but root can read, a launcher, trees of mount points and
the seccomp profiles, all of them root's and below /usr. pip installs none of that.
"""

from __future__ import annotations

_WHY = (
    "ssh2container cannot be installed with pip, because a login needs programs "
    "owned by root besides the Python code: "
    "run sudo ./install.sh from the source tree"
)


def _refuse(*_arguments: object, **_options: object) -> str:
    raise SystemExit(_WHY)


# The hooks of PEP 517 and PEP 660.
build_wheel = build_sdist = build_editable = _refuse
prepare_metadata_for_build_wheel = prepare_metadata_for_build_editable = _refuse
