"""Has each client sign in, call, refresh and be refused, at a server of its own, and sees by what the
server was asked that the client really did.

A client is a process that is told what to do by lines and answers each with one, `ok` or `failed`:
`call` has it call the tool, and sign in for that where it must; `an hour passes` moves its own clock,
if it goes by one; `revoke` has it send its refresh token to the revocation endpoint.

usage: play.py PROGRAMS NODE_MODULES [CLIENT...], the directories with the server and rmcp's client,
and with the TypeScript SDK; node in PATH; and which clients, if not all of them
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
# Longer than anything takes here: whoever is silent so long is stuck.
PATIENCE = 60


class Failed(Exception):
    pass


class Process:
    """One that is spoken to by lines, until the end of its input."""

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
        """Whether it did, and what it says of it."""
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
        """What it was asked since this was last called."""
        return Requests(json.loads(self.control_answers("/requests")))

    def let_an_hour_pass(self):
        self.control_answers("/hour", b"")

    def control_answers(self, path, body=None):
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        with opener.open(self.control + path, body, timeout=PATIENCE) as answer:
            return answer.read()


class Requests(list):
    def have(self, path, **wanted):
        """At least one such request."""
        wanted["path"] = path
        if not any(wanted.items() <= request.items() for request in self):
            raise Failed(f"the server was not asked for {wanted}")

    def have_not(self, path, **unwanted):
        unwanted["path"] = path
        if any(unwanted.items() <= request.items() for request in self):
            raise Failed(f"the server was asked for {unwanted}")


def play(client, server, person, step):
    """All steps of one client; `step` says that one is done."""
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
    # Some refresh at once where a token is refused, some only once it is over by the clock.
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
    """Which version the workspace has."""
    lock = tomllib.loads((HERE / "../../Cargo.lock").read_text())
    return next(each["version"] for each in lock["package"] if each["name"] == package)


def of_npm(package):
    return json.loads((NODE_MODULES / package / "package.json").read_text())["version"]


CLIENTS = {
    f"rmcp {of_lock('rmcp')}": [PROGRAMS / "rmcp_client"],
    f"mcp {version('mcp')}": [sys.executable, HERE / "clients/python_sdk.py"],
    f"fastmcp {version('fastmcp')}": [sys.executable, HERE / "clients/fastmcp_client.py"],
    # Node looks for packages where the file is.
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
