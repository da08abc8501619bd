// The MCP SDK for TypeScript: its client and `OAuthClientProvider`, with the storage and the loopback
// listener that its users must write.
// usage: typescript_sdk.mjs VERSION, the major version: 1 or 2.

import { spawn } from "node:child_process";
import { once } from "node:events";
import { createServer } from "node:http";
import { createInterface } from "node:readline";

const one = process.argv[2] === "1";
const sdk = one ? "@modelcontextprotocol/sdk/client" : "@modelcontextprotocol/client";
const { Client } = await import(one ? `${sdk}/index.js` : sdk);
const { StreamableHTTPClientTransport } = await import(one ? `${sdk}/streamableHttp.js` : sdk);
const { UnauthorizedError } = await import(one ? `${sdk}/auth.js` : sdk);

const url = new URL(process.env.MCP_URL);

const listener = createServer((request, response) => {
  response.end();
  const answer = new URL(request.url, "http://127.0.0.1").searchParams;
  listener.emit("answer", answer);
});
listener.listen(0, "127.0.0.1");
await once(listener, "listening");

class Provider {
  redirectUrl = `http://127.0.0.1:${listener.address().port}/callback`;
  clientMetadata = {
    client_name: "The MCP SDK for TypeScript",
    redirect_uris: [this.redirectUrl],
    token_endpoint_auth_method: "none",
    grant_types: ["authorization_code", "refresh_token"],
  };

  clientInformation() {
    return this.information;
  }
  saveClientInformation(information) {
    this.information = information;
  }
  tokens() {
    return this.kept;
  }
  saveTokens(tokens) {
    this.kept = tokens;
  }
  codeVerifier() {
    return this.verifier;
  }
  saveCodeVerifier(verifier) {
    this.verifier = verifier;
  }
  invalidateCredentials(what) {
    if (what === "all" || what === "tokens") this.kept = undefined;
    if (what === "all" || what === "client") this.information = undefined;
  }
  redirectToAuthorization(authorize) {
    this.answer = once(listener, "answer");
    spawn(process.env.BROWSER, [authorize.href], { stdio: "inherit" });
  }
}

const provider = new Provider();

async function callOnce(tool) {
  const client = new Client({ name: "interop", version: "0" });
  const transport = new StreamableHTTPClientTransport(url, { authProvider: provider });
  try {
    await client.connect(transport);
    const result = await client.callTool({ name: tool });
    return result.content[0].text;
  } catch (error) {
    if (!(error instanceof UnauthorizedError)) throw error;
    const [answer] = await provider.answer;
    if (answer.has("error")) throw new Error(answer.get("error"));
    await transport.finishAuth(answer.get("code"), answer.get("iss"));
    return undefined;
  } finally {
    await client.close();
  }
}

const commands = {
  call: async (tool) => (await callOnce(tool)) ?? (await callOnce(tool)),
  // The client ignores the clock: it refreshes when the server refuses a token.
  "an hour passes": async () => "",
  // RFC 7009 revocation, for which the SDK has no function.
  revoke: async () => {
    const found = await fetch(new URL("/.well-known/oauth-authorization-server", url));
    const { revocation_endpoint } = await found.json();
    const { refresh_token } = provider.kept;
    const { client_id } = provider.information;
    const body = new URLSearchParams({ token: refresh_token, client_id });
    const revoked = await fetch(revocation_endpoint, { method: "POST", body });
    if (!revoked.ok) throw new Error(`${revoked.status} to the revocation`);
    return "";
  },
};

for await (const line of createInterface({ input: process.stdin })) {
  const command = line.startsWith("call ") ? "call" : line;
  try {
    console.log("ok", await commands[command](line.slice("call ".length)));
  } catch (error) {
    console.log("failed", String(error).replaceAll("\n", " "));
  }
}
process.exit();
