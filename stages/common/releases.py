"""Releases by their gto tags: NAME@VERSION, where a version is v and a semantic version."""

import re

from semver import Version

from stages.common.commands import said

NAME = re.compile(r"[a-z][a-z0-9-]*[a-z0-9]")


def is_version(text: str) -> bool:
    """Whether it is v and a semantic version, which is what gto takes."""
    return text.startswith("v") and Version.is_valid(text[1:])


def release_tags(name: str) -> list[str]:
    """The tags of the versions of `name`, the one made last first; of those of one second the highest version."""
    order = ("--sort=-version:refname", "--sort=-creatordate")  # git's last one counts most
    tags = said("git", "tag", "--list", f"{name}@v*", *order).split()
    return [tag for tag in tags if is_version(tag.partition("@")[2])]
