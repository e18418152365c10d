"""Commands to try next, as the person must type them: they work where this one does."""

from __future__ import annotations

import shlex
from typing import Any, Final

WHERE: Final = ("url", "api_key", "data_dir", "config")
_program = ["rightsize"]
_flags: list[str] = []


def remember(context: Any) -> None:
    """Keep the flags of this command that say where it works; what comes from the environment comes again by itself."""
    _flags.clear()
    for name in WHERE:
        value = context.params.get(name)
        source = context.get_parameter_source(name)
        if value is not None and source is not None and source.name == "COMMANDLINE":
            flag = f"--{name.replace('_', '-')}"
            _flags.append(f"{flag} {'KEY' if name == 'api_key' else shlex.quote(str(value))}")


def remember_place(program: str, **where: Any) -> None:
    """The same for what is no command: how the person reaches ours, and `data_dir` and `config` as they would be given."""
    _program[:] = [program]
    _flags[:] = [f"--{name.replace('_', '-')} {shlex.quote(str(value))}" for name, value in where.items()]


def again(words: str) -> str:
    """A command of ours, with the flags that lead to the same place as this one's. The key itself is not shown."""
    return " ".join([*_program, words, *_flags])
