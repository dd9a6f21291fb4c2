"""Data as TOML text and back, with the line that each entry stands in."""

import json
import re
import tomllib
from collections.abc import Mapping
from typing import Any

_BARE = re.compile(r"[A-Za-z0-9_-]+")


def to_text(value: Any) -> str:
    """A value in one line of TOML: a string, number, truth value, list or table."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return quoted(value)
    if isinstance(value, int):
        return str(value)
    if isinstance(value, float):
        return repr(value)  # the shortest that reads back to the same bits; inf, nan
    if isinstance(value, Mapping):
        pairs = (f"{_key(k)} = {to_text(v)}" for k, v in value.items())
        return "{" + ", ".join(pairs) + "}"
    return "[" + ", ".join(map(to_text, value)) + "]"


def quoted(text: str) -> str:
    """A string of TOML, whose escapes are those of JSON."""
    # DEL is a control character to TOML and not to JSON.
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")


def _key(name: str) -> str:
    return name if _BARE.fullmatch(name) else quoted(name)


def from_text(text: str) -> dict[str, Any]:
    """Parse TOML.

    Raises:
        ValueError: it is not TOML; the message has the line.
    """
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ValueError(str(error)) from None
    except RecursionError:
        depths = [line.count("[") + line.count("{") for line in text.split("\n")]
        where = f"(at line {depths.index(max(depths)) + 1})"
        raise ValueError(f"lists or tables are nested too deeply {where}") from None


def lines_of(text: str) -> dict[tuple[str, ...], int]:
    """The line in which each table and each entry of a TOML document begins.

    TOML's parser does not tell lines. A statement is some lines that can be parsed by
    themselves, so the document is cut into such. This is done only to report a fault.

    Args:
        text: a document that can be parsed.

    Returns:
        Lines from 1 on, by the keys that lead to an entry; of a list of tables, by the
        number of the table as well.
    """
    found: dict[tuple[str, ...], int] = {}
    table: tuple[str, ...] = ()
    begin, lines = 0, text.replace("\r\n", "\n").split("\n")
    for end in range(1, len(lines) + 1):
        statement = "\n".join(lines[begin:end])
        try:
            parsed = tomllib.loads(statement)
        except tomllib.TOMLDecodeError:
            continue  # of several lines
        if statement.lstrip().startswith("["):
            table = _header(parsed, found)
            found.setdefault(table, begin + 1)
        else:
            for key in parsed:
                found.setdefault((*table, key), begin + 1)
        begin = end
    return found


def _header(parsed: Any, found: Mapping[tuple[str, ...], int]) -> tuple[str, ...]:
    """The keys of the table that a header opens."""
    keys: tuple[str, ...] = ()
    while parsed:
        if isinstance(parsed, list):
            count = 0
            while (*keys, str(count)) in found:
                count += 1
            keys, parsed = (*keys, str(count)), parsed[0]
        else:
            ((key, parsed),) = parsed.items()
            keys = (*keys, key)
    return keys
