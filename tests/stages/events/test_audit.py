"""Tampering, done with raw SQL on the real file, and what the audit says of it."""

from __future__ import annotations

import secrets
from pathlib import Path

import msgspec
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from pipeline.errors import Failed
from stages.events.audit import audit, read_heads
from stages.events.chain import Row, link
from stages.events.records import Head
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
    ],
)
def test_tampering_is_found(filled: Office, statements: list[str], finding: str) -> None:
    filled.tamper(*statements)
    assert any(sentence.startswith(finding) for sentence in audit(filled.ledger, []).findings)


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
    assert len(audit(again, []).findings) == 6
    forged = Head(6, previous.hash.hex() if previous else "", secrets.token_bytes(64).hex())
    assert "from outside is not signed" in audit(again, [forged]).findings[-1]


def test_heads_are_read_from_json_lines(filled: Office, tmp_path: Path) -> None:
    head = filled.ledger.head()
    path = tmp_path / "heads.jsonl"
    path.write_bytes(msgspec.json.encode(head) + b"\n\n")
    assert read_heads(path) == [head]
    path.write_text("nonsense\n")
    with pytest.raises(Failed, match="holds no heads"):
        read_heads(path)
    with pytest.raises(Failed, match="cannot read the heads"):
        read_heads(tmp_path / "nothing")
