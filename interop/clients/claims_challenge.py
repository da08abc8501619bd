"""Checks that Microsoft's own client understands our claims challenge after its token was revoked.

MSAL for Python gets the tokens. azure-core's bearer policy reads our challenge, and asks MSAL for a
new token with the claims in the challenge. Both packages come from PyPI, and know nothing of this
project.

usage: claims_challenge.py, with the server's settings in the environment (see run.sh)
"""

import json
import os
import time

import msal
import requests
from azure.core import PipelineClient
from azure.core.credentials import AccessToken
from azure.core.pipeline.policies import BearerTokenCredentialPolicy
from azure.core.rest import HttpRequest

api_url, tenant_url, tenant_id, api_id, client_id, client_secret = (
    os.environ[name]
    for name in ("API_URL", "TENANT_URL", "TENANT_ID", "API_ID", "CLIENT_ID", "CLIENT_SECRET")
)
ENTRA = "https://login.microsoftonline.com"


class ToTheLocalTenant:
    """An HTTP client for MSAL that sends requests for Entra to the local tenant.

    In responses, it replaces the tenant's address with Entra's.
    """

    def __init__(self):
        self.session = requests.Session()

    def post(self, url, **arguments):
        return self.send("POST", url, arguments)

    def get(self, url, **arguments):
        return self.send("GET", url, arguments)

    def send(self, method, url, arguments):
        response = self.session.request(method, url.replace(ENTRA, tenant_url), **arguments)
        response._content = response.content.replace(tenant_url.encode(), ENTRA.encode())
        return response

    def close(self):
        self.session.close()


class Msal:
    """A credential for azure-core that gets its tokens from MSAL."""

    def __init__(self, capabilities):
        self.claims_seen = []
        self.application = msal.ConfidentialClientApplication(
            client_id,
            client_credential=client_secret,
            authority=f"{ENTRA}/{tenant_id}",
            instance_discovery=False,
            client_capabilities=capabilities,
            http_client=ToTheLocalTenant(),
        )

    def get_token(self, *scopes, claims=None, **_):
        self.claims_seen.append(claims)
        answer = self.application.acquire_token_for_client(list(scopes), claims_challenge=claims)
        if "access_token" not in answer:
            raise SystemExit(f"no token: {answer}")
        return AccessToken(answer["access_token"], int(time.time()) + answer["expires_in"])


def ask(client, method, path):
    response = client.send_request(HttpRequest(method, api_url + path), enforce_https=False)
    return response.status_code, response.headers.get("WWW-Authenticate", "")


def expect(what, found, expected):
    print(f"{what:<44}  {found}")
    if found != expected:
        raise SystemExit(f"expected {expected}")


def after_revocation(capabilities):
    """Revokes a client's token and calls the API again.

    Returns the response's status, its challenge, and the claims of the client's requests to MSAL.
    """
    credential = Msal(capabilities)
    policy = BearerTokenCredentialPolicy(credential, f"api://{api_id}/.default")
    client = PipelineClient(api_url, policies=[policy])
    expect("before", ask(client, "GET", "/account")[0], 200)
    expect("revocation", ask(client, "POST", "/account/revocation")[0], 200)
    status, challenge = ask(client, "GET", "/account")
    return status, challenge, credential.claims_seen


print("# a client that declares cp1")
status, _, claims = after_revocation(["cp1"])
expect("challenged, it came back", status, 200)
expect("it asked MSAL", len(claims), 2)
not_before = json.loads(claims[1])["access_token"]["nbf"]
expect("for a token of after the revocation", not_before["essential"], True)
expect("which was just now", abs(int(not_before["value"]) - time.time()) < 60, True)

print("# a client that does not")
status, challenge, claims = after_revocation(None)
expect("refused", status, 403)
expect("not challenged", "claims=" in challenge, False)
expect("it asked MSAL", claims, [None])
