"""The part of a desktop that a browser hands URLs of custom schemes to.

Chromium hands them to the program `xdg-open`. A script of this name keeps them in a file.
"""

import json
import os


class Desktop:
    def __init__(self, directory):
        self.file = f"{directory}/opened"
        self.environment = os.environ | {"PATH": f"{directory}:{os.environ['PATH']}"}
        os.makedirs(directory)
        with open(self.file, "w"):
            pass
        # Chromium asks `xdg-settings` whether it is itself the application for a scheme.
        for name, command in [("xdg-open", f'printf "%s\\n" "$1" >>"{self.file}"'), ("xdg-settings", "echo no")]:
            with open(f"{directory}/{name}", "w") as file:
                file.write(f"#!/bin/sh\n{command}\n")
            os.chmod(file.name, 0o755)

    def opened(self):
        """Returns all URLs that were handed over."""
        with open(self.file) as file:
            return file.read().splitlines()


def always_open(profile, schemes, origins):
    """Makes a new profile in which a user has chosen to open these schemes without a question."""
    os.makedirs(f"{profile}/Default")
    pairs = {origin: dict.fromkeys(schemes, True) for origin in origins}
    with open(f"{profile}/Default/Preferences", "w") as file:
        json.dump({"protocol_handler": {"allowed_origin_protocol_pairs": pairs}}, file)
