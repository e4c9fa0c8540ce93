"""Why a session does each of its steps: what would be possible without it."""

from __future__ import annotations

REASONS = {
    "attach-own": "only after the host's tree is gone, so that no path can lead there",
    "attach-volume": "what the user may have prepared at the target must not redirect it",
    "attributes": "without them a directory that replaces one of the image could not be noted",
    "become": "the payload runs as this user of the image",
    "bind": "only what everybody may read, chosen name by name",
    "bind-tree": "a submount that was left out would keep its own, weaker flags",
    "bounding-set": "no program can gain what is not in it",
    "capabilities": "setting up the container took them; what runs inside does not need them",
    "give": "what was made as root has to belong to those who use it",
    "hostname": "the host's name is nobody's business inside",
    "identity-map": "no other id of the host exists inside, so none can be taken",
    "keyring": "the caller's keys stay outside",
    "landlock": "a second wall: what the mounts leave writable by mistake is closed all the same",
    "limit": "a program that runs away, or dumps its memory, harms its own session alone",
    "loopback": "programs expect 127.0.0.1; this one is the session's own",
    "make-tree": "mount points and generated files are the session's own, and gone with it",
    "mask": "it tells of the host, or acts on it",
    "mount": "a new instance shows and keeps nothing of the host's or of another session's",
    "nested-namespaces": "most ways out through the kernel begin with a namespace of one's own",
    "no-new-privileges": "sudo, su and their like give nothing inside",
    "not-dumpable": "other processes of the same user would control it, and what it has open",
    "open-own": "a descriptor leads to the right directory whatever happens to its path",
    "open-volume": "a descriptor leads to the source that was examined, whatever happens to its path",
    "parent-death": "when the login is gone, nothing of the session may stay",
    "pivot-root": "what is detached cannot be reached by any path",
    "private-mounts": "otherwise mounts of the session could show on the host",
    "proc-read-only": "writing there changes the host's kernel",
    "seccomp": "system calls that no session needs are no way into the kernel",
    "securebits": "being uid 0 inside, or executing a file, must not bring capabilities back",
}
"""Step of an operation -> the reason for it."""
