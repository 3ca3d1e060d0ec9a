"""What is said of a moment, in words."""

from __future__ import annotations

from stages.highlight.timeline import SIGNALS, Moment

MAIN = 2  # reasons
LEAST = 0.005


def reasons(moment: Moment) -> list[str]:
    """What the main parts of its score say."""
    return [says for says, _ in parts(moment)[:MAIN]]


def parts(moment: Moment) -> list[tuple[str, float]]:
    """What the parts of its score say, and how large each is, the largest first; none that would be told as 0.00."""
    return [(SIGNALS[name].says, part) for name, part in moment.why.items() if part >= LEAST]


def plain(text: str) -> str:
    """A user's text in one line that shows all that is in it."""
    return "".join(letter if letter.isprintable() else "?" for letter in text)
