"""What every kind of source is to the import."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from ssh2container.admin.images import platforms
from ssh2container.admin.images.store.staging import Staging
from ssh2container.admin.images.unpack.rules import Limits
from ssh2container.admin.images.unpack.streams import Defaults, Progress, Stream


class Source:
    """Something that files come from.

    kind: a word for ``info``. reference: what the administrator gave, also for ``update``.
    platform: which machines it has to be for, this one unless somebody says otherwise.
    defaults, digest: known once :meth:`prepare` has run; digest names the source's own content
    (``sha256:…`` of a registry), "" where it has none.
    """

    kind = ""

    def __init__(self, reference: str) -> None:
        self.reference = reference
        self.platform = platforms.here()
        self.defaults = Defaults()
        self.digest = ""

    def prepare(self, staging: Staging, limits: Limits, progress: Progress) -> None:
        """Fetch or convert into ``staging`` what :meth:`streams` reads; raises SessionError, HostileError."""

    def streams(self, staging: Staging, limits: Limits, progress: Progress) -> Iterator[Stream]:
        """Yield the tar streams, lowest layer first; each is unpacked before the next is asked for."""
        raise NotImplementedError

    def provenance(self) -> dict[str, Any]:
        """Return what info.json keeps about it."""
        return {"kind": self.kind, "reference": self.reference, "digest": self.digest}
