"""Reads the project's Markdown: fenced blocks, inline code, links, headings, long lines."""

import re
import shlex
from dataclasses import dataclass

LONGEST_LINE = 110

_FENCE = re.compile(r"\s*```(\S*)\s*$")
_NOT_EXECUTED = re.compile(r"<!--\s*not executed:(.*)-->\s*$")
_LINK = re.compile(r"!?\[[^\]]*\]\(([^)\s]+)\)")
_COMMANDS = ("python ", "keras-skd ", "make ")


@dataclass(frozen=True)
class Block:
    """A fenced block.

    Attributes:
        language: What stands after the backticks, such as ``python``; empty where nothing does.
        code: Its lines.
        line: Number of its first line in the file.
        reason: Why it is not executed; None where no comment before it says so.
    """

    language: str
    code: str
    line: int
    reason: str | None


def blocks(text):
    """The fenced blocks of a text, in order.

    ``<!-- not executed: REASON -->`` in the line before a block is its ``reason``.
    """
    found, opened, before = [], None, ""
    for number, line in enumerate(text.split("\n"), 1):
        fence = _FENCE.match(line)
        if fence and opened is None:
            mark = _NOT_EXECUTED.match(before)
            opened = (fence[1], number + 1, mark and mark[1].strip())
            lines = []
        elif fence:
            language, first, reason = opened
            found.append(Block(language, "\n".join(lines), first, reason))
            opened = None
        elif opened is not None:
            lines.append(line)
        before = line
    if opened is not None:
        raise ValueError(f"the block of line {opened[1]} has no end")
    return found


def prose(text):
    """``(number, line)`` of every line outside of fenced blocks."""
    inside, found = False, []
    for number, line in enumerate(text.split("\n"), 1):
        if _FENCE.match(line):
            inside = not inside
        elif not inside:
            found.append((number, line))
    return found


def long_lines(text):
    """Numbers of the lines above 110 characters. Rows of tables cannot be broken, so they may."""
    return [
        number
        for number, line in enumerate(text.split("\n"), 1)
        if len(line) > LONGEST_LINE and not line.startswith("|")
    ]


def inline_code(text):
    """What stands between backticks, also where it is broken over two lines of a paragraph."""
    lines = "\n".join(line for _, line in prose(text))
    paragraphs = re.split(r"\n\s*\n|\n(?=\||- |#)", lines)
    return [
        " ".join(code.split())
        for paragraph in paragraphs
        for code in re.findall(r"`([^`]+)`", paragraph)
    ]


def anchors(text):
    """What ``#...`` of a link to this text may name: its headings, as GitHub writes them."""
    headings = [line.lstrip("#") for _, line in prose(text) if re.match(r"#+ ", line)]
    return {re.sub(r"[^\w\- ]", "", each.strip().lower()).replace(" ", "-") for each in headings}


def broken_links(path, root):
    """Links of a file to files that do not exist, or to headings that another file lacks.

    Args:
        path: The Markdown file.
        root: The project's folder; a link that leaves it is broken for everyone else.
    """
    broken = []
    for _, line in prose(path.read_text()):
        for link in _LINK.findall(line):
            if re.match(r"[a-z]+:", link):
                continue
            name, _, anchor = link.partition("#")
            file = (path.parent / name).resolve() if name else path
            known = file.exists() and file.is_relative_to(root)
            if known and anchor:
                known = file.suffix == ".md" and anchor in anchors(file.read_text())
            if not known:
                broken.append(link)
    return broken


def commands(text):
    """The command lines of a text as lists of words.

    They stand in blocks that are not Python, continued by backslashes, and between backticks.
    ``a|b`` is read as ``a``.
    """
    lines = [
        line.strip().removeprefix(".venv/bin/")
        for block in blocks(text)
        if block.language != "python"
        for line in block.code.replace("\\\n", " ").split("\n")
    ]
    lines += inline_code(text)
    return [
        [word.split("|")[0] for word in shlex.split(line, comments=True)]
        for line in lines
        if line.startswith(_COMMANDS) and not line.startswith("python -c ")
    ]
