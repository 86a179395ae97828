"""What plugin.toml says."""

import tomllib
from pathlib import Path


def manifest_of(project):
    """The manifest of a policy project."""
    path = Path(project) / "plugin.toml"
    with path.open("rb") as file:
        manifest = tomllib.load(file)
    if not manifest.get("kinds"):
        raise ValueError(f"{path} has no [kinds.…]: name at least one of abr, optimize, score, ladder and auth")
    return manifest
