"""Runs a program under the system call filters of a systemd unit:
SystemCallFilter, RestrictAddressFamilies and MemoryDenyWriteExecute.

    /usr/bin/python3 confined.py UNIT PROGRAM [ARGUMENT…]

Needs systemd-analyze, for what its @groups hold, and Debian's
python3-seccomp. What the filter refuses fails with the unit's error number,
as it does under systemd.
"""

import errno
import mmap
import os
import re
import socket
import subprocess
import sys

import seccomp


def group(name):
    """The system calls of an @group, and of the groups inside it."""
    out = subprocess.run(["systemd-analyze", "syscall-filter", name], capture_output=True, text=True, check=True).stdout
    calls = set()
    for word in (line.strip() for line in out.splitlines()[1:]):
        if word.startswith("@"):
            calls |= group(word)
        elif word and not word.startswith("#"):
            calls.add(word)
    return calls


def allowed(unit):
    calls = set()
    for value in re.findall(r"^SystemCallFilter=(.*)$", unit, re.M):
        named = set().union(*(group(word) if word.startswith("@") else {word} for word in value.lstrip("~").split()))
        calls = calls - named if value.startswith("~") else calls | named
    # systemd always lets these through: it needs them itself.
    return calls | group("@default") | {"execve", "prctl", "seccomp"}


def narrow(calls, unit):
    """The calls that are let through by their arguments, with the arguments."""
    rules = []
    families = re.search(r"^RestrictAddressFamilies=(.*)$", unit, re.M)
    if families:
        for name in families[1].split():
            rules.append(("socket", seccomp.Arg(0, seccomp.EQ, getattr(socket, name))))
    if re.search(r"^MemoryDenyWriteExecute=yes$", unit, re.M):
        both = mmap.PROT_WRITE | mmap.PROT_EXEC
        for call in ("mprotect", "pkey_mprotect"):
            rules.append((call, seccomp.Arg(2, seccomp.MASKED_EQ, mmap.PROT_EXEC, 0)))
        for protection in (0, mmap.PROT_WRITE, mmap.PROT_EXEC):
            rules.append(("mmap", seccomp.Arg(2, seccomp.MASKED_EQ, both, protection)))
    return [rule for rule in rules if rule[0] in calls]


def main():
    with open(sys.argv[1]) as file:
        unit = file.read()
    number = getattr(errno, re.search(r"^SystemCallErrorNumber=(\w+)$", unit, re.M)[1])
    calls = allowed(unit)
    narrowed = narrow(calls, unit)
    filters = seccomp.SyscallFilter(seccomp.ERRNO(number))
    for call, argument in narrowed:
        filters.add_rule(seccomp.ALLOW, call, argument)
    for call in calls - {call for call, _ in narrowed}:
        try:
            filters.add_rule(seccomp.ALLOW, call)
        except (RuntimeError, ValueError, OSError):
            pass  # A call of another architecture.
    filters.load()
    os.execv(sys.argv[2], sys.argv[2:])


if __name__ == "__main__":
    main()
