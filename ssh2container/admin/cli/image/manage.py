"""``ssh2containerctl image``: the verbs that list, check and remove images."""

from __future__ import annotations

import sys
from typing import Any

import click

from ssh2container.admin.cli import completing, output
from ssh2container.admin.cli.image.format import progress, report_collected, shown_size, shown_time
from ssh2container.admin.cli.image.root import RootCommand
from ssh2container.admin.images import wanted
from ssh2container.admin.images.store.gc import collect
from ssh2container.admin.images.store.store import TOLD, Store, Version
from ssh2container.admin.images.store.verify import problems
from ssh2container.errors import printable


@click.command("list")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def list_(*, as_json: bool) -> None:
    """List the images, and versions that only sessions or policies may still need.

    Exit status: 0 listed.
    """
    store = Store()
    versions = store.versions()
    rows = [(name, versions[digest]) for name, digest in store.names().items() if digest in versions]
    named = {version.digest for _, version in rows}
    rows += [("", version) for digest, version in versions.items() if digest not in named]
    if as_json:
        images = [
            {"name": name or None, **_summary(version), "source": _source(store, name, version)}
            for name, version in rows
        ]
        output.print_report({"images": images})
        return
    columns = ("NAME", "DIGEST", "SIZE", "ENTRIES", "RANGE", "CREATED", "SOURCE")
    output.table(columns, [_row(store, name, version) for name, version in rows])


def _row(store: Store, name: str, version: Version) -> tuple[str, ...]:
    info, origin = version.info, _origin(store, name, version)
    return (
        name or "-",
        version.digest[:19],
        shown_size(info["size"]),
        str(info["entries"]),
        "yes" if info["range"][1] else "no",
        shown_time(info["created"]),
        f"{origin['kind']} {origin['reference']}",
    )


@click.command("info")
@click.argument("name", shell_complete=completing.images)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def info_(name: str, *, as_json: bool) -> None:
    """Show where the image NAME came from and what a session in it gets.

    Exit status: 0 shown, 127 there is no such image.
    """
    store = Store()
    version = store.version(name)
    names = [n for n, digest in store.names().items() if digest == version.digest]
    origin = _origin(store, name, version)
    version.info["warnings"] = version.info.get("warnings", [])
    version.info.update({key: origin.pop(key) for key in TOLD if key in origin})
    version.info["source"] = origin
    if as_json:
        output.print_report({"names": names, **_summary(version), **version.info})
        return
    info = version.info
    defaults = info["defaults"]
    base, count = info["range"]
    rows = [
        ("names", ", ".join(names)),
        ("digest", version.digest),
        ("files", f"{info['entries']} entries, {shown_size(info['size'])}"),
        ("created", shown_time(info["created"])),
        ("source", " ".join(origin[key] for key in ("kind", "reference"))),
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
    for sentence in info["warnings"]:
        click.echo(f"{'warning:':15}{printable(sentence)}")


@click.command("rm", cls=RootCommand)
@click.argument("names", nargs=-1, required=True, metavar="NAME...", shell_complete=completing.images)
@click.option(
    "--force", is_flag=True, help="Also remove a name that a policy uses; its logins are then refused."
)
def rm(names: tuple[str, ...], *, force: bool) -> None:
    """Remove the names NAME...; the files go as soon as no session runs in them.

    Exit status: 0 done, 125 a policy names it and --force is not given, 127 there is no such image.
    """
    store = Store()
    if not force:
        wanted.require_unwanted(names)
    for name in names:
        store.unname(name)
    report_collected(collect(store), quiet=True)


@click.command("gc", cls=RootCommand)
@click.option("--dry-run", is_flag=True, help="Only say what would be removed.")
def gc(*, dry_run: bool) -> None:
    """Remove versions that no name, no policy and no session needs.

    Exit status: 0 done.
    """
    report_collected(collect(Store(), dry_run=dry_run), quiet=False, dry_run=dry_run)


@click.command("verify", cls=RootCommand)
@click.argument("names", nargs=-1, metavar="[NAME...]", shell_complete=completing.images)
@click.option("--repair", is_flag=True, help="Rewrite the records that logins read.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def verify(names: tuple[str, ...], *, repair: bool, as_json: bool) -> None:
    """Compare every file of the images NAME... (default: all) with what was imported.

    Exit status: 0 all are as imported, 1 one has changed, 127 there is no such image.
    """
    store = Store()
    chosen = [store.version(name) for name in names] or list(store.versions().values())
    found = {}
    with progress() as tell:
        for version in chosen:
            if repair:
                store.write_record(version)
            found[version.digest] = list(problems(store, version, tell))
    if as_json:
        output.print_report({"images": [{"digest": d, "problems": p} for d, p in found.items()]})
    else:
        for digest, sentences in found.items():
            click.echo(f"{digest[:19]}: {'as imported' if not sentences else 'CHANGED'}")
            for sentence in sentences:
                click.echo(f"  {printable(sentence)}")
            if sentences:
                named = " ".join(name for name, current in store.names().items() if current == digest)
                verb = f"rm --force {named}" if named else "gc"
                click.echo(f"  to repair it: ssh2containerctl image {verb}, then import it")
    if any(found.values()):
        sys.exit(1)


def _summary(version: Version) -> dict[str, Any]:
    info = version.info
    keys = ("size", "entries", "created", "source", "range", "inside_id")
    return {"digest": version.digest, **{key: info[key] for key in keys}}


def _source(store: Store, name: str, version: Version) -> dict[str, Any]:
    """Return the same, without what the import said."""
    return {key: value for key, value in _origin(store, name, version).items() if key not in TOLD}


def _origin(store: Store, name: str, version: Version) -> dict[str, Any]:
    """Return where this name's content came from, and what its import said; it may have come twice."""
    named = name and "@" not in name and not name.startswith("sha256:")
    return (store.origin(name) if named else {}) or version.info["source"]


VERBS = (list_, info_, rm, gc, verify)
