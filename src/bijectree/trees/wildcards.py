"""What the wildcards of a rule stand for at a leaf, to fill them in in other paths."""

from collections.abc import Iterator, Mapping, Sequence

from .paths import nearest

# A wildcard, `*` or `**`, and the text that it stands for.
Star = tuple[str, str]


class Match:
    """A leaf that a rule with wildcards matches.

    A rule such as `groups.*.theta` may have a value that names other leaves, as
    `groups.*.mu`, where each `*` stands for what it stands for in the rule.

    Args:
        glob: the rule's key.
        path: of the leaf; the rule may name a node above it.
        nodes: the paths of all nodes of the model.
    """

    def __init__(self, glob: str, path: str, nodes: Mapping[str, object]):
        self.glob, self.path, self.nodes = glob, path, nodes
        parts = path.split(".")
        self._ways = [
            way
            for depth in range(len(parts) + 1)
            for way in _ways(glob.split("."), parts[:depth])
        ]

    def fill(self, globs: Sequence[str]) -> tuple[dict[str, str], tuple[str, ...]]:
        """Fill in the wildcards of paths that name other leaves.

        Returns:
            The path that each stands for, and what the wildcards of the rule stand for.

        Raises:
            ValueError: they name nothing in the model, or may name several things.
        """
        found = {}
        missing: list[str] = []
        for way in self._ways:
            paths = {glob: self._filled(glob, way) for glob in globs}
            lost = [path for path in paths.values() if path not in self.nodes]
            missing += lost
            if not lost:
                stars = tuple(star for _, star in way)
                found[tuple(paths.values()) or stars] = paths, stars
        if len(found) == 1:
            return next(iter(found.values()))
        named = ", ".join(map(repr, globs))
        if found:
            several = " or ".join(", ".join(map(repr, paths)) for paths in found)
            raise ValueError(
                f"{named or 'a wildcard'} may stand for {several}, for {self.glob!r} "
                "matches in more ways than one; write the rule with fewer wildcards"
            )
        lacks = ", ".join(dict.fromkeys(map(repr, missing)))
        near = nearest(missing[0], self.nodes)
        raise ValueError(f"{named} names {lacks}, which the model lacks; {near}")

    def _filled(self, glob: str, way: list[Star]) -> str:
        """A path whose wildcards, in order, are filled in with those of the rule."""
        rest = iter(way)
        parts = []
        for part in glob.split("."):
            pieces = ["", ""] if part == "**" else part.split("*")
            text = pieces[0]
            for piece in pieces[1:]:
                kind, star = next(rest, ("", ""))
                if kind != ("**" if part == "**" else "*"):
                    raise ValueError(
                        f"{glob!r} has wildcards that the rule {self.glob!r} has not: "
                        "the first stands for the rule's first, and so on"
                    )
                text += star + piece
            if part != "**" or text:
                parts.append(text)
        return ".".join(parts)


def _ways(glob: Sequence[str], parts: Sequence[str]) -> Iterator[list[Star]]:
    """The ways in which segments match those of a glob: what each wildcard stands for."""
    if not glob:
        if not parts:
            yield []
        return
    first, rest = glob[0], glob[1:]
    if first == "**":
        for count in range(len(parts) + 1):
            star = ("**", ".".join(parts[:count]))
            yield from ([star, *way] for way in _ways(rest, parts[count:]))
    elif parts:
        for stars in _ways_within(first.split("*"), parts[0]):
            found = [("*", star) for star in stars]
            yield from ([*found, *way] for way in _ways(rest, parts[1:]))


def _ways_within(pieces: Sequence[str], text: str) -> Iterator[list[str]]:
    """The ways in which a segment is made of pieces and what stands between them."""
    if not text.startswith(pieces[0]):
        return
    text = text[len(pieces[0]) :]
    if len(pieces) == 1:
        if not text:
            yield []
        return
    for count in range(len(text) + 1):
        for stars in _ways_within(pieces[1:], text[count:]):
            yield [text[:count], *stars]
