"""What the commands of `python -m export` share: how one is added, and where it says its results lie."""

import argparse
import math
from collections.abc import Callable
from typing import Any

Run = Callable[[argparse.Namespace], None]
Commands = Any  # what argparse's add_subparsers returns: its type has no public name


def command(commands: Commands, name: str, run: Run, text: str) -> argparse.ArgumentParser:
    """A command under `commands`: `run` is called with its arguments, `text` is its help."""
    sub: argparse.ArgumentParser = commands.add_parser(name, help=text, description=text)
    sub.set_defaults(run=run)
    return sub


def size(text: str) -> tuple[int, int]:
    """HEIGHTxWIDTH as two numbers; argparse turns the ValueError into one sentence."""
    height, width = map(int, text.lower().split("x"))
    if min(height, width) < 1:
        raise ValueError(text)
    return height, width


def positive(text: str) -> int:
    """A whole number from 1 on; argparse turns the ValueError into one sentence."""
    number = int(text)
    if number < 1:
        raise ValueError(text)
    return number


def seed(text: str) -> int:
    """A whole number that NumPy's generators take; argparse turns the ValueError into one sentence."""
    number = int(text)
    if not 0 <= number < 2**32:
        raise ValueError(text)
    return number


def rate(text: str) -> float:
    """A learning rate above 0; argparse turns the ValueError into one sentence."""
    number = float(text)
    if not 0 < number < math.inf:
        raise ValueError(text)
    return number


def share(text: str) -> float:
    """A number within 0..1; argparse turns the ValueError into one sentence."""
    number = float(text)
    if not 0 <= number <= 1:
        raise ValueError(text)
    return number
