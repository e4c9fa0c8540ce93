"""Hooks as operations: what runs beside a session, and process 1's wait for those outside.

Imported only for a plan that has hooks.
"""

from __future__ import annotations

from ssh2container.policy.hooks import START

from . import Operation

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ssh2container.kernel.script import Script
    from ssh2container.policy.hooks import Hook


class RunHook(Operation):
    """Run one hook (``run.hooks`` and ``run.attendant`` outside, ``native/init/hooks.c`` inside).

    name: whose uid it has outside.
    """

    __slots__ = ("hook", "name")
    step = "hook"
    why = "it is the administrator's: only root can change it, and nothing of the client reaches it"

    def __init__(self, hook: Hook, name: str) -> None:
        super().__init__(hook.key)
        self.hook = hook
        self.name = name

    def describe(self) -> str:
        hook = self.hook
        named = "" if hook.args == (hook.path,) else f" as: {' '.join(hook.args)}"
        where = "inside" if hook.stage == START else f"on the host as {self.name}"
        then = "refuse the login where it fails" if hook.counts else "log a failure"
        return f"run {hook.path}{named}, {where}, for {hook.timeout} s at most; {then}"


class AwaitHooks(Operation):
    """Say that the container is made, and wait for the hooks outside."""

    __slots__ = ()
    step = "hook"
    why = "hooks find the namespaces made, and nothing of the user's runs before they have ended"

    def __init__(self) -> None:
        super().__init__("hooks")

    def describe(self) -> str:
        return "say that the container is made, and wait for the hooks outside"

    def write(self, script: Script) -> None:
        script.await_word(tell=True)
