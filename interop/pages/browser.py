"""Headless Chromium for these checks: screens, keyboard focus, requests, console and windows."""

import base64
import contextlib
import json
import os
import shutil
import urllib.parse

from selenium import webdriver
from selenium.common import exceptions
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.ui import WebDriverWait

# Timeout in seconds of everything that the checks wait for.
PATIENCE = 20
ENTER, SPACE = Keys.ENTER, Keys.SPACE


class Browser:
    def __init__(self, profile, *arguments, environment=None):
        options = webdriver.ChromeOptions()
        options.binary_location = shutil.which("chromium")
        for argument in [
            "--headless=new",
            "--no-sandbox",
            "--disable-gpu",
            "--hide-scrollbars",
            "--disable-dev-shm-usage",
            "--disable-background-networking",
            "--disable-component-update",
            "--disable-sync",
            "--no-first-run",
            "--no-proxy-server",
            # No page can send requests to another machine.
            "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1, EXCLUDE localhost",
            f"--user-data-dir={profile}",
            *arguments,
        ]:
            options.add_argument(argument)
        options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
        service = webdriver.ChromeService(executable_path=shutil.which("chromedriver"), env=environment)
        self.driver = webdriver.Chrome(options=options, service=service)
        self.driver.set_page_load_timeout(PATIENCE)
        self.hosts = set()
        # Discards the requests of the browser's own start page.
        self.open("about:blank")
        self.requested_hosts()

    def quit(self):
        self.driver.quit()

    def run(self, script, *arguments):
        return self.driver.execute_script(script, *arguments)

    def wait(self, what, condition, ignored=()):
        return WebDriverWait(self.driver, PATIENCE, poll_frequency=0.05, ignored_exceptions=ignored).until(
            lambda _: condition(), f"waited for: {what}"
        )

    def open(self, url):
        self.driver.get(url)

    def arrives(self, beginning):
        """Waits until a page whose URL begins so has loaded, and returns the URL."""
        is_there = lambda: self.driver.current_url.startswith(beginning)
        self.wait(beginning, lambda: is_there() and self.run("return document.readyState") == "complete")
        return self.driver.current_url

    def click(self, selector):
        """Clicks the first element that matches a selector, once nothing replaces or covers it."""
        ignored = [
            exceptions.ElementClickInterceptedException,
            exceptions.ElementNotInteractableException,
            exceptions.StaleElementReferenceException,
        ]
        find = lambda: self.driver.find_element(By.CSS_SELECTOR, selector)
        self.wait(selector, lambda: find().click() is None, ignored)

    def focus(self, selector):
        """Gives the focus to the first element that matches a selector, once it is there."""
        focus = (
            "const found = document.querySelector(arguments[0]); found?.focus();"
            "return found !== null && document.activeElement === found;"
        )
        self.wait(selector, lambda: self.run(focus, selector))

    def push(self, selector):
        """Presses a button by Enter, which needs no time in which the button ignores clicks."""
        self.focus(selector)
        self.press(ENTER)

    def push_for_a_tab(self, selector):
        """Presses a button by Ctrl and Enter, so that its response is in a new tab."""
        self.focus(selector)
        ActionChains(self.driver).key_down(Keys.CONTROL).send_keys(ENTER).key_up(Keys.CONTROL).perform()

    def double_click(self, selector):
        """Clicks twice as fast as a double click, once the button does not ignore clicks."""
        events = "return getComputedStyle(document.querySelector(arguments[0])).pointerEvents"
        self.wait(selector, lambda: self.run(events, selector) == "auto")
        ActionChains(self.driver).double_click(self.driver.find_element(By.CSS_SELECTOR, selector)).perform()

    def has_title(self, title):
        """Waits until a page with this title has loaded."""
        found = "return document.readyState === 'complete' && document.querySelector('h1')?.innerText"
        self.wait(title, lambda: self.run(found) == title)

    def delete_cookie(self, name, url):
        self.driver.execute_cdp_cmd("Network.deleteCookies", {"name": name, "url": url})

    def text(self, selector):
        """Waits until the first element that matches the selector has text. Returns the text."""
        text = "return document.querySelector(arguments[0])?.innerText"
        return self.wait(selector, lambda: self.run(text, selector))

    @contextlib.contextmanager
    def other_window(self):
        """Switches to the only other window, and back."""
        first = self.driver.current_window_handle
        self.driver.switch_to.window(self.wait("another window", lambda: self.others(first))[0])
        yield
        self.driver.switch_to.window(first)

    @contextlib.contextmanager
    def new_window(self):
        """Switches to the window that was just opened, and back once it has closed itself."""
        first = self.driver.current_window_handle
        with self.other_window():
            yield
            self.wait("the end of the other window", lambda: not self.others(first))

    def others(self, window):
        return [handle for handle in self.driver.window_handles if handle != window]

    def looks(self, width, height=800, scheme="light", forced_colors="none"):
        metrics = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False}
        self.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
        features = {"prefers-color-scheme": scheme, "forced-colors": forced_colors}
        features = [{"name": name, "value": value} for name, value in features.items()]
        self.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})
        is_so = "return innerWidth === arguments[0] && matchMedia(`(prefers-color-scheme: ${arguments[1]})`).matches"
        self.wait(f"{width} px, {scheme}", lambda: self.run(is_so, width, scheme))

    def screenshot(self, path):
        taken = self.driver.execute_cdp_cmd("Page.captureScreenshot", {"captureBeyondViewport": True})
        with open(path, "wb") as file:
            file.write(base64.b64decode(taken["data"]))

    def press(self, key):
        ActionChains(self.driver).send_keys(key).perform()

    def tab_to(self, text):
        """Presses Tab until an element with this text has the focus.

        Returns the texts of the elements before it. Each must show its focus and be in view.
        """
        passed = []
        for _ in range(20):
            self.press(Keys.TAB)
            focused = self.run(
                """
                const focused = document.activeElement;
                if (!focused || focused === document.body) return null;
                const style = getComputedStyle(focused);
                const box = focused.getBoundingClientRect();
                return {
                  text: focused.textContent.trim().replace(/\\s+/g, " "),
                  isVisible: focused.matches(":focus-visible"),
                  outline: style.outlineStyle === "solid" ? parseFloat(style.outlineWidth) : 0,
                  isInView: box.top >= 0 && box.bottom <= innerHeight,
                };
                """
            )
            assert focused, f"Tab went past everything: {passed}"
            assert focused["isVisible"] and focused["outline"] >= 2, f"the focus cannot be seen: {focused}"
            assert focused["isInView"], f"what has the focus is out of view: {focused}"
            if text in focused["text"]:
                return passed
            passed.append(focused["text"])
        raise AssertionError(f"Tab does not get to {text!r}: {passed}")

    def requested_urls(self):
        """Returns the URLs of all requests since the last call."""
        messages = [json.loads(entry["message"])["message"] for entry in self.driver.get_log("performance")]
        sent = [message["params"] for message in messages if message["method"] == "Network.requestWillBeSent"]
        urls = [params["request"]["url"] for params in sent]
        split = map(urllib.parse.urlsplit, urls)
        # A `data:` URL is part of the page, and causes no request to a server.
        self.hosts |= {f"{url.scheme}://{url.netloc}" for url in split if url.scheme != "data"}
        return urls

    def requested_hosts(self):
        """Returns the origins of all requests since the last call."""
        self.requested_urls()
        hosts, self.hosts = self.hosts, set()
        return hosts

    def complaints(self):
        """Returns the console messages since the last call, except those about a status."""
        entries = self.driver.get_log("browser")
        is_status = lambda entry: entry["source"] == "network" and "responded with a status of" in entry["message"]
        return [entry["message"] for entry in entries if not is_status(entry)]
