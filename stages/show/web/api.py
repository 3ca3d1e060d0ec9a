"""What the routes of the API do: who may, and from where, has been looked at by then."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated

import msgspec
from msgspec import UNSET
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from stages.enrolment.portable import Exported
from stages.events.records import Event
from stages.gate.calibration import Calibration
from stages.gate.mistaken import Mistaken
from stages.show.web import bodies
from stages.show.web.bodies import Done, Number
from stages.show.web.data import Data
from stages.show.web.guard import cookie
from stages.show.web.limits import Limits, network
from stages.show.web.live import Live
from stages.show.web.streams import Streams
from stages.show.web.users import Users, Who

Entered = Annotated[Response, Who]


class Api:
    """Each may block: it has a thread of its own. What it takes and gives is in its signature."""

    def __init__(self, users: Users, data: Data, live: Live, secure: bool) -> None:
        """`secure` is whether browsers come over TLS: then the cookie goes over nothing else."""
        self.users, self.data, self.live, self._secure = users, data, live, secure
        self.limits = Limits()
        self.streams = Streams(users, data, live, self.limits)

    def begin(self, request: Request, body: bodies.Begin) -> Entered:
        """Set a password with the secret of a link that the gate has printed: the first admin's, or an account's."""
        return self._entered(request, self.users.begin(body.secret, body.name, body.password))

    def link(self, body: bodies.Secret) -> bodies.Link:
        """Whose password a link that the gate has printed sets; it may be used as before."""
        return bodies.Link(*self.users.link(body.secret))

    def log_in(self, request: Request, body: bodies.Login) -> Entered:
        """Begin a session, kept in a cookie."""
        return self._entered(request, self.users.log_in(body.name, body.password, network(request)))

    def log_out(self, request: Request) -> Annotated[Response, Done]:
        """End the session."""
        self.users.log_out(request.cookies.get(cookie(request), ""))
        response = _json(Done())
        response.delete_cookie(cookie(request))
        return response

    def me(self, request: Request) -> Who:
        """Who is logged in; the CSRF token goes into the header X-CSRF-Token of what changes something."""
        who: Who = request.state.who
        return who

    def change_password(self, request: Request, body: bodies.NewPassword) -> Entered:
        """Change one's own password. All one's sessions end, and another begins."""
        who = self.me(request)
        if not who.csrf:
            raise HTTPException(403, "a token has no password: log in with a name")
        return self._entered(request, self.users.change_password(who.name, body.old, body.new, network(request)))

    def state(self) -> bodies.State:
        """Doors, cameras and health."""
        gate = self.data.state()
        return bodies.State(gate.doors, gate.health, self.live.cameras(), self.live.warnings, self.live.groups)

    def events(self, query: bodies.Page) -> list[Event]:
        """Decisions and what else was written down, the newest first."""
        return self.data.events(None if query.before is UNSET else query.before, query.limit)

    def snapshot(self, seq: Number) -> Annotated[Response, "image/jpeg"]:
        """The picture of a decision."""
        found = self.data.snapshot(seq)
        if found is None:
            raise HTTPException(404, "there is no snapshot of this event, or none any more")
        return Response(found, media_type="image/jpeg")

    def clip(self, request: Request, seq: Number) -> Annotated[Response, "video/mp4"]:
        """The moving pictures of a decision."""
        return self.streams.clip(request, seq)

    def mistaken(self, seq: Number) -> Mistaken:
        """This was another person: the face in the decision's snapshot is kept as not theirs, and matches them less."""
        return self.data.mistaken(seq)

    def people(self) -> list[bodies.Known]:
        """Who is enrolled."""
        return self.data.people()

    def portrait(self, name: str) -> Annotated[Response, "image/png"]:
        """A face of somebody."""
        found = self.data.portrait(name)
        if found is None:
            raise HTTPException(404, "no face is kept of this person")
        return Response(found, media_type="image/png")

    def enroll(self, body: bodies.Enrolment) -> bodies.Enrolled:
        """Add photos of a person; all or none."""
        return self.data.enroll(body)

    def look(self, body: bodies.Look) -> bodies.Advice:
        """What to do before a picture is good to enrol somebody at a webcam."""
        return self.data.look(body.picture)

    def forget(self, name: str) -> bodies.Receipt:
        """Destroy all that is kept of a person; the receipt."""
        return self.data.forget(name)

    def set_access(self, name: str, body: bodies.Rules) -> bodies.Called:
        """Replace somebody's groups, windows, validity, watch flag and badges."""
        return self.data.set_access(name, body)

    def rename(self, name: str, body: bodies.NewName) -> bodies.Called:
        """Call somebody by another name, with other rules if any are given; what was decided keeps the old one."""
        return self.data.rename(name, body)

    def out(self, name: str) -> bodies.Called:
        """Somebody is out, whatever the doors have seen: passback lets them in again."""
        return self.data.out(name)

    def export(self, name: str) -> Exported:
        """What is kept of a person, with photos and embeddings, readable by whoever has it; no clips and snapshots."""
        return self.data.exported(name)

    def take_in(self, body: Exported, query: bodies.Import) -> bodies.Enrolled:
        """Enroll the person of an export, from its photos, with their rules."""
        return self.data.take_in(body, force=query.force)

    def badge(self, door: str, body: bodies.Badge) -> bodies.AtDoor:
        """A badge was shown at a door. It counts for a while, where the mode is 1:1."""
        return self.data.badge(door, body.number)

    def calibration(self) -> Calibration | None:
        """What gate calibrate found, with the curve; null where nothing was calibrated."""
        return self.data.calibration()

    def accounts(self) -> list[bodies.Account]:
        """Who may log in."""
        return [bodies.Account(name, role) for name, role in self.users.all()]

    def add_account(self, body: bodies.NewAccount) -> bodies.Called:
        """Make an account."""
        self.users.add(body.name, body.role, body.password)
        return bodies.Called(body.name)

    def set_role(self, name: str, body: bodies.NewRole) -> bodies.Called:
        """Give an account another role."""
        self.users.set_role(name, body.role)
        return bodies.Called(name)

    def remove_account(self, name: str) -> Done:
        """Remove an account."""
        self.users.remove(name)
        return Done()

    def tokens(self) -> list[bodies.Token]:
        """Which programs may ask."""
        return [bodies.Token(name, role, datetime.fromtimestamp(made, UTC)) for name, role, made in self.users.tokens()]

    def add_token(self, body: bodies.NewToken) -> bodies.Issued:
        """Make a token for a program, sent as "Authorization: Bearer ..."; it is shown this once."""
        return bodies.Issued(self.users.new_token(body.name, body.role))

    def remove_token(self, name: str) -> Done:
        """Make a token useless."""
        self.users.revoke(name)
        return Done()

    def pictures(self, request: Request, camera: str) -> Annotated[Response, "multipart/x-mixed-replace"]:
        """A camera's live picture, as Motion JPEG."""
        if camera not in self.live.cameras():
            raise HTTPException(404, "there is no camera of that name")
        return self.streams.motion_jpeg(request, camera)

    def _entered(self, request: Request, secret: str) -> Response:
        """The answer that begins a session."""
        response = _json(self.users.session(secret))
        response.set_cookie(cookie(request), secret, httponly=True, samesite="strict", secure=self._secure, path="/")
        return response


def _json(what: object) -> Response:
    return Response(msgspec.json.encode(what), media_type="application/json")
