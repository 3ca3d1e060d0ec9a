"""Accounts: who gets in, who is locked out, and that nothing that opens a door lies in the file."""

from __future__ import annotations

import hashlib
import re
import sqlite3
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from argon2 import PasswordHasher

from pipeline.errors import Failed, Usage
from stages.show.web import database, guesses
from stages.show.web import users as module
from stages.show.web.guesses import ADDRESS_FAILURES, DECAY_S, FAILURES, LOCK_S, LONGEST_S, Denied
from stages.show.web.users import IDLE_S, SESSION_S, Users

PASSWORD = "correct horse battery"


@pytest.fixture
def users(tmp_path: Path) -> Users:
    users = Users(tmp_path)
    secret = users.setup()
    assert secret
    users.begin(secret, "ada", PASSWORD)
    return users


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Seconds that are added to the time."""
    added = [0.0]
    wall, steady = time.time, time.monotonic
    monkeypatch.setattr(module.time, "time", lambda: wall() + added[0])
    monkeypatch.setattr(module.time, "monotonic", lambda: steady() + added[0])
    return added


def wrong(users: Users, name: str = "ada", address: str = "10.0.0.1") -> str:
    with pytest.raises(Denied) as caught:
        users.log_in(name, "not the password", address)
    return str(caught.value)


def test_the_link_makes_one_admin_once(tmp_path: Path, clock: list[float]) -> None:
    users = Users(tmp_path)
    old, secret = users.setup(), users.setup()
    assert old
    assert secret
    for bad in (old, "guess"):
        with pytest.raises(Denied, match="used already"):
            users.begin(bad, "eve", PASSWORD)
    with pytest.raises(Usage, match="at least 10"):
        users.begin(secret, "ada", "short")
    clock[0] = module.SETUP_S + 1
    with pytest.raises(Denied, match="too old"):
        users.begin(secret, "ada", PASSWORD)
    clock[0] = 0
    users.begin(secret, "ada", PASSWORD)
    with pytest.raises(Denied):
        users.begin(secret, "eve", PASSWORD)
    assert users.setup() is None
    assert users.all() == [("ada", "admin")]


def test_a_session_lasts_while_it_is_used_and_not_for_ever(users: Users, clock: list[float]) -> None:
    secret = users.log_in("ada", PASSWORD, "a")
    who = users.session(secret)
    assert who
    assert (who.name, who.role) == ("ada", "admin")
    while clock[0] < SESSION_S - IDLE_S:
        clock[0] += IDLE_S - 10
        assert users.session(secret)
    clock[0] = SESSION_S + 1
    assert users.session(secret) is None
    clock[0] = 0
    idle = users.log_in("ada", PASSWORD, "a")
    clock[0] = IDLE_S + 1
    assert users.session(idle) is None


def test_who_logs_out_is_out(users: Users) -> None:
    secret = users.log_in("ada", PASSWORD, "a")
    users.log_out(secret)
    assert users.session(secret) is None
    assert users.session("guess") is None


def test_wrong_passwords_lock_the_account_for_longer_each_time(users: Users, clock: list[float]) -> None:
    for _ in range(FAILURES):
        assert "wrong" in wrong(users)
    assert "too many wrong passwords" in wrong(users)
    with pytest.raises(Denied, match="too many"):
        users.log_in("ada", PASSWORD, "b")  # the right one neither
    clock[0] += LOCK_S + 1
    assert "wrong" in wrong(users)
    clock[0] += LOCK_S + 1
    assert "too many" in wrong(users)  # twice as long now
    clock[0] += LOCK_S
    users.log_in("ada", PASSWORD, "b")
    assert "is wrong" in wrong(users)  # and it counts from the beginning


def test_a_stranger_cannot_keep_the_owner_out_for_good(users: Users, clock: list[float]) -> None:
    for _ in range(FAILURES + 20):
        assert "is wrong" in wrong(users, address=f"10.0.0.{clock[0]}")
        clock[0] += LONGEST_S + 1
    users.log_in("ada", PASSWORD, "b")


def test_failures_of_another_day_do_not_count(users: Users, clock: list[float]) -> None:
    for _ in range(FAILURES):
        wrong(users)
    clock[0] += LOCK_S + DECAY_S + 1
    for _ in range(FAILURES):
        assert "is wrong" in wrong(users, address="10.0.0.2")
    assert "too many wrong passwords" in wrong(users, address="10.0.0.2")
    clock[0] += LOCK_S + 1  # as short as the first time
    users.log_in("ada", PASSWORD, "b")


def test_a_link_gives_a_way_back_into_an_account(users: Users, tmp_path: Path) -> None:
    users.add("bob", "viewer", PASSWORD)
    session, new = users.log_in("bob", PASSWORD, "a"), "another horse entirely"
    for _ in range(FAILURES):
        wrong(users, "bob")
    with pytest.raises(Usage, match="no account called 'eve': there is ada, bob"):
        users.invite("eve")
    secret = Users(tmp_path).invite("bob")  # from the command line
    with pytest.raises(Denied, match="for bob"):
        users.begin(secret, "ada", new)
    entered = users.session(users.begin(secret, "bob", new))
    assert entered
    assert (entered.name, entered.role) == ("bob", "viewer")
    assert users.session(session) is None
    assert users.log_in("bob", new, "b")  # nor is it locked
    for used in (secret, "guess"):
        with pytest.raises(Denied, match="run gate account NAME"):
            users.begin(used, "bob", PASSWORD)
    assert users.log_in("ada", PASSWORD, "b")


def test_a_link_for_an_account_that_was_removed_makes_none(users: Users) -> None:
    users.add("bob", "viewer", PASSWORD)
    secret = users.invite("bob")
    users.remove("bob")
    with pytest.raises(Denied):
        users.begin(secret, "bob", PASSWORD)
    assert users.all() == [("ada", "admin")]


def test_where_there_is_no_account_the_link_is_the_first_admins(tmp_path: Path) -> None:
    users = Users(tmp_path)
    users.begin(users.invite("ada"), "ada", PASSWORD)
    assert users.all() == [("ada", "admin")]


def test_two_passwords_are_hashed_at_once(users: Users, monkeypatch: pytest.MonkeyPatch) -> None:
    now, most = [0], [0]
    verify = users._hasher.verify

    class Counting:
        def verify(self, hashed: str, password: str) -> bool:
            now[0] += 1
            most[0] = max(most[0], now[0])
            try:
                return verify(hashed, password)
            finally:
                now[0] -= 1

    monkeypatch.setattr(users, "_hasher", Counting())
    with ThreadPoolExecutor(12) as threads:
        list(threads.map(lambda number: wrong(users, f"user{number}", f"10.0.0.{number}"), range(12)))
    assert most[0] == module.HASHES


def test_many_guesses_at_once_are_no_better_than_one_after_the_other(users: Users) -> None:
    with ThreadPoolExecutor(12) as threads:
        said = list(threads.map(lambda number: wrong(users, "ada", f"10.0.0.{number}"), range(12)))
    assert sum("is wrong" in sentence for sentence in said) == FAILURES


def test_an_address_that_guesses_names_is_slowed_down(users: Users) -> None:
    for number in range(ADDRESS_FAILURES):
        assert "is wrong" in wrong(users, f"user{number}", "10.0.0.9")
    with pytest.raises(Denied, match=r"from 10\.0\.0\.9"):
        users.log_in("ada", PASSWORD, "10.0.0.9")
    users.log_in("ada", PASSWORD, "10.0.0.1")


def test_an_unknown_name_is_locked_like_one_that_there_is(users: Users, tmp_path: Path, clock: list[float]) -> None:
    said: dict[str, list[str]] = {"ada": [], "nobody": []}
    for step in range(FAILURES + 6):
        for name, heard in said.items():
            heard.append(re.sub(r"\d+ s", "N s", wrong(users, name, f"{name}{step}")))
        clock[0] += LOCK_S if step >= FAILURES else 0
        if step == FAILURES + 2:
            users = Users(tmp_path)  # the gate was started again
    assert said["nobody"] == said["ada"]
    assert len(set(said["ada"])) == 2


def test_who_guesses_at_a_name_does_not_lock_the_account_that_is_made_later(users: Users) -> None:
    for _ in range(FAILURES):
        wrong(users, "bob")
    users.add("bob", "viewer", PASSWORD)
    assert users.log_in("bob", PASSWORD, "b")


def test_names_that_were_guessed_are_not_kept(users: Users, tmp_path: Path) -> None:
    wrong(users, "my secret passphrase")
    content = b"".join(path.read_bytes() for path in tmp_path.iterdir())
    assert b"my secret passphrase" not in content
    assert hashlib.sha256(b"my secret passphrase").hexdigest().encode() not in content


def test_addresses_that_fail_fill_no_memory(users: Users, clock: list[float], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(guesses, "ADDRESSES", 3)
    monkeypatch.setattr(guesses, "ADDRESS_FAILURES", 2)
    for number in range(5):
        wrong(users, f"user{number}", f"10.0.0.{number}")
    assert list(users._addresses._failed) == ["10.0.0.2", "10.0.0.3", "10.0.0.4"]
    clock[0] += guesses.ADDRESS_S + 1
    wrong(users, "user9", "10.0.0.4")
    assert list(users._addresses._failed) == ["10.0.0.4"]
    wrong(users, "user9", "10.0.0.4")
    with pytest.raises(Denied, match="from"):
        users.log_in("ada", PASSWORD, "10.0.0.4")


def test_accounts_of_an_older_framewire_are_brought_up_to_date(tmp_path: Path) -> None:
    rows = sqlite3.connect(tmp_path / "web.sqlite")
    users = (
        "CREATE TABLE users(name TEXT PRIMARY KEY, role TEXT NOT NULL, password TEXT NOT NULL,"
        " failures INTEGER NOT NULL DEFAULT 0, locked_until REAL NOT NULL DEFAULT 0) STRICT"
    )
    for statement in (users, *database.TABLES[1:], "PRAGMA user_version = 1"):
        rows.execute(statement)
    values = ("ada", "admin", PasswordHasher().hash(PASSWORD))
    rows.execute("INSERT INTO users(name, role, password) VALUES (?, ?, ?)", values)
    rows.commit()
    rows.close()
    for _ in range(2):
        assert Users(tmp_path).log_in("ada", PASSWORD, "a")


def test_roles_and_accounts(users: Users) -> None:
    users.add("bob", "viewer", PASSWORD)
    secret = users.log_in("bob", PASSWORD, "a")
    bob = users.session(secret)
    assert bob
    assert (bob.may("viewer"), bob.may("operator"), bob.may("admin")) == (True, False, False)
    with pytest.raises(Usage, match="already"):
        users.add("bob", "admin", PASSWORD)
    with pytest.raises(Usage, match="last admin"):
        users.remove("ada")
    users.remove("bob")
    assert users.session(secret) is None
    for name in ("", " x", "a\nb", "x" * 61, ".", ".."):
        with pytest.raises(Usage):
            users.add(name, "viewer", PASSWORD)
        with pytest.raises(Usage):
            users.new_token(name, "viewer")


def test_tokens_are_for_programs_and_can_be_taken_back(users: Users) -> None:
    secret = users.new_token("door", "operator")
    who = users.token(secret)
    assert who
    assert (who.name, who.role, who.csrf) == ("door", "operator", "")
    users.revoke("door")
    assert users.token(secret) is None
    with pytest.raises(Usage):
        users.revoke("door")


def test_a_token_has_a_name_of_its_own_and_is_listed(users: Users) -> None:
    before = time.time()
    for name, role in (("reader", "operator"), ("ci", "viewer")):
        users.new_token(name, role)
    (first, *_, made), (second, *_) = users.tokens()
    assert (first, second) == ("ci", "reader")
    assert before <= made <= time.time()
    with pytest.raises(Usage, match="token called 'ci' already"):
        users.new_token("ci", "viewer")
    with pytest.raises(Usage, match="1 to 60"):
        users.new_token("", "viewer")


def test_a_password_is_changed_by_who_knows_it_and_other_sessions_end(users: Users) -> None:
    elsewhere, new = users.log_in("ada", PASSWORD, "a"), "another horse entirely"
    with pytest.raises(Denied):
        users.change_password("ada", "not the password", new, "a")
    with pytest.raises(Usage, match="at least 10"):
        users.change_password("ada", PASSWORD, "short", "a")
    assert users.session(elsewhere)
    secret = users.change_password("ada", PASSWORD, new, "a")
    assert users.session(secret)
    assert users.session(elsewhere) is None
    assert "wrong" in wrong(users)
    with pytest.raises(Denied):
        users.log_in("ada", PASSWORD, "a")
    assert users.log_in("ada", new, "a")


def test_whoever_guesses_the_password_to_change_it_is_locked_out(users: Users) -> None:
    for _ in range(FAILURES):
        with pytest.raises(Denied, match="is wrong"):
            users.change_password("ada", "not the password", "another horse entirely", "a")
    with pytest.raises(Denied, match="too many"):
        users.change_password("ada", PASSWORD, "another horse entirely", "a")


def test_nothing_in_the_file_opens_anything(users: Users, tmp_path: Path) -> None:
    session, token = users.log_in("ada", PASSWORD, "a"), users.new_token("door", "admin")
    content = b"".join(path.read_bytes() for path in tmp_path.iterdir())
    for secret in (PASSWORD, session, token):
        assert secret.encode() not in content
    assert (tmp_path / "web.sqlite").stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("damage", ["corrupt", "newer"])
def test_accounts_that_cannot_be_read(users: Users, tmp_path: Path, damage: str) -> None:
    path = tmp_path / "web.sqlite"
    if damage == "corrupt":
        path.write_bytes(b"\1" * 4096)
    else:
        rows = sqlite3.connect(path)
        rows.execute("PRAGMA user_version = 9")
        rows.close()
    with pytest.raises(Failed, match=r"cannot be used|newer framewire"):
        Users(tmp_path)
