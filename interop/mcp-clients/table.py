"""The table of what clients do, in `docs/clients.md` of the proxy, between two markers."""

import sys
from collections import namedtuple
from pathlib import Path

PAGE = Path(__file__).parent / "../../crates/entra-oauth-proxy/docs/clients.md"
BEGIN, END = "<!-- begin: interop/mcp-clients -->\n", "<!-- end: interop/mcp-clients -->"

Row = namedtuple("Row", "sign_in call refresh step_up outage restart")
HEAD = "| client | sign-in | call | refresh | step-up | Entra down at a refresh | restart with new keys |"


def line(client, row):
    return f"| {' | '.join([client, *row])} |"


def update(seen, write, complete):
    """Compares the rows that were seen with those on the page, or writes them to the page.

    Exits with a failure if they differ. If not all clients ran (`complete`), the other rows stay.
    """
    page = PAGE.read_text()
    before, begin, rest = page.partition(BEGIN)
    table, end, after = rest.partition(END)
    if not (begin and end):
        sys.exit(f"{PAGE.name} has no table between {BEGIN.strip()} and {END}")
    lines = [line(client, row) for client, row in seen.items()]
    rows = table.strip().splitlines()[2:]
    if not complete:
        product = lambda row: row.split(" | ")[0].rpartition(" ")
        new = {product(row): row for row in lines}
        lines = [new.pop(product(row), row) for row in rows] + list(new.values())
    print(HEAD, *lines, sep="\n")
    if rows == lines and table.startswith(HEAD):
        return
    if not write:
        print("\nThe table of the page differs:", *rows, sep="\n")
        sys.exit(f"{PAGE.name}: the clients behave differently; `run.sh --write` updates the table")
    rule = "|" + "---|" * (len(Row._fields) + 1)
    made = "\n".join([HEAD, rule, *lines, ""])
    PAGE.write_text(f"{before}{begin}{made}{end}{after}")
