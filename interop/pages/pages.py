"""Checks every page in Chromium, and signs in with the keyboard alone, and with Swagger UI.

usage: pages.py AXE_JS SCREENSHOTS PROFILE, with the server's settings in the environment (see run.sh)
"""

import contextlib
import json
import os
import sys
import urllib.error

import swagger_ui
from browser import ENTER, SPACE, Browser
from client import LOOPBACK, Client, authorize, encoded, parameter, redeem
from later_pages import LaterPages

AXE_JS, SCREENSHOTS, PROFILE = sys.argv[1:]
USUAL, LONG, TENANT = (os.environ[name] for name in ["USUAL_URL", "LONG_URL", "TENANT_URL"])
# After `use_up`, each request to this URL exceeds a rate limit for a minute.
BUSY = f"{os.environ['BUSY_URL']}/authorize"
AUTHORITY = f"{TENANT}/{os.environ['TENANT_ID']}/oauth2/v2.0"

WIDTHS = [320, 1280]
# Screen of a common phone.
TELEPHONE = (390, 844)
SCHEMES = ["light", "dark"]
AXE_TAGS = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]


def main():
    with open(AXE_JS) as file:
        axe = file.read()
    browser = Browser(PROFILE)
    with contextlib.closing(Client()) as client, contextlib.ExitStack() as ends:
        ends.callback(browser.quit)
        origins = {USUAL, LONG, TENANT, client.origin, os.environ["BUSY_URL"]}
        for name, url in pages(client):
            browser.open(url)
            looks_good(browser, name, axe)
        for name, title, opens in LaterPages(browser, client).all():
            opens()
            browser.has_title(title)
            looks_good(browser, name, axe)
        stays_here(browser, origins)
        buttons_wait(browser, client)
        signs_in(browser, client)
        cancels(browser, client)
        carries_an_error(browser, client)
        signs_out(browser, client)
        stays_here(browser, origins)
        tenant = swagger_ui.signs_in(browser, os.environ["OPENAPI_URL"], SCREENSHOTS)
        done("Swagger UI: 401 before a sign-in by code with PKCE, 200 after it, 403 without the scope")
        stays_here(browser, {os.environ["OPENAPI_URL"], tenant})


def pages(client):
    """Returns the name and the URL of each page."""
    entra = {"client_id": os.environ["APP_ID"], "response_type": "code", "scope": "openid", "state": "x",
             "redirect_uri": f"{USUAL}/callback"}
    scopes = "Notes.Write Notes.Share"
    use_up()
    # The longest name that the page shows without cutting it, and the longest URI that can be
    # registered.
    long_uri = "https://client.example/" + "a" * 489
    long = authorize(LONG, "W" * 60, long_uri, every_long_scope())
    return [
        ("consent-https", authorize(USUAL, "Claude", "https://claude.example/api/mcp/auth_callback", scopes)),
        ("consent-loopback", authorize(USUAL, "Inspector", client.redirect_uri, scopes)),
        ("consent-application", authorize(USUAL, "Cursor", "cursor://anysphere.cursor-mcp/oauth/callback", scopes)),
        ("consent-long", long),
        ("error-refused", refused(USUAL, "https://claude.example/api/mcp/auth_callback")),
        ("error-refused-application", refused(USUAL, "cursor://anysphere.cursor-mcp/oauth/callback")),
        ("error-refused-long", refused(LONG, f"https://{'.'.join(['a' * 63] * 3)}.example/callback")),
        ("error-other-address", with_address(USUAL, "http://localhost/callback", "http://127.0.0.1:1/callback")),
        ("error-other-address-long", with_address(LONG, long_uri, long_uri.upper())),
        ("error-too-many", BUSY),
        ("error-unknown-client", f"{USUAL}/authorize?client_id=x"),
        ("error-document", f"{USUAL}/authorize?client_id=https://client.example/client.json"),
        ("error-no-client", f"{USUAL}/authorize"),
        ("error-nothing-here", f"{USUAL}/consent"),
        ("signed-out", f"{USUAL}/signed-out"),
        ("tenant-sign-in", f"{AUTHORITY}/authorize?{encoded(entra)}"),
        ("tenant-sign-in-hinted", f"{AUTHORITY}/authorize?{encoded(entra | {'login_hint': 'grace'})}"),
        ("tenant-error", f"{AUTHORITY}/authorize?{encoded(entra | {'client_id': 'x'})}"),
        ("tenant-form", f"{AUTHORITY}/authorize?{encoded(entra | {'response_mode': 'form_post', 'prompt': 'none'})}"),
        ("tenant-signed-out", f"{AUTHORITY}/logout"),
    ]


def refused(url, redirect_uri):
    """Returns the URL of a request that the proxy refuses before it asks the user."""
    return authorize(url, "Somebody", redirect_uri, "No.Such.Scope")


def with_address(url, registered, sent):
    """Returns the URL of a request whose redirect URI is not the registered one."""
    return authorize(url, "Somebody", registered, "").replace(encoded({"": registered}), encoded({"": sent}))


def use_up():
    """Uses up the rate limit of this address."""
    try:
        LOOPBACK.open(BUSY)
    except urllib.error.HTTPError as error:
        assert error.code == 400, error.code


def every_long_scope():
    document = f"{LONG}/.well-known/oauth-protected-resource/mcp"
    scope = json.load(LOOPBACK.open(document))["scopes_supported"]
    return " ".join(scope + os.environ["LONG_SCOPES"].split(","))


def looks_good(browser, name, axe):
    is_the_page_itself(browser, name)
    browser.run(axe)
    for scheme in SCHEMES:
        for width in WIDTHS:
            look = f"{name}-{scheme}-{width}"
            browser.looks(width, scheme=scheme)
            browser.screenshot(f"{SCREENSHOTS}/{look}.png")
            violates_nothing(browser, look)
            is_whole(browser, look)
            has_large_targets(browser, look)
    browser.looks(*TELEPHONE)
    browser.screenshot(f"{SCREENSHOTS}/{name}-light-{TELEPHONE[0]}.png")
    is_whole(browser, f"{name}, telephone")
    has_buttons_in_one_row(browser, name)
    # Text of twice the size, as users can set it in their browsers.
    browser.looks(320)
    browser.run("document.documentElement.style.fontSize = '200%'")
    browser.screenshot(f"{SCREENSHOTS}/{name}-light-320-text-200.png")
    is_whole(browser, f"{name}, text of 200 %")
    browser.run("document.documentElement.style.fontSize = ''")
    browser.looks(1280, forced_colors="active")
    browser.screenshot(f"{SCREENSHOTS}/{name}-forced-colors-1280.png")
    has_visible_edges(browser, name)
    browser.looks(1280)
    complaints = browser.complaints()
    assert not complaints, f"{name}: {complaints}"
    done(f"{name}: no violation, nothing cut off, light and dark, {WIDTHS} px")


def is_the_page_itself(browser, name):
    """Checks that this is not an error page of the browser, and that a logo is part of the page."""
    found = browser.run(
        "return [document.title, document.querySelectorAll('main h1').length, document.scripts.length,"
        " document.querySelectorAll('link, iframe, [style]').length,"
        " [...document.images].filter(image => !image.naturalWidth || !image.src.startsWith('data:')).length]"
    )
    assert found[0] and found[1:] == [1, 0, 0, 0], f"{name}: {found}"
    logos = browser.run("return document.images.length")
    assert logos == browser.driver.current_url.startswith(LONG), f"{name}: {logos} logos"


def violates_nothing(browser, look):
    result = browser.driver.execute_async_script(
        """
        const [tags, done] = arguments;
        axe.run(document, { runOnly: tags, rules: { "target-size": { enabled: true } } })
          .then(done, error => done({ error: String(error) }));
        """,
        AXE_TAGS,
    )
    assert "error" not in result, f"{look}: {result['error']}"
    assert len(result["passes"]) > 10, f"{look}: axe looked at next to nothing"
    # Findings that axe cannot decide, such as some contrasts, count as violations.
    found = [
        f"{rule['id']}: {node['html']} {node['failureSummary']}"
        for rule in result["violations"] + result["incomplete"]
        for node in rule["nodes"]
    ]
    assert not found, f"{look}: " + "\n".join(found)


def is_whole(browser, look):
    """Checks that no element needs horizontal scrolling or is cut off."""
    wide = browser.run(
        """
        const isWide = element => element.scrollWidth > element.clientWidth
          && getComputedStyle(element).display !== "inline";
        return [...document.querySelectorAll("html, body, body *")].filter(isWide)
          .map(element => `${element.tagName} ${element.textContent.slice(0, 40)}`);
        """
    )
    assert not wide, f"{look} is too wide: {wide}"


def has_large_targets(browser, look):
    small = browser.run(
        """
        return [...document.querySelectorAll("button, .button")].map(button => button.getBoundingClientRect())
          .filter(box => box.width < 44 || box.height < 44).length;
        """
    )
    assert small == 0, f"{look}: {small} buttons of less than 44 px"


def has_buttons_in_one_row(browser, name):
    """Checks that Cancel is beside the main button, so that the user sees both.

    Both are on the screen, except where an application asks for many scopes.
    """
    boxes = browser.run(
        """
        return [...document.querySelectorAll("form > button")].map(button => button.getBoundingClientRect())
          .map(box => [box.top, box.left, box.right, box.bottom]);
        """
    )
    # Other forms differ: that of the tenant, for example, has a button for each user.
    if not name.startswith("consent"):
        return
    assert len(boxes) == 2 and boxes[0][0] == boxes[1][0], f"{name}: the buttons are not in one row: {boxes}"
    assert boxes[0][1] >= 0 and boxes[1][2] <= TELEPHONE[0], f"{name}: a button is out of view: {boxes}"
    if name != "consent-long":
        assert boxes[0][3] <= TELEPHONE[1], f"{name}: the buttons are below the screen: {boxes}"


def has_visible_edges(browser, name):
    """Checks that buttons have a visible edge where the system chooses all colours."""
    edges = browser.run(
        """
        return [...document.querySelectorAll("button, .button")].map(button => getComputedStyle(button))
          .map(style => [style.borderTopWidth, style.borderTopColor, style.backgroundColor]);
        """
    )
    for width, edge, ground in edges:
        assert width != "0px" and edge != ground, f"{name}: {edges}"


def stays_here(browser, origins):
    hosts = browser.requested_hosts()
    assert hosts <= origins and len(hosts) > 1, f"asked for by pages: {hosts - origins}"
    done("nothing was asked of anybody else")


def buttons_wait(browser, client):
    browser.open(authorize(USUAL, "Inspector", client.redirect_uri, ""))
    # Restarts the animation, so that the time that the page took to load does not matter.
    events = browser.run(
        """
        const button = document.querySelector("button");
        button.style.animation = "none";
        button.getBoundingClientRect();
        button.style.animation = "";
        return getComputedStyle(button).pointerEvents;
        """
    )
    assert events == "none", events
    ready = "return getComputedStyle(document.querySelector('button')).pointerEvents === 'auto'"
    browser.wait("the buttons", lambda: browser.run(ready))
    done("a second click that somebody was made to make comes too early")


def signs_in(browser, client):
    browser.looks(320)
    at = authorize(USUAL, "Inspector", client.redirect_uri, "Notes.Write")
    browser.open(at)
    # No element has the focus: a held key presses no button, not even with a fragment in the URL.
    for fragment in ["", "#consent", "#approve", "#:~:text=Continue"]:
        browser.open(at + fragment)
        assert browser.run("return document.activeElement === document.body"), fragment
        browser.press(ENTER)
        browser.press(SPACE)
        assert browser.driver.current_url.startswith(f"{USUAL}/authorize"), fragment
    browser.open(at)
    assert browser.tab_to("Continue to sign in") == []
    browser.press(ENTER)
    browser.arrives(f"{AUTHORITY}/authorize")
    browser.tab_to("grace")
    browser.press(SPACE)
    code = parameter(browser.arrives(client.redirect_uri), "code")
    tokens = redeem(USUAL, at, code)
    assert tokens["scope"] == "Notes.Write Mcp.Access", tokens["scope"]
    no_complaints(browser)
    done("a sign-in by Tab, Enter and Space, to the tokens")


def cancels(browser, client):
    browser.open(authorize(USUAL, "Inspector", client.redirect_uri, ""))
    assert browser.tab_to("Cancel") == ["Continue to sign in"]
    browser.press(SPACE)
    error = parameter(browser.arrives(client.redirect_uri), "error")
    assert error == "access_denied", error
    browser.open(authorize(USUAL, "Inspector", client.redirect_uri, ""))
    # Without the session of the sign-in before, at which the tenant would not ask.
    browser.delete_cookie("ESTSAUTH", TENANT)
    browser.tab_to("Continue to sign in")
    browser.press(SPACE)
    browser.arrives(f"{AUTHORITY}/authorize")
    browser.tab_to("Cancel")
    browser.press(ENTER)
    error = parameter(browser.arrives(client.redirect_uri), "error")
    assert error == "access_denied", error
    no_complaints(browser)
    done("a no by keyboard, here and at Entra")


def carries_an_error(browser, client):
    """Checks that only the button sends the error, and that it ignores early clicks."""
    browser.open(refused(USUAL, "https://client.example/callback"))
    assert browser.driver.current_url.startswith(f"{USUAL}/authorize"), browser.driver.current_url
    assert browser.run("return document.activeElement === document.body")
    browser.press(ENTER)
    events = browser.run(
        """
        const button = document.querySelector(".button");
        button.style.animation = "none";
        button.getBoundingClientRect();
        button.style.animation = "";
        return getComputedStyle(button).pointerEvents;
        """
    )
    assert events == "none", events
    # Sends the error to the client on this machine, because the host client.example does not exist.
    at = browser.run(
        """
        const link = new URL(document.querySelector(".button").href);
        const there = new URL(arguments[0]);
        there.search = link.search;
        document.querySelector(".button").href = there;
        return link.href;
        """,
        client.redirect_uri,
    )
    assert at.startswith("https://client.example/callback?error=invalid_scope&"), at
    assert browser.tab_to("Go back to client.example") == []
    browser.press(ENTER)
    url = browser.arrives(client.redirect_uri)
    assert (parameter(url, "error"), parameter(url, "state")) == ("invalid_scope", "x"), url
    assert parameter(url, "iss") == USUAL, url
    assert client.referrers == {None}, client.referrers
    # A redirect to this machine needs no click.
    browser.open(refused(USUAL, client.redirect_uri))
    assert parameter(browser.arrives(client.redirect_uri), "error") == "invalid_scope"
    no_complaints(browser)
    done("an error that a click carries to the client, and no sooner")


def signs_out(browser, client):
    browser.open(authorize(USUAL, "Inspector", client.redirect_uri, ""))
    assert browser.driver.get_cookies()
    browser.tab_to("sign out first")
    browser.press(ENTER)
    browser.arrives(f"{USUAL}/signed-out")
    words = {cookie["value"].partition(".")[2] for cookie in browser.driver.get_cookies()}
    assert "signed-out" in words <= {"signed-out", "done", "failed", "declined"}, words
    assert browser.run("return document.querySelector('h1').textContent") == "Signing out"
    no_complaints(browser)
    done("signing out by keyboard, by way of Entra, without a secret left")


def no_complaints(browser):
    complaints = browser.complaints()
    assert not complaints, complaints


def done(what):
    print(f"ok      {what}", flush=True)


if __name__ == "__main__":
    main()
