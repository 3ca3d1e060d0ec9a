"""Can the events be believed? Every row against its hash, its signature, the one before it, and what belongs to it."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated, NamedTuple

import msgspec
import typer

from pipeline.errors import Failed
from pipeline.home import home, keys
from stages.events.chain import FIRST, Row, row_hash, signed
from stages.events.ledger import Ledger
from stages.events.records import Decision, Head
from stages.gallery.sealing import Unreadable, unseal


class Report(NamedTuple):
    """What an audit has found."""

    rows: int
    erased: int
    findings: tuple[str, ...]  # what is wrong, a sentence each
    remarks: tuple[str, ...]  # what it could not see, and what is as it should be and worth saying
    head: Head | None


class _Erased(msgspec.Struct, frozen=True):
    erased: tuple[int, ...] = ()


class _Cut(msgspec.Struct, frozen=True):
    cut: int
    hash: str


def audit(ledger: Ledger, outside: Sequence[Head]) -> Report:
    """Read all rows; `outside` are heads that were kept elsewhere."""
    notes = dict(ledger.all("SELECT seq, body FROM notes"))
    kinds = dict(ledger.all("SELECT seq, kind FROM chain WHERE kind IN ('tombstone', 'checkpoint')"))
    told = [msgspec.json.decode(notes[seq], type=_Erased) for seq, kind in kinds.items() if kind == "tombstone"]
    erased = {seq for one in told for seq in one.erased}
    cuts = [msgspec.json.decode(notes[seq], type=_Cut) for seq, kind in kinds.items() if kind == "checkpoint"]
    findings: list[str] = []
    hashes: dict[int, bytes] = {}
    gone = 0
    previous: tuple[int, bytes] | None = None
    for row in map(Row._make, ledger.all("SELECT * FROM chain ORDER BY seq")):
        findings += _linked(row, previous, cuts)
        if not signed(ledger.public_key, row.hash, row.signature):
            findings.append(f"row {row.seq} is not signed by this gate's key")
        wrong, is_erased = _content(ledger, row, notes.get(row.seq), row.seq in erased)
        findings += wrong
        gone += is_erased
        hashes[row.seq] = row.hash
        previous = row.seq, row.hash
    findings += list(_outside(ledger, hashes, outside, cuts))
    return Report(len(hashes), gone, tuple(findings), tuple(_remarks(gone, outside, cuts)), ledger.head())


def _linked(row: Row, previous: tuple[int, bytes] | None, cuts: Sequence[_Cut]) -> Iterator[str]:
    """How a row does not follow the one before."""
    last, hashed = previous or (0, FIRST)
    if previous is None and row.seq > 1:
        cut = next((cut for cut in cuts if cut.cut == row.seq - 1), None)
        if cut is None:
            yield f"rows 1 to {row.seq - 1} are missing, and no checkpoint says that they were cut off"
            return
        last, hashed = cut.cut, bytes.fromhex(cut.hash)
    if row.seq != last + 1:
        yield f"rows {last + 1} to {row.seq - 1} are missing"
    elif row_hash(hashed, row.seq, row.at_ns, row.camera, row.kind, row.digest) != row.hash:
        yield f"row {row.seq} was changed, or does not stand where it was written"


def _content(ledger: Ledger, row: Row, note: str | None, erased: bool) -> tuple[list[str], bool]:
    """What is wrong with what belongs to a row; whether it was erased, as a tombstone says."""
    sealed = ledger.one("SELECT owner, body, snapshot FROM sealed WHERE seq = ?", (row.seq,))
    content = sealed[1] if sealed else note.encode() if note is not None else None
    if content is None:
        return ([] if erased else [f"what belongs to row {row.seq} is missing, and no tombstone says why"]), erased
    if hashlib.sha256(content).digest() != row.digest:
        return [f"what belongs to row {row.seq} was changed"], False
    if sealed is None:
        return [], False
    key = ledger.keys.get(sealed[0])
    if key is None:
        return [f"row {row.seq} has lost its key, and no tombstone says why"], False
    at = row.seq.to_bytes(8, "big")
    try:
        decision = msgspec.json.decode(unseal(key, sealed[1], b"event", at), type=Decision)
        picture = unseal(key, sealed[2], b"snapshot", at) if sealed[2] else None
    except Unreadable:
        return [f"row {row.seq} or its snapshot does not open with its key"], False
    if picture is not None and hashlib.sha256(picture).hexdigest() != decision.frame_sha256:
        return [f"the snapshot of row {row.seq} is not the one that it names"], False
    return [], False


def _outside(ledger: Ledger, hashes: dict[int, bytes], outside: Sequence[Head], cuts: Sequence[_Cut]) -> Iterator[str]:
    newest, begins = max(hashes, default=0), max((cut.cut for cut in cuts), default=0)
    for head in outside:
        if not signed(ledger.public_key, bytes.fromhex(head.hash), bytes.fromhex(head.signature)):
            yield f"the head of row {head.seq} from outside is not signed by this gate's key"
        elif head.seq > newest:
            yield f"rows {newest + 1} to {head.seq} were cut off: a head from outside names row {head.seq}"
        elif head.seq > begins and hashes.get(head.seq, b"").hex() != head.hash:
            yield f"row {head.seq} is not the one that a head from outside names"


def _remarks(erased: int, outside: Sequence[Head], cuts: Sequence[_Cut]) -> Iterator[str]:
    if cuts:
        yield f"rows up to {max(cut.cut for cut in cuts)} were cut off at a signed checkpoint"
    if erased:
        yield f"{erased} rows are erased, as tombstones say"
    if not outside:
        yield "without heads from outside (--heads) it cannot be seen whether the newest rows were cut off"


def read_heads(path: Path) -> list[Head]:
    """The heads in a file of JSON lines, as the output `file` writes them. Raises Failed."""
    try:
        lines = path.read_bytes().splitlines()
        return [msgspec.json.decode(line, type=Head) for line in lines if line.strip()]
    except OSError as error:
        raise Failed(f"cannot read the heads in {path}: {error.strerror}") from error
    except msgspec.DecodeError as error:
        raise Failed(f"{path} holds no heads, a JSON object a line with seq, hash and signature: {error}") from error


def audit_command(
    heads: Annotated[Path | None, typer.Option(help="Heads that were kept elsewhere, as JSON lines.")] = None,
) -> None:
    """Check that no event was changed, removed or put elsewhere; exit code 1 where one was.

    [bold]Example[/bold]: python run_pipeline.py gate audit --heads /mnt/elsewhere/heads.jsonl
    """
    ledger = Ledger(home(), keys())
    report = audit(ledger, read_heads(heads) if heads else [])
    for sentence in (*report.findings, *report.remarks):
        typer.echo(sentence)
    if report.head:
        typer.echo(f"head: row {report.head.seq}, {report.head.hash}")
    typer.echo(f"{report.rows} rows, {report.erased} of them erased, {len(report.findings)} findings")
    raise typer.Exit(1 if report.findings else 0)
