"""Accounts: who gets in, who is locked out, and that nothing that opens a door lies in the file."""

from __future__ import annotations

import resource
import sqlite3
import time
from contextlib import closing
from pathlib import Path

import pytest
from argon2 import PasswordHasher

from pipeline.errors import Failed, Usage
from stages.show.web import database
from stages.show.web import users as module
from stages.show.web.guesses import FAILURES, Denied
from stages.show.web.users import IDLE_S, SESSION_S, Users
from tests.stages.show.site import PASSWORD


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
    for password in ("too short", "x" * 1001):
        with pytest.raises(Usage, match="a password has 10 to 1000 characters"):
            users.begin(secret, "ada", password)
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


def test_a_link_gives_a_way_back_into_an_account(users: Users, tmp_path: Path) -> None:
    users.add("bob", "viewer", PASSWORD)
    session, new = users.log_in("bob", PASSWORD, "a"), "another horse entirely"
    for _ in range(FAILURES):
        wrong(users, "bob")
    with pytest.raises(Usage, match="no account called 'eve': there is ada, bob"):
        users.invite("eve")
    older, secret = Users(tmp_path).invite("bob"), Users(tmp_path).invite("bob")  # from the command line
    with pytest.raises(Denied, match="a newer one was made"):
        users.begin(older, "bob", new)
    assert users.link(users.invite("ada")) == ("ada", False)
    assert users.link(secret) == ("bob", False)
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


def test_a_link_for_an_account_that_was_removed_makes_none(users: Users, tmp_path: Path) -> None:
    users.add("bob", "viewer", PASSWORD)
    secret = users.invite("bob")
    users.remove("bob")
    with pytest.raises(Denied):
        users.begin(secret, "bob", PASSWORD)
    assert users.all() == [("ada", "admin")]
    with closing(sqlite3.connect(tmp_path / "web.sqlite")) as rows:
        assert rows.execute("SELECT name FROM setup").fetchall() == []
    users.add("bob", "admin", PASSWORD)  # somebody else
    with pytest.raises(Denied):
        users.begin(secret, "bob", "another horse entirely")


def test_a_link_that_is_older_than_an_account_or_its_password_opens_neither(tmp_path: Path) -> None:
    users, new = Users(tmp_path), "another horse entirely"
    older = users.invite("bob")
    users.add("bob", "admin", PASSWORD)
    with pytest.raises(Denied):
        users.begin(older, "bob", new)
    older = users.invite("bob")
    users.change_password("bob", PASSWORD, new, "a")
    with pytest.raises(Denied):
        users.begin(older, "bob", PASSWORD)
    assert users.log_in("bob", new, "a")


def test_where_there_is_no_account_the_link_is_the_first_admins(tmp_path: Path) -> None:
    users = Users(tmp_path)
    users.begin(users.invite("ada"), "ada", PASSWORD)
    assert users.all() == [("ada", "admin")]


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
    copy = tmp_path / "web.sqlite.v1"
    assert copy.stat().st_mode & 0o777 == 0o600
    with closing(sqlite3.connect(copy)) as before:
        assert before.execute("SELECT name, failures FROM users").fetchall() == [("ada", 0)]
    Users(tmp_path).add("bob", "viewer", PASSWORD)
    Users(tmp_path).remove("bob")
    assert not copy.exists()


def test_a_full_disk_keeps_nobody_out_who_is_in_and_is_said_to_be_full(users: Users, clock: list[float]) -> None:
    secret = users.log_in("ada", PASSWORD, "a")
    clock[0] = 100
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1024, limits[1]))  # no file grows beyond: as where there is no room
    try:
        who = users.session(secret)
        with pytest.raises(Failed, match="see that there is room"):
            users.log_in("ada", PASSWORD, "a")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert who
    assert who.name == "ada"


def test_that_a_session_is_used_is_written_once_a_minute(users: Users, clock: list[float], tmp_path: Path) -> None:
    secret, path = users.log_in("ada", PASSWORD, "a"), tmp_path / "web.sqlite"
    before = path.read_bytes()
    clock[0] = 50
    assert users.session(secret)
    assert path.read_bytes() == before
    clock[0] = 70
    assert users.session(secret)
    assert path.read_bytes() != before


def test_roles_and_accounts(users: Users) -> None:
    users.add("bob", "viewer", PASSWORD)
    secret = users.log_in("bob", PASSWORD, "a")
    bob = users.session(secret)
    assert bob
    assert (bob.may("viewer"), bob.may("operator"), bob.may("admin")) == (True, False, False)
    with pytest.raises(Usage, match="already"):
        users.add("bob", "admin", PASSWORD)
    users.set_role("bob", "operator")
    promoted = users.session(secret)
    assert promoted
    assert promoted.role == "operator"
    for name, sentence in (("ada", "last admin"), ("eve", "no account called")):
        with pytest.raises(Usage, match=sentence):
            users.set_role(name, "viewer")
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
    with pytest.raises(Usage, match="10 to 1000"):
        users.change_password("ada", PASSWORD, "short", "a")
    assert users.session(elsewhere)
    secret = users.change_password("ada", PASSWORD, new, "a")
    assert users.session(secret)
    assert users.session(elsewhere) is None
    assert "wrong" in wrong(users)
    with pytest.raises(Denied):
        users.log_in("ada", PASSWORD, "a")
    assert users.log_in("ada", new, "a")


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
