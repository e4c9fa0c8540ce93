"""Hypothesis strategies for policies: valid ones, as values and as text."""

from __future__ import annotations

from typing import Any

import yaml
from hypothesis import strategies as st

from ssh2container.admin.policy.types.kinds import surprise
from ssh2container.admin.policy.yaml.nodes import Scalar

words = st.text("abcdefgxyzABC0123456789", min_size=1, max_size=8).map(lambda text: "n" + text)
# PyYAML's writer would show these as escapes or refuse them; the reader refuses them by design.
texts = st.text(
    st.characters(codec="utf-8", exclude_categories=("Cc", "Cf", "Cs", "Zl", "Zp", "Co", "Cn")), max_size=30
)
paths = st.lists(words, min_size=1, max_size=3).map(lambda parts: "/" + "/".join(parts))
sources = paths | paths.map(lambda path: path + "/%u")
flags = st.booleans()
sizes = st.builds(lambda n, unit: f"{n}{unit}", st.integers(1, 900), st.sampled_from(["m", "M", "mb", "g"]))
durations = st.builds(lambda m, s: f"{m}m{s}s", st.integers(0, 9), st.integers(0, 59))


def maps(**keys: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    """Maps with any of ``keys``."""
    return st.fixed_dictionaries({}, optional=keys)


volumes = st.lists(
    st.tuples(sources, paths, st.sampled_from(["", ":ro", ":rw"])), max_size=3, unique_by=lambda item: item[1]
).map(lambda items: [f"{source}:{target}{mode}" for source, target, mode in items])
tmpfs = st.lists(
    st.tuples(words, sizes, st.sampled_from(["1777", "755", "0700"])),
    max_size=2,
    unique_by=lambda item: item[0],
).map(
    lambda items: [f"/tmpfs/{name}:size={size[:-1].rstrip('mM')}m,mode={mode}" for name, size, mode in items]
)
commands = st.sampled_from(["any", "none"]) | st.lists(
    words | st.lists(words, min_size=1, max_size=3).map(lambda parts: {"exact": " ".join(parts)}),
    max_size=3,
    unique_by=str,
)
sftp = flags | maps(
    read_only=flags,
    umask=st.integers(0, 0o777).map(lambda bits: f"{bits:03o}"),
    start_directory=paths,
    deny=st.lists(st.sampled_from(["remove", "rename", "mkdir"]), unique=True, max_size=3),
)
environment = st.dictionaries(words, texts | st.none(), max_size=3)
limits = st.integers(0, 10**6)

policies = maps(
    image=st.sampled_from(["host", "debian:12"]),
    hostname=words | words.map(lambda word: word[:20] + "-%u"),
    user=st.sampled_from(["self", "root"]),
    shell=st.lists(paths, min_size=1, max_size=3),
    home=st.just("ephemeral")
    | st.fixed_dictionaries({"source": sources}, optional={"skel": paths, "read_only": flags}),
    volumes=volumes,
    tmpfs=tmpfs,
    storage_opt=maps(size=sizes, inodes=st.integers(100, 10**6)),
    access=maps(
        login=flags,
        interactive=flags | st.lists(words, min_size=1, max_size=3),
        commands=commands,
        sftp=sftp,
        message=texts,
    ),
    environment=environment
    | environment.map(lambda env: [k if v is None else f"{k}={v}" for k, v in env.items()]),
    accept_env=st.lists(words | words.map(lambda word: word + "_*"), unique=True, max_size=3),
    network_mode=st.sampled_from(["none", "host"]),
    ulimits=st.dictionaries(
        st.sampled_from(["nofile", "nproc", "core", "stack"]),
        limits | st.tuples(limits, limits).map(lambda two: {"soft": min(two), "hard": max(two)}),
        max_size=3,
    ),
    stop_grace_period=durations,
    seccomp=maps(
        allow=st.lists(st.sampled_from(["ptrace", "bpf", "435", "keyctl"]), unique=True, max_size=2),
        on_violation=st.sampled_from(["errno", "kill", "log"]),
    ),
)
"""Policies as the values that YAML would give."""


def dump(value: dict[str, Any]) -> str:
    """Write a policy as an administrator's tool would: strings that look like something else in quotes."""
    return yaml.dump(value, Dumper=_Writer, allow_unicode=True, sort_keys=False, width=10_000)


class _Writer(yaml.SafeDumper):
    """Writes None as nothing, and quotes the texts that YAML 1.2 takes for something else (0o17, 1e5)."""


def _text(writer: yaml.SafeDumper, text: str) -> yaml.Node:
    style = '"' if surprise(Scalar(text, 0, 0)) else None
    return writer.represent_scalar("tag:yaml.org,2002:str", text, style)


_Writer.add_representer(str, _text)
_Writer.add_representer(type(None), lambda writer, _: writer.represent_scalar("tag:yaml.org,2002:null", ""))


documents = policies.map(dump)
"""Policies as text."""
