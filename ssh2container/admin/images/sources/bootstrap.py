"""``image bootstrap debian:bookworm``: a distribution from its own packages, by mmdebstrap.

The packages' scripts run inside the sandbox as root of unprivileged ids, with the host's network.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

from ssh2container.admin.images.sandbox import sandbox
from ssh2container.admin.images.sources.source import Source
from ssh2container.admin.images.store.staging import Staging
from ssh2container.admin.images.unpack.rules import Limits
from ssh2container.admin.images.unpack.streams import Defaults, Progress, Stream
from ssh2container.errors import NotFound, SessionError
from ssh2container.plan.environment import ROOT_PATH

_SUITES = {
    "debian": {"11": "bullseye", "12": "bookworm", "13": "trixie", "14": "forky"},
    "ubuntu": {"20.04": "focal", "22.04": "jammy", "24.04": "noble", "26.04": "resolute"},
}
_KEYRINGS = {
    "debian": ("/usr/share/keyrings/debian-archive-keyring.gpg", "debian-archive-keyring"),
    "ubuntu": ("/usr/share/keyrings/ubuntu-archive-keyring.gpg", "ubuntu-keyring"),
}
_MIRRORS = {"debian": "http://deb.debian.org/debian", "ubuntu": "http://archive.ubuntu.com/ubuntu"}
VARIANTS = ("essential", "apt", "minbase", "important", "standard")


class Bootstrap(Source):
    """``DISTRIBUTION:SUITE``. include: more packages; variant: mmdebstrap's; mirror: "" = the usual."""

    kind = "bootstrap"

    def __init__(
        self, reference: str, *, include: tuple[str, ...] = (), variant: str = "minbase", mirror: str = ""
    ) -> None:
        super().__init__(reference)
        self._distribution, _, suite = reference.partition(":")
        if self._distribution not in _SUITES or not suite:
            raise NotFound(
                f"{reference} cannot be bootstrapped",
                f"known are {', '.join(_SUITES)} with a suite, as in debian:bookworm",
                "import other distributions from their images: docker://…",
                step="image",
            )
        self._suite = _SUITES[self._distribution].get(suite, suite)
        self._include = include
        self._variant = variant
        self._mirror = mirror
        self.defaults = Defaults((("PATH", ROOT_PATH),))

    def streams(self, staging: Staging, limits: Limits, progress: Progress) -> Iterator[Stream]:
        """Yield mmdebstrap's own tar."""
        mmdebstrap = sandbox.need("mmdebstrap", "bootstrapping a distribution")
        keyring, package = _KEYRINGS[self._distribution]
        if not os.path.exists(keyring):
            raise SessionError(
                f"the keys of {self._distribution} are missing",
                keyring,
                f"install the package {package}",
                step="image",
            )
        readable = {"/etc/apt": "/etc/apt"} if os.path.isdir("/etc/apt") else {}
        box = sandbox.Sandbox(
            staging.range,
            readable=readable,
            writable={"/scratch": staging.scratch("bootstrap")},
            network=True,
            capabilities=None,
            memory=0,
        )
        argv = [
            mmdebstrap,
            "--mode=root",
            f"--variant={self._variant}",
            "--format=tar",
            f"--keyring={keyring}",
        ]
        argv += [f"--include={','.join(self._include)}"] if self._include else []
        argv += [self._suite, "-", self._mirror or _MIRRORS[self._distribution]]
        progress(f"bootstrapping {self._distribution} {self._suite}", 0, 0)
        process = box.start(argv, environment={"TMPDIR": "/scratch"}, directory="/scratch")
        yield Stream(f"{self._distribution} {self._suite}", process)

    def provenance(self) -> dict[str, Any]:
        """Return also what to bootstrap again."""
        own = {"include": list(self._include), "variant": self._variant, "mirror": self._mirror}
        return {**super().provenance(), **own}
