"""Writes what of the documents is made from the code; with --check, says what is not up to date."""

from __future__ import annotations

import os
import sys

_HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.dirname(_HERE))
from ssh2container.admin.cli import exits, verbs
from ssh2container.admin.doctor import catalogue
from ssh2container.admin.policy.schema import compose_page, reference


def texts() -> dict[str, str]:
    """Return what each document has to be, by its path below docs/."""
    return {
        "compose.md": compose_page.markdown(),
        "policy-reference.md": reference.markdown(),
        "man/ssh2container.yaml.5": reference.manual(),
        "exit-status.md": exits.markdown(),
        "man/ssh2containerctl.8": _between_marks("man/ssh2containerctl.8"),
        "doctor.md": catalogue.markdown(),
    }


def _between_marks(path: str) -> str:
    """Return the manual page with the verbs that there are, and what they end with, between their marks."""
    with open(f"{_HERE}/{path}", encoding="utf-8") as file:
        page = file.read()
    for what, lines in {"verbs": _verbs(), "statuses": exits.manual()}.items():
        begin, end = f'.\\" {what}: made by docs/make.py\n', f'.\\" end of {what}\n'
        made = begin + "\n".join(lines) + "\n" + end
        before, _, rest = page.partition(begin)
        page = before + made + rest.partition(end)[2]
    return page


def _verbs() -> list[str]:
    lines = []
    found = verbs.found().values()
    for heading in verbs.SECTIONS:
        lines += [".PP", f"{heading}:", ".RS"]
        for verb in found:
            if verb.section == heading:
                name = verb.name.replace("-", "\\-")
                lines += [".TP 14", f".B {name}", verb.help.replace("-", "\\-")]
        lines.append(".RE")
    return lines


def main() -> int:
    """Write or check all of them; return the exit status."""
    stale = []
    for path, text in texts().items():
        place = f"{_HERE}/{path}"
        before = ""
        if os.path.exists(place):
            with open(place, encoding="utf-8") as file:
                before = file.read()
        if text != before:
            stale.append(path)
            if sys.argv[1:] != ["--check"]:
                with open(place, "w", encoding="utf-8") as file:
                    file.write(text)
    for path in stale:
        sys.stdout.write(f"docs/{path}\n")
    return 1 if stale and sys.argv[1:] == ["--check"] else 0


if __name__ == "__main__":
    sys.exit(main())
