"""From a policy project to a component that imports nothing."""

import json
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from pathlib import Path

from .manifest import manifest_of

HERE = Path(__file__).resolve().parent
SECTION = b"lockgate:manifest"
LEFT_OUT = ("__pycache__", "*.wasm", ".*", "venv", "lockgate_policy", "test_*.py", "tests")


def build(project):
    """Builds the project in a folder; gives the component's bytes."""
    project = Path(project).resolve()
    manifest = manifest_of(project)
    with tempfile.TemporaryDirectory(prefix="lockgate-policy-") as folder:
        stage = Path(folder)
        app = stage / "app"
        shutil.copytree(project, app, ignore=shutil.ignore_patterns(*LEFT_OUT))
        package = app / "lockgate_policy"
        package.mkdir()
        for name in ("guest.py", "columns.py"):
            shutil.copy(HERE / name, package)
        (package / "__init__.py").touch()
        (app / "lockgate_main.py").write_text(_main(manifest), encoding="utf-8")
        wit = stage / "wit"
        wit.mkdir()
        (wit / "lockgate-policy.wit").write_text(_contract().read_text(encoding="utf-8") + _world(manifest), encoding="utf-8")
        component = stage / "policy.wasm"
        command = [_tool(), "-q", "-d", str(wit), "-w", "this-policy", "componentize", "--stub-wasi"]
        command += ["-p", str(app), "-o", str(component), "lockgate_main"]
        done = subprocess.run(command, cwd=stage, capture_output=True, text=True)
        if done.returncode != 0:
            raise RuntimeError(f"componentize-py failed:\n{done.stderr.strip() or done.stdout.strip()}")
        return component.read_bytes() + _section(SECTION, json.dumps(manifest).encode())


def _main(manifest):
    """The module that componentize-py looks at: a class for each interface of the world."""
    lines = [
        "import json",
        "import policy",
        "from componentize_py_types import Err",
        "from lockgate_policy.guest import Glue",
        # A literal, so that reading it is part of the snapshot.
        f"GLUE = Glue(json.loads({json.dumps(manifest)!r}), policy)",
        "class Lifecycle:",
        "    def configure(self, json):",
        "        try:",
        "            GLUE.configure(json)",
        "        except Exception as error:",
        "            raise Err(str(error) or type(error).__name__)",
    ]
    names = {"abr": "recommend", "optimize": "optimize", "score": "score", "ladder": "plan"}
    if any(kind in names for kind in manifest["kinds"]):
        # A world of `auth` alone has no such module.
        lines.insert(0, "from wit_world.imports import types")
    for kind in manifest["kinds"]:
        if kind == "auth":
            lines.append(_AUTH)
            continue
        lines += [
            f"class {kind.capitalize()}:",
            f"    def {names[kind]}(self, t, rungs, rows, memo):",
            f"        rows, memo = GLUE.answer({kind!r}, t, rungs, rows, memo)",
            "        return types.Answer(rows, memo)",
        ]
    return "\n".join(lines) + "\n"


_AUTH = '''from wit_world.exports import auth as words
class Auth:
    def authorize(self, r):
        answered = r.answered and {"status": r.answered.status, "body": r.answered.body}
        given = GLUE.authorize({
            "action": r.action.name.lower(), "stream": r.stream_id, "peer": r.peer, "now_s": r.now_s,
            "claims": json.loads(r.claims) if r.claims else {}, "answered": answered,
        })
        if "ask" in given:
            return words.Verdict_Ask(given["ask"])
        if given.get("allow") is True:
            return words.Verdict_Allow(words.Grant(given.get("ttl_s", 0), given.get("role", ""), given.get("cap_kbps")))
        if given.get("deny") is True:
            return words.Verdict_Deny(words.Denial(given.get("status", 403), given.get("reason", "")))
        raise ValueError('a verdict is {"allow": True, …}, {"deny": True, …} or {"ask": URL}')'''


def _world(manifest):
    """A world of its own beside the contract: what the manifest claims, and nothing else."""
    exports = "".join(f" export {name};" for name in ["lifecycle", *manifest["kinds"]])
    imports = "".join(f" import {name};" for name in manifest.get("imports", []))
    return f"\nworld this-policy {{{imports}{exports} }}\n"


def _contract():
    for place in (HERE / "lockgate-policy.wit", HERE / "../../wit/lockgate-policy.wit"):
        if place.exists():
            return place
    raise RuntimeError("lockgate-policy.wit is not beside the SDK; take the SDK as a whole")


def _tool():
    beside = Path(sysconfig.get_path("scripts")) / "componentize-py"
    found = str(beside) if beside.exists() else shutil.which("componentize-py")
    if not found:
        raise RuntimeError(f"componentize-py is not there; {sys.executable} -m pip install componentize-py==0.25.1")
    return found


def _section(name, data):
    """A custom section: id 0, length, name, data (WebAssembly core specification 5.5.3)."""
    body = _leb128(len(name)) + name + data
    return b"\0" + _leb128(len(body)) + body


def _leb128(number):
    out = bytearray()
    while number > 0x7F:
        out.append((number & 0x7F) | 0x80)
        number >>= 7
    out.append(number)
    return bytes(out)
