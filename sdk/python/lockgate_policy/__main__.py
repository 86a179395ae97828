"""`python -m lockgate_policy [PROJECT] [-o OUT.wasm]` builds a policy."""

import argparse
import sys
from pathlib import Path

from .build import build


def main():
    parser = argparse.ArgumentParser(prog="lockgate_policy", description="Builds a policy as a Wasm component.")
    parser.add_argument("project", nargs="?", default=".", type=Path, help="a folder with plugin.toml and policy.py")
    parser.add_argument("-o", "--output", type=Path, help="the component; PROJECT/NAME.wasm without it")
    given = parser.parse_args()
    project = given.project.resolve()
    output = given.output or project / f"{project.name}.wasm"
    try:
        component = build(project)
        output.parent.mkdir(parents=True, exist_ok=True)
        output.write_bytes(component)
    except (OSError, RuntimeError, ValueError) as error:
        print(f"{project}: {error}", file=sys.stderr)
        return 1
    print(f"{output}: {len(component)} bytes")
    return 0


sys.exit(main())
