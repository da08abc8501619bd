"""Checks of Swagger UI in the example openapi, used as a person would."""

import json
import urllib.parse
import urllib.request

LOOPBACK = urllib.request.build_opener(urllib.request.ProxyHandler({}))
GET, POST = ".opblock-get", ".opblock-post"


def signs_in(browser, url, screenshots):
    """Calls the API before and after a sign-in. Returns the origin of the tenant."""
    document = json.load(LOOPBACK.open(f"{url}/openapi.json"))
    flow = document["components"]["securitySchemes"]["entra"]["flows"]["authorizationCode"]
    browser.looks(1280, height=1600)
    browser.open(f"{url}/swagger-ui/")
    tries(browser, GET)
    answers(browser, GET, 401, "no token")

    browser.click(".scheme-container button.authorize")
    assert "with PKCE" in browser.text(".auth-container .flow")
    assert selected(browser) == [True, False], "Reports.Read alone is selected at first"
    browser.click(".auth-container button.authorize")
    with browser.new_window():
        browser.arrives(flow["authorizationUrl"])
        browser.screenshot(f"{screenshots}/swagger-ui-sign-in.png")
        browser.click("button[value=ada]")
    browser.click(".auth-container button[aria-label='Remove authorization'] ~ .btn-done")

    browser.screenshot(f"{screenshots}/swagger-ui-signed-in.png")
    answers(browser, GET, 200, "Sales in October")
    tries(browser, POST)
    answers(browser, POST, 403, "missing_scope")
    browser.screenshot(f"{screenshots}/swagger-ui.png")
    # The browser logs advice about a form of Swagger UI.
    complaints = [line for line in browser.complaints() if "[DOM] Password field" not in line]
    assert not complaints, complaints
    return "{0.scheme}://{0.netloc}".format(urllib.parse.urlsplit(flow["tokenUrl"]))


def tries(browser, operation):
    """Opens an operation, and makes it ready to execute."""
    browser.click(f"{operation} .opblock-summary-control")
    browser.click(f"{operation} .try-out__btn")


def answers(browser, operation, status, text):
    """Executes an operation, and checks the response."""
    if browser.run("return document.querySelectorAll(arguments[0]).length", f"{operation} .btn-clear"):
        browser.click(f"{operation} .btn-clear")
    browser.click(f"{operation} .execute")
    found = browser.text(f"{operation} .live-responses-table .response .response-col_status")
    assert found.split()[0] == str(status), f"{operation}: {found}, not {status}"
    body = browser.text(f"{operation} .live-responses-table .response .highlight-code")
    assert text in body, f"{operation}: {body}"


def selected(browser):
    return browser.run("return [...document.querySelectorAll('.auth-container .scopes input')].map(one => one.checked)")
