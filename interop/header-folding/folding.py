"""Sends forged headers through the reverse proxy to servers that turn headers into variables.

CGI is the model. Only the proxy may set these headers. A forged one must not arrive, with any
separators in its name.

usage: folding.py PROGRAMS WORK
PROGRAMS is the directory with entra-dev-tenant and reverse_proxy, and WORK is an empty directory.
php and lighttpd must be in PATH.
"""

import http.client
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.parse
from contextlib import ExitStack, contextmanager
from pathlib import Path

HERE = Path(__file__).parent
PROGRAMS, WORK = Path(sys.argv[1]).resolve(), Path(sys.argv[2]).resolve()
# Timeout in seconds, longer than any step takes.
PATIENCE = 20

# Number of failures that are printed for each server.
SHOWN = 20

API = "6e74172b-be56-4843-9ff4-e66a39bb12e3"
CLIENT = "2b1f4a8c-3d5e-4f60-9a7b-8c9d0e1f2a3b"
SECRET = "interop-secret"

# All characters except letters and digits that a header name may contain (RFC 9110 §5.6.2).
SEPARATORS = "-_.!#$%&'*+^`|~"

# Identity headers, by the kind of token they are sent with: where possible, one without the claim.
IDENTITY = {
    "user": ["X-Auth-Roles", "X-Auth-Groups", "X-Auth-Oid", "X-Auth-Tenant", "X-Auth-Client"],
    "app": ["X-Auth-Name", "X-Auth-Scopes"],
}
WAY = [
    "Authorization",
    "Forwarded",
    "Proxy",
    "Proxy-Authorization",
    "X-Forwarded-For",
    "X-Forwarded-Host",
    "X-Forwarded-Proto",
    "X-Forwarded-User",
    "X-Real-IP",
]
# HTTP itself uses these headers under their right names, so they are sent in the other spellings
# only.
MESSAGE = ["Content-Length", "Content-Type", "Keep-Alive", "Transfer-Encoding"]


class Failed(Exception):
    pass


def spelled(name, separator):
    """Returns the name with the separator in place of each `-`, or at its end if it has no `-`."""
    return name.replace("-", separator) if "-" in name else name + separator


@contextmanager
def running(name, command, served, environment=None, **more):
    """Runs a process, and yields the match of the pattern `served` once it is in the output."""
    output = WORK / f"{name}.log"
    with output.open("w") as file:
        process = subprocess.Popen(
            [str(part) for part in command],
            env=os.environ | {"NO_PROXY": "*"} | (environment or {}),
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=subprocess.STDOUT,
            **more,
        )
    try:
        until = time.monotonic() + PATIENCE
        while not (found := re.search(served, output.read_text(), re.DOTALL)):
            if process.poll() is not None or time.monotonic() > until:
                raise Failed(f"{name} did not start:\n{output.read_text()}")
            time.sleep(0.02)
        yield found
    finally:
        process.terminate()
        try:
            process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


@contextmanager
def tenant():
    """Runs a development tenant; yields the proxy's settings for it, and a token of each kind."""
    command = [PROGRAMS / "entra-dev-tenant", "--listen", "127.0.0.1:0", "--api", API]
    command += ["--client", CLIENT, "--secret", SECRET, "--scope", "Reports.Read", "--print-tokens"]
    with running("entra-dev-tenant", command, r".*Ctrl-C ends it\.") as said:
        settings = dict(re.findall(r"export (\w+)=(\S+)", said[0]))
        user = re.search(r"# user ada.*\n(\S+)", said[0])[1]
        url = urllib.parse.urlsplit(settings["ENTRA_METADATA_ENDPOINT"])
        connection = http.client.HTTPConnection(url.netloc, timeout=PATIENCE)
        form = {
            "grant_type": "client_credentials",
            "client_id": CLIENT,
            "client_secret": SECRET,
            "scope": f"api://{API}/.default",
        }
        connection.request(
            "POST",
            f"/{settings['ENTRA_TENANT_ID']}/oauth2/v2.0/token",
            urllib.parse.urlencode(form),
            {"Content-Type": "application/x-www-form-urlencoded"},
        )
        app = json.load(connection.getresponse())["access_token"]
        connection.close()
        yield settings, {"user": user, "app": app}


@contextmanager
def php():
    # Without the machine's php.ini. With port 0, PHP prints the port that it uses.
    command = ["php", "-n", "-S", "127.0.0.1:0", HERE / "variables.php"]
    with running("php", command, r"(PHP [\d.]+)\S* .*http://(127\.0\.0\.1:\d+)\) started") as said:
        yield f"{said[1]}, its own server", said[2]


@contextmanager
def lighttpd():
    root = WORK / "root"
    root.mkdir()
    shutil.copy(HERE / "variables.cgi", root)
    configuration = WORK / "lighttpd.conf"
    configuration.write_text(
        f"""
        server.modules = ("mod_cgi")
        server.document-root = "{root}"
        server.upload-dirs = ("{WORK}")
        server.systemd-socket-activation = "enable"
        cgi.assign = (".cgi" => "")
        index-file.names = ("variables.cgi")
        """
    )
    # lighttpd does not support port 0, but accepts a listening socket, as systemd passes one on.
    with socket.create_server(("127.0.0.1", 0)) as listening:
        listening.set_inheritable(True)
        address = "127.0.0.1:%d" % listening.getsockname()[1]
        script = f'exec 3<&{listening.fileno()}; LISTEN_FDS=1 LISTEN_PID=$$ exec lighttpd -D -f "$0"'
        command = ["bash", "-c", script, configuration]
        served = r"server started \(lighttpd/([\d.]+)\)"
        with running("lighttpd", command, served, pass_fds=[listening.fileno()]) as said:
            yield f"lighttpd {said[1]}, CGI", address


@contextmanager
def proxy(name, upstream, settings):
    environment = settings | {"LISTEN": "127.0.0.1:0", "UPSTREAM": f"http://{upstream}"}
    command = [PROGRAMS / "reverse_proxy"]
    with running(name, command, r"Serving http://(\S+),", environment) as said:
        connection = http.client.HTTPConnection(said[1], timeout=PATIENCE)
        yield connection
        connection.close()


def variables(connection, token, headers=(), trailers=()):
    """Returns the variables that the server made of such a request, as (name, value)."""
    connection.putrequest("POST", "/", skip_accept_encoding=True)
    connection.putheader("Authorization", f"Bearer {token}")
    for name, value in headers:
        connection.putheader(name, value)
    if trailers:
        # PHP drops the last trailer, so one more is added.
        trailers = [*trailers, ("X-Last", "last")]
        connection.putheader("TE", "trailers")
        connection.putheader("Trailer", ", ".join(name for name, _ in trailers))
        connection.putheader("Transfer-Encoding", "chunked")
        connection.endheaders()
        lines = "".join(f"{name}: {value}\r\n" for name, value in trailers)
        connection.send(f"1\r\na\r\n0\r\n{lines}\r\n".encode())
    else:
        connection.putheader("Content-Length", "0")
        connection.endheaders()
    response = connection.getresponse()
    body = response.read().decode()
    if response.status != 200:
        raise Failed(f"status {response.status} for {headers} and {trailers}:\n{body}")
    return [tuple(line.split("=", 1)) for line in body.splitlines() if "=" in line]


def attempts(takes_trailers):
    """Yields each header in each spelling: (kind of token, `header` or `trailer`, name)."""
    # A server that ignores trailers cannot show what the proxy lets through.
    ways = ["header", "trailer"] if takes_trailers else ["header"]
    for token, names in (IDENTITY | {"user": IDENTITY["user"] + WAY}).items():
        for name in names:
            for separator in SEPARATORS:
                for way in ways:
                    yield token, way, spelled(name, separator)
    for name in MESSAGE:
        for separator in SEPARATORS.replace("-", ""):
            for way in ways:
                yield "user", way, spelled(name, separator)


def folds(connection, token, folded, must_take_trailers):
    """Checks that the server folds header names: a harmless header arrives with each separator.

    Returns whether the same header also arrives when it is sent as a trailer.
    """
    for separator in folded:
        name = spelled("X-Team-Name", separator)
        if ("HTTP_X_TEAM_NAME", "kept") not in variables(connection, token, [(name, "kept")]):
            raise Failed(f"{name} does not arrive as HTTP_X_TEAM_NAME: this shows nothing")
    trailed = variables(connection, token, (), [("X.Team.Name", "kept")])
    takes_trailers = ("HTTP_X_TEAM_NAME", "kept") in trailed
    if must_take_trailers and not takes_trailers:
        raise Failed("no trailer arrives: this shows nothing")
    return takes_trailers


def is_honest(before, found):
    """Returns whether no forged value arrived, and each header of the proxy did, once."""
    if any("forged" in value for _, value in found):
        return False
    said = [name for name, _ in before if name.startswith(("HTTP_X_AUTH_", "HTTP_X_FORWARDED_"))]
    return bool(said) and all(
        [value for name, value in found if name == one] == [dict(before)[one]] for one in said
    )


def try_all(connection, tokens, takes_trailers):
    before = {kind: variables(connection, token) for kind, token in tokens.items()}
    passed, failed = 0, 0
    for kind, sent_as, name in attempts(takes_trailers):
        forged = [(name, "forged")]
        sent = {"headers": forged} if sent_as == "header" else {"trailers": forged}
        found = variables(connection, tokens[kind], **sent)
        if is_honest(before[kind], found):
            passed += 1
            continue
        failed += 1
        if failed > SHOWN:
            continue
        shown = [f"{name}={value}" for name, value in found if "forged" in value]
        print(f"FAILED  {sent_as:<8} {name:<22} {' '.join(shown) or 'what the proxy says is not there'}")
    return passed, failed


def main():
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    all_passed, all_failed = 0, 0
    with ExitStack() as stack:
        settings, tokens = stack.enter_context(tenant())
        # PHP treats trailers as headers, and the check requires this. lighttpd may do so or not.
        servers = [("php", php, "-_.", True), ("lighttpd", lighttpd, SEPARATORS, False)]
        for short, server, folded, must_take_trailers in servers:
            name, address = stack.enter_context(server())
            connection = stack.enter_context(proxy(f"proxy-of-{short}", address, settings))
            takes_trailers = folds(connection, tokens["user"], folded, must_take_trailers)
            passed, failed = try_all(connection, tokens, takes_trailers)
            print(f"{name:<28} {passed:>5} passed {failed:>5} failed", flush=True)
            all_passed, all_failed = all_passed + passed, all_failed + failed
    print(f"{all_passed} passed, {all_failed} failed")
    return all_failed


try:
    sys.exit(main() > 0)
except Failed as failure:
    sys.exit(f"FAILED  {failure}")
