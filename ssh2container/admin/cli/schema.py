"""``ssh2containerctl schema``."""

from __future__ import annotations

import click

from ssh2container.admin.cli import output
from ssh2container.admin.policy.schema import json_schema, reference
from ssh2container.admin.policy.schema.settings import POLICY, SITE

SECTION = "Policies"


@click.command("schema", short_help="Print the JSON Schema of a policy, for editors.")
@click.option("--site", is_flag=True, help="The schema of config.yaml.")
@click.option("--markdown", "form", flag_value="markdown", help="The reference table instead.")
@click.option("--man", "form", flag_value="man", help="The manual page ssh2container.yaml(5) instead.")
def command(form: str | None, *, site: bool) -> None:
    """Print the JSON Schema of a policy.

    Editors find it by the line:

    # yaml-language-server: $schema=/usr/share/ssh2container/policy.schema.json

    Exit status: 0 printed.
    """
    if form == "markdown":
        click.echo(reference.markdown(), nl=False)
    elif form == "man":
        click.echo(reference.manual(), nl=False)
    else:
        output.print_json(json_schema.schema(SITE if site else POLICY))
