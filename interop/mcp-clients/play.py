"""Runs each client against a server of its own: sign-in, tool call, refresh, and refusal.

Checks the requests that the server received, to see that the client really did each step.

A client is a process that reads one command per line, and responds to each with a line that begins
with `ok` or `failed`:
- `call`: calls the tool, and signs in first if it must.
- `an hour passes`: moves the client's own clock, if the client uses one.
- `revoke`: sends the client's refresh token to the revocation endpoint.

usage: play.py PROGRAMS NODE_MODULES [CLIENT...]
PROGRAMS is the directory with the server and rmcp's client, and NODE_MODULES the one with the
TypeScript SDK. node must be in PATH. Without CLIENT, all clients run.
"""

import json
import os
import subprocess
import sys
import tempfile
import threading
import tomllib
import urllib.request
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path

HERE = Path(__file__).parent
PROGRAMS, NODE_MODULES = Path(sys.argv[1]), Path(sys.argv[2])
# Timeout in seconds, longer than any step takes: a process that is silent for this long is stuck.
PATIENCE = 60


class Failed(Exception):
    pass


class Process:
    """A process that reads commands, one per line, until its input ends."""

    def __init__(self, command, environment, log):
        self.process = subprocess.Popen(
            [str(part) for part in command],
            env=os.environ | environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
        )

    def read_line(self):
        stuck = threading.Timer(PATIENCE, self.process.kill)
        stuck.start()
        line = self.process.stdout.readline()
        stuck.cancel()
        if not line:
            raise Failed("it ended, or was silent for too long")
        return line.strip()

    def told(self, command):
        """Sends a command. Returns whether it succeeded, and the rest of the response line."""
        self.process.stdin.write(command + "\n")
        self.process.stdin.flush()
        done, _, said = self.read_line().partition(" ")
        return done == "ok", said

    def end(self):
        self.process.stdin.close()
        try:
            self.process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


class Server(Process):
    def __init__(self, log):
        super().__init__([PROGRAMS / "interop-mcp-clients"], {}, log)
        settings = dict(self.read_line().split("=", 1) for _ in range(2))
        self.url, self.control = settings["MCP_URL"], settings["CONTROL_URL"]

    def requests(self):
        """Returns the requests that the server received since the last call."""
        return Requests(json.loads(self.control_answers("/requests")))

    def let_an_hour_pass(self):
        self.control_answers("/hour", b"")

    def control_answers(self, path, body=None):
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        with opener.open(self.control + path, body, timeout=PATIENCE) as answer:
            return answer.read()


class Requests(list):
    def have(self, path, **wanted):
        """Fails unless there is at least one such request."""
        wanted["path"] = path
        if not any(wanted.items() <= request.items() for request in self):
            raise Failed(f"the server was not asked for {wanted}")

    def have_not(self, path, **unwanted):
        unwanted["path"] = path
        if any(unwanted.items() <= request.items() for request in self):
            raise Failed(f"the server was asked for {unwanted}")


def play(client, server, person, step):
    """Runs all steps of one client, and yields the requests of each part. Reports with `step`."""
    person.write_text("approve")
    done, said = client.told("call")
    asked = server.requests()
    yield asked
    if not done:
        raise Failed(said)
    asked.have("/mcp", bearer=False, status=401)
    asked.have("/.well-known/oauth-protected-resource/mcp", status=200)
    asked.have("/.well-known/oauth-authorization-server", status=200)
    step("discover")
    asked.have("/register", status=201)
    step("register")
    asked.have("/consent", status=303)
    asked.have("/callback", status=303)
    asked.have("/token", grant="authorization_code", status=200)
    step("consent")
    if said != "ada with Mcp.Access":
        raise Failed(f"the tool said {said}")
    step("call a tool", said)

    server.let_an_hour_pass()
    client.told("an hour passes")
    done, said = client.told("call")
    asked = server.requests()
    yield asked
    if not done:
        raise Failed(said)
    asked.have("/token", grant="refresh_token", status=200)
    asked.have_not("/authorize")
    step("refresh", said)

    person.write_text("deny")
    done, said = client.told("revoke")
    asked = server.requests()
    yield asked
    if not done:
        raise Failed(said)
    asked.have("/revoke", status=200)
    step("revoke")

    done, said = client.told("call")
    if done:
        raise Failed(f"the tool said {said}")
    # Some clients refresh as soon as a token is refused, others only once it has expired by their
    # clock.
    server.let_an_hour_pass()
    client.told("an hour passes")
    done, later = client.told("call")
    if done:
        raise Failed(f"the tool said {later}")
    asked = server.requests()
    yield asked
    asked.have("/mcp", bearer=True, status=401)
    asked.have("/token", grant="refresh_token", status=400, error="invalid_grant")
    asked.have_not("/mcp", status=200)
    asked.have_not("/mcp", status=202)
    asked.have_not("/token", status=200)
    step("be refused", said)


def run(name, command):
    def step(what, said=""):
        print(f"ok      {name:<24} {what:<12} {said}".rstrip(), flush=True)

    with tempfile.TemporaryDirectory() as directory:
        directory = Path(directory)
        person = directory / "person"
        logs = {who: directory / f"{who}.log" for who in ("server", "client")}
        processes, asked = [], []
        try:
            with logs["server"].open("w") as log:
                server = Server(log)
                processes.append(server)
            environment = {
                "MCP_URL": server.url,
                "BROWSER": str(HERE / "browser.py"),
                "PERSON": str(person),
                "NO_PROXY": "*",
            }
            with logs["client"].open("w") as log:
                client = Process(command, environment, log)
                processes.append(client)
            for asked in play(client, server, person, step):
                pass
        except Failed as failure:
            print(f"FAILED  {name}: {failure}\n\nWhat the server was asked last:")
            print(*asked, sep="\n")
            for who, log in logs.items():
                print(f"\nThe {who}'s log:\n{log.read_text()}")
            return False
        finally:
            for process in reversed(processes):
                process.end()
    return True


def of_lock(package):
    """Returns the version of a package in the workspace's lock file."""
    lock = tomllib.loads((HERE / "../../Cargo.lock").read_text())
    return next(each["version"] for each in lock["package"] if each["name"] == package)


def of_npm(package):
    return json.loads((NODE_MODULES / package / "package.json").read_text())["version"]


CLIENTS = {
    f"rmcp {of_lock('rmcp')}": [PROGRAMS / "rmcp_client"],
    f"mcp {version('mcp')}": [sys.executable, HERE / "clients/python_sdk.py"],
    f"fastmcp {version('fastmcp')}": [sys.executable, HERE / "clients/fastmcp_client.py"],
    # Node looks for packages beside the file, so the file is a copy beside node_modules.
    f"mcp-typescript {of_npm('@modelcontextprotocol/client')}": [
        "node",
        NODE_MODULES.parent / "typescript_sdk.mjs",
    ],
}
wanted = sys.argv[3:]
results = [
    run(name, command)
    for name, command in CLIENTS.items()
    if not wanted or name.split()[0] in wanted
]
sys.exit(not all(results))
