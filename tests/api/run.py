"""Drives the running server by its own OpenAPI document, and holds its configuration's JSON Schema to a validator.

    run.py [--examples N] [--seconds S]

Starts LOCKGATE_BIN with a looped file as the broadcast `demo`. Exit code 1 if the server answers 5xx, or anything that
the document does not say.
"""

import argparse
import json
import os
import pathlib
import signal
import subprocess
import sys
import tempfile
import time
import tomllib

import jsonschema_rs

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parent.parent
BIN = os.environ.get("LOCKGATE_BIN", str(ROOT / "target/debug/lockgate"))
FIXTURES = pathlib.Path(os.environ.get("LOCKGATE_FIXTURES", str(ROOT / "target/fixtures")))

CONFIG = """
[http]
listen = "127.0.0.1:0"
[webrtc]
udp_listen = "127.0.0.1:0"
[auth]
anonymous = []
[rate_limit]
requests = 0
admin_requests = 0
joins = 0
signals = 0
reports = 0
failed_logins = 0
[[ingest.source]]
name = "demo"
url = "file://{media}"
loop = true
"""

# Those that only guess are left out: that bad data is refused is tested by name in tests/it.
CHECKS = [
    "not_a_server_error",
    "status_code_conformance",
    "content_type_conformance",
    "response_headers_conformance",
    "response_schema_conformance",
    "missing_required_header",
    "unsupported_method",
    "allow_header_conformance",
    "ignored_auth",
]
# Streams without an end, which would hold a worker each; tests/it reads them.
ENDLESS = ["/whep/{stream}/{session}/events", "/whep/{stream}/{session}/sse/{events}"]
# Ends what the others are asked about.
DESTRUCTIVE = [("DELETE", "/api/streams/{stream}")]


def schema():
    """The configuration's schema is one, takes the example, and refuses what the server refuses."""
    text = subprocess.run([BIN, "check-config", "--schema"], check=True, capture_output=True, text=True).stdout
    validator = jsonschema_rs.Draft202012Validator(json.loads(text))
    example = tomllib.loads((ROOT / "examples/config/lockgate.toml").read_text())
    wrong = [error.message for error in validator.iter_errors(example)]
    assert not wrong, f"the example is refused: {wrong}"
    good = tomllib.loads(CONFIG.format(media="/x.mp4"))
    assert validator.is_valid(good), "a good configuration is refused"
    for bad in [
        {"http": {"lissten": "127.0.0.1:1"}},
        {"htp": {}},
        {"hls": {"window": 2}},
        {"hls": {"container": "fmp"}},
        {"auth": {"issuer": 7}},
        {"auth": {"chain": ["jwtt"]}},
        {"ladder": {"cpu_budget": 2}},
        {"ingest": {"source": [{"name": "../x", "url": "y"}]}},
        {"auth": {"keys": [{"algorithm": "none"}]}},
    ]:
        assert not validator.is_valid(bad), f"{bad} is taken"
    print("configuration schema: valid, takes the example, refuses 9 mistakes")


def start(folder):
    (folder / "lockgate.toml").write_text(CONFIG.format(media=FIXTURES / "bigbuckbunny.mp4"))
    environment = {key: value for key, value in os.environ.items() if not key.startswith("LOCKGATE")}
    environment["LOCKGATE_READY_FILE"] = str(folder / "ready.json")
    log = open(folder / "log", "wb")
    server = subprocess.Popen([BIN, "serve"], cwd=folder, env=environment, stdout=log, stderr=log)
    deadline = time.monotonic() + 60
    while not (folder / "ready.json").exists():
        assert server.poll() is None and time.monotonic() < deadline, (folder / "log").read_text()
        time.sleep(0.05)
    ready = json.loads((folder / "ready.json").read_text())
    mint = [BIN, "token", "mint", "--scope", "admin", "--ttl", "1h"]
    token = subprocess.run(mint, cwd=folder, check=True, capture_output=True, text=True).stdout.strip()
    return server, ready["http"], token


def main():
    arguments = argparse.ArgumentParser()
    arguments.add_argument("--examples", type=int, default=10)
    arguments.add_argument("--seconds", type=int, default=0)
    wanted = arguments.parse_args()
    schema()
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        server, url, token = start(folder)
        try:
            command = [
                str(pathlib.Path(sys.executable).parent / "schemathesis"),
                "run", f"{url}/api/openapi.json", "--url", url, "--checks", ",".join(CHECKS),
                "--header", f"Authorization: Bearer {token}", "--max-examples", str(wanted.examples),
                "--phases", "examples,coverage,fuzzing" + (",stateful" if wanted.seconds else ""),
                "--workers", "1", "--request-timeout", "20", "--warnings", "off", "--no-color",
                "--suppress-health-check", "all", "--continue-on-failure", "--no-shrink",
            ]
            command += ["--max-time", str(wanted.seconds)] if wanted.seconds else ["--seed", "1"]
            for path in ENDLESS:
                command += ["--exclude-path", path]
            for _, path in DESTRUCTIVE:
                command += ["--exclude-operation-id", "delete_" + "_".join(part.strip("{}") for part in path.strip("/").split("/"))]
            environment = os.environ | {"SCHEMATHESIS_HOOKS": "hooks", "PYTHONPATH": str(HERE)}
            code = subprocess.run(command, cwd=folder, env=environment).returncode
            assert server.poll() is None, "the server is gone:\n" + (folder / "log").read_text()[-4000:]
            log = (folder / "log").read_text(errors="replace")
            assert "panicked" not in log, log[-4000:]
            assert token not in log, "the token is in the log"
        finally:
            server.send_signal(signal.SIGTERM)
            code = code if server.wait(30) == 0 else 1
    sys.exit(code)


main()
