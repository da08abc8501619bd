"""The client of a sign-in: its registration, its callbacks and the redemption of its code."""

import base64
import hashlib
import http.server
import json
import ssl
import threading
import urllib.error
import urllib.parse
import urllib.request

VERIFIER = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk"
LOOPBACK = urllib.request.build_opener(urllib.request.ProxyHandler({}))


class Client:
    """The listeners of a client on this machine.

    The path of a callback says how it answers: `/callback` with a page, `/callback/204` with nothing,
    and `/callback/302-https` by a redirect to this one of the places in `ends`.
    """

    def __init__(self, certificate=None):
        client, self.referrers, self.arrived = self, set(), []

        class Answer(http.server.BaseHTTPRequestHandler):
            def do_GET(self):
                path = urllib.parse.urlsplit(self.path).path
                status, place = 200, None
                # Ignores the requests of its own page, such as for an icon.
                if path.startswith("/callback"):
                    client.referrers.add(self.headers["referer"])
                    client.arrived.append(f"{client.origin}{self.path}")
                    way, _, place = path.removeprefix("/callback").strip("/").partition("-")
                    status = int(way or status)
                self.send_response(status)
                if place:
                    self.send_header("location", f"{client.ends[place]}?state={parameter(self.path, 'state')}")
                self.send_header("content-type", "text/html")
                self.end_headers()
                if status == 200:
                    self.wfile.write(b"<!doctype html><title>Connected</title>")

            def log_message(self, *_):
                pass

        self.servers = [http.server.ThreadingHTTPServer(("127.0.0.1", 0), Answer) for _ in range(3)]
        here, other, secure = (server.server_port for server in self.servers)
        self.origin = f"http://127.0.0.1:{here}"
        self.redirect_uri = f"{self.origin}/callback"
        self.ends = {
            "page": self.redirect_uri,
            "https": f"https://127.0.0.1:{secure}/",
            "loopback": f"http://localhost:{other}/",
            "scheme": "exampleapp://connected",
        }
        if certificate:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(certificate)
            self.servers[2].socket = context.wrap_socket(self.servers[2].socket, server_side=True)
        for server in self.servers:
            threading.Thread(target=server.serve_forever, daemon=True).start()

    def close(self):
        for server in self.servers:
            server.shutdown()
            server.server_close()


def authorize(url, name, redirect_uri, scope, state="x"):
    """Registers a client, and returns the URL of its authorization request."""
    metadata = json.dumps({"client_name": name, "redirect_uris": [redirect_uri]}).encode()
    try:
        request = urllib.request.Request(f"{url}/register", metadata, {"content-type": "application/json"})
        registered = json.load(LOOPBACK.open(request))
    except urllib.error.HTTPError as error:
        raise AssertionError(f"{name}: {error.read()}") from error
    challenge = base64.urlsafe_b64encode(hashlib.sha256(VERIFIER.encode()).digest()).rstrip(b"=").decode()
    request = {"response_type": "code", "client_id": registered["client_id"], "redirect_uri": redirect_uri,
               "code_challenge": challenge, "code_challenge_method": "S256", "state": state, "scope": scope}
    return f"{url}/authorize?{encoded(request)}"


def redeem(url, request, code):
    """Redeems the code of an authorization request, and returns the tokens."""
    form = {"grant_type": "authorization_code", "client_id": parameter(request, "client_id"), "code": code,
            "redirect_uri": parameter(request, "redirect_uri"), "code_verifier": VERIFIER}
    try:
        return json.load(LOOPBACK.open(f"{url}/token", encoded(form).encode()))
    except urllib.error.HTTPError as error:
        raise AssertionError(f"the code was not redeemed: {error.read()}") from error


def encoded(parameters):
    return urllib.parse.urlencode(parameters)


def parameter(url, name):
    return urllib.parse.parse_qs(urllib.parse.urlsplit(url).query).get(name, [None])[0]
