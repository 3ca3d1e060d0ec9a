"""Tampering, done with raw SQL on the real file, and what the audit says of it."""

from __future__ import annotations

import secrets
import sqlite3
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

import msgspec
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from pipeline.errors import Failed
from stages.events.audit import audit, read_heads
from stages.events.chain import Row, link
from stages.events.ledger import Ledger
from stages.events.records import Head
from tests.command import ROOT, User
from tests.stages.events.conftest import Office

ADA = "0a" * 16


@pytest.fixture
def filled(office: Office) -> Office:
    """Six decisions."""
    for number in range(6):
        office.decide("opened" if number % 2 else "refused", ADA if number % 2 else "")
    return office


def test_what_nobody_touched_is_whole(filled: Office) -> None:
    report = audit(filled.ledger, [])
    assert report.findings == ()
    assert report.rows == 6
    assert any("cannot be seen" in remark for remark in report.remarks)


def test_a_tail_that_no_head_from_outside_reaches_may_be_missing_and_that_is_said(filled: Office) -> None:
    row = filled.ledger.one("SELECT seq, hash, signature FROM chain WHERE seq = 3")
    assert row
    filled.tamper("DELETE FROM chain WHERE seq > 4", "DELETE FROM sealed WHERE seq > 4")
    report = audit(filled.ledger, [Head(row[0], row[1].hex(), row[2].hex())])
    assert report.findings == ()
    assert "heads from outside reach row 3 of 4: rows behind 4 may have been cut off unseen" in report.remarks


@pytest.mark.parametrize(
    ("statements", "finding"),
    [
        (["UPDATE chain SET kind = 'opened' WHERE seq = 3"], "row 3 was changed"),
        (["UPDATE chain SET at_ns = at_ns + 1 WHERE seq = 1"], "row 1 was changed"),
        (["UPDATE chain SET camera = 'cam1' WHERE seq = 6"], "row 6 was changed"),
        (["DELETE FROM chain WHERE seq = 4", "DELETE FROM sealed WHERE seq = 4"], "rows 4 to 4 are missing"),
        (["DELETE FROM chain WHERE seq <= 2", "DELETE FROM sealed WHERE seq <= 2"], "rows 1 to 2 are missing"),
        (
            [
                "UPDATE chain SET seq = 100 WHERE seq = 2",
                "UPDATE chain SET seq = 2 WHERE seq = 3",
                "UPDATE chain SET seq = 3 WHERE seq = 100",
            ],
            "row 2 was changed, or does not stand where it was written",
        ),
        (["UPDATE sealed SET body = zeroblob(length(body)) WHERE seq = 5"], "what belongs to row 5 was changed"),
        (["DELETE FROM sealed WHERE seq = 5"], "what belongs to row 5 is missing"),
        (["UPDATE sealed SET snapshot = zeroblob(99) WHERE seq = 5"], "row 5 or its snapshot does not open"),
        (["UPDATE sealed SET owner = zeroblob(16) WHERE seq = 5"], "row 5 has lost its key"),
        (["UPDATE chain SET signature = zeroblob(64) WHERE seq = 6"], "row 6 is not signed"),
        (["UPDATE chain SET seq = -5 WHERE seq = 6"], "row -5 has a number that no gate gives"),
        (["UPDATE chain SET camera = CAST(x'ff00fe' AS TEXT) WHERE seq = 2"], "row 2 was changed"),
        (["UPDATE sealed SET snapshot = NULL WHERE seq = 4"], "the snapshot of row 4 is missing"),
        (["INSERT INTO notes VALUES (4, '{}')"], "what belongs to row 4 was changed"),
        (["INSERT INTO notes VALUES (9, '{}')"], "something here belongs to rows that are missing: 1, from row 9"),
        (["DELETE FROM chain WHERE seq > 4"], "something here belongs to rows that are missing: 2, from row 5 to 6"),
        (["UPDATE ledger SET public_key = zeroblob(32)"], "the public key in the data is not that"),
    ],
)
def test_tampering_is_found(filled: Office, statements: list[str], finding: str) -> None:
    filled.tamper(*statements)
    assert any(sentence.startswith(finding) for sentence in audit(filled.ledger, []).findings)


@pytest.fixture
def told(filled: Office) -> Office:
    """Six decisions, of which 1, 3 and 5 are erased (row 7 says so), and 1 and 2 cut off (row 8 says so)."""
    with filled.ledger.commit() as commit:
        commit.erase([owner for (owner,) in filled.ledger.all("SELECT owner FROM sealed WHERE seq % 2 = 1")])
    with filled.ledger.commit() as commit:
        commit.cut(2)
    return filled


def test_erasures_and_cuts_are_no_findings(told: Office) -> None:
    report = audit(told.ledger, [])
    assert (report.findings, report.rows, report.erased) == ((), 6, 2)
    assert "rows up to 2 were cut off at a signed checkpoint" in report.remarks


@pytest.mark.parametrize(
    ("statements", "finding"),
    [
        (["DELETE FROM notes WHERE seq = 7"], "what belongs to row 7 is missing"),
        (["UPDATE notes SET body = 'nonsense' WHERE seq = 7"], "what belongs to row 7 was changed"),
        (["UPDATE notes SET body = '{\"erased\":[3,4,5]}' WHERE seq = 7"], "what belongs to row 7 was changed"),
        (["INSERT INTO sealed SELECT 3, owner, body, snapshot FROM sealed WHERE seq = 4"], "row 3 was erased, as a"),
        (["DELETE FROM chain WHERE seq = 3"], "rows 1 to 3 are missing, and no checkpoint"),
        (["DELETE FROM notes WHERE seq = 8"], "rows 1 to 2 are missing, and no checkpoint"),
        (['UPDATE notes SET body = \'{"cut":2,"hash":"xyz"}\' WHERE seq = 8'], "what belongs to row 8 was changed"),
        (["UPDATE chain SET kind = 'tombstone' WHERE seq = 8"], "row 8 was changed"),
    ],
)
def test_tampering_with_tombstones_and_checkpoints_is_found(told: Office, statements: list[str], finding: str) -> None:
    told.tamper(*statements)
    assert any(sentence.startswith(finding) for sentence in audit(told.ledger, []).findings)


def test_a_lost_key_is_no_erasure_and_nothing_is_deleted_for_it(filled: Office) -> None:
    (key_file,) = filled.keys.iterdir()
    whole = key_file.read_bytes()
    filled.ledger.keys.destroy(bytes.fromhex(ADA))
    gate = filled.again()
    gate.sweep()
    gate.tidy()
    lost = [f"row {seq} has lost its key, and no tombstone says why" for seq in (2, 4, 6)]
    assert list(audit(gate, []).findings) == lost
    assert [event.seq for event in gate.events() if event.damaged] == [6, 4, 2]
    key_file.write_bytes(whole)
    assert audit(filled.again(), []).findings == ()


def test_snapshots_of_two_events_cannot_change_places(filled: Office) -> None:
    filled.tamper("UPDATE sealed SET snapshot = (SELECT snapshot FROM sealed WHERE seq = 2) WHERE seq = 4")
    assert audit(filled.ledger, []).findings == ("row 4 or its snapshot does not open with its key",)


def test_a_cut_off_tail_is_seen_with_a_head_from_outside_only(filled: Office) -> None:
    head = filled.ledger.head()
    assert head
    filled.tamper("DELETE FROM chain WHERE seq > 4", "DELETE FROM sealed WHERE seq > 4")
    assert audit(filled.ledger, []).findings == ()
    (finding,) = audit(filled.ledger, [head]).findings
    assert finding.startswith("rows 5 to 6 were cut off")


def test_a_tail_that_was_written_anew_is_not_the_one_outside(filled: Office) -> None:
    head = filled.ledger.head()
    assert head
    filled.tamper("DELETE FROM chain WHERE seq = 6", "DELETE FROM sealed WHERE seq = 6")
    filled.decide("opened", ADA)
    assert audit(filled.ledger, [head]).findings == ("row 6 is not the one that a head from outside names",)


def test_a_chain_forged_with_another_key_is_not_signed_by_this_gate(filled: Office) -> None:
    """Even with the public key in the database replaced: the one that counts comes out of the key database."""
    forger = Ed25519PrivateKey.generate()
    previous = None
    for row in map(Row._make, filled.ledger.all("SELECT * FROM chain ORDER BY seq")):
        previous = link(forger, previous, row.at_ns, row.camera, row.kind, row.digest)
        filled.tamper(
            f"UPDATE chain SET hash = x'{previous.hash.hex()}', signature = x'{previous.signature.hex()}' "
            f"WHERE seq = {row.seq}"
        )
    filled.tamper(f"UPDATE ledger SET public_key = x'{forger.public_key().public_bytes_raw().hex()}'")
    again = filled.again()
    assert audit(again, []).findings == (
        "the public key in the data is not that of the key that signs",
        *(f"row {seq} is not signed by this gate's key" for seq in range(1, 7)),
    )
    forged = Head(6, previous.hash.hex() if previous else "", secrets.token_bytes(64).hex())
    assert "from outside is not signed" in audit(again, [forged]).findings[-1]


def test_a_log_that_was_begun_anew_is_found(filled: Office) -> None:
    """What is there is whole, but the keys of what was there before still are, too."""
    (old,) = filled.keys.glob("events-*.keys")
    filled.ledger.close()
    for path in filled.home.glob("gate.sqlite*"):
        path.unlink()
    fresh = Ledger(filled.home, filled.keys, create=True)
    with fresh.commit() as commit:
        commit.note("started")
    (finding,) = audit(fresh, []).findings
    assert finding.startswith(f"there is a key file of another log, {old.name}: if this gate wrote that log")
    old.unlink()
    assert audit(fresh, []).findings == ()
    fresh.close()


def test_heads_are_read_from_json_lines(filled: Office, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    head = filled.ledger.head()
    path = tmp_path / "heads.jsonl"
    line = msgspec.json.encode(head)
    for end in (b"\n\n", b""):
        path.write_bytes(line + end)
        assert read_heads(path) == [head]
    assert caplog.text == ""
    path.write_bytes(line + b"\n" + line[:40])  # as a kill leaves it
    assert read_heads(path) == [head]
    assert f"the last line of {path} is cut short" in caplog.text
    for text in ("nonsense\n", "nonsense", '{"seq":1,"hash":"xyz","signature":""}\n'):
        path.write_text(text)
        with pytest.raises(Failed, match="holds no heads"):
            read_heads(path)
    with pytest.raises(Failed, match="cannot read the heads"):
        read_heads(tmp_path / "nothing")


def test_the_command_says_what_is_wrong_and_exits_with_1(filled: Office, tmp_path: Path) -> None:
    user, heads = User(tmp_path), tmp_path / "heads.jsonl"
    heads.write_bytes(msgspec.json.encode(filled.ledger.head()) + b"\n")
    whole = user("gate", "audit", "--heads", heads)
    assert (whole.code, whole.out.splitlines()[-1]) == (0, "6 rows, 0 of them erased, 0 findings")
    assert f"public key: {filled.ledger.public_key.hex()}" in whole.out

    filled.tamper("DELETE FROM chain WHERE seq > 4", "DELETE FROM sealed WHERE seq > 4")
    cut = user("gate", "audit", "--heads", heads)
    assert (cut.code, cut.err) == (1, "")
    assert cut.out.splitlines()[0] == "rows 5 to 6 were cut off: a head from outside names row 6"
    blind = user("gate", "audit")
    assert blind.code == 0
    assert "without heads from outside (--heads) it cannot be seen" in blind.out


def test_what_is_erased_and_cut_off_between_two_portions_is_no_finding(
    filled: Office, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And can be scrubbed there, which nobody can while somebody reads what was before."""
    monkeypatch.setattr("stages.events.audit.PORTION", 2)
    monkeypatch.setattr("stages.gallery.rows.BUSY_S", 0.0)
    gate, real, done = filled.again(), filled.ledger.transaction, list[str]()

    def act() -> None:
        if not done:
            gate.erase(bytes.fromhex(ADA))
            done.append("erased")
        elif done == ["erased"]:
            with gate.commit() as commit:
                commit.cut(5)
            gate.scrub()
            done.append("cut off")

    @contextmanager
    def transaction(kind: Literal["IMMEDIATE", "DEFERRED"] = "IMMEDIATE") -> Iterator[sqlite3.Connection]:
        with real(kind) as rows:
            yield rows
        act()

    monkeypatch.setattr(filled.ledger, "transaction", transaction)
    report = audit(filled.ledger, [])
    assert (done, report.findings) == (["erased", "cut off"], ())
    assert report.head == filled.ledger.head()


BUSY = """
import secrets, sys
from pathlib import Path
from stages.events.ledger import Ledger
from stages.events.records import Kept
from tests.stages.events.conftest import SNAPSHOT, decision
ledger = Ledger(Path(sys.argv[1]), Path(sys.argv[2]))
for number in range(300):
    if number % 30 == 0:
        sys.stdin.readline()
    person = ("", "0a" * 16, "0b" * 16)[number % 3]
    passage = Kept(secrets.token_hex(16), "cam0", person, True, 1, 2, 3, ledger.boot, b"a face")
    with ledger.commit() as commit:
        commit.keep(passage)
    with ledger.commit() as commit:
        commit.decide(decision("opened", person, passage=passage.id), SNAPSHOT, ())
        commit.drop(passage.id)
    with ledger.commit() as commit:
        commit.note("clock", jumped_s=number)
"""


def test_audits_and_erasures_beside_a_gate_that_writes(office: Office) -> None:
    """No false alarm, and nothing is erased but what was asked for."""
    command = [sys.executable, "-c", BUSY, str(office.home), str(office.keys)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, cwd=ROOT) as gate:
        assert gate.stdin
        for _ in range(10):
            gate.stdin.write(b"\n")
            gate.stdin.flush()
            office.ledger.erase(bytes.fromhex(ADA))
            assert audit(office.ledger, []).findings == ()
    assert gate.returncode == 0
    office.ledger.erase(bytes.fromhex(ADA))
    events = office.ledger.events(limit=10_000)
    left = Counter(event.decision.person for event in events if event.decision)
    assert left == {"": 100, "0b" * 16: 100}
    assert [sum(event.erased for event in events), sum(event.damaged for event in events)] == [100, 0]
    assert (audit(office.ledger, []).erased, office.ledger.passages()) == (100, [])
