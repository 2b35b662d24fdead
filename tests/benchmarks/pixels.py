"""When a change stands on the screen of a real Chromium: what a page shows, noted by the page itself.

In: the address of a run's summary. Out: times at which it showed so many tasks done, each after the frame that drew it.
Tasks of the benchmark end in the order of their numbers and one writer counts them, so a task stands on the page
once it shows more tasks done than the task's number.
"""

from __future__ import annotations

import shutil
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from tests.benchmarks.probes import Probe
from tests.dashboard.conftest import FLAGS

WATCH = """
window.__shown = [];
document.addEventListener("DOMContentLoaded", () => {
  let last = -1, waiting = false;
  const read = () => {
    const all = document.querySelectorAll("#summary-numbers .hg-number");
    const done = [...all].find((one) => one.querySelector(".hg-number-label").textContent === "Done");
    return done ? Number(done.querySelector(".hg-number-value").textContent.replace(/[^0-9]/g, "")) : -1;
  };
  // A frame begins with its callbacks and is drawn after them: the next one's callbacks come when it was.
  const drawn = () => {
    const number = read();
    requestAnimationFrame(() => { if (number > last) window.__shown.push([Date.now(), last = number]); });
    waiting = false;
  };
  new MutationObserver(() => {
    if (!waiting) { waiting = true; requestAnimationFrame(drawn); }
  }).observe(document.body, { subtree: true, childList: true, characterData: true });
});
"""


@dataclass(frozen=True, kw_only=True)
class Screen:
    """A page that is being watched. Its methods belong to the thread that opened it."""

    page: Any

    def shown(self) -> list[tuple[float, int]]:
        """Seconds since the epoch, and the tasks done that the page showed from then on."""
        return [(at / 1000, number) for at, number in self.page.evaluate("window.__shown")]


def browser() -> str | None:
    """The Chromium of this machine."""
    return next((p for name in ("chromium", "chromium-browser", "google-chrome") if (p := shutil.which(name))), None)


@contextmanager
def screen(address: str) -> Iterator[Screen]:
    """A browser with this page, live, until the end of the block."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=browser(), args=FLAGS)
        page = chromium.new_page(viewport={"width": 1360, "height": 850})
        page.add_init_script(WATCH)
        page.goto(address)
        page.locator("#summary-numbers .hg-number").first.wait_for(timeout=60_000)
        page.locator("#live[data-state=live]").wait_for(timeout=60_000)
        yield Screen(page=page)
        chromium.close()


def delays(shown: Sequence[tuple[float, int]], probes: Sequence[Probe]) -> list[float]:
    """From each task's end to the screen; of tasks that never came to stand there nothing."""
    numbers = [number for _, number in shown]
    places = ((bisect_right(numbers, probe.task), probe) for probe in probes)
    return [shown[place][0] - probe.at for place, probe in places if place < len(shown)]
