"""Reads a page that must stand alone: well-formed, and nothing in it that a browser would fetch."""

from __future__ import annotations

import re
from html.parser import HTMLParser

__all__ = ["Page", "parsed"]

VOID = {"meta", "br", "link", "input"}


class Page(HTMLParser):
    """Checks that tags close in order, and keeps what a browser would fetch."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.fetched: list[str] = []
        self.text: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.fetched += [value or "" for name, value in attrs if name in ("src", "href", "data", "srcset", "xlink:href")]
        self.fetched += [tag] if tag in ("script", "link", "iframe", "img", "object") else []
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert tag == "path", "an element of HTML closes itself only in SVG"

    def handle_endtag(self, tag: str) -> None:
        assert self.open, f"</{tag}> closes nothing"
        assert self.open.pop() == tag

    def handle_data(self, text: str) -> None:
        if not {"style", "title"} & set(self.open):
            self.text.append(text)


def parsed(html: str) -> Page:
    """The page; AssertionError if tags do not match, or if a browser would fetch anything."""
    found = Page()
    found.feed(html)
    found.close()
    assert not found.open
    assert not found.fetched
    assert not re.search(r"https?://|url\(|@import", html)
    return found
