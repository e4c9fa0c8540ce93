"""``ssh2containerctl image``: the images that sessions run in."""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

import click
from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from ssh2container.admin.cli import completing, output
from ssh2container.admin.images import check, collect, edit, importing, shifting, transfers, update
from ssh2container.admin.images.safety import Limits
from ssh2container.admin.images.sources import bootstrap, host_tools
from ssh2container.admin.images.sources.choose import choose
from ssh2container.admin.images.sources.source import Source
from ssh2container.admin.images.store import Store, Version
from ssh2container.errors import printable

_SHOWN = 3
_CHANGES_SHOWN = 30
_UNITS = {"k": 1 << 10, "m": 1 << 20, "g": 1 << 30, "t": 1 << 40}


class _Bytes(click.ParamType):
    """Compose's byte values: ``512m``, ``32g``."""

    name = "SIZE"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> int:
        if isinstance(value, int):
            return value
        text = str(value).lower().removesuffix("b")
        unit = _UNITS.get(text[-1:], 0)
        number = text[:-1] if unit else text
        if not number.isdecimal():
            self.fail(f"{value} is no size; write 512m or 32g", param, ctx)
        return int(number) * (unit or 1)


@click.group(name="image", short_help="Import, list, check and remove images.")
def command() -> None:
    """Images: what the root of a session is made of."""


@contextlib.contextmanager
def _progress() -> Iterator[Callable[[str, int, int], None]]:
    """Give a progress callback; a bar on a terminal, nothing elsewhere."""
    console = Console(stderr=True)
    if not console.is_terminal:
        yield lambda _what, _done, _total: None
        return
    columns = (
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(),
        DownloadColumn(),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=console, transient=True) as bars:
        task = bars.add_task("starting", total=None)

        def tell(what: str, done: int, total: int) -> None:
            bars.update(task, description=printable(what), completed=done, total=total or None)

        yield tell


_limits = [
    click.option("--max-size", type=_Bytes(), default=Limits().size, metavar="SIZE",
                 help="Refuse an image whose files hold more (default 32g)."),
    click.option("--max-entries", type=click.IntRange(1), default=Limits().entries, show_default=True,
                 help="Refuse an image with more files and directories."),
    click.option("--range/--no-range", "range_", default=False,
                 help="Also make the tree for userns_mode: range (takes the image's size again)."),
]  # fmt: skip


_Function = TypeVar("_Function", bound=Callable[..., object])


def _with_limits(function: _Function) -> _Function:
    for option in reversed(_limits):
        function = option(function)
    return function


def _say(name: str, version: Version) -> None:
    info = version.info
    click.echo(f"{name} is {version.digest[:19]}: {info['entries']} entries, {_size(info['size'])}")
    for what, members in info["neutralised"].items():
        shown = ", ".join(printable(member) for member in members[:_SHOWN])
        click.echo(f"  {printable(what)}: {shown}{', …' if len(members) > _SHOWN else ''}")


@command.command("import")
@click.argument("name")
@click.argument("origin", metavar="SOURCE")
@click.option("--authfile", type=click.Path(dir_okay=False), help="Credentials for the registry.")
@click.option("--partition", type=int, default=0, help="Of a disk image, take this partition.")
@click.option("--inside", default="", metavar="PATH", help="Of an ISO, take this squashfs.")
@click.option("--insecure", is_flag=True, help="Accept plain http and unknown certificates.")
@_with_limits
def import_(
    name: str,
    origin: str,
    *,
    authfile: str | None,
    partition: int,
    inside: str,
    max_size: int,
    max_entries: int,
    insecure: bool,
    range_: bool,
) -> None:
    """Import SOURCE as the image NAME.

    SOURCE is a directory, a tar or cpio archive (gzip, bzip2, xz, zstd, lz4), oci:DIR[:TAG],
    docker-archive:FILE, docker://[HOST/]NAME[:TAG][@sha256:DIGEST], a disk image (raw, qcow2, vmdk,
    vdi, vhdx; partitions, LVM; ext, xfs, btrfs, squashfs) or an ISO.
    """
    source = choose(origin, authfile=authfile, insecure=insecure, partition=partition, inside=inside)
    _bring(name, source, Limits(max_size, max_entries), range_=range_)


def _bring(name: str, source: Source, limits: Limits, *, range_: bool) -> None:
    store = Store()
    with _progress() as tell:
        version = importing.bring(store, name, source, limits, tell)
        if range_:
            version = shifting.ensure(store, version, tell)
    _say(name, version)


@command.command("bootstrap")
@click.argument("distribution", metavar="DISTRIBUTION:SUITE")
@click.option("--name", help="The image's name (default DISTRIBUTION:SUITE).")
@click.option("--include", multiple=True, metavar="PACKAGE", help="Install this package too.")
@click.option("--variant", type=click.Choice(bootstrap.VARIANTS), default="minbase", show_default=True)
@click.option("--mirror", default="", metavar="URL", help="Where the packages come from.")
@_with_limits
def bootstrap_(
    distribution: str,
    *,
    name: str | None,
    include: tuple[str, ...],
    variant: str,
    mirror: str,
    max_size: int,
    max_entries: int,
    range_: bool,
) -> None:
    """Make an image of a distribution's own packages, as in debian:bookworm or ubuntu:noble."""
    packages = tuple(word for given in include for word in given.split(",") if word)
    source = bootstrap.Bootstrap(distribution, include=packages, variant=variant, mirror=mirror)
    _bring(name or distribution, source, Limits(max_size, max_entries), range_=range_)


@command.command("build")
@click.argument("what", type=click.Choice(["host-tools"]))
@click.option("--name", default="host-tools", show_default=True, help="The image's name.")
@click.option(
    "--with", "extra", multiple=True, metavar="PROGRAM", help="This program, file or directory too."
)
@click.option("--only", is_flag=True, help="Nothing but the programs of --with.")
@_with_limits
def build(
    what: str,
    *,
    name: str,
    extra: tuple[str, ...],
    only: bool,
    max_size: int,
    max_entries: int,
    range_: bool,
) -> None:
    """Make an image of this host's own programs with all that they need (about 20 MB)."""
    del what
    source = host_tools.HostTools(extra, only=only)
    _bring(name, source, Limits(max_size, max_entries), range_=range_)


@command.command("update")
@click.argument("names", nargs=-1, metavar="[NAME...]", shell_complete=completing.images)
@click.option("--all", "everything", is_flag=True, help="All that came from a registry or were built here.")
@click.option("--gc/--no-gc", "collect_", default=True, help="Remove old versions that nobody needs.")
def update_(names: tuple[str, ...], *, everything: bool, collect_: bool) -> None:
    """Make the images NAME... anew from where they came from; sessions that run keep theirs."""
    store = Store()
    if bool(names) == everything:
        raise click.UsageError("give names, or --all")
    with _progress() as tell:
        chosen = names or update.updatable(store)
        outcomes = [update.update(store, name, Limits(), tell) for name in chosen]
    for outcome in outcomes:
        click.echo(f"{outcome.name}: {outcome.outcome}: {outcome.detail}")
    if transfers.refresh():
        click.echo("the transfer programs of this host have changed: taken over")
    if collect_:
        _report_collected(collect.collect(store), quiet=True)
    if any(
        outcome.outcome == "failed" or (names and outcome.outcome == "not updatable") for outcome in outcomes
    ):
        sys.exit(1)


@command.command("range")
@click.argument("names", nargs=-1, required=True, metavar="NAME...", shell_complete=completing.images)
def range_(names: tuple[str, ...]) -> None:
    """Make the trees for userns_mode: range of the images NAME... (each takes its size again)."""
    store = Store()
    with _progress() as tell:
        for name in names:
            shifting.ensure(store, store.version(name), tell)


@command.command("edit")
@click.argument("name", shell_complete=completing.images)
@click.argument("words", nargs=-1, metavar="[-- CMD...]")
@click.option("--as", "result", metavar="NAME", help="Give the result this name (default: the same).")
@click.option("--no-network", is_flag=True, help="Without the host's network.")
@click.option("--yes", is_flag=True, help="Keep the changes without a question, if the status is 0.")
def edit_(name: str, words: tuple[str, ...], *, result: str | None, no_network: bool, yes: bool) -> None:
    """Change the image NAME in a root shell, or by CMD, and keep the result as its new version.

    The shell runs in a container on a copy of the image; root inside is nobody on the host. Sessions
    that run keep the old version. Without a terminal the changes are kept only with --yes.
    """

    def decide(status: int, changes: list[str]) -> bool:
        for sentence in changes[:_CHANGES_SHOWN]:
            click.echo(f"  {printable(sentence)}")
        click.echo(f"{len(changes)} changes; the status was {status}")
        if yes or not sys.stdin.isatty():
            return yes and status == 0
        return click.confirm(f"Keep them as {result or name}?")

    store = Store()
    work = edit.Work(words, network=not no_network, name=result or name)
    version = edit.edit(store, name, work, decide, lambda *_: None)
    if version is None:
        click.echo("nothing was kept")
        sys.exit(1)
    _say(result or name, version)


@command.command("list")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def list_(*, as_json: bool) -> None:
    """List the images, and versions that only sessions or policies may still need."""
    store = Store()
    versions = store.versions()
    rows = [(name, versions[digest]) for name, digest in store.names().items() if digest in versions]
    named = {version.digest for _, version in rows}
    rows += [("", version) for digest, version in versions.items() if digest not in named]
    if as_json:
        images = [
            {"name": name or None, **_summary(version), "source": _origin(store, name, version)}
            for name, version in rows
        ]
        output.print_json({"images": images})
        return
    columns = ("NAME", "DIGEST", "SIZE", "ENTRIES", "RANGE", "CREATED", "SOURCE")
    output.table(columns, [_row(store, name, version) for name, version in rows])


def _row(store: Store, name: str, version: Version) -> tuple[str, ...]:
    info, origin = version.info, _origin(store, name, version)
    return (
        name or "-",
        version.digest[:19],
        _size(info["size"]),
        str(info["entries"]),
        "yes" if info["range"][1] else "no",
        _time(info["created"]),
        f"{origin['kind']} {origin['reference']}",
    )


@command.command("info")
@click.argument("name", shell_complete=completing.images)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def info_(name: str, *, as_json: bool) -> None:
    """Show where the image NAME came from and what a session in it gets."""
    store = Store()
    version = store.version(name)
    names = [n for n, digest in store.names().items() if digest == version.digest]
    version.info["source"] = _origin(store, name, version)
    if as_json:
        output.print_json({"names": names, **_summary(version), **version.info})
        return
    info = version.info
    defaults = info["defaults"]
    base, count = info["range"]
    rows = [
        ("names", ", ".join(names)),
        ("digest", version.digest),
        ("files", f"{info['entries']} entries, {_size(info['size'])}"),
        ("created", _time(info["created"])),
        ("source", " ".join(_origin(store, name, version)[key] for key in ("kind", "reference"))),
        ("source digest", info["source"]["digest"] or "-"),
        ("tree", store.tree(version) + "/root"),
        ("range tree", f"ids {base}-{base + count - 1}, user at {info['inside_id']}" if count else "-"),
        ("environment", " ".join(f"{key}={value}" for key, value in defaults["environment"]) or "-"),
        ("user", defaults["user"] or "-"),
        ("directory", defaults["working_directory"] or "-"),
        ("command", " ".join(defaults["command"]) or "-"),
    ]
    for label, text in rows:
        click.echo(f"{label + ':':15}{printable(text)}")
    for what, members in info["neutralised"].items():
        click.echo(f"{'neutralised:':15}{printable(what)}: {printable(', '.join(members))}")


@command.command("rm")
@click.argument("names", nargs=-1, required=True, metavar="NAME...", shell_complete=completing.images)
def rm(names: tuple[str, ...]) -> None:
    """Forget the images NAME...; their files go as soon as no session runs in them."""
    store = Store()
    for name in names:
        store.unname(name)
    _report_collected(collect.collect(store), quiet=True)


@command.command("gc")
@click.option("--dry-run", is_flag=True, help="Only say what would go.")
def gc(*, dry_run: bool) -> None:
    """Remove versions that no name, no policy and no session needs."""
    _report_collected(collect.collect(Store(), dry_run=dry_run), quiet=False, dry_run=dry_run)


def _report_collected(fates: list[collect.Fate], *, quiet: bool, dry_run: bool = False) -> None:
    gone = [fate for fate in fates if not fate.kept]
    verb = "would remove" if dry_run else "removed"
    for fate in fates:
        if not fate.kept:
            click.echo(f"{verb} {fate.version.digest[:19]}, {_size(fate.size)}")
        elif "session" in fate.kept:
            click.echo(f"kept {fate.version.digest[:19]}: {fate.kept}")
    if not quiet and not gone:
        click.echo("nothing to remove")


@command.command("verify")
@click.argument("names", nargs=-1, metavar="[NAME...]", shell_complete=completing.images)
@click.option("--repair", is_flag=True, help="Write the records that logins read anew.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def verify(names: tuple[str, ...], *, repair: bool, as_json: bool) -> None:
    """Compare every file of the images (all without NAME) with what was imported."""
    store = Store()
    chosen = [store.version(name) for name in names] or list(store.versions().values())
    found = {}
    with _progress() as tell:
        for version in chosen:
            if repair:
                store.write_record(version)
            found[version.digest] = list(check.problems(store, version, tell))
    if as_json:
        output.print_json({"images": [{"digest": d, "problems": p} for d, p in found.items()]})
    else:
        for digest, sentences in found.items():
            click.echo(f"{digest[:19]}: {'as imported' if not sentences else 'CHANGED'}")
            for sentence in sentences:
                click.echo(f"  {printable(sentence)}")
    if any(found.values()):
        sys.exit(1)


def _summary(version: Version) -> dict[str, Any]:
    info = version.info
    keys = ("size", "entries", "created", "source", "range", "inside_id")
    return {"digest": version.digest, **{key: info[key] for key in keys}}


def _origin(store: Store, name: str, version: Version) -> dict[str, Any]:
    """Return where this name's content came from: the same content may have come twice."""
    named = name and "@" not in name and not name.startswith("sha256:")
    return (store.origin(name) if named else {}) or version.info["source"]


def _size(count: int) -> str:
    for unit in ("B", "KiB", "MiB", "GiB"):
        if count < 1 << 10 or unit == "GiB":
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count = count / (1 << 10)  # type: ignore[assignment]
    raise AssertionError(count)


def _time(seconds: int) -> str:
    return time.strftime("%Y-%m-%d %H:%M", time.localtime(seconds))
