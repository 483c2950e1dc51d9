"""Releases by their gto tags: NAME@VERSION, where a version is v and a semantic version."""

import re

from semver import Version

from stages.common.commands import said
from stages.common.errors import InputError

NAME = re.compile(r"[a-z][a-z0-9-]*[a-z0-9]")


def is_version(text: str) -> bool:
    """Whether it is v and a semantic version, which is what gto takes."""
    return text.startswith("v") and Version.is_valid(text[1:])


def tag_of(version: str) -> str | None:
    """The one tag NAME@VERSION of that version; None where there is none, InputError where releases share it."""
    tags = said("git", "tag", "--list", f"*@{version}").split() if is_version(version) else []
    if len(tags) > 1:
        raise InputError(f"{version}: found {', '.join(tags)}; give one of these")
    return tags[0] if tags else None


def release_tags(name: str) -> list[str]:
    """The tags of the versions of `name`, the one made last first; of those of one second the highest version."""
    order = ("--sort=-version:refname", "--sort=-creatordate")  # git's last one counts most
    tags = said("git", "tag", "--list", f"{name}@v*", *order).split()
    return [tag for tag in tags if is_version(tag.partition("@")[2])]
