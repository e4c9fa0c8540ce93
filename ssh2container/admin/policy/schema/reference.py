"""The reference table and the manual page, from the declarations."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ssh2container.admin.policy.schema.settings import POLICY, SITE
from ssh2container.admin.policy.types.kinds import Entries
from ssh2container.policy.specifiers import MEANING

if TYPE_CHECKING:
    from ssh2container.admin.policy.schema.declaration import Language, Setting

SPECIFIERS_IN = "hostname, home, volumes, devices, tmpfs, access.interactive and access.sftp.start_directory"


def default(setting: Setting) -> str:
    """Return a setting's default as YAML."""
    if isinstance(setting.kind, Entries) and not setting.default:
        return "none"
    if setting.default is None:
        return "none"
    return setting.kind.write(setting.default) or '""'


def allowed(setting: Setting) -> str:
    """Return what a setting takes in this version, in words."""
    if setting.words():
        return " | ".join(setting.kind.write(word) for word in setting.words())
    return setting.kind.allowed


def markdown() -> str:
    """Return docs/policy-reference.md."""
    lines = [
        "# Policy reference",
        "",
        "<!-- Made from the declarations by: ssh2containerctl schema --markdown -->",
        "",
        "Every key of a policy, with its default.",
        "[policy.md](policy.md) explains how files, layers and profiles work together.",
        "A key with a dot is in a map: `access.login` is written `access: {login: true}`.",
        "",
        "Specifiers are replaced in " + SPECIFIERS_IN + ":",
        "",
        *(f"- `%{letter}` {meaning}" for letter, meaning in MEANING.items()),
        "",
    ]
    for language in (POLICY, SITE):
        for title, settings in language.sections.items():
            heading = title if language is POLICY else "config.yaml"
            lines += [f"## {heading}", "", "| key | takes | default | meaning |", "|---|---|---|---|"]
            lines += [_table_row(setting) for setting in settings if setting.supported is not False]
            lines.append("")
            lines += ["```yaml", *_examples(settings), "```", ""]
    later = [key for key, setting in POLICY.settings.items() if setting.supported is False]
    if later:
        lines += [
            "## Not in this version",
            "",
            'These keys are refused with "not supported in this version": '
            + ", ".join(f"`{key}`" for key in later)
            + ".",
            "",
        ]
    return "\n".join(lines)


def _table_row(setting: Setting) -> str:
    cells = (f"`{setting.key}`", _cell(allowed(setting)), f"`{_cell(default(setting))}`", _cell(setting.doc))
    return "| " + " | ".join(cells) + " |"


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")


def _examples(settings: list[Setting]) -> list[str]:
    seen: dict[str, None] = {}
    for setting in settings:
        if setting.supported is not False and setting.supports_example():
            seen[setting.example] = None
    return list(seen)


def manual() -> str:
    """Return the manual page ssh2container.yaml(5) as mdoc-free roff."""
    lines = [
        '.\\" Made by "ssh2containerctl schema --man"; change the declarations instead.',
        '.TH SSH2CONTAINER.YAML 5 "" "ssh2container" "File formats"',
        ".SH NAME",
        "ssh2container.yaml \\- policies of ssh2container",
        ".SH SYNOPSIS",
        *_files(),
        ".SH DESCRIPTION",
        *_paragraphs(_DESCRIPTION),
        ".SH SPECIFIERS",
        "Specifiers are replaced in " + _roff(SPECIFIERS_IN) + ".",
    ]
    for letter, meaning in MEANING.items():
        lines += [".TP", f".B %{letter}", _roff(meaning)]
    for language in (POLICY, SITE):
        lines += _manual_sections(language)
    later = [key for key, setting in POLICY.settings.items() if setting.supported is False]
    if later:
        lines += [".SH NOT IN THIS VERSION", "These keys are refused: " + _roff(", ".join(later)) + "."]
    lines += [
        ".SH SEE ALSO",
        ".BR ssh2container (1),",
        ".BR ssh2containerctl (8),",
        ".BR sshd_config (5)",
        "",
    ]
    return "\n".join(lines)


def _manual_sections(language: Language) -> list[str]:
    lines = [".SH KEYS OF A POLICY" if language is POLICY else ".SH KEYS OF CONFIG.YAML"]
    for title, settings in language.sections.items():
        if language is POLICY:
            lines.append(f".SS {title}")
        for setting in settings:
            if setting.supported is False:
                continue
            lines += [".TP", f".B {_roff(setting.key)}", _roff(setting.doc), ".br"]
            lines += [_roff(f"Takes {allowed(setting)}. Default: {default(setting)}."), ".br"]
            if setting.supports_example():
                lines += [_roff(f"Example: {setting.example}")]
    return lines


def _files() -> list[str]:
    places = ("config", "defaults", "groups/NAME", "users/NAME", "enforced", "profiles/NAME")
    lines = []
    for place in places:
        lines += [f".I /etc/ssh2container/{place}.yaml", ".br"]
    return lines[:-1]


def _paragraphs(text: str) -> list[str]:
    lines: list[str] = []
    for paragraph in text.strip().split("\n\n"):
        lines += [".PP", _roff(" ".join(paragraph.split()))]
    return lines[1:]


def _roff(text: str) -> str:
    escaped = text.replace("\\", "\\e").replace("-", "\\-")
    return "\\&" + escaped if escaped.startswith((".", "'")) else escaped


_DESCRIPTION = """
A policy defines the sessions of a user: which image, which files, which commands. Container settings use
the names of Compose files; login settings use those of sshd_config(5), in snake case.

The policy of a user is merged from defaults.yaml, the files of the user's groups in the order of
group_order in config.yaml, the user's own file, and enforced.yaml, which no other file can loosen. Each
of them may start from profiles, which it names with extends; they apply from left to right, then the file
itself. A user without a file, whose groups have none, is refused unless config.yaml says admit: everybody.

Later files override earlier ones. Maps merge by key, volumes, devices and tmpfs by target, environment and
ulimits by name; other lists grow. A command line and the list of shells are replaced as a whole. The tag
!override before a value replaces what lower layers say, !reset removes it. A single entry needs no list.

All files are UTF-8 without tabs in the indentation, at most 256 KiB, and belong to root, as do all
directories above them; nobody else may write to them. Anchors, aliases, duplicate and unknown keys are
errors. Text that YAML 1.1 takes for something else (no, 22:22, 077) must be quoted.

ssh2containerctl check finds all errors, with their lines. ssh2containerctl show USER prints the merged
policy and where each value comes from.
"""
