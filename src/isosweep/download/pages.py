"""A page where a file was expected: what it says, and the way past Google Drive's page about viruses."""

import html
import re
from html.parser import HTMLParser
from urllib.parse import urlencode, urljoin


def is_page(content_type: str | None, first: bytes) -> bool:
    """Whether a response is a page for people: by its type, or by its first bytes."""
    if (content_type or "").split(";")[0].strip().lower() in {"text/html", "application/xhtml+xml"}:
        return True
    return (
        re.match(rb"(\xef\xbb\xbf)?\s*<(!doctype html|html|head)\b", first[:512], re.IGNORECASE) is not None
    )


class _Form(HTMLParser):
    """The first form of a page: where it is sent, and its hidden fields. And the page's title."""

    def __init__(self) -> None:
        super().__init__()
        self.action: str | None = None
        self.fields: dict[str, str] = {}
        self.title = ""
        self._in_form = self._in_title = False

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {key: value or "" for key, value in attrs}
        if tag == "form" and self.action is None:
            self.action, self._in_form = given.get("action", ""), True
        elif tag == "input" and self._in_form and given.get("type") == "hidden" and "name" in given:
            self.fields[given["name"]] = given.get("value", "")
        elif tag == "title":
            self._in_title = True

    def handle_endtag(self, tag: str) -> None:
        self._in_form = self._in_form and tag != "form"
        self._in_title = self._in_title and tag != "title"

    def handle_data(self, data: str) -> None:
        if self._in_title:
            self.title += data


def _read(page: bytes) -> tuple[_Form, str]:
    text = page.decode("utf-8", "replace")
    form = _Form()
    form.feed(text)
    return form, text.lower()


def past_virus_page(url: str, page: bytes) -> str | None:
    """The address behind the button 'Download anyway' of Google Drive's page; None if this is another page.

    Google does not scan large files, and asks before it hands them out.
    """
    form, text = _read(page)
    about_viruses = "scan this file for viruses" in text or "virus scan warning" in text
    if not about_viruses or not form.action or "id" not in form.fields:
        return None
    return f"{urljoin(url, html.unescape(form.action))}?{urlencode(form.fields)}"


def explain(page: bytes) -> str:
    """What such a page means, and what to do."""
    form, text = _read(page)
    title = " ".join(form.title.split())[:100]
    if "quota exceeded" in text or "too many users have viewed or downloaded" in text:
        return (
            "a page that says its download quota is used up (Google Drive lends a file only so often a day): try again"
            " in some hours, or download it in a browser where you are signed in and give it with --archive"
        )
    if "sign in" in text or "accounts.google.com" in text or "log in" in text or 'type="password"' in text:
        return (
            f"a login page ('{title}'): the file is no longer public, or you need an account there. Download it in a"
            " browser and give it with --archive"
        )
    return (
        f"a page ('{title or 'without a title'}'), no file: open the address in a browser to see what it says"
    )
