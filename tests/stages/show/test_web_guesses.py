"""Who guesses at passwords is locked out, and nobody else for long."""

from __future__ import annotations

import hashlib
import re
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from stages.show.web import guesses
from stages.show.web import users as module
from stages.show.web.guesses import ADDRESS_FAILURES, DECAY_S, FAILURES, LOCK_S, LONGEST_S, Denied
from stages.show.web.users import Users
from tests.stages.show.site import PASSWORD
from tests.stages.show.test_web_users import wrong


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


def test_whoever_guesses_the_password_to_change_it_is_locked_out(users: Users) -> None:
    for _ in range(FAILURES):
        with pytest.raises(Denied, match="is wrong"):
            users.change_password("ada", "not the password", "another horse entirely", "a")
    with pytest.raises(Denied, match="too many"):
        users.change_password("ada", PASSWORD, "another horse entirely", "a")
