"""Pages that follow a form, or that a browser sees only after something has happened."""

import os

from client import LOOPBACK, authorize, encoded, parameter

USUAL, LONG, TENANT, CONTROL = (os.environ[name] for name in ["USUAL_URL", "LONG_URL", "TENANT_URL", "CONTROL_URL"])
AT_ENTRA = f"{TENANT}/{os.environ['TENANT_ID']}/oauth2/v2.0/authorize"
CONTINUE, CANCEL = "button[value=approve]", "button[value=deny]"


class LaterPages:
    def __init__(self, browser, client):
        self.browser, self.client = browser, client

    def all(self):
        """Returns the name of each page, its title, and the function that opens it."""
        sent_on, sent_back = "You are sent on to sign in", "You are sent back to the application"
        return [
            ("going-on", sent_on, self.goes_on),
            ("going-on-long", sent_on, lambda: self.goes_on(LONG)),
            ("going-back", sent_back, self.goes_back),
            ("form-cookie-missing", "This browser does not have the cookie of that page", self.form_without_cookie),
            ("form-too-late", "Your answer came too late", self.late_form),
            ("form-unknown", "This server does not know that page", lambda: self.answers("AAAA")),
            ("form-without-answer", "Your answer did not arrive", self.form_without_answer),
            ("form-of-another-site", "Another site tried to answer for you", self.form_of_another_site),
            ("form-declined", "You cancelled this sign-in", self.form_after_a_no),
            ("form-pushed-out", "Too many sign-ins were in progress in this browser", self.pushed_out),
            ("return-done", "This sign-in is already complete", lambda: self.returns_twice("button[value=ada]")),
            ("return-failed", "This sign-in has already ended", lambda: self.returns_twice("button[name=decline]")),
            ("return-too-late", "This sign-in took too long", self.late_return),
            ("return-cookie-missing", "This sign-in did not begin in this browser", self.return_without_cookie),
            ("return-unknown", "This server does not know this sign-in", self.unknown_return),
            ("return-incomplete", "The address of this page is incomplete", lambda: self.returns(code="x")),
            ("return-nothing", "There is nothing to see at this address", self.returns),
            ("return-error", "Microsoft reports an error and names no sign-in", self.error_return),
            ("admin-granted", "Permission for the organization", lambda: self.returns(admin_consent="True")),
            ("admin-declined", "The permission was not granted", lambda: self.returns(error="access_denied")),
        ]

    def asked(self, url=USUAL, callback="/callback"):
        """Opens the consent page of a new client, and returns the text that it will send back."""
        self.browser.open(authorize(url, "Inspector", f"{self.client.origin}{callback}", ""))
        return self.browser.run("return document.querySelector('[name=consent]').value")

    def answers(self, consent):
        """Answers on a new page with the text of another one."""
        self.asked()
        self.browser.run("document.querySelector('[name=consent]').value = arguments[0]", consent)
        self.browser.push(CONTINUE)

    def goes_on(self, url=USUAL):
        LOOPBACK.open(f"{CONTROL}/still", b"")
        self.asked(url)
        self.browser.push(CONTINUE)

    def goes_back(self):
        self.asked(callback="/callback/204")
        self.browser.push(CANCEL)

    def form_without_cookie(self):
        self.asked()
        self.browser.driver.delete_all_cookies()
        self.browser.push(CONTINUE)

    def late_form(self):
        self.asked()
        LOOPBACK.open(f"{CONTROL}/later", b"")
        self.browser.push(CONTINUE)

    def form_without_answer(self):
        self.asked()
        self.browser.run("document.querySelector('button').removeAttribute('value')")
        self.browser.push("button")

    def form_of_another_site(self):
        consent = self.asked()
        self.browser.open(self.client.redirect_uri)
        self.browser.run(
            """
            const [action, consent] = arguments;
            const form = document.createElement("form");
            Object.assign(form, { action, method: "post" });
            for (const [name, value] of Object.entries({ consent, decision: "approve" })) {
              const field = document.createElement("input");
              Object.assign(field, { name, value, type: "hidden" });
              form.append(field);
            }
            document.body.append(form);
            form.submit();
            """,
            f"{USUAL}/consent",
            consent,
        )

    def form_after_a_no(self):
        consent = self.asked(callback="/callback")
        self.browser.push(CANCEL)
        self.browser.arrives(self.client.redirect_uri)
        self.answers(consent)

    def pushed_out(self):
        self.browser.driver.delete_all_cookies()
        consent = self.asked()
        again = self.browser.driver.current_url
        for _ in range(25):
            self.browser.open(again)
        self.answers(consent)

    def returns_twice(self, choice):
        self.browser.delete_cookie("ESTSAUTH", TENANT)
        self.asked()
        self.browser.push(CONTINUE)
        self.browser.arrives(AT_ENTRA)
        self.browser.requested_urls()
        self.browser.push(choice)
        self.browser.arrives(self.client.redirect_uri)
        self.browser.delete_cookie("ESTSAUTH", TENANT)
        urls = self.browser.requested_urls()
        self.browser.open(next(url for url in urls if url.startswith(f"{USUAL}/callback?")))

    def state_at_entra(self):
        self.goes_on()
        return parameter(self.browser.wait("the way on", self.way_on), "state")

    def way_on(self):
        return self.browser.run("return document.querySelector('main a.button')?.href")

    def late_return(self):
        state = self.state_at_entra()
        LOOPBACK.open(f"{CONTROL}/later", b"")
        self.returns(state=state, code="x")

    def return_without_cookie(self):
        state = self.state_at_entra()
        self.browser.driver.delete_all_cookies()
        self.returns(state=state, code="x")

    def unknown_return(self):
        self.returns(state="A" * 400, code="x")

    def error_return(self):
        self.returns(error="server_error")

    def returns(self, **parameters):
        self.browser.open(f"{USUAL}/callback?{encoded(parameters)}" if parameters else f"{USUAL}/callback")
