"""Accounts and tokens in a real browser."""

from __future__ import annotations

import httpx
from playwright.sync_api import Page, expect

from pipeline.home import home
from stages.show.web.users import Users
from tests.stages.show.site import PASSWORD, Site, begin, log_in, visit


def test_in_a_browser_an_account_is_made_and_logs_in_and_changes_its_password(site: Site, page: Page) -> None:
    begin(page, site)
    visit(page, "Account")
    page.get_by_role("button", name="Add an account").click()
    expect(page.get_by_label("Name")).to_be_focused()
    page.keyboard.type("bob")
    page.keyboard.press("Tab")
    page.keyboard.type("operator")
    page.keyboard.press("Tab")
    page.keyboard.type(PASSWORD)
    page.keyboard.press("Enter")
    accounts = page.get_by_role("region", name="Accounts")
    expect(accounts.get_by_text("bob")).to_be_visible()
    page.get_by_role("button", name="Log out").click()
    log_in(page, "bob", PASSWORD)
    expect(page.get_by_text("bob · operator")).to_be_visible()
    expect(page.get_by_label("So far")).to_be_visible()  # the view stays
    expect(accounts).to_be_hidden()
    page.get_by_label("So far").fill("guess")
    page.get_by_label("From now on").fill("another horse entirely")
    page.get_by_role("button", name="Change the password").click()
    expect(page.get_by_role("alert")).to_have_text("the name or the password is wrong")
    page.get_by_label("So far").fill(PASSWORD)
    page.get_by_role("button", name="Change the password").click()
    expect(page.get_by_text("The password is changed.")).to_be_visible()
    page.get_by_role("button", name="Log out").click()
    log_in(page, "ada", PASSWORD)
    page.get_by_role("button", name="Role of bob").click()
    role = page.get_by_role("dialog").get_by_role("combobox")
    expect(role).to_have_value("operator")
    role.select_option("viewer")
    page.get_by_role("button", name="Save").click()
    expect(accounts.get_by_text("viewer", exact=True)).to_be_visible()
    page.get_by_role("button", name="Remove bob").click()
    expect(page.get_by_role("button", name="Cancel")).to_be_focused()
    page.get_by_role("dialog").get_by_role("button", name="Remove bob").click()
    expect(accounts.get_by_text("bob")).to_be_hidden()
    page.get_by_role("button", name="Log out").click()
    log_in(page, "bob", "another horse entirely")
    expect(page.get_by_role("alert")).to_have_text("the name or the password is wrong")


def test_in_a_browser_a_token_is_made_and_shown_once_and_revoked(site: Site, page: Page) -> None:
    begin(page, site)
    visit(page, "Account")
    page.get_by_role("button", name="Make a token").click()
    page.get_by_label("Name").fill("dashboard")
    page.get_by_role("button", name="Make", exact=True).click()
    token = page.get_by_role("dialog").get_by_role("textbox", name="Token").input_value()
    page.get_by_role("button", name="Close").click()
    tokens = page.get_by_role("region", name="API tokens")
    expect(tokens.get_by_text("dashboard")).to_be_visible()
    expect(page.get_by_role("dialog", include_hidden=True)).to_have_count(0)
    assert token not in page.content()
    with httpx.Client(base_url=site.address, headers={"Authorization": f"Bearer {token}"}) as program:
        assert program.get("/api/events").status_code == 200
        page.get_by_role("button", name="Revoke dashboard").click()
        page.get_by_role("dialog").get_by_role("button", name="Revoke dashboard").click()
        expect(tokens.get_by_text("No program has a token.")).to_be_visible()
        assert program.get("/api/events").status_code == 401


def test_in_a_browser_a_link_says_whose_password_it_sets_and_leaves_the_address_bar(site: Site, page: Page) -> None:
    page.goto(site.setup)
    expect(page.get_by_role("heading", name="Set the first password")).to_be_visible()
    expect(page.get_by_text("The account is an admin's.")).to_be_visible()
    assert "#setup" not in page.url
    page.goto("about:blank")  # from the page itself only the hash would change, and with it the form while they type
    begin(page, site)
    users = Users(home())
    users.add("bob", "viewer", PASSWORD)
    secret = users.invite("bob")
    page.goto(f"{site.address}#setup={secret}")  # whoever is logged in here
    expect(page.get_by_role("heading", name="Set a new password")).to_be_visible()
    assert secret not in page.url
    expect(page.get_by_text("admin")).to_be_hidden()
    expect(page.get_by_label("Name")).to_have_value("bob")
    page.get_by_label("Password").fill("another horse entirely")
    page.get_by_role("button", name="Set the password").click()
    expect(page.get_by_text("bob · viewer")).to_be_visible()
    page.goto(f"{site.address}#setup={secret}")
    expect(page.get_by_role("alert")).to_contain_text("this link was used already")
    page.get_by_role("button", name="Not now").click()
    expect(page.get_by_text("bob · viewer")).to_be_visible()
