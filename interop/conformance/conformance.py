"""Runs the scenarios for authorization servers of MCP's conformance suite against the proxy.

They cover the authorization server's metadata and one sign-in: the fields of the metadata, the
redirect with `code`, `state` and `iss`, and the token response with its headers. They cover neither
registration, refresh, revocation and resources, nor any request that must be refused.

usage: conformance.py PROGRAMS DIRECTORY
PROGRAMS is the directory with the server, and DIRECTORY the one with node_modules, in which results
are stored. node must be in PATH.
"""

import json
import os
import socket
import subprocess
import sys
import threading
import urllib.request
from pathlib import Path

PROGRAMS, DIRECTORY = Path(sys.argv[1]), Path(sys.argv[2])
SUITE = DIRECTORY / "node_modules/@modelcontextprotocol/conformance"
BROWSER = Path(__file__).parent / "../mcp-clients/browser.py"
# Timeout in seconds, longer than a run of the suite takes.
PATIENCE = 120

ALWAYS = {"authorization-server-metadata": "SUCCESS", "authorization-code-grant": "SUCCESS"}
# The suite warns, because the proxy does not support client id metadata documents.
SINCE_2025_11_25 = ALWAYS | {"authorization-server-metadata-cimd": "WARNING"}
EXPECTED = {
    "2025-03-26": ALWAYS,
    "2025-06-18": ALWAYS,
    "2025-11-25": SINCE_2025_11_25,
    "2026-07-28": SINCE_2025_11_25,
}


def register(issuer, redirect_uri):
    """Registers a public client and returns its id."""
    metadata = {
        "client_name": "The conformance suite",
        "redirect_uris": [redirect_uri],
        "token_endpoint_auth_method": "none",
    }
    request = urllib.request.Request(
        f"{issuer}/register",
        json.dumps(metadata).encode(),
        {"content-type": "application/json"},
    )
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with opener.open(request, timeout=PATIENCE) as answer:
        return json.load(answer)["client_id"]


def free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def run(version, mcp_url):
    """Runs the suite for a version of the specification. Returns its checks and its output."""
    issuer, port, results = mcp_url.removesuffix("/mcp"), free_port(), DIRECTORY / version
    client_id = register(issuer, f"http://127.0.0.1:{port}/callback")
    person = DIRECTORY / "person"
    person.write_text("approve")
    environment = os.environ | {"PERSON": str(person), "NO_PROXY": "*"}
    command = ["node", SUITE / "dist/index.js", "authorization", "--url", issuer]
    command += ["--client-id", client_id, "--resource", mcp_url, "--port", str(port)]
    command += ["--spec-version", version, "--output-dir", results]
    said = []
    with subprocess.Popen(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as suite:
        stuck = threading.Timer(PATIENCE, suite.kill)
        stuck.start()
        for line in suite.stdout:
            said.append(line)
            if line.startswith(f"{issuer}/authorize?"):
                subprocess.run([sys.executable, BROWSER, line.strip()], env=environment, check=True)
        stuck.cancel()
    checks = [check for path in results.glob("*/checks.json") for check in json.loads(path.read_text())]
    return checks, suite.returncode, "".join(said)


def main():
    server = subprocess.Popen(
        [PROGRAMS / "interop-mcp-clients"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    mcp_url = server.stdout.readline().strip().removeprefix("MCP_URL=")
    suite = json.loads((SUITE / "package.json").read_text())["version"]
    failed = []
    for version, expected in EXPECTED.items():
        checks, status, said = run(version, mcp_url)
        # A list, so that a check that ran twice is not lost.
        seen = sorted((check["id"], check["status"]) for check in checks)
        passed = sum(status == "SUCCESS" for _, status in seen)
        warned = sum(status == "WARNING" for _, status in seen)
        print(f"MCP {version}: {len(seen)} checks, {passed} passed, {warned} warned", flush=True)
        if status != 0 or seen != sorted(expected.items()):
            failed.append(version)
            print(said, *seen, f"expected: {expected}", sep="\n")
    server.stdin.close()
    server.wait(PATIENCE)
    if failed:
        sys.exit(f"conformance {suite}: not as expected: {', '.join(failed)}")
    print(f"conformance {suite}: as expected")


main()
