"""Can the events be believed? Every row against its hash, its signature, the one before it, and what belongs to it."""

from __future__ import annotations

import hashlib
import logging
import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated, NamedTuple

import msgspec
import typer

from pipeline.errors import Failed
from pipeline.home import home, keys
from stages.events import clips
from stages.events.boxes import open_box
from stages.events.chain import FIRST, Row, order_bytes, row_hash, signed
from stages.events.ledger import Ledger
from stages.events.records import Decision, Head
from stages.events.sayings import Cut, Said
from stages.gallery.sealing import Unreadable, unseal

EVERYTHING = (
    "SELECT chain.*, sealed.owner, sealed.body, sealed.snapshot, notes.body"
    " FROM chain LEFT JOIN sealed USING (seq) LEFT JOIN notes USING (seq)"
    " WHERE chain.seq > ? ORDER BY chain.seq LIMIT ?"
)
PORTION = 500  # rows
STRAYS = (
    "SELECT seq FROM (SELECT seq FROM sealed UNION SELECT seq FROM notes UNION SELECT seq FROM outbox"
    " UNION SELECT seq FROM commands UNION SELECT seq FROM faces) WHERE seq NOT IN (SELECT seq FROM chain) ORDER BY seq"
)
ORDERS = (
    "SELECT commands.seq, id, door, boot, expires_ns, seconds, commands.signature, hash, kind FROM commands"
    " JOIN chain USING (seq) ORDER BY commands.seq"
)

log = logging.getLogger(__name__)


class Report(NamedTuple):
    """What an audit has found."""

    rows: int
    erased: int
    findings: tuple[str, ...]  # what is wrong, a sentence each
    remarks: tuple[str, ...]  # what it could not see, and what is as it should be and worth saying
    head: Head | None


class Content(NamedTuple):
    """What belongs to a row: the first three where it is a decision, else the note."""

    owner: bytes | None
    body: bytes | None
    snapshot: bytes | None
    note: str | None


def audit(ledger: Ledger, outside: Sequence[Head]) -> Report:
    """Read all rows; the gate may go on. `outside` are heads that were kept elsewhere."""
    findings = list(_around(ledger))
    reading = _Reading(ledger, {head.seq for head in outside})
    while reading.read_on():
        pass
    findings += reading.findings
    # Keys and files are no part of what is read at one moment: what was erased since is no finding.
    doubts = reading.doubts.items()
    findings += [doubt for seq, doubt in doubts if ledger.one("SELECT 1 FROM sealed WHERE seq = ?", (seq,))]
    findings += clips.doubts(ledger)
    previous, said = reading.previous, reading.said
    findings += _outside(ledger, previous.seq if previous else 0, reading.hashes, outside, said.cuts)
    head = Head(previous.seq, previous.hash.hex(), previous.signature.hex()) if previous else None
    remarks = tuple(_remarks(reading.gone, outside, said, head.seq if head else 0))
    return Report(reading.count, reading.gone, tuple(findings), remarks, head)


class _Reading:
    """The rows, a portion as it is at one moment: while one is read, nothing that was erased can be scrubbed."""

    def __init__(self, ledger: Ledger, named: set[int]) -> None:
        """`named` are rows whose hashes are kept."""
        self._ledger, self._named = ledger, named
        self._read_to: float = -math.inf
        self.said = Said()
        self.previous: Row | None = None
        self.findings: list[str] = []
        self.doubts: dict[int, str] = {}
        self.hashes: dict[int, bytes] = {}
        self.count = self.gone = 0

    def read_on(self) -> bool:
        """Read the next portion, with what was said until then; False where there is none."""
        before = self.count
        with self._ledger.transaction("DEFERRED") as rows:
            known = len(self.said.cuts)
            self.said.read_on(rows)
            if self.previous and any(cut.cut >= self.previous.seq for cut in self.said.cuts[known:]):
                self.previous = None  # cut off meanwhile, as all that was read
            for values in rows.execute(EVERYTHING, (self._read_to, PORTION)):
                self._take(Row(*values[:7]), Content(*values[7:]))
        return self.count > before

    def _take(self, row: Row, content: Content) -> None:
        self.findings += [*_linked(row, self.previous, self.said.cuts), *_fits(row, content, self.said)]
        if not signed(self._ledger.public_key, row.hash, row.signature):
            self.findings.append(f"row {row.seq} is not signed by this gate's key")
        if doubt := _opens(self._ledger, row, content, self.said):
            self.doubts[row.seq] = doubt
        if row.seq in self._named:
            self.hashes[row.seq] = row.hash
        self.gone += row.seq in self.said.erased and content.body is None
        self.count, self.previous, self._read_to = self.count + 1, row if row.seq > 0 else None, row.seq


def _around(ledger: Ledger) -> Iterator[str]:
    """What is wrong beside the rows."""
    if ledger.all("SELECT public_key FROM ledger") != [(ledger.public_key,)]:
        yield "the public key in the data is not that of the key that signs"
    for name in ledger.other_key_files():
        yield (
            f"there is a key file of another log, {name}: if this gate wrote that log, its gate.sqlite was deleted or "
            "replaced; if another gate does, give that one a $FRAMEWIRE_KEYS of its own"
        )
    strays = [seq for (seq,) in ledger.all(STRAYS)]
    if strays:
        yield f"something here belongs to rows that are missing: {len(strays)}, from row {strays[0]} to {strays[-1]}"
    for seq, id_, door, boot, expires_ns, seconds, signature, decided, kind in ledger.all(ORDERS):
        order = order_bytes(decided, id_, door, boot, expires_ns, seconds)
        if kind != "opened" or not signed(ledger.public_key, order, signature):
            yield f"an order to open {door} at row {seq} is not one that this gate gave"


def _linked(row: Row, previous: Row | None, cuts: Sequence[Cut]) -> Iterator[str]:
    """How a row does not follow the one before."""
    if row.seq < 1:
        yield f"row {row.seq} has a number that no gate gives"
        return
    last, hashed = (previous.seq, previous.hash.hex()) if previous else (0, FIRST.hex())
    if previous is None and row.seq > 1:
        cut = next((cut for cut in cuts if cut.cut == row.seq - 1), None)
        if cut is None:
            yield f"rows 1 to {row.seq - 1} are missing, and no checkpoint says that they were cut off"
            return
        last, hashed = cut.cut, cut.hash
    if row.seq != last + 1:
        yield f"rows {last + 1} to {row.seq - 1} are missing"
    elif _hash(hashed, row) != row.hash:
        yield f"row {row.seq} was changed, or does not stand where it was written"


def _hash(previous: str, row: Row) -> bytes:
    """What a row's hash has to be; b"" after something that is no hash."""
    try:
        return row_hash(bytes.fromhex(previous), row.seq, row.at_ns, row.camera, row.kind, row.digest)
    except ValueError:
        return b""


def _fits(row: Row, content: Content, said: Said) -> Iterator[str]:
    """How what belongs to a row is not what its hash names."""
    parts = [content.body] if content.body is not None else []
    parts += [content.note.encode()] if content.note is not None else []
    if row.seq in said.erased:
        if parts:
            yield f"row {row.seq} was erased, as a tombstone says, and something was put in its place"
    elif not parts:
        yield f"what belongs to row {row.seq} is missing, and no tombstone says why"
    elif len(parts) > 1 or hashlib.sha256(parts[0]).digest() != row.digest:
        yield f"what belongs to row {row.seq} was changed"


def _opens(ledger: Ledger, row: Row, content: Content, said: Said) -> str:
    """What is wrong with what a key has to open; "" for nothing."""
    if content.owner is None or content.body is None:
        return ""
    key = ledger.keys.get(content.owner)
    if key is None:
        return f"row {row.seq} has lost its key, and no tombstone says why"
    at = row.seq.to_bytes(8, "big", signed=True)
    try:
        decision = msgspec.json.decode(unseal(key, content.body, b"event", at), type=Decision)
        picture = unseal(key, content.snapshot, b"snapshot", at) if content.snapshot is not None else None
    except (Unreadable, msgspec.DecodeError):
        return f"row {row.seq} or its snapshot does not open with its key"
    if content.snapshot is None or picture is None:
        missing = decision.frame_sha256 and row.seq > said.snapshots_to and row.seq not in said.without
        return f"the snapshot of row {row.seq} is missing, and no tombstone says why" if missing else ""
    if covered := said.covered.get(row.seq):
        same = hashlib.sha256(content.snapshot).hexdigest() == covered
    else:
        same = hashlib.sha256(picture).hexdigest() == decision.frame_sha256
    if not same:
        return f"the snapshot of row {row.seq} is not the one that it names"
    return "" if _faces_fit(ledger, key, row.seq) else f"who stands in the snapshot of row {row.seq} was changed"


def _faces_fit(ledger: Ledger, key: bytes, seq: int) -> bool:
    """Whether each face in a snapshot was noted there as whose it is, and each with a name as that of a track, too."""
    faces = ledger.all("SELECT track, person, box FROM faces WHERE seq = ?", (seq,))
    tracks = {track for track, person, _ in faces if not person}
    try:
        for track, person, box in faces:
            open_box(key, seq, track, person, box)
    except Unreadable:
        return False
    return all(track in tracks for track, _, _ in faces)


def _outside(
    ledger: Ledger, newest: int, hashes: dict[int, bytes], outside: Sequence[Head], cuts: Sequence[Cut]
) -> Iterator[str]:
    begins = max((cut.cut for cut in cuts), default=0)
    for head in outside:
        if not signed(ledger.public_key, bytes.fromhex(head.hash), bytes.fromhex(head.signature)):
            yield f"the head of row {head.seq} from outside is not signed by this gate's key"
        elif head.seq > newest:
            yield f"rows {newest + 1} to {head.seq} were cut off: a head from outside names row {head.seq}"
        elif head.seq > begins and hashes.get(head.seq, b"").hex() != head.hash:
            yield f"row {head.seq} is not the one that a head from outside names"


def _remarks(erased: int, outside: Sequence[Head], said: Said, newest: int) -> Iterator[str]:
    if said.cuts:
        yield f"rows up to {max(cut.cut for cut in said.cuts)} were cut off at a signed checkpoint"
    if erased:
        yield f"{erased} rows are erased, as tombstones say"
    if said.covered:
        yield f"in {len(said.covered)} snapshots a face is covered, as rows say"
    if said.without:
        yield f"{len(said.without)} snapshots were removed, as tombstones say"
    if said.snapshots_to:
        yield f"snapshots up to row {said.snapshots_to} were removed, as a tombstone says"
    if not outside:
        yield "without heads from outside (--heads) it cannot be seen whether the newest rows were cut off"
    elif (last := max(head.seq for head in outside)) <= newest:
        yield f"heads from outside reach row {last} of {newest}: rows behind {newest} may have been cut off unseen"


def read_heads(path: Path) -> list[Head]:
    """The heads in a file of JSON lines, as the output `file` writes them. Raises Failed.

    A last line that a crash has cut short is left out, as that output itself takes it back.
    """
    try:
        *lines, rest = path.read_bytes().split(b"\n")
        heads = [_head(line) for line in lines if line.strip()]
        try:
            heads += [_head(rest)] if rest.strip() else []
        except ValueError:
            if not heads:
                raise
            log.warning("the last line of %s is cut short: it is left out", path)
    except OSError as error:
        raise Failed(f"cannot read the heads in {path}: {error.strerror}") from error
    except ValueError as error:
        raise Failed(f"{path} holds no heads, a JSON object a line with seq, hash and signature: {error}") from error
    return heads


def _head(line: bytes) -> Head:
    """Raises ValueError; msgspec's is one, too."""
    head = msgspec.json.decode(line, type=Head)
    bytes.fromhex(head.hash + head.signature)
    return head


def audit_command(
    heads: Annotated[Path | None, typer.Option(help="Heads that were kept elsewhere, as JSON lines.")] = None,
) -> None:
    """Check that no event was changed, removed or put elsewhere; exit code 1 where one was.

    [bold]Example[/bold]: python run_pipeline.py gate audit --heads /mnt/elsewhere/heads.jsonl
    """
    outside = read_heads(heads) if heads else []  # first: the rows that they name are there by then
    ledger = Ledger(home(), keys())
    report = audit(ledger, outside)
    ledger.close()
    for sentence in (*report.findings, *report.remarks):
        typer.echo(sentence)
    typer.echo(f"public key: {ledger.public_key.hex()} (Ed25519)")
    if report.head:
        typer.echo(f"head: row {report.head.seq}, {report.head.hash}")
    typer.echo(f"{report.rows} rows, {report.erased} of them erased, {len(report.findings)} findings")
    raise typer.Exit(1 if report.findings else 0)
