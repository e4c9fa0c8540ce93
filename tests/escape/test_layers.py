"""Each layer left out in turn: the others hold, and exactly the probes that are its own fail.

This is also the proof that the probes can fail.
"""

from __future__ import annotations

import json
import platform
from collections.abc import Callable

import pytest
from support.users import MakeUser, User
from support.verification import Report, failed, start

Without = Callable[..., Report]

FILTER_ALONE = {
    "open_tree without a copy",
    "TIOCSTI",
    "TIOCSTI with high bits set",
    "TIOCSTI with all high bits set",
    "a system-call filter is loaded",
    "add a key",
    "request a key",
    "keyctl on the session keyring",
    "bpf",
    "perf_event_open",
    "userfaultfd",
    "userfaultfd for user mode",
    "io_uring_setup",
    "io_uring_enter",
    "io_uring_register",
    "kexec_load",
    "kexec_file_load",
    "quotactl",
    "modify_ldt",
    "mbind",
    "set_mempolicy",
    "migrate_pages",
    "lookup_dcookie",
    "uselib",
    "personality without address randomisation",
    "personality with executable data",
    "personality with high bits",
    "socket pair of family ALG",
    "pidfd_getfd",
    "process_madvise",
    "name_to_handle_at",
    "x32 numbers are refused",
    "int 0x80 is ended",
    "fsconfig",
    "no line discipline with a history of holes",
    "a crash starts no core handler after the limit was lowered",
    "the core limit is not exchanged for the former one",
    "io_setup",
    "openat2",
    "what of /usr is in memory",
    "a connection holds little memory",
}
"""What the kernel gives any process unless a filter says no; which of them depends on its configuration."""
FILTER_ALWAYS = {
    "a system-call filter is loaded",
    "add a key",
    "keyctl on the session keyring",
    "open_tree without a copy",
    "personality without address randomisation",
    "pidfd_getfd",
    "netlink generic",
    "a set-ID bit by chmod",
    "a file with a set-ID bit by openat",
    "a crash starts no core handler after the limit was lowered",
    "io_setup",
    "openat2",
}
"""Those of them that every kernel has."""
KINDS = ("socket family ", "netlink ", "a set-ID bit by ", "a file with a set-ID bit by ")


def test_nothing_left_out_nothing_fails(without: Without) -> None:
    assert failed(without()) == set()


def test_without_the_filter_the_kernel_still_refuses_every_escape(without: Without) -> None:
    """Mounts, namespaces, devices, other processes and rights stay closed: only surface opens."""
    found = failed(without("LoadFilter"))
    assert {name for name in found - FILTER_ALONE if not name.startswith(KINDS)} <= {
        "SCTP",
        "DCCP",
        "SOCK_PACKET",
    }
    assert found >= FILTER_ALWAYS


ONE = {
    "ForbidNestedNamespaces": {"the second lock on user namespaces"},
    "DropBoundingSet": {"CapBnd is empty", "the bounding set is empty by the kernel's own word"},
    "LockSecurebits": {"the securebits are set and locked"},
    "SetCapabilities": {
        "CapPrm is empty",
        "CapEff is empty",
        "no capability can be raised",
        "give a file capabilities",
        "raw IPv4 socket",
        "raw IPv6 socket",
        "raw socket with flags and high bits",
        "write /proc/1/timerslack_ns",
        "change the flags of the interface",
        "change the size of the interface's packets",
        "give the interface another link address",
        "add a route",
        "make an interface by netlink",
        "add an address by netlink",
        "add a route by netlink",
        "add a neighbour by netlink",
        "send from any IPv4 address",
        "send from any IPv6 address",
        "IPv6 hop-by-hop options",
        "IPv6 destination options",
    },
    "RestrictFiles": {"Landlock stands where modes would yield"},
    "SetHostname": {"the host's name is not the session's"},
    "NumberProcesses": set(),
    "SetLimit": {
        "a crash leaves no core",
        "a crash starts no core handler after the limit was lowered",
        "a fork bomb ends with EAGAIN",
    },
    "LimitUser": set(),
    "NewSessionKeyring": set(),
    "LoopbackUp": {"a connection holds little memory"},
    "LimitBuffers": {"a connection holds little memory"},
}
"""Operation -> what fails without it, all else being there."""


@pytest.mark.parametrize("operation", sorted(ONE))
def test_without_one_layer_its_own_probes_fail_and_no_others(without: Without, operation: str) -> None:
    expected = set(ONE[operation])
    report = without(operation)
    if report.get("Landlock stands where modes would yield", {}).get("result") == "weak pass":
        expected.discard("Landlock stands where modes would yield")
    assert failed(report) == expected


def test_without_read_only_proc_modes_still_refuse_what_matters(without: Without) -> None:
    found = failed(without("ProtectProc"))
    assert found >= {"/proc/sys is read-only", "write to any of /proc/sys"}
    assert found <= {
        "write to any of /proc/sys",
        *(f"/proc/{name} is read-only" for name in ("bus", "fs", "irq", "sys")),
    }


@pytest.mark.parametrize(
    ("operation", "least"), [("MaskFile", "/proc/keys is masked"), ("MaskDirectory", "")]
)
def test_without_masks_the_masks_are_missed(without: Without, operation: str, least: str) -> None:
    found = failed(without(operation))
    assert all(name.startswith("/proc/") and name.endswith(" is masked") for name in found), found
    assert not least or least in found


def test_a_pid_1_that_can_be_traced_is_still_behind_landlock(without: Without) -> None:
    """Landlock lets nobody trace out of his domain; lists of names open, and files of no consequence."""
    report = without("HideFromTracers")
    if report["Landlock stands where modes would yield"]["result"] == "weak pass":
        pytest.skip("this kernel has no Landlock")
    own = {"list and open /proc/1/fd", "open /proc/1/map_files"}
    found = failed(report)
    assert found >= own
    assert all(name.startswith("write /proc/1/") for name in found - own)


def test_without_both_pid_1_is_open(without: Without) -> None:
    found = failed(without("HideFromTracers", "RestrictFiles"))
    assert found >= {"readlink /proc/1/root", "open /proc/1/mem", "open the mnt namespace of pid 1"}


def test_nested_namespaces_need_both_locks_open(without: Without) -> None:
    found = failed(without("LoadFilter", "ForbidNestedNamespaces"))
    assert found >= {
        "unshare a user namespace",
        "clone into a user namespace",
        "clone3 into a user namespace",
    }


def test_the_callers_keys_need_both_locks_open(without: Without) -> None:
    name = "read a key of the caller's session keyring"
    report = without("LoadFilter", "NewSessionKeyring")
    if report[name]["result"] == "weak pass":
        pytest.skip("this kernel has no keyrings")
    assert name in failed(report)


def test_a_shared_root_does_not_propagate(without: Without) -> None:
    """As systemd makes it: every mount of the host shared."""
    shared = ("unshare", "--mount", "--propagation", "shared")
    assert failed(without(before=shared)) == set()
    assert failed(without("MakeMountsPrivate", before=shared)) == {"no mount receives or gives propagation"}


@pytest.mark.parametrize("operation", ["NoNewPrivileges", "MapOwnIds"])
def test_without_what_others_stand_on_there_is_no_session(user: User, operation: str) -> None:
    """Fail closed: the next step that needs it ends the session, and says so."""
    done = start(user, "exit", operation)
    assert done.status == 125
    assert done.out.startswith(b'{"error"'), done


def test_without_the_volume_that_a_policy_names_there_is_no_session(
    make_user: MakeUser, host_directory: Callable[[User], str]
) -> None:
    """What is written must not land in memory, nor in what the image has there."""
    user = make_user("image: host\nhome: {source: /srv/s2c-%u}\n")
    host_directory(user)
    done = start(user, "exit", "OpenVolume")
    assert done.status == 125, done
    assert done.out.startswith(b'{"error"'), done


def test_rights_need_every_lock_open(without: Without) -> None:
    """With all capabilities kept, the filter alone still refuses mounts, namespaces and devices."""
    found = failed(without("SetCapabilities", "DropBoundingSet", "LockSecurebits"))
    assert found == ONE["SetCapabilities"] | ONE["DropBoundingSet"] | ONE["LockSecurebits"]


@pytest.mark.skipif(platform.machine() != "x86_64", reason="only x86 has a 32-bit gate")
def test_the_32_bit_gate_is_open_without_the_filter(without: Without) -> None:
    report = without("LoadFilter")
    row = report["int 0x80 is ended"]
    assert row["result"] in ("fail", "skipped", "weak pass")
    assert row["result"] != "fail" or "answered" in row["detail"]


def test_without_a_root_of_its_own_the_session_sees_the_host(without: Without) -> None:
    """Reading is what only the root keeps from the host: Landlock and modes still refuse to write."""
    found = failed(without("PivotRoot"))
    assert found >= {
        "only the session's processes are listed",
        "every mount is nosuid",
        "nothing of the host at /etc/ssh2container",
        "accounts of the host are not listed",
        "files of the user in the host's shared directories are absent",
    }
    assert not {
        name for name in found if name.startswith(("write to /etc", "write to /usr", "setns", "unshare"))
    }


def test_on_the_hosts_network_landlock_keeps_abstract_sockets(make_user: MakeUser) -> None:
    """From ABI 6; without it the policy's key is named."""
    user = make_user("image: host\nnetwork_mode: host\n")
    name = "connect to the host's abstract socket"
    results = []
    for left_out in ([], ["RestrictReach"]):
        rows = [json.loads(line) for line in start(user, "probes", *left_out).out.splitlines()]
        (row,) = (row for row in rows if row["name"] == name)
        results.append((row["result"], row["key"]))
    assert results[1] == ("expected-by-policy", "network_mode")
    assert results[0] in (("pass", ""), results[1]), "a kernel of an older ABI has no scopes"
