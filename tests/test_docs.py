"""Every Python block of the README and docs/ runs, page by page; every relative link leads somewhere."""

import re
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).resolve().parent.parent
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]

FENCE = re.compile(r"^```python(?P<info>[^\n]*)\n(?P<code>.*?)^```$", re.MULTILINE | re.DOTALL)
LINK = re.compile(
    r"\]\((?!https?://|mailto:)(?P<path>[^)#\s]*)(?:#(?P<anchor>[^)\s]+))?\)|src=\"(?P<src>(?!https?:)[^\"]+)\""
)
HEADING = re.compile(r"^#+ +(.+)$", re.MULTILINE)

# ```python notest="reason": the one way out, for what no test machine can do. The block must still compile.
NOTEST = re.compile(r' notest="(?P<reason>(?:downloads|needs) [^"]+)"')


class Block(NamedTuple):
    """A fenced Python block."""

    code: str
    line: int
    runs: bool


def blocks(page: Path) -> list[Block]:
    """The page's Python blocks, in order."""
    text = page.read_text(encoding="utf-8")
    found = []
    for match in FENCE.finditer(text):
        info = match["info"].rstrip()
        assert not info or NOTEST.fullmatch(info), f'{page.name}: {info!r}: write notest="downloads …" or "needs …"'
        found.append(Block(match["code"], text.count("\n", 0, match.start("code")), runs=not info))
    return found


def anchors(page: Path) -> set[str]:
    """The anchors that GitHub makes from the page's headings."""
    titles = HEADING.findall(page.read_text(encoding="utf-8"))
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


def name(page: Path) -> str:
    return str(page.relative_to(ROOT))


# Their blocks start a server on this machine, and ask it.
SERVED = {"README.md", "backends.md"}


@pytest.mark.parametrize(
    "page",
    [
        pytest.param(page, marks=[pytest.mark.enable_socket] * (page.name in SERVED), id=name(page))
        for page in PAGES
        if blocks(page)
    ],
)
def test_code_runs(page, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    namespace = {"__name__": "__main__"}
    for block in blocks(page):
        # Blank lines first, so that a traceback names the page's own line.
        code = compile("\n" * block.line + block.code, str(page), "exec")
        if block.runs:
            exec(code, namespace)


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_links_resolve(page):
    dead = []
    for match in LINK.finditer(page.read_text(encoding="utf-8")):
        path, anchor = match["path"] or match["src"] or "", match["anchor"]
        target = (page.parent / path).resolve() if path else page
        if not target.exists() or (anchor and anchor not in anchors(target)):
            dead.append(match[0])
    assert not dead
