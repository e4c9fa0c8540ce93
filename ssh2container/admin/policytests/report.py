"""Results of policy tests for other programs."""

from __future__ import annotations

from typing import TYPE_CHECKING
from xml.etree import ElementTree as ET

from ssh2container.admin.policytests.running import BROKEN, ERROR
from ssh2container.errors import printable

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ssh2container.admin.policytests.running import Result


def junit(results: Sequence[Result]) -> str:
    """Return the results as JUnit XML, a suite for each user."""
    root = ET.Element("testsuites", name="ssh2container policy tests")
    for user in dict.fromkeys(result.promise.user for result in results):
        own = [result for result in results if result.promise.user == user]
        suite = ET.SubElement(
            root,
            "testsuite",
            name=printable(user),
            tests=str(len(own)),
            failures=str(sum(result.verdict == BROKEN for result in own)),
            errors=str(sum(result.verdict == ERROR for result in own)),
            time=f"{sum(result.seconds for result in own):.3f}",
        )
        for result in own:
            file, _, line = result.promise.place.rpartition(":")
            case = ET.SubElement(
                suite,
                "testcase",
                name=printable(str(result.promise)),
                classname=printable(user),
                file=printable(file),
                line=line,
                time=f"{result.seconds:.3f}",
            )
            if result.verdict == BROKEN:
                ET.SubElement(case, "failure", message=printable(said(result)))
            elif result.verdict == ERROR:
                ET.SubElement(case, "error", message=printable(result.reason))
    ET.indent(root)
    return '<?xml version="1.0" encoding="UTF-8"?>\n' + ET.tostring(root, encoding="unicode") + "\n"


def said(result: Result) -> str:
    """Say why a promise is broken."""
    return result.reason if result.promise.allowed else "it worked"
