"""`gate account`: a way back in for who is locked out, or has forgotten the password."""

from __future__ import annotations

from typing import Annotated

import typer
from rich.console import Console
from rich.text import Text

from pipeline.errors import Failed
from pipeline.home import home
from stages.show.web.show import announced, link, proxy
from stages.show.web.users import Users


def account(name: Annotated[str, typer.Argument(help="Who is to log in.")]) -> None:
    """Print a link with which an account sets a new password, once, within a day; where there is none, the first admin.

    The password so far counts until then; all sessions of the account end with it.

    [bold]Example[/bold]: python run_pipeline.py gate account ada
    """
    found = announced()
    if found is None:
        raise Failed(f"no page has been there for the data in {home()}: start the gate first, or set $FRAMEWIRE_HOME")
    said = f"set a password for {name}, once: {link(found.address, Users(home()).invite(name))}"
    for sentence in (said, *proxy(found)):
        Console().print(Text(sentence), soft_wrap=True)  # in one piece, to be copied
