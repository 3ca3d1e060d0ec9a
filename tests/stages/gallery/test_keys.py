"""The key database and the master key, on real files."""

from __future__ import annotations

import os
import random
import resource
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from pipeline.errors import Failed, Usage
from pipeline.home import home, keys
from stages.gallery import keyfile
from stages.gallery.keyfile import EMPTY, SLOT_BYTES, Keys
from stages.gallery.master import Master, master_path
from stages.gallery.sealing import Unreadable, new_key, seal, unseal
from tests.command import ROOT


def owner(number: int) -> bytes:
    return number.to_bytes(16, "big")


@pytest.fixture
def key_file(tmp_path: Path) -> Keys:
    return Keys(tmp_path / "test.keys", Master(bytes(32)))


def test_a_ciphertext_opens_only_with_its_key_in_its_place() -> None:
    key = new_key()
    sealed = seal(key, b"text", b"table", b"row")
    assert unseal(key, sealed, b"table", b"row") == b"text"
    for other, bound in ((new_key(), (b"table", b"row")), (key, (b"tabler", b"ow")), (key, (b"table",))):
        with pytest.raises(Unreadable):
            unseal(other, sealed, *bound)
    for damaged in (b"", sealed[:-1], sealed[:20] + bytes([sealed[20] ^ 1]) + sealed[21:]):
        with pytest.raises(Unreadable):
            unseal(key, damaged, b"table", b"row")


def test_keys_come_back_and_are_not_in_the_file(key_file: Keys, tmp_path: Path) -> None:
    made = {owner(number): key_file.new(owner(number)) for number in range(3)}
    again = Keys(tmp_path / "test.keys", Master(bytes(32)))
    assert again.read() == made
    assert again.get(owner(1)) == made[owner(1)]
    assert again.get(owner(9)) is None
    content = (tmp_path / "test.keys").read_bytes()
    assert all(key not in content for key in made.values())


def test_another_process_sees_a_change(key_file: Keys, tmp_path: Path) -> None:
    key_file.new(owner(1))
    other = Keys(tmp_path / "test.keys", Master(bytes(32)))
    assert other.owners() == {owner(1)}
    key_file.new(owner(2))
    assert other.owners() == {owner(1), owner(2)}
    assert other.destroy(owner(1), owner(7)) == 1
    assert key_file.get(owner(1)) is None
    key_file.new(owner(3))  # into the slot that was let go
    assert (tmp_path / "test.keys").stat().st_size == 3 * SLOT_BYTES
    assert other.owners() == {owner(2), owner(3)}


def test_a_destroyed_key_is_overwritten(key_file: Keys, tmp_path: Path) -> None:
    key_file.new(owner(1))
    before = (tmp_path / "test.keys").read_bytes()[SLOT_BYTES:]
    key_file.destroy(owner(1))
    after = (tmp_path / "test.keys").read_bytes()
    assert after[SLOT_BYTES:] == EMPTY
    assert before[16:80] not in after


def test_a_slot_cannot_pass_for_another_owners_or_files(key_file: Keys, tmp_path: Path) -> None:
    key_file.new(owner(1))
    path = tmp_path / "test.keys"
    (tmp_path / "other.keys").write_bytes(path.read_bytes())
    (tmp_path / "other.keys").chmod(0o600)
    with pytest.raises(Failed, match="damaged"):
        Keys(tmp_path / "other.keys", Master(bytes(32))).get(owner(1))


def test_keys_of_another_master_are_said_to_be(key_file: Keys, tmp_path: Path) -> None:
    key_file.new(owner(1))
    with pytest.raises(Failed, match="another master key"):
        Keys(tmp_path / "test.keys", Master(b"x" * 32)).read()


def test_a_rotation_that_was_cut_short_goes_on(key_file: Keys, tmp_path: Path) -> None:
    made = {owner(number): key_file.new(owner(number)) for number in range(3)}
    new = Master(b"n" * 32)
    half = Keys(tmp_path / "test.keys", Master(bytes(32)))
    half.read()
    real, calls = half._change, 0

    def cut(file: int, slots: dict[int, bytes]) -> None:
        nonlocal calls
        calls += 1
        if calls == 3:
            raise KeyboardInterrupt
        real(file, slots)

    half._change = cut  # type: ignore[method-assign]
    with pytest.raises(KeyboardInterrupt):
        half.rewrap(new)
    assert Keys(tmp_path / "test.keys", Master(bytes(32))).rewrap(new) == 1
    assert Keys(tmp_path / "test.keys", new).read() == made


def test_adding_to_a_large_file_does_not_read_it_again(key_file: Keys, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(200):
        key_file.new(owner(number))
    read: list[int] = []
    real = os.pread
    monkeypatch.setattr(os, "pread", lambda fd, size, at: read.append(size) or real(fd, size, at))
    for number in range(200, 220):
        key_file.new(owner(number))
    assert sum(read) <= 20 * SLOT_BYTES


def test_of_what_another_process_has_changed_only_that_is_looked_at(
    key_file: Keys, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(200):
        key_file.new(owner(number))
    other = Keys(tmp_path / "test.keys", Master(bytes(32)))
    other.owners()
    seen: list[bytes] = []
    real = keyfile._digest
    monkeypatch.setattr(keyfile, "_digest", lambda content: seen.append(content[:16]) or real(content))
    made = Keys(tmp_path / "test.keys", Master(bytes(32)))
    made.owners()
    seen.clear()
    made.new(owner(200))
    made.destroy(owner(7), owner(9))
    made.new(owner(201))  # in place of one of them
    assert len(seen) == 2  # of the slots that were written
    seen.clear()
    assert other.owners() == {owner(number) for number in range(202)} - {owner(7), owner(9)}
    assert sorted(seen) == [owner(200), owner(201)]


def test_who_follows_each_change_and_who_reads_all_anew_have_the_same_keys(key_file: Keys, tmp_path: Path) -> None:
    path, chance = tmp_path / "test.keys", random.Random(0)
    key_file.new(owner(0))
    processes = [key_file, Keys(path, Master(bytes(32))), Keys(path, Master(bytes(32)))]
    for _ in range(100):
        process, somebody = chance.choice(processes), owner(chance.randrange(20))
        if process.get(somebody) is None:
            process.new(somebody)
        else:
            process.destroy(somebody)
        assert chance.choice(processes).read() == Keys(path, Master(bytes(32))).read()


def test_a_key_file_without_room(key_file: Keys, tmp_path: Path) -> None:
    """A limit on the size of files stands in for a full disk: the same short write, then an error."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    before = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    key_file.new(owner(1))
    for room in (2 * SLOT_BYTES, 2 * SLOT_BYTES + 7):
        resource.setrlimit(resource.RLIMIT_FSIZE, (room, hard))
        try:
            with pytest.raises(Failed, match=r"cannot write the key file .*; make room"):
                key_file.new(owner(2))
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        assert (tmp_path / "test.keys").stat().st_size == 2 * SLOT_BYTES
    signal.signal(signal.SIGXFSZ, before)
    assert key_file.owners() == {owner(1)}
    key_file.new(owner(2))


KILLED = """
import sys
from pathlib import Path
from stages.gallery.keyfile import Keys
from stages.gallery.master import Master
keys = Keys(Path(sys.argv[1]), Master(bytes(32)))
number = 0
while True:
    number += 1
    keys.new(number.to_bytes(16, "big"))
    print(number, flush=True)
"""


def test_a_kill_loses_no_key_that_was_told_of(tmp_path: Path) -> None:
    path = tmp_path / "test.keys"
    with subprocess.Popen(
        [sys.executable, "-c", KILLED, str(path)], stdout=subprocess.PIPE, cwd=ROOT, text=True
    ) as process:
        assert process.stdout
        told = [int(process.stdout.readline()) for _ in range(20)]
        process.kill()
    assert {owner(number) for number in told} <= Keys(path, Master(bytes(32))).owners()


def test_a_master_key_is_made_once_and_for_its_owner() -> None:
    made = Master.load(home(), create=True)
    assert Master.load(home()).fingerprint == made.fingerprint == Master.load(home(), create=True).fingerprint
    assert master_path() == keys().parent / "master.key"
    assert master_path().stat().st_mode & 0o777 == 0o400
    assert not list(master_path().parent.glob("*.part"))


def test_without_a_master_key_nothing_is_made_for_reading() -> None:
    with pytest.raises(Failed, match="put that file back"):
        Master.load(home())
    assert not master_path().exists()


@pytest.mark.parametrize("mode", [0o440, 0o404, 0o644])
def test_a_master_key_that_others_may_read_is_refused(mode: int) -> None:
    Master.load(home(), create=True)
    master_path().chmod(mode)
    with pytest.raises(Failed, match="chmod 400"):
        Master.load(home())


@pytest.mark.parametrize("link", [False, True])
def test_a_master_key_inside_of_the_data_is_refused(
    link: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home().mkdir()
    inside = home() / "deep" / "master.key"
    inside.parent.mkdir()
    inside.write_bytes(bytes(32))
    inside.chmod(0o400)
    outside = tmp_path / "link"
    outside.symlink_to(inside)
    monkeypatch.setenv("FRAMEWIRE_MASTER", str(outside if link else inside))
    with pytest.raises(Usage, match="may not lie inside the data"):
        Master.load(home())


def test_a_credential_of_systemd_is_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "framewire-master").write_bytes(b"c" * 32)
    (tmp_path / "framewire-master").chmod(0o400)
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path))
    assert Master.load(home()).fingerprint == Master(b"c" * 32).fingerprint


def test_a_credential_that_an_acl_opens_to_its_service_is_taken_and_one_for_all_is_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "framewire-master"
    path.write_bytes(b"c" * 32)
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path))
    path.chmod(0o440)  # how stat shows the mask of systemd's ACL
    Master.load(home())
    path.chmod(0o444)
    with pytest.raises(Failed, match="open to other users"):
        Master.load(home())


def test_a_variable_is_for_development(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    monkeypatch.setenv("FRAMEWIRE_MASTER_KEY", "ab" * 32)
    assert Master.load(home()).fingerprint == Master(b"\xab" * 32).fingerprint
    assert "for development only" in caplog.text
    monkeypatch.setenv("FRAMEWIRE_MASTER_KEY", "ab")
    with pytest.raises(Usage, match="64 hexadecimal digits"):
        Master.load(home())


def test_a_damaged_master_key_is_said_to_be() -> None:
    Master.load(home(), create=True)
    master_path().chmod(0o600)
    master_path().write_bytes(b"short")
    with pytest.raises(Failed, match="32 bytes"):
        Master.load(home())
