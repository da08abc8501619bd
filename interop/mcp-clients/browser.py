#!/usr/bin/env python3
"""A minimal browser with a simulated user.

It opens the URL, keeps cookies, follows redirects and the refreshes of pages, and presses the user's
button in each form.

usage: browser.py URL, with the variable PERSON set to a file that contains `approve` or `deny`, the
user's decision. Returns immediately, as a command that opens a browser does.
"""

import http.cookiejar
import os
import sys
import time
import urllib.error
import urllib.parse
import urllib.request
from html.parser import HTMLParser


class Form(HTMLParser):
    """The form of a page, with those of the given buttons pressed that it has, or its refresh."""

    def __init__(self, page, buttons):
        super().__init__()
        self.buttons, self.action, self.fields, self.pressed = buttons, None, [], False
        self.refresh = None
        self.feed(page)

    def handle_starttag(self, tag, attributes):
        attributes = dict(attributes)
        field = (attributes.get("name"), attributes.get("value"))
        if tag == "form":
            self.action = attributes.get("action") or ""
        elif tag == "input" and attributes.get("type") == "hidden":
            self.fields.append(field)
        elif tag == "meta" and (attributes.get("http-equiv") or "").lower() == "refresh":
            _, _, self.refresh = attributes["content"].partition("url=")
        elif tag == "button" and field in self.buttons:
            self.fields.append(field)
            self.pressed = True


class RedirectsAreAnswers(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *_):
        return None


def ask(browser, url, form):
    """Sends a request, and retries for 30 s if the connection is refused.

    A client may begin to listen only after it has opened the browser.
    """
    until = time.monotonic() + 30
    while True:
        try:
            return browser.open(url, form, timeout=30)
        except urllib.error.HTTPError as answer:
            return answer
        except urllib.error.URLError as error:
            if not isinstance(error.reason, ConnectionRefusedError) or time.monotonic() > until:
                raise
            time.sleep(0.05)


def browse(url, buttons):
    browser = urllib.request.build_opener(
        urllib.request.ProxyHandler({}),
        urllib.request.HTTPCookieProcessor(http.cookiejar.CookieJar()),
        RedirectsAreAnswers,
    )
    form = None
    while True:
        with ask(browser, url, form) as answer:
            page = Form(answer.read().decode(errors="replace"), buttons)
            location = answer.headers["location"] or page.refresh
        if location:
            url, form = urllib.parse.urljoin(url, location), None
        elif page.action is None:
            return
        elif page.pressed:
            url = urllib.parse.urljoin(url, page.action)
            form = urllib.parse.urlencode(page.fields).encode()
        else:
            sys.exit(f"no button for the person on {url.partition('?')[0]}")


if os.fork() == 0:
    with open(os.environ["PERSON"]) as person:
        decision = person.read()
    browse(sys.argv[1], {("decision", decision), ("user", "ada")})
