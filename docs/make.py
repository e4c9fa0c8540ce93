"""Writes what of the documents is made from the code; with --check, says what is not up to date."""

from __future__ import annotations

import os
import re
import sys

_HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.dirname(_HERE))
from ssh2container.admin.cli import verbs
from ssh2container.admin.doctor import catalogue
from ssh2container.admin.policy.schema import compose_page, reference

_BEGIN, _END = '.\\" verbs: made by docs/make.py\n', '.\\" end of verbs\n'


def texts() -> dict[str, str]:
    """Return what each document has to be, by its path below docs/."""
    return {
        "compose.md": compose_page.markdown(),
        "policy-reference.md": reference.markdown(),
        "man/ssh2container.yaml.5": reference.manual(),
        "man/ssh2containerctl.8": _with_verbs("man/ssh2containerctl.8"),
        "doctor.md": catalogue.markdown(),
    }


def _with_verbs(path: str) -> str:
    """Return the manual page with the list of verbs that there are, between its two marks."""
    with open(f"{_HERE}/{path}", encoding="utf-8") as file:
        page = file.read()
    lines = []
    found = verbs.found().values()
    for heading in verbs.SECTIONS:
        lines += [".PP", f"{heading}:", ".RS"]
        for verb in found:
            if verb.section == heading:
                name = verb.name.replace("-", "\\-")
                lines += [".TP 14", f".B {name}", verb.help.replace("-", "\\-")]
        lines.append(".RE")
    made = _BEGIN + "\n".join(lines) + "\n" + _END
    return re.sub(re.escape(_BEGIN) + ".*?" + re.escape(_END), lambda _: made, page, count=1, flags=re.DOTALL)


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
