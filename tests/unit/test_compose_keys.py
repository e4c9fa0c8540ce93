"""Every key of Compose's service specification has an answer, and the same one everywhere."""

from __future__ import annotations

import json
import re

import pytest
import yaml
from support.policies import policy, problems

from ssh2container.admin.policy.schema import compose_page
from ssh2container.admin.policy.schema.compose import ACCEPTED, NO, OTHER, SERVICE, TOP, YES
from ssh2container.admin.policy.schema.foreign import elsewhere
from ssh2container.admin.policy.schema.json_schema import schema
from ssh2container.admin.policy.schema.settings import POLICY

# The properties of "service" in schema/compose-spec.json of the Compose Specification.
SPECIFIED = {
    "annotations", "attach", "blkio_config", "build", "cap_add", "cap_drop", "cgroup", "cgroup_parent",
    "command", "configs", "container_name", "cpu_count", "cpu_percent", "cpu_period", "cpu_quota",
    "cpu_rt_period", "cpu_rt_runtime", "cpu_shares", "cpus", "cpuset", "credential_spec", "depends_on",
    "deploy", "develop", "device_cgroup_rules", "devices", "dns", "dns_opt", "dns_search", "domainname",
    "entrypoint", "env_file", "environment", "expose", "extends", "external_links", "extra_hosts",
    "gpus", "group_add", "healthcheck", "hostname", "image", "init", "ipc", "isolation", "label_file",
    "labels", "links", "logging", "mac_address", "mem_limit", "mem_reservation", "mem_swappiness",
    "memswap_limit", "models", "network_mode", "networks", "oom_kill_disable", "oom_score_adj", "pid",
    "pids_limit", "platform", "ports", "post_start", "pre_stop", "privileged", "profiles", "provider",
    "pull_policy", "pull_refresh_after", "read_only", "restart", "runtime", "scale", "secrets",
    "security_opt", "shm_size", "stdin_open", "stop_grace_period", "stop_signal", "storage_opt",
    "sysctls", "tmpfs", "tty", "ulimits", "use_api_socket", "user", "userns_mode", "uts", "volumes",
    "volumes_from", "working_dir",
}  # fmt: skip
TOP_SPECIFIED = {
    "version", "name", "include", "services", "models", "networks", "volumes", "secrets", "configs",
}  # fmt: skip


def supported(key: str) -> bool:
    """Tell whether a policy may have ``key`` at its top."""
    setting = POLICY.settings.get(key)
    return key in POLICY.children("") and (setting is None or setting.supported is not False)


def test_no_key_of_the_specification_is_without_an_answer() -> None:
    assert set(SERVICE) == SPECIFIED
    assert list(SERVICE) == sorted(SERVICE)
    assert set(TOP) == TOP_SPECIFIED


@pytest.mark.parametrize("name", sorted(SERVICE))
def test_an_answer_is_what_the_language_does(name: str) -> None:
    key = SERVICE[name]
    assert (key.answer == YES) == (supported(name) or name == "extends")
    assert key.answer in (YES, OTHER, NO)
    assert key.why or key.answer == YES
    assert not (key.answer == NO and key.ours)
    for ours in set(key.ours) - {"extends"}:
        assert supported(ours.partition(".")[0])
        assert ours in POLICY.settings or POLICY.children(ours)
    for word in re.findall(r"\b[a-z]+_[a-z_]+\b", key.why):
        assert word in {*SERVICE, *POLICY.children(""), "no_new_privs", "weight_device", "own_range"}


@pytest.mark.parametrize("name", sorted({*SERVICE, *TOP} - {"extends"}))
def test_a_policy_with_a_key_it_does_not_have_gets_the_sentence_of_the_table(name: str) -> None:
    key = SERVICE.get(name) or TOP[name]
    if key.answer == YES:
        assert not any("not a key" in problem.message for problem in problems(f"{name}: ''"))
        return
    (problem,) = problems(f"{name}: nonsense")
    assert problem.hint == key.why == elsewhere(name)
    said = "is not possible" if name in ACCEPTED else f'"{name}" is not a key of a policy'
    assert said in problem.message


@pytest.mark.parametrize("name", sorted(ACCEPTED))
def test_accepted_values_are_accepted_by_policies_and_by_editors(name: str) -> None:
    plain = policy("")
    allowed = schema(POLICY)["properties"][name]["enum"]
    for value in ACCEPTED[name]:
        written = f"{name}: [{', '.join(value)}]" if isinstance(value, tuple) else f"{name}: {value}"
        assert policy(written).values == plain.values
        found = yaml.safe_load(written)[name]
        assert found in allowed or (found is False and "no" in allowed), json.dumps(allowed)


def test_the_page_has_a_row_for_each_key_with_its_answer() -> None:
    rows = re.findall(r"^\| `([a-z_]+)` \| (.*?) \| (.*?) \|$", compose_page.markdown(), re.MULTILINE)
    assert [name for name, _, _ in rows] == [*SERVICE, *TOP]
    for (_, answer, said), key in zip(rows, (*SERVICE.values(), *TOP.values()), strict=True):
        assert (answer in (YES, NO)) == (key.answer != OTHER)
        assert all(f"`{ours}`" in answer for ours in key.ours)
        assert said.replace("`", "").lower().startswith(key.why.lower())


@pytest.mark.parametrize("value", ["host", "keep-id"])
def test_a_mode_of_user_namespaces_of_others_is_answered(value: str) -> None:
    (problem,) = problems(f"userns_mode: {value}")
    assert problem.allowed == "auto | single | range | own_range"
    assert ("root outside" in problem.hint) == (value == "host")
