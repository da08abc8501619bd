"""Plays sign-ins from the consent page to the client in Chromium, with everything that browsers and people do.

usage: chain.py WORK, an empty directory, with the server's settings in the environment (see run.sh)

In each way the client receives exactly the code or the error of its sign-in and can redeem the code, the
console has no complaint, and no page leaves the user without a way on.
"""

import contextlib
import os
import secrets
import subprocess
import sys
import time
import traceback
from functools import partial

from browser import Browser
from client import LOOPBACK, Client, authorize, parameter, redeem
from desktop import Desktop, always_open

WORK = sys.argv[1]
USUAL, TENANT, CONTROL = (os.environ[name] for name in ["USUAL_URL", "TENANT_URL", "CONTROL_URL"])
AUTHORITY = f"{TENANT}/{os.environ['TENANT_ID']}/oauth2/v2.0"
AT_ENTRA = f"{AUTHORITY}/authorize"
APPLICATION = "com.example.app:/callback"

CONTINUE, CANCEL = "button[value=approve]", "button[value=deny]"
# The way on from the page after the form, or from the form where the page has not changed.
ON = "main a.button, button[value=approve]"
ADA, CANCEL_AT_ENTRA = "button[value=ada]", "button[name=decline]"

# Where a browser ends that comes to this callback.
CALLBACKS = {
    "a page": ("/callback", "page"),
    "302 to https": ("/callback/302-https", "https"),
    "302 to http on another loopback host": ("/callback/302-loopback", "loopback"),
    "307 to http on another loopback host": ("/callback/307-loopback", "loopback"),
    "302 to an application's scheme": ("/callback/302-scheme", "scheme"),
    "307 to an application's scheme": ("/callback/307-scheme", "scheme"),
}


def main():
    failed = []
    with contextlib.ExitStack() as ends:
        chain = Chain(ends)
        for name, play in chain.ways():
            began = time.monotonic()
            try:
                play()
                chain.nothing_is_wrong()
            except Exception as error:
                failed.append(name)
                print(f"FAILED  {name}: {chain.where()}", flush=True)
                traceback.print_exception(error, limit=-2)
                print("\n".join(chain.browser.complaints()), flush=True)
                LOOPBACK.open(f"{CONTROL}/recover", b"")
            else:
                print(f"ok      {name} ({time.monotonic() - began:.1f} s)", flush=True)
            chain.close_other_windows()
    if failed:
        sys.exit(f"{len(failed)} ways failed: {'; '.join(failed)}")


class Chain:
    def __init__(self, ends):
        self.client = ends.enter_context(contextlib.closing(Client(certificate())))
        self.desktop = Desktop(f"{WORK}/desktop")
        origins = [USUAL, TENANT, self.client.origin]
        always_open(f"{WORK}/profile", ["exampleapp", "com.example.app"], origins)
        # The certificate is one of our own.
        self.browser = Browser(
            f"{WORK}/profile", "--ignore-certificate-errors", environment=self.desktop.environment
        )
        ends.callback(self.browser.quit)

    def ways(self):
        """Returns the name and the function of each way through a sign-in."""
        for has_session in [False, True]:
            session = f"{'with' if has_session else 'without'} a session"
            for callback in CALLBACKS:
                yield f"{session}, callback: {callback}", partial(self.completes, callback, has_session)
            yield f"{session}, redirect URI of an application", partial(self.completes, None, has_session)
        for name, callback in [("a page", "a page"), ("an application", None)]:
            yield f"Cancel here, to {name}", partial(self.cancels_here, callback)
            yield f"Cancel at Entra, to {name}", partial(self.cancels_at_entra, callback)
        for has_session in [False, True]:
            session = f"{'with' if has_session else 'without'} a session"
            yield f"two windows at once, {session}", partial(self.several_at_once, 2, has_session)
            yield f"ten tabs at once, {session}", partial(self.several_at_once, 10, has_session)
        yield "back from Entra's page, and Continue again", self.goes_back
        yield "reload of the consent page", self.reloads_the_consent_page
        yield "reload of the page after Continue", self.reloads_the_page_after
        yield "a double click on Continue", self.clicks_twice
        yield "Continue again, as nothing seemed to happen", self.continues_again
        yield "Continue in another tab, and again here", self.continues_in_another_tab
        yield "a second click on Cancel, and on the button after it", self.cancels_again
        yield "an application that was not opened, and the button", self.opens_the_application_again
        yield "a click after the end, on the page that handed over", self.clicks_after_the_end
        yield "back after the end, to Entra's page", self.goes_back_after_the_end
        yield "back after the end, to the consent page, and Continue", self.continues_after_the_end
        yield "the address of the return opened again", self.returns_again

    def completes(self, callback, has_session):
        sign_in = self.begin(callback, has_session)
        self.browser.push(CONTINUE)
        self.passes_entra(has_session)
        self.ends(sign_in, callback)

    def cancels_here(self, callback):
        sign_in = self.begin(callback)
        self.browser.push(CANCEL)
        self.ends_with_a_no(sign_in, callback)

    def cancels_at_entra(self, callback):
        sign_in = self.begin(callback)
        self.browser.push(CONTINUE)
        self.browser.arrives(AT_ENTRA)
        self.browser.push(CANCEL_AT_ENTRA)
        self.ends_with_a_no(sign_in, callback)

    def several_at_once(self, count, has_session):
        windows, kind = [], "window" if count == 2 else "tab"
        for _ in range(count):
            self.browser.driver.switch_to.new_window(kind)
            sign_in = self.begin("a page", has_session if not windows else None)
            windows.append((self.browser.driver.current_window_handle, sign_in))
        # Each step in all windows, before the next one.
        for window, _ in windows:
            self.browser.driver.switch_to.window(window)
            self.browser.push(CONTINUE)
            self.browser.arrives(self.client.redirect_uri if has_session else AT_ENTRA)
        for window, sign_in in windows:
            self.browser.driver.switch_to.window(window)
            if not has_session:
                self.browser.push(ADA)
            self.ends(sign_in, "a page")

    def goes_back(self):
        sign_in = self.begin("a page")
        self.browser.push(CONTINUE)
        self.browser.arrives(AT_ENTRA)
        self.browser.driver.back()
        self.browser.push(ON)
        self.passes_entra(False)
        self.ends(sign_in, "a page")

    def reloads_the_consent_page(self):
        sign_in = self.begin("a page")
        self.browser.driver.refresh()
        self.browser.push(CONTINUE)
        self.passes_entra(False)
        self.ends(sign_in, "a page")

    def reloads_the_page_after(self):
        sign_in = self.begin("a page")
        self.stays_after(lambda: self.browser.push(CONTINUE))
        self.stays_after(self.browser.driver.refresh)
        self.browser.push(ON)
        self.passes_entra(False)
        self.ends(sign_in, "a page")

    def clicks_twice(self):
        sign_in = self.begin("307 to an application's scheme", has_session=True)
        self.browser.double_click(CONTINUE)
        self.ends(sign_in, "307 to an application's scheme")

    def continues_again(self):
        sign_in = self.begin("a page")
        for _ in range(2):
            self.stays_after(lambda: self.browser.push(ON))
        self.browser.push(ON)
        self.passes_entra(False)
        self.ends(sign_in, "a page")

    def continues_in_another_tab(self):
        sign_in = self.begin("a page")
        here = self.browser.driver.current_window_handle
        self.browser.push_for_a_tab(CONTINUE)
        with self.browser.other_window():
            self.browser.arrives(AT_ENTRA)
        self.browser.driver.switch_to.window(here)
        self.browser.push(CONTINUE)
        self.passes_entra(False)
        self.ends(sign_in, "a page")
        with self.browser.other_window():
            self.browser.push(ADA)
            self.says("This sign-in is already complete")
        sign_in.only_code()

    def cancels_again(self):
        sign_in = self.begin(None)
        self.browser.push_for_a_tab(CANCEL)
        self.browser.wait("the error", sign_in.arrived)
        for number, button in enumerate([CANCEL, "main a.button"], 2):
            self.browser.push(button)
            self.browser.wait(f"error {number}", lambda: len(sign_in.arrived()) == number)
        assert {parameter(url, "error") for url in sign_in.arrived()} == {"access_denied"}, sign_in.arrived()

    def opens_the_application_again(self):
        sign_in = self.begin(None, has_session=True)
        self.browser.push(CONTINUE)
        self.browser.wait("the client's code", sign_in.arrived)
        # The application did not take it, so the user uses the button of the page that stayed.
        self.browser.push(ON)
        self.browser.wait("the same again", lambda: len(sign_in.arrived()) == 2)
        first, second = sign_in.arrived()
        assert first == second, (first, second)
        redeem(USUAL, sign_in.url, parameter(second, "code"))
        self.browser.push(ON)
        self.says("This sign-in is already complete")

    def clicks_after_the_end(self):
        sign_in = self.begin("307 to an application's scheme", has_session=True)
        self.browser.push(CONTINUE)
        self.ends(sign_in, "307 to an application's scheme")
        self.browser.push(ON)
        self.says("This sign-in is already complete")
        sign_in.only_code()

    def goes_back_after_the_end(self):
        sign_in = self.begin("a page")
        self.browser.push(CONTINUE)
        self.passes_entra(False)
        self.ends(sign_in, "a page")
        # Entra's page again, where the browser now has a session.
        self.browser.driver.back()
        self.says("This sign-in is already complete")
        sign_in.only_code()

    def continues_after_the_end(self):
        sign_in = self.begin("a page", has_session=True)
        self.browser.push(CONTINUE)
        self.ends(sign_in, "a page")
        # The consent page anew, so another sign-in for the same request.
        self.browser.driver.back()
        self.browser.push(CONTINUE)
        self.browser.wait("another code", lambda: len(sign_in.arrived()) == 2)
        self.browser.arrives(self.client.redirect_uri)
        first, second = [parameter(url, "code") for url in sign_in.arrived()]
        assert second and second != first, sign_in.arrived()
        redeem(USUAL, sign_in.url, second)

    def returns_again(self):
        sign_in = self.begin("a page")
        self.browser.push(CONTINUE)
        self.browser.arrives(AT_ENTRA)
        self.browser.requested_urls()
        self.browser.push(ADA)
        self.ends(sign_in, "a page")
        returned = next(url for url in self.browser.requested_urls() if url.startswith(f"{USUAL}/callback?"))
        self.browser.open(returned)
        self.says("This sign-in is already complete")
        sign_in.only_code()

    def begin(self, callback, has_session=False):
        """Opens the consent page of a new sign-in, with or without a session at Entra, or as it is."""
        if has_session is not None:
            self.browser.delete_cookie("ESTSAUTH", TENANT)
        if has_session:
            first = SignIn(self, self.client.redirect_uri)
            self.browser.open(first.url)
            self.browser.push(CONTINUE)
            self.passes_entra(False)
            self.ends(first, "a page")
        path = CALLBACKS[callback][0] if callback else None
        sign_in = SignIn(self, f"{self.client.origin}{path}" if path else APPLICATION)
        self.browser.open(sign_in.url)
        self.has_a_way_on()
        return sign_in

    def passes_entra(self, has_session):
        if not has_session:
            self.browser.arrives(AT_ENTRA)
            self.has_a_way_on()
            self.browser.push(ADA)

    def stays_after(self, act):
        """Acts, while the next response of Entra lets the browser stay on its page."""
        LOOPBACK.open(f"{CONTROL}/still", b"")
        self.browser.requested_urls()
        act()
        went = lambda: any(url.startswith(AT_ENTRA) for url in self.browser.requested_urls())
        self.browser.wait("a request to Entra", went)
        self.has_a_way_on()

    def ends(self, sign_in, callback):
        """Waits for the end of a sign-in: one code, which can be redeemed, and the client's last place."""
        self.browser.wait("the client's code", sign_in.arrived)
        if callback:
            place = self.client.ends[CALLBACKS[callback][1]]
            end = f"{place}?state={sign_in.state}"
            if place.startswith("exampleapp:"):
                self.browser.wait(end, lambda: end in self.desktop.opened())
            elif place == self.client.redirect_uri:
                self.browser.arrives(place)
            else:
                self.browser.arrives(end)
        self.has_a_way_on()
        sign_in.redeems()

    def ends_with_a_no(self, sign_in, callback):
        self.browser.wait("the client's error", sign_in.arrived)
        [url] = sign_in.arrived()
        assert parameter(url, "error") == "access_denied" and parameter(url, "code") is None, url
        if callback:
            self.browser.arrives(self.client.redirect_uri)
        self.has_a_way_on()

    def says(self, title):
        self.browser.has_title(title)
        self.has_a_way_on()

    def has_a_way_on(self):
        """Checks that a page of the server or of Entra has a button or link, or says what to do."""
        found = self.browser.wait("a page", lambda: self.browser.run(
            """
            if (document.readyState !== "complete") return null;
            const isShown = element => element.getClientRects().length > 0;
            const ways = [...document.querySelectorAll("button, a[href]")].filter(isShown).length;
            return { ways, title: document.title, text: document.body.innerText };
            """
        ))
        says_what_to_do = any(words in found["text"] for words in ["close this page", "connect it again"])
        assert found["title"] == "Connected" or found["ways"] or says_what_to_do, f"a dead end: {found}"

    def nothing_is_wrong(self):
        is_usual = lambda line: "Launched external handler for" in line
        complaints = [line for line in self.browser.complaints() if not is_usual(line)]
        assert not complaints, complaints

    def where(self):
        title = "return [location.href.split('?')[0], document.title].join(' ')"
        with contextlib.suppress(Exception):
            return self.browser.run(title)
        return "no page"

    def close_other_windows(self):
        driver = self.browser.driver
        first, *others = driver.window_handles
        for window in others:
            driver.switch_to.window(window)
            driver.close()
        driver.switch_to.window(first)


class SignIn:
    """A sign-in of a new client."""

    def __init__(self, chain, redirect_uri):
        self.chain, self.state = chain, secrets.token_urlsafe(12)
        self.url = authorize(USUAL, "Inspector", redirect_uri, "Notes.Write", self.state)

    def arrived(self):
        """Returns the URLs of all responses that the client received."""
        at_application = [url for url in self.chain.desktop.opened() if url.startswith(APPLICATION)]
        urls = self.chain.client.arrived + at_application
        return [url for url in urls if parameter(url, "state") == self.state]

    def only_code(self):
        """Checks that the client received one response, with a code, and returns the code."""
        urls = self.arrived()
        codes = [parameter(url, "code") for url in urls]
        assert len(codes) == 1 and codes[0], f"the client received {urls}"
        assert parameter(urls[0], "iss") == USUAL, urls
        return codes[0]

    def redeems(self):
        tokens = redeem(USUAL, self.url, self.only_code())
        assert tokens["scope"] == "Notes.Write Mcp.Access", tokens["scope"]


def certificate():
    """Returns the file of a new certificate for this machine, with its key."""
    file = f"{WORK}/certificate.pem"
    command = "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 1 -subj /CN=127.0.0.1"
    more = ["-addext", "subjectAltName=IP:127.0.0.1", "-keyout", file, "-out", f"{file}.public"]
    subprocess.run([*command.split(), *more], check=True, capture_output=True)
    with open(f"{file}.public") as public, open(file, "a") as both:
        both.write(public.read())
    return file


if __name__ == "__main__":
    main()
