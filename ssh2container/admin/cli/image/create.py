"""``ssh2containerctl image``: the verbs that make images."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import TypeVar

import click

from ssh2container.admin.accounts import trees
from ssh2container.admin.cli import completing
from ssh2container.admin.cli.image.format import progress, report_collected, say
from ssh2container.admin.cli.image.root import RootCommand
from ssh2container.admin.images import update
from ssh2container.admin.images.edit import edit
from ssh2container.admin.images.import_ import bring
from ssh2container.admin.images.sources import bootstrap, host_tools
from ssh2container.admin.images.sources.choose import choose, kinds
from ssh2container.admin.images.sources.source import Source
from ssh2container.admin.images.store import gc, shift, shown
from ssh2container.admin.images.store.store import Store
from ssh2container.admin.images.tools import transfers
from ssh2container.admin.images.unpack.rules import Limits
from ssh2container.admin.policy.compile.build import policies
from ssh2container.errors import printable
from ssh2container.policy.store import STANDARD

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
            self.fail(f"{value} is not a size; write 512m or 32g", param, ctx)
        return int(number) * (unit or 1)


_LIMITS = [
    click.option("--max-size", type=_Bytes(), default=Limits().size, metavar="SIZE",
                 help="Refuse an image whose files hold more (default 32g)."),
    click.option("--max-entries", type=click.IntRange(1), default=Limits().entries, show_default=True,
                 help="Refuse an image with more files and directories."),
    click.option("--range/--no-range", "range_", default=False,
                 help="Also make the tree for a range of ids, even if no policy needs it yet."),
]  # fmt: skip


_Function = TypeVar("_Function", bound=Callable[..., object])


def _with_limits(function: _Function) -> _Function:
    for option in reversed(_LIMITS):
        function = option(function)
    return function


@click.command(
    "import",
    cls=RootCommand,
    short_help="Import SOURCE as the image NAME.",
    help=f"""Import SOURCE as the image NAME.

    SOURCE is {kinds()}. NAME may be a digest: oci:DIR@sha256:DIGEST.

    Exit status: 0 imported, 125 it could not be.
    """,
)
@click.argument("name", shell_complete=completing.images)
@click.argument("origin", metavar="SOURCE")
@click.option("--authfile", type=click.Path(dir_okay=False), help="Credentials for the registry.")
@click.option("--partition", type=int, default=0, help="Of a disk image, take this partition.")
@click.option("--inside", default="", metavar="PATH", help="Of an ISO, take this squashfs.")
@click.option("--insecure", is_flag=True, help="Accept plain http and unknown certificates.")
@click.option(
    "--platform",
    "--arch",
    default="",
    metavar="OS/ARCH[/VARIANT]",
    help="Take the image for these machines, as in linux/arm64 (default: this one).",
)
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
    platform: str,
    range_: bool,
) -> None:
    """See its ``help``."""
    source = choose(
        origin, authfile=authfile, insecure=insecure, partition=partition, inside=inside, platform=platform
    )
    _bring(name, source, Limits(max_size, max_entries), range_=range_)


def _bring(name: str, source: Source, limits: Limits, *, range_: bool) -> None:
    store = Store()
    with progress() as tell:
        version = bring(store, name, source, limits, tell)
        if range_:
            version = shift.ensure(store, version, tell)
        _prepare(store, name)
    say(name, version)


def _prepare(store: Store, *names: str) -> None:
    """Make what policies need of the images ``names`` beside their files."""
    for sentence in trees.prepare_all(store, policies(STANDARD), names):
        click.echo(f"done: {sentence}")
    shifted = (store.version(name).info["range"][1] for name in names)
    if any(shifted) and shown.show(store):
        click.echo("done: show the images under the ids that sessions of userns_mode: range share")


@click.command("bootstrap", cls=RootCommand)
@click.argument("distribution", metavar="DISTRIBUTION:SUITE")
@click.option("--name", help="The image's name (default DISTRIBUTION:SUITE).")
@click.option("--include", multiple=True, metavar="PACKAGE", help="Also install this package.")
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
    """Make an image from a distribution's own packages, such as debian:bookworm or ubuntu:noble.

    Exit status: 0 made, 127 no such distribution is known.
    """
    packages = tuple(word for given in include for word in given.split(",") if word)
    source = bootstrap.Bootstrap(distribution, include=packages, variant=variant, mirror=mirror)
    _bring(name or distribution, source, Limits(max_size, max_entries), range_=range_)


@click.command("build", cls=RootCommand)
@click.argument("what", type=click.Choice(["host-tools"]))
@click.option("--name", default="host-tools", show_default=True, help="The image's name.")
@click.option(
    "--with", "extra", multiple=True, metavar="PROGRAM", help="Also include this program, file or directory."
)
@click.option("--only", is_flag=True, help="Only the programs given by --with.")
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
    """Make an image from this host's own programs and what they need (20 to 25 MB).

    Exit status: 0 made, 127 this host has no such PROGRAM.
    """
    del what
    source = host_tools.HostTools(extra, only=only)
    _bring(name, source, Limits(max_size, max_entries), range_=range_)


@click.command("update", cls=RootCommand)
@click.argument("names", nargs=-1, metavar="[NAME...]", shell_complete=completing.images)
@click.option(
    "--all", "everything", is_flag=True, help="All images that came from a registry or were built here."
)
@click.option("--gc/--no-gc", "collect_", default=True, help="Remove old versions that nobody needs.")
def update_(names: tuple[str, ...], *, everything: bool, collect_: bool) -> None:
    """Rebuild the images NAME... from where they came from; running sessions keep theirs.

    Exit status: 0 done, 1 one failed, or a NAME cannot be updated, 127 there is no such image.
    """
    store = Store()
    if bool(names) == everything:
        raise click.UsageError("give names, or --all")
    with progress() as tell:
        chosen = names or update.updatable(store)
        outcomes = [update.update(store, name, tell) for name in chosen]
        for sentence in trees.prepare_all(store, policies(STANDARD), chosen):
            click.echo(f"done: {sentence}")
    for outcome in outcomes:
        click.echo(f"{outcome.name}: {outcome.outcome}: {outcome.detail}")
    if transfers.refresh():
        click.echo("the transfer programs of this host have changed and were rebuilt")
    if collect_:
        report_collected(gc.collect(store), quiet=True)
    if any(
        outcome.outcome == "failed" or (names and outcome.outcome == "not updatable") for outcome in outcomes
    ):
        sys.exit(1)


@click.command("range", cls=RootCommand)
@click.argument("names", nargs=-1, required=True, metavar="NAME...", shell_complete=completing.images)
def range_(names: tuple[str, ...]) -> None:
    """Make the trees of the images NAME... for sessions with a range of ids (each takes the size again).

    Exit status: 0 made, 127 there is no such image.
    """
    store = Store()
    with progress() as tell:
        for name in names:
            shift.ensure(store, store.version(name), tell)
        _prepare(store, *names)


@click.command("edit", cls=RootCommand)
@click.argument("name", shell_complete=completing.images)
@click.argument("words", nargs=-1, metavar="[-- CMD...]")
@click.option(
    "--as",
    "result",
    metavar="NAME",
    shell_complete=completing.images,
    help="Give the result this name (default: the same).",
)
@click.option("--no-network", is_flag=True, help="Do not share the host's network.")
@click.option("--yes", is_flag=True, help="Keep the changes without asking, if the status is 0.")
def edit_(name: str, words: tuple[str, ...], *, result: str | None, no_network: bool, yes: bool) -> None:
    """Change the image NAME in a root shell, or by CMD, and keep the result as its new version.

    The shell runs in a container on a copy of the image; root inside is nobody on the host. Running
    sessions keep the old version. Without a terminal, changes are kept only with --yes.

    If the name has moved to another version in the meantime, the result is kept beside it, under a name that
    is printed.

    Exit status: that of the shell or of CMD where nothing is kept; 0 kept, or nothing was changed, 1 changes
    were not kept, or not under the name, 127 there is no such image, or no CMD inside.
    """

    def decide(status: int, changes: list[str]) -> str:
        for sentence in changes[:_CHANGES_SHOWN]:
            click.echo(f"  {printable(sentence)}")
        click.echo(f"{len(changes)} changes; the status was {status}")
        if yes or not sys.stdin.isatty():
            if status:
                return f"the status was {status}"
            return "" if yes else "without a terminal, only --yes keeps changes"
        return "" if click.confirm(f"Keep them as {result or name}?") else "you declined"

    store = Store()
    work = edit.Work(words, network=not no_network, name=result or name)
    done = edit.edit(store, name, work, decide, lambda *_: None)
    if done.version is None:
        click.echo(f"nothing was kept: {printable(done.why)}")
        sys.exit(done.status or (0 if done.why == edit.UNCHANGED else 1))
    _prepare(store, done.name)
    say(done.name, done.version)
    if done.name != work.name:
        click.echo(f"{work.name} has moved to another version in the meantime: this is {done.name}", err=True)
        sys.exit(1)


VERBS = (import_, bootstrap_, build, update_, range_, edit_)
