# Longer than 300 lines: the store's names, versions and records change together, under its locks.
"""The image store: content-addressed versions, names that switch atomically, nothing half-made.

Layout below ``/var/lib/ssh2container/images`` (plan.image reads the first two)::

    names/REFERENCE    → ../trees/HEX/record    a name and its current version
    origins/REFERENCE  JSON                     what ``update`` imports again
    digests/HEX        → ../trees/HEX2/record   a registry's digest of a version
    trees/HEX/root     the files, all owned by root
    trees/HEX/{record,info.json,manifest.gz}    what logins read; where it came from; what it must hold
    shifted/           mode 700: trees/HEX-BASE are the files with their ids shifted by BASE
    staging/           mode 700: what is being made; swept when its maker is gone

Everything becomes visible by one rename(2), after the data is on the disk: whoever is killed, and
whatever disk fills up, the store is as it was.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import marshal
import os
import time
from collections.abc import Iterator
from typing import Any, NamedTuple

from ssh2container.admin import atomic
from ssh2container.admin.durable import flush, listed, locked, read_json, remove, write
from ssh2container.admin.images import ids, manifest, ownership
from ssh2container.admin.images.store.staging import Staging, staged
from ssh2container.admin.images.unpack import metadata
from ssh2container.admin.images.unpack.streams import Defaults, Progress, Unpacked
from ssh2container.errors import NotFound, Refusal, SessionError
from ssh2container.plan import image as reader

TOLD = ("neutralised", "warnings")
"""What an import says about its content: each name keeps it, as the same content may have come twice."""


class MovedError(SessionError):
    """The name ``reference`` means another version than it did when the work began."""

    def __init__(self, reference: str) -> None:
        super().__init__(
            f"{reference} has moved to another version in the meantime, or was removed", step="image"
        )


class Version(NamedTuple):
    """One version in the store: its digest (``sha256:…``), and info.json as a dict."""

    digest: str
    info: dict[str, Any]

    @property
    def hexadecimal(self) -> str:
        """The digest without its algorithm."""
        return self.digest[7:]


class Store:
    """The store at ``path``; raises SessionError where it cannot be written."""

    def __init__(self, path: str = reader.IMAGES) -> None:
        self.path = path

    # -- reading -------------------------------------------------------------------------------

    def names(self) -> dict[str, str]:
        """Return reference → digest of its current version."""
        found = {}
        for entry in listed(f"{self.path}/names"):
            with contextlib.suppress(OSError):
                target = os.readlink(f"{self.path}/names/{entry}")
                found[entry.replace("+", "/")] = "sha256:" + _version_of(target)
        return dict(sorted(found.items()))

    def origin(self, reference: str) -> dict[str, Any]:
        """Return where the content of the name ``reference`` comes from, {} if that is not known."""
        path = self.check_name(reference).replace("names/", "origins/", 1)
        try:
            return read_json(f"{self.path}/{path}")
        except (OSError, ValueError):
            return {}

    def versions(self) -> dict[str, Version]:
        """Return digest → version of all that is complete."""
        found = {}
        for entry in listed(f"{self.path}/trees"):
            digest = "sha256:" + entry
            with contextlib.suppress(OSError, ValueError):
                found[digest] = Version(digest, read_json(f"{self.path}/trees/{entry}/info.json"))
        return found

    def version(self, reference: str) -> Version:
        """Return the version that ``reference`` (a name, or ``sha256:HEX`` in part) means."""
        versions = self.versions()
        if reference.startswith("sha256:"):
            matching = [version for digest, version in versions.items() if digest.startswith(reference)]
        else:
            target = os.path.realpath(reader.find_record(reference, self.path))
            matching = [v for v in versions.values() if v.hexadecimal == _version_of(target)]
        if len(matching) != 1:
            raise NotFound(
                f"there is no image {reference}" if not matching else f"{reference} is ambiguous",
                "",
                "ssh2containerctl image list shows what there is",
                step="image",
            )
        return matching[0]

    def tree(self, version: Version) -> str:
        """Return the directory of ``version``."""
        return f"{self.path}/trees/{version.hexadecimal}"

    @property
    def shifted_trees(self) -> str:
        """The directory of all shifted trees, in one that root alone can enter."""
        return f"{self.path}/shifted/trees"

    def shifted(self, version: Version, base: int) -> str:
        """Return the tree of ``version`` whose ids are shifted by ``base``."""
        return f"{self.shifted_trees}/{reader.shifted_name(version.digest, base)}"

    # -- writing -------------------------------------------------------------------------------

    @contextlib.contextmanager
    def stage(self, range_: ids.Range | None = None) -> Iterator[Staging]:
        """Give a staging directory for the length of a ``with``; it is removed on every way out."""
        self.prepare()
        with staged(f"{self.path}/staging", range_ or ids.UNPACKING) as made:
            yield made

    def prepare(self) -> None:
        """Make the store's directories; raises SessionError."""
        try:
            os.makedirs(self.path, exist_ok=True)
            os.chmod(self.path, 0o755)  # noqa: S103 - users traverse it
            for name, mode in (
                ("names", 0o755),
                ("digests", 0o755),
                ("trees", 0o755),
                ("origins", 0o700),
                ("shifted", 0o700),
                ("shifted/trees", 0o755),
                ("staging", 0o700),
            ):
                path = f"{self.path}/{name}"
                os.makedirs(path, exist_ok=True)
                os.chmod(path, mode)
        except OSError as error:
            raise SessionError(
                f"cannot write to the image store {self.path}", error.strerror or "",
                "run it as root" if os.geteuid() else "", "image", error.errno or 0,
            ) from None  # fmt: skip

    def publish(
        self,
        staging: Staging,
        unpacked: Unpacked,
        defaults: Defaults,
        source: dict[str, Any],
        progress: Progress,
    ) -> Version:
        """Make the staged tree a version of the store and return it; names come later.

        source: where it came from, for ``info`` and ``update``: ``{"kind", "reference", "digest"…}``.
        """
        base = staging.range.base
        os.chmod(staging.root, 0o755)  # noqa: S103 - users traverse it
        os.chown(staging.root, base, base)
        told = _Teller(progress, "hashing", unpacked.size)
        listing = f"{staging.path}/{manifest.NAME}"
        tree_digest, entries, size = manifest.write(listing, staging.root, base, told)
        config = defaults._asdict()
        address = hashlib.sha256(
            json.dumps([tree_digest, config], sort_keys=True, separators=(",", ":")).encode()
        )
        digest = "sha256:" + address.hexdigest()
        facts = metadata.gather(staging.root, list(manifest.read(listing)))
        info = {
            "format": reader.FORMAT,
            "digest": digest,
            "manifest": tree_digest,
            "entries": entries,
            "size": size,
            "created": int(time.time()),
            "source": source,
            "defaults": config,
            "inside_id": facts.inside_id,
            "range": [0, 0],
            "neutralised": unpacked.neutralised,
            "warnings": list(unpacked.warnings),
        }
        version = Version(digest, info)
        place = self.tree(version)
        if not staging.hold(place):
            lines = (ownership.on_disk(line, None) for line in manifest.read(listing))
            ownership.put_on(staging.root, lines)
            self._enter(staging, version, _record(info, facts), progress)
        else:
            there = self.versions()[digest].info
            info.update({key: there[key] for key in ("range", "created", "source")})
            for tree in (f"{place}/root", self.shifted(version, there["range"][0])):
                if os.path.isdir(tree):
                    ownership.give_times(staging.root, tree)
        self._alias(version, source.get("digest", ""))
        return version

    def _enter(self, staging: Staging, version: Version, record: bytes, progress: Progress) -> None:
        """Put the staged tree, which is finished, where the store has ``version``, once it is on the disk."""
        place = self.tree(version)
        write(f"{staging.path}/info.json", json.dumps(version.info, indent=1).encode())
        finished = f"{staging.path}/finished"
        os.mkdir(finished)
        os.chmod(finished, 0o755)  # noqa: S103
        for name in ("root", manifest.NAME, "info.json"):
            os.rename(f"{staging.path}/{name}", f"{finished}/{name}")
        write(f"{finished}/record", record)
        staging.hold(finished)  # the name comes later: until then gc would take it for garbage
        progress("writing to the disk", 0, 0)
        flush(finished)
        with locked(f"{self.path}/trees"):
            if not staging.hold(place):  # another import may have brought the same meanwhile
                if os.path.isdir(place):
                    remove(place)  # left by an interrupted rm: it has no info.json
                os.rename(finished, place)

    def write_record(self, version: Version) -> None:
        """Write the record that logins read, from info.json and the tree."""
        tree = self.tree(version)
        facts = metadata.gather(f"{tree}/root", list(manifest.read(f"{tree}/{manifest.NAME}")))
        self._place(f"trees/{version.hexadecimal}/record", content=_record(version.info, facts))

    def point(
        self,
        reference: str,
        version: Version,
        origin: dict[str, Any] | None = None,
        *,
        instead_of: str | None = None,
    ) -> None:
        """Let ``reference`` mean ``version`` from now on; sessions that run keep what they have.

        origin: where this name's content comes from, if not from where the version's came first.
        instead_of: the digest that the name has to mean still, "" for a name that is new; raises MovedError.
        """
        name = self.check_name(reference)
        about = {key: version.info[key] for key in TOLD if key in version.info}
        content = json.dumps({**(origin or version.info["source"]), **about}).encode()
        with locked(f"{self.path}/names"):
            if instead_of is not None and self.current(reference) != instead_of:
                raise MovedError(reference)
            self._place(name.replace("names/", "origins/", 1), content=content)
            self._place(name, link=f"../trees/{version.hexadecimal}/record")
        flush(f"{self.path}/names")

    def current(self, reference: str) -> str:
        """Return the digest that the name ``reference`` means now, "" for none."""
        try:
            return "sha256:" + _version_of(os.readlink(f"{self.path}/{self.check_name(reference)}"))
        except FileNotFoundError:
            return ""

    @staticmethod
    def check_name(reference: str) -> str:
        """Return the file of a name that an image can be given; raises SessionError, Refusal."""
        if "@" in reference or reference == reader.HOST:
            raise SessionError(
                f"an image cannot be named {reference}", "the word has a meaning of its own", step="image"
            )
        return reader.record_path(reference)

    def unname(self, reference: str) -> None:
        """Forget the name; its version stays until ``gc`` finds that nobody needs it."""
        try:
            name = self.check_name(reference)
            with locked(f"{self.path}/names"):
                os.unlink(f"{self.path}/{name}")
                os.unlink(f"{self.path}/{name.replace('names/', 'origins/', 1)}")
        except FileNotFoundError:
            raise NotFound(f"there is no image {reference}", step="image") from None

    def update_info(self, version: Version) -> None:
        """Write ``version.info`` and the record anew, atomically."""
        content = json.dumps(version.info, indent=1).encode()
        self.write_record(version)
        self._place(f"trees/{version.hexadecimal}/info.json", content=content)

    def _alias(self, version: Version, digest: str) -> None:
        if digest.startswith("sha256:") and digest != version.digest:
            self._place(f"digests/{digest[7:]}", link=f"../trees/{version.hexadecimal}/record")

    def _place(self, name: str, *, content: bytes | None = None, link: str = "") -> None:
        staging = f"{self.path}/staging"
        with locked(staging):
            if content is None:
                atomic.link(f"{self.path}/{name}", link, beside=staging)
            else:
                atomic.write(f"{self.path}/{name}", content, beside=staging)


class _Teller:
    """Adds up bytes for a progress callback."""

    def __init__(self, progress: Progress, what: str, total: int) -> None:
        self._progress, self._what, self._total = progress, what, total
        self._done, self._told = 0, 0

    def __call__(self, size: int) -> None:
        self._done += size
        step = 16 << 20
        if self._done - self._told >= step:
            self._told = self._done
            self._progress(self._what, self._done, self._total)


def _version_of(record: str) -> str:
    """Return the version whose record ``…/trees/HEX/record`` is."""
    return os.path.basename(os.path.dirname(record))


def _record(info: dict[str, Any], facts: metadata.Facts) -> bytes:
    """Return what plan.image reads; raises Refusal for more than it reads."""
    defaults = info["defaults"]
    record = {
        "format": reader.FORMAT,
        "digest": info["digest"],
        "environment": tuple((key, value) for key, value in defaults["environment"]),
        "user": defaults["user"],
        "working_directory": defaults["working_directory"],
        "command": tuple(defaults["command"]),
        "passwd": facts.passwd,
        "group": facts.group,
        "programs": facts.programs,
        "inside_id": facts.inside_id,
        "writable": facts.writable,
        "range": tuple(info["range"]),
    }
    content = marshal.dumps(record, 4)
    if len(content) >= reader.RECORD_LIMIT:
        raise Refusal(
            "the image was refused",
            f"its defaults, its accounts and the names of its directories that everybody may write to"
            f" ({len(facts.writable)}) are more than a login can read",
            step="image",
        )
    return content
