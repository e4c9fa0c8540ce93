"""The range of host ids that install.sh sets aside: where, the same on a fleet, and never over another's."""

from __future__ import annotations

import pytest
from support.installation import Installation

FIRST = 1_879_113_728
"""Where it lies when nobody says anything: behind the ids under which images are unpacked."""
UNPACKING = 1_879_048_192
FILES = ("/etc/subuid", "/etc/subgid")


def lines(installation: Installation) -> list[list[str]]:
    """The lines of ours in both files."""
    texts = [installation.machine.run("cat", path).stdout for path in FILES]
    return [[line for line in text.splitlines() if line.startswith("ssh2c")] for text in texts]


def test_the_same_range_on_every_host_unless_another_has_it(bare: Installation) -> None:
    for path in FILES:
        bare.machine.shell(f"sed -i /^ssh2container:/d {path}; echo someone:{FIRST + 65_535}:1 >>{path}")
    bare.install()
    assert lines(bare) == [[f"ssh2container:{FIRST + 65_536}:65536"]] * 2
    before = bare.manifest()
    bare.install()
    assert lines(bare) == [[f"ssh2container:{FIRST + 65_536}:65536"]] * 2
    assert bare.manifest() == before


def test_a_chosen_range_is_checked_against_all_that_the_host_knows(bare: Installation) -> None:
    for path in FILES:
        bare.machine.shell(f"sed -i /^ssh2container:/d {path}")
    bare.machine.shell("echo someone:2000000:65536 >>/etc/subgid; useradd --uid 3000007 lonely")
    for base, whose in ((1_990_000, "someone's range"), (3_000_000, "the user lonely"),
                        (UNPACKING, "images are unpacked")):  # fmt: skip
        done = bare.install(f"--id-base={base}", check=False)
        assert done.returncode == 1
        assert f"cannot set aside ids from {base}" in done.stderr + done.stdout
        assert whose in done.stderr + done.stdout
        assert lines(bare) == [[], []]
    bare.install("--id-base=4000000")
    assert lines(bare) == [["ssh2container:4000000:65536"]] * 2


@pytest.mark.parametrize("word", ["--id-base=", "--id-base=0", "--id-base=70", "--id-base=all"])
def test_what_is_no_id_is_wrong_usage(word: str, bare: Installation) -> None:
    done = bare.install(word, check=False)
    assert done.returncode == 2
    assert "--id-base" in done.stderr


def test_a_range_that_images_are_shifted_to_is_not_exchanged(shared: Installation) -> None:
    before = lines(shared)
    done = shared.install("--id-base=5000000", check=False)
    assert done.returncode == 1
    assert "remove those lines and the images in the range map first" in done.stderr + done.stdout
    assert lines(shared) == before
