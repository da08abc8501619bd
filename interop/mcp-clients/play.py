"""Runs each client against a server of its own, and compares what it does with the table in
`docs/clients.md` of the proxy: sign-in, tool call, refresh, step-up, an outage of Entra, a restart
of the server with new keys, and the refusal after revocation.

Checks the requests that the server received, to see that the client really did each step.

A client is a process that reads one command per line, and responds to each with a line that begins
with `ok` or `failed`:
- `call TOOL`: calls the tool, and signs in or steps up first if it must.
- `an hour passes`: moves the client's own clock, if the client uses one.
- `revoke`: sends the client's refresh token to the revocation endpoint.

usage: play.py PROGRAMS NODE_MODULES [--write] [CLIENT...]
PROGRAMS is the directory with the server and rmcp's client, and NODE_MODULES the one with the
packages of npm. node must be in PATH. Without CLIENT, all clients run. With --write, the table is
updated instead of compared.
"""

import json
import os
import subprocess
import sys
import tempfile
import threading
import tomllib
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from importlib.metadata import version
from pathlib import Path

from table import Row, update

HERE = Path(__file__).parent
PROGRAMS, NODE_MODULES = Path(sys.argv[1]), Path(sys.argv[2])
# Timeout in seconds, longer than any step takes: a process that is silent for this long is stuck.
PATIENCE = 60
# Timeout in seconds for a client that the browser does not come back to.
WITHOUT_BROWSER = 30


class Failed(Exception):
    pass


class Stuck(Failed):
    """The process did not respond in time, and was killed."""


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

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.stdin.close()
        try:
            self.process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()

    def read_line(self, patience=PATIENCE):
        too_long = threading.Event()

        def kill():
            too_long.set()
            self.process.kill()

        stuck = threading.Timer(patience, kill)
        stuck.start()
        line = self.process.stdout.readline()
        stuck.cancel()
        if line:
            return line.strip()
        raise Stuck("it was silent for too long") if too_long.is_set() else Failed("it ended")

    def told(self, command, patience=PATIENCE):
        """Sends a command. Returns whether it succeeded, and the rest of the response line."""
        try:
            self.process.stdin.write(command + "\n")
            self.process.stdin.flush()
        except BrokenPipeError:
            raise Failed("it ended") from None
        done, _, said = self.read_line(patience).partition(" ")
        return done == "ok", said


class Server:
    """The server, which can be restarted: all that it keeps is in memory, and lost then."""

    def __init__(self, log, running):
        self.log, self.running = log, running
        self.start()

    def start(self, port=0):
        command = [PROGRAMS / "interop-mcp-clients", port]
        self.process = self.running.enter_context(Process(command, {}, self.log))
        settings = dict(self.process.read_line().split("=", 1) for _ in range(2))
        self.url, self.control = settings["MCP_URL"], settings["CONTROL_URL"]

    def restart(self):
        self.process.process.kill()
        self.process.process.wait()
        self.start(self.url.removesuffix("/mcp").rpartition(":")[2])

    def requests(self):
        """Returns the requests that the server received since the last call."""
        return Requests(json.loads(self.control_answers("/requests")))

    def control_answers(self, path, body=None):
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        with opener.open(self.control + path, body, timeout=PATIENCE) as answer:
            return answer.read()


class Requests(list):
    def had(self, path, **wanted):
        """Returns whether there is at least one such request."""
        wanted["path"] = path
        return any(wanted.items() <= request.items() for request in self)

    def have(self, path, **wanted):
        if not self.had(path, **wanted):
            raise Failed(f"the server was not asked for {wanted | {'path': path}}")

    def have_not(self, path, **unwanted):
        if self.had(path, **unwanted):
            raise Failed(f"the server was asked for {unwanted | {'path': path}}")


class Play:
    """All steps of one client."""

    def __init__(self, name, command, directory, running):
        self.name, self.command, self.directory = name, command, directory
        self.person = directory / "person"
        self.running, self.said, self.asked = running, [], Requests()
        self.server = Server(self.log("server"), running)

    def log(self, who):
        return self.running.enter_context((self.directory / f"{who}.log").open("a"))

    def step(self, what, said=""):
        self.said.append(f"ok      {self.name:<16} {what:<12} {said}".rstrip())

    def new_client(self, name):
        """Starts the client as after its installation: it knows nothing."""
        stored = self.directory / name
        stored.mkdir()
        environment = {
            "MCP_URL": self.server.url,
            "BROWSER": str(HERE / "browser.py"),
            "PERSON": str(self.person),
            "NO_PROXY": "*",
            # So that `xdg-open` uses BROWSER also on a desktop.
            "XDG_CURRENT_DESKTOP": "X-Generic",
            "MCP_REMOTE_CONFIG_DIR": str(stored),
            "MCP_STORAGE_DIR": str(stored),
        }
        return Process(self.command, environment, self.log("client"))

    def call(self, client, tool="whoami", patience=PATIENCE):
        """Returns whether the call succeeded, what the client said, and the server's requests."""
        try:
            done, said = client.told(f"call {tool}", patience)
        finally:
            self.asked = self.server.requests()
        return done, said, self.asked

    def let_an_hour_pass(self, client):
        self.server.control_answers("/hour", b"")
        client.told("an hour passes")

    def all(self):
        with self.new_client("first") as client:
            self.sign_in(client)
            self.refresh(client)
            step_up = self.step_up(client)
            outage = self.refresh_in_an_outage(client)
            self.be_refused(client)
        self.person.write_text("approve")
        with self.new_client("second") as client:
            restart = self.restart_with_new_keys(client)
        return Row("yes", "yes", "yes", step_up, outage, restart)

    def sign_in(self, client):
        self.person.write_text("approve")
        done, said, asked = self.call(client)
        if not done:
            raise Failed(said)
        asked.have("/mcp", bearer=False, status=401)
        asked.have("/.well-known/oauth-protected-resource/mcp", status=200)
        asked.have("/.well-known/oauth-authorization-server", status=200)
        asked.have("/register", status=201)
        asked.have("/consent", status=200)
        asked.have("/callback", status=303)
        asked.have("/token", grant="authorization_code", status=200)
        self.step("sign in")
        if said != "ada with Mcp.Access":
            raise Failed(f"the tool said {said}")
        self.step("call", said)

    def refresh(self, client):
        self.let_an_hour_pass(client)
        done, said, asked = self.call(client)
        if not done:
            raise Failed(said)
        asked.have("/token", grant="refresh_token", status=200)
        asked.have_not("/authorize")
        self.step("refresh", said)

    def step_up(self, client):
        done, said, asked = self.call(client, "write_note")
        self.step("step up", said)
        asked.have("/mcp", bearer=True, status=403)
        if done and said == "written" and asked.had("/authorize"):
            return "yes"
        if asked.had("/authorize"):
            raise Failed(said)
        if asked.had("/token", grant="refresh_token"):
            return "no: it refreshes, then the call fails"
        return "no: the call fails"

    def refresh_in_an_outage(self, client):
        self.let_an_hour_pass(client)
        self.let_an_hour_pass(client)  # longer than Entra's token lives
        self.server.control_answers("/entra-down", b"")
        done, said, asked = self.call(client)
        self.step("Entra down", said)
        if done:
            raise Failed(f"the tool said {said}")
        asked.have("/token", grant="refresh_token", status=503, error="temporarily_unavailable")
        at_once = "the browser opens" if asked.had("/authorize") else "the call fails"
        self.server.control_answers("/entra-up", b"")
        self.let_an_hour_pass(client)  # longer than the server waits before it asks Entra again
        done, said, asked = self.call(client)
        self.step("Entra up", said)
        if not done:
            raise Failed(said)
        if asked.had("/authorize"):
            return f"{at_once}; the next call opens the browser"
        asked.have("/token", grant="refresh_token", status=200)
        return f"{at_once}; the next call refreshes"

    def be_refused(self, client):
        self.person.write_text("deny")
        done, said = client.told("revoke")
        self.asked = self.server.requests()
        if not done:
            raise Failed(said)
        self.asked.have("/revoke", status=200)
        self.step("revoke")

        done, said, asked = self.call(client)
        if done:
            raise Failed(f"the tool said {said}")
        # Some clients refresh as soon as a token is refused, others only once it has expired by
        # their clock.
        if not asked.had("/token", grant="refresh_token"):
            self.let_an_hour_pass(client)
            done, said, asked_later = self.call(client)
            if done:
                raise Failed(f"the tool said {said}")
            asked.extend(asked_later)
        asked.have("/mcp", bearer=True, status=401)
        asked.have("/token", grant="refresh_token", status=400, error="invalid_grant")
        asked.have_not("/mcp", status=200)
        asked.have_not("/mcp", status=202)
        asked.have_not("/token", status=200)
        self.step("be refused", said)

    def restart_with_new_keys(self, client):
        done, said, _ = self.call(client)
        if not done:
            raise Failed(said)
        self.server.restart()
        calls = []
        while len(calls) < 3 and "works" not in calls:
            try:
                done, said, asked = self.call(client, patience=WITHOUT_BROWSER)
            except Stuck:
                self.asked.have("/authorize", status=400)
                self.step("new keys", "it is silent")
                return "the browser opens an error page; the call waits"
            self.step("new keys", said)
            asked.have("/mcp", bearer=True, status=401)
            calls.append("works" if done else "fails")
            if done:
                asked.have("/register", status=201)
                asked.have("/authorize", status=200)
        if "works" not in calls:
            return "every call fails"
        if len(calls) == 1:
            return "it registers again; the browser opens"
        return f"{len(calls) - 1} call fails; then it registers again, and the browser opens"


def run(name, command):
    with tempfile.TemporaryDirectory() as directory, ExitStack() as running:
        play = None
        try:
            play = Play(name, command, Path(directory), running)
            return play.all()
        except Failed as failure:
            play.said.append(f"FAILED  {name}: {failure}\n\nWhat the server was asked last:")
            play.said.extend(str(request) for request in play.asked)
            for log in sorted(Path(directory).glob("*.log")):
                play.said.append(f"\n{log.name}:\n{log.read_text()}")
        finally:
            if play:
                print(*play.said, sep="\n", flush=True)
    return None


def of_lock(package):
    """Returns the version of a package in the workspace's lock file."""
    lock = tomllib.loads((HERE / "../../Cargo.lock").read_text())
    return next(each["version"] for each in lock["package"] if each["name"] == package)


def of_npm(package):
    return json.loads((NODE_MODULES / package / "package.json").read_text())["version"]


# Node looks for packages beside the file, so this file is a copy beside node_modules.
TYPESCRIPT = ["node", NODE_MODULES.parent / "typescript_sdk.mjs"]
CLIENTS = {
    "typescript-2": (
        f"MCP SDK for TypeScript {of_npm('@modelcontextprotocol/client')}",
        [*TYPESCRIPT, "2"],
    ),
    "typescript-1": (
        f"MCP SDK for TypeScript {of_npm('@modelcontextprotocol/sdk')}",
        [*TYPESCRIPT, "1"],
    ),
    "mcp": (
        f"MCP SDK for Python {version('mcp')}",
        [sys.executable, HERE / "clients/python_sdk.py"],
    ),
    "fastmcp": (
        f"FastMCP {version('fastmcp')}",
        [sys.executable, HERE / "clients/fastmcp_client.py"],
    ),
    "rmcp": (f"MCP SDK for Rust (rmcp) {of_lock('rmcp')}", [PROGRAMS / "rmcp_client"]),
    "mcp-remote": (
        f"mcp-remote {of_npm('mcp-remote')}",
        [sys.executable, HERE / "clients/mcp_remote.py", NODE_MODULES],
    ),
    "inspector": (
        f"MCP Inspector, CLI {of_npm('@modelcontextprotocol/inspector')}",
        [sys.executable, HERE / "clients/inspector_cli.py", NODE_MODULES],
    ),
}


def main():
    options = sys.argv[3:]
    wanted = [option for option in options if option != "--write"] or list(CLIENTS)
    with ThreadPoolExecutor(max_workers=2) as pool:
        rows = list(pool.map(lambda name: run(name, CLIENTS[name][1]), wanted))
    if None in rows:
        sys.exit(1)
    seen = {CLIENTS[name][0]: row for name, row in zip(wanted, rows)}
    update(seen, write="--write" in options, complete=len(wanted) == len(CLIENTS))


main()
