"""The reader's own Chromium, for printing the book and for looking at its pages in the tests."""

import shutil

from playwright.sync_api import Browser, Playwright

NAMES = [
    *["chromium", "chromium-browser", "google-chrome", "google-chrome-stable"],
    "/Applications/Google Chrome.app/Contents/MacOS/Google Chrome",
    "C:/Program Files/Google/Chrome/Application/chrome.exe",
    "C:/Program Files (x86)/Microsoft/Edge/Application/msedge.exe",
]
# --no-sandbox: containers run as root; the others keep the browser from calling home
QUIET = "--no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking"
QUIET += " --disable-component-update --disable-sync"


def find_browser() -> str | None:
    """Return the path of an installed Chromium or Chrome."""
    return next(filter(None, map(shutil.which, NAMES)), None)


def launch(playwright: Playwright) -> Browser:
    """Start the installed browser, without a window."""
    return playwright.chromium.launch(executable_path=find_browser(), args=QUIET.split())
