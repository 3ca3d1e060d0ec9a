"""What the API takes and gives. A body is checked against its type here, and described by it."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

import msgspec
from msgspec import UNSET, Meta, UnsetType

from stages.act.doors import DoorState
from stages.gallery.guidance import SIDES
from stages.gallery.people import Aware
from stages.gate.health import Health
from stages.show.web.users import Role, TokenRole

Number = Annotated[int, Meta(ge=0, lt=1 << 62)]  # of an event
BadgeNumber = Annotated[str, Meta(min_length=1, max_length=200)]


class Body(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Comes with a request, as JSON."""


class Form(Body, frozen=True):
    """Comes as multipart/form-data; bytes are files of it, and a tuple is a field that may come several times."""


class Query(msgspec.Struct, frozen=True):
    """Comes behind the question mark."""


class Begin(Body, frozen=True):
    """An account's name and new password, with the secret of the link that the gate has printed."""

    secret: str
    name: str
    password: str


class Secret(Body, frozen=True):
    """What of a link is behind "#setup="."""

    secret: str


class Login(Body, frozen=True):
    """Who logs in."""

    name: str
    password: str


class NewAccount(Body, frozen=True):
    """Somebody who is to log in."""

    name: str
    role: Role
    password: str


class NewRole(Body, frozen=True):
    """What an account may do from now on."""

    role: Role


class NewPassword(Body, frozen=True):
    """One's own: the one so far, and the one from now on."""

    old: str
    new: str


class NewToken(Body, frozen=True):
    """A program that is to ask."""

    name: str
    role: TokenRole


class Badge(Body, frozen=True):
    """A badge that was shown."""

    number: BadgeNumber


class Rules(Body, frozen=True):
    """When somebody may come in; what is left out is as if it had never been said."""

    groups: tuple[str, ...] = ()
    windows: tuple[str, ...] = ()  # of their own, like "Mon-Fri 07:00-19:00"
    valid_from: Aware | None = None
    valid_until: Aware | None = None
    watch: bool = False  # raises an alarm in place of opening
    badges: tuple[BadgeNumber, ...] | None = None  # None: those there are stay


class NewName(Body, frozen=True):
    """What somebody is called from now on, and when they may come in: both or neither."""

    name: str
    access: Rules | None = None  # None: as it is


class Enrolment(Form, frozen=True):
    """Photos of a person, or the three pictures that a webcam took, as /api/look asks for them: all of one person."""

    name: str
    photo: tuple[bytes, ...] = ()
    picture: Annotated[tuple[bytes, ...], Meta(max_length=len(SIDES))] = ()
    force: bool = False  # even if somebody else who is enrolled looks like this
    watch: bool = False  # onto the watch list


class Look(Form, frozen=True):
    """The pictures of a person that a webcam has taken, and, last, the one that may be the next."""

    picture: Annotated[tuple[bytes, ...], Meta(min_length=1, max_length=len(SIDES))]


class Page(Query, frozen=True):
    """Which events: at most `limit`, those before number `before`."""

    before: Number | UnsetType = UNSET
    limit: Annotated[int, Meta(ge=1, le=200)] = 50


class Import(Query, frozen=True):
    """How an export is taken in."""

    force: bool = False  # even if somebody else who is enrolled looks like this, or the photos are unlike each other


class Error(msgspec.Struct, frozen=True):
    """Why something was not done."""

    error: str  # a sentence


class Done(msgspec.Struct, frozen=True):
    """There is nothing to say."""


class Door(DoorState, frozen=True):
    """A door, and who stands in front of it."""

    cameras: tuple[str, ...] = ()  # (): all of them


class Gate(msgspec.Struct, frozen=True):
    """How the gate is."""

    doors: list[Door]
    health: Health | None  # None where no gate has run


class State(Gate, frozen=True):
    """The same, with what can be watched, and what is to be known before relying on it."""

    cameras: list[str]
    warnings: list[str]
    groups: list[str]  # of the config; where there are any, who is in none of them may not come in


class KnownRules(msgspec.Struct, frozen=True):
    """When somebody may come in."""

    groups: tuple[str, ...]
    windows: tuple[str, ...]
    valid_from: datetime | None
    valid_until: datetime | None
    watch: bool
    badges: int  # how many; the numbers themselves are not kept


class Known(msgspec.Struct, frozen=True):
    """Somebody who is enrolled."""

    name: str
    photos: int
    models: list[str]  # the first digits of the identities of the embedders
    access: KnownRules


class Enrolled(msgspec.Struct, frozen=True):
    """Somebody, and how many photos are kept of them now."""

    name: str
    photos: int
    warning: str  # what it has changed for the gate, and what of an import was left out; "" for nothing


class Link(msgspec.Struct, frozen=True):
    """What a link sets the password of."""

    name: str  # the account; "" where a name is to be chosen
    first: bool  # the first admin, who is made by it


class Advice(msgspec.Struct, frozen=True):
    """What to do before a picture can be taken; "" where it is good."""

    advice: str


class Receipt(msgspec.Struct, frozen=True):
    """What was destroyed, and what is out of reach."""

    receipt: list[str]  # sentences


class Called(msgspec.Struct, frozen=True):
    """Whom it was about."""

    name: str


class AtDoor(msgspec.Struct, frozen=True):
    """Which door it was about."""

    door: str


class Account(msgspec.Struct, frozen=True):
    """Somebody who may log in."""

    name: str
    role: Role


class Token(msgspec.Struct, frozen=True):
    """A program that may ask."""

    name: str
    role: TokenRole
    made_at: datetime  # UTC


class Issued(msgspec.Struct, frozen=True):
    """A new token: it is shown this once."""

    token: str
