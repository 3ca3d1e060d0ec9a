"""What is said of a moment, in words."""

from __future__ import annotations

from stages.highlight.timeline import SIGNALS, Moment

MAIN = 2  # reasons


def reasons(moment: Moment) -> list[str]:
    """What the main parts of its score say."""
    parts = [name for name, part in moment.why.items() if part > 0][:MAIN]
    return [SIGNALS[name].says if name in SIGNALS else name for name in parts]


def plain(text: str) -> str:
    """A user's text in one line that shows all that is in it."""
    return "".join(letter if letter.isprintable() else "?" for letter in text)
