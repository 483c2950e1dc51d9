"""Linking without the compiler's driver, which takes several times as long, and with the fastest linker that works."""

import re
import shlex

from stages.verifiers.toolchain import Workshop, find

OWN_CHOICE = re.compile(r"-flto|-fuse-ld|-fwhole-program|-static-pie|-nostdlib|-Wl,|-B|-shared")


def link_command(
    workshop: Workshop, command: list[str], source: str, libraries: list[str], linkers: tuple[str, ...]
) -> list[str]:
    """The command that links the object file `source` to the program `good` of a workshop; proven to work.

    `command` is the driver with its flags. Flags that are about linking leave it to the driver. SandboxError where
    not even the driver can, as for a library that is missing.
    """
    target = f"{workshop.at}/good"
    driver = [*command, source, "-o", target, *libraries]
    workshop.expect(driver)
    if any(OWN_CHOICE.match(flag) for flag in command[1:]):
        return driver
    said = workshop.expect([*driver, "-###"]).splitlines()
    last = next((line for line in reversed(said) if line.startswith(" ") and target in line), None)
    direct = _without_plugin(shlex.split(last)) if last else []
    for name in linkers:
        path = find(name)
        if direct and path and _works(workshop, [path, *direct[1:]], target):
            return [path, *direct[1:]]
    return driver


def _without_plugin(command: list[str]) -> list[str]:
    """Less what is for optimization at link time, and what marks each file with a digest of itself."""
    kept = []
    words = iter(command)
    for word in words:
        if word == "-plugin":
            next(words, None)
        elif not word.startswith(("-plugin-opt", "--build-id")):
            kept.append(word)
    return kept


def _works(workshop: Workshop, command: list[str], target: str) -> bool:
    """Whether it makes a program that runs."""
    (workshop.path / "good").unlink(missing_ok=True)
    if workshop.run(command).returncode:
        return False
    return workshop.run([target]).returncode == 0
