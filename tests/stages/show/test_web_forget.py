"""What the page's own process keeps of somebody in memory is gone before a receipt says so."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
from websockets.sync.client import connect

from pipeline.home import home, keys
from stages.events.ledger import Ledger
from stages.gallery.store import Store
from tests.command import User
from tests.stages.gate.scene import embedding
from tests.stages.show.site import EILEEN, Site, wait_for


def pushed(site: Site) -> dict[str, Any]:
    """What somebody is told who opens the page now, as far back as it goes."""
    with connect(site.address.replace("http", "ws") + "api/push?after=0", additional_headers=site.cookie()) as socket:
        told: dict[str, Any] = msgspec.json.decode(socket.recv(timeout=10))
        return told


def seen(site: Site) -> None:
    """Somebody was let in, and stands before the camera."""
    store = Store(home(), keys())
    store.add(EILEEN, "m", embedding(1)[None])
    (eileen,) = store.people()
    site.decide("opened", person=eileen.id.hex(), name=EILEEN)
    site.frame(EILEEN, "come in")
    wait_for(lambda: EILEEN in str(pushed(site)["events"]))


def test_who_is_forgotten_over_the_page_is_told_to_nobody_any_more(site: Site) -> None:
    site.enter()
    seen(site)
    receipt = site.ask("DELETE", f"/api/people/{EILEEN}").json()["receipt"]
    assert "in memory: no running process holds this person any more" in receipt
    told = pushed(site)
    assert EILEEN not in str(told)
    assert [(event["kind"], event["erased"]) for event in told["events"]] == [("opened", True), ("tombstone", False)]


def test_a_forget_on_the_command_line_waits_for_the_page(site: Site, places: Path) -> None:
    site.enter()
    seen(site)
    done = User(places)("forget", EILEEN)
    assert done.code == 0, done.err
    assert site.show._live.faces() == {}
    assert site.show._news.events(0) == []
    assert EILEEN not in str(pushed(site))


def test_a_row_that_undoes_others_has_them_read_anew(site: Site) -> None:
    """Also where the gallery has not changed: a retention has cut the log."""
    site.enter()
    seen(site)
    site.decide("refused")
    ledger = Ledger(home(), keys())
    with ledger.commit() as commit:
        commit.cut(1)
    ledger.close()
    wait_for(lambda: [event["kind"] for event in pushed(site)["events"]] == ["refused", "checkpoint"])
