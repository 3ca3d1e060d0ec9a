"""The page of a reel in a real browser, as a file."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Literal

import msgspec
import numpy as np
import pytest
from playwright.sync_api import Browser, Page, expect, sync_playwright

from stages.highlight.page import write_page
from stages.highlight.score import PRESETS
from stages.highlight.thumbs import Thumb
from stages.highlight.timeline import SECOND, Reel, Video
from tests.stages.highlight.reel import WEIGHTS, moment, timeline

CHROMIUM = Path("/usr/bin/chromium")
SLIDER = "Second of the video"
SCHEMES: tuple[Literal["light"], Literal["dark"]] = ("light", "dark")
LIGHT, DARK = "rgb(244, 245, 246)", "rgb(16, 19, 21)"
BLANK = np.zeros((9, 16, 3), np.uint8)


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    if not CHROMIUM.exists():
        pytest.skip("needs a browser: apt install chromium")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=str(CHROMIUM), args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    """It says nothing on its console and asks for nothing but its own file."""
    page = browser.new_page(viewport={"width": 1400, "height": 1000}, reduced_motion="reduce")
    told: list[str] = []
    page.on("pageerror", lambda error: told.append(str(error)))
    page.on("console", lambda message: told.append(message.text))
    page.on("dialog", lambda dialog: told.append(dialog.message))
    page.on("request", lambda request: told.append(request.url) if not _own(request.url) else None)
    yield page
    page.close()
    assert told == []


def _own(url: str) -> bool:
    return url.startswith("data:image/jpeg;base64,") or (url.startswith("file://") and url.endswith("/reel.html"))


def opened(page: Page, reel: Reel, thumbs: list[Thumb], folder: Path) -> None:
    write_page(reel, folder / "reel.html", thumbs)
    page.goto((folder / "reel.html").as_uri())


def made_up(path: str, seconds: int, moments: int = 1) -> Reel:
    """A video that is not there."""
    known, scores = timeline(Video(path, "0" * 64, 1920, 1080, 0, seconds * SECOND, seconds * 25, True), 3)
    chosen = [moment(0, at, at + 5, scores) for at in range(2, 2 + 10 * moments, 10)]
    return Reel([known], [scores], chosen, "sports", WEIGHTS)


def chosen(page: Page) -> int:
    return int(page.get_by_role("slider", name=SLIDER).first.get_attribute("aria-valuenow") or -1)


def test_hover_shows_what_a_second_holds(page: Page, clips: Reel, clip_thumbs: list[Thumb], tmp_path: Path) -> None:
    opened(page, clips, clip_thumbs, tmp_path)
    expect(page.locator("h2")).to_have_text(["How the score is made up"] + [_name(clips, one) for one in range(3)])
    view = page.get_by_role("slider", name=SLIDER).nth(1)
    view.scroll_into_view_if_needed()
    box = view.bounding_box()
    assert box
    known, scores = clips.timelines[1], clips.scores[1]
    page.mouse.move(box["x"] + box["width"] * 4.5 / known.seconds, box["y"] + 200)
    readout = page.get_by_role("complementary").nth(1)
    expect(readout.locator("h3")).to_contain_text(f"0:04 · score {scores.score[4]:.2f}")
    people = readout.locator("dl > div").filter(has=page.get_by_text("people", exact=True))
    value = float(np.round(known.signals["people"][4], 4))
    expect(people).to_contain_text(f"{value:.3g} people")
    expect(people).to_contain_text(f"+{np.round(scores.shares['people'][4], 4):.3f}")
    text = readout.locator("dl > div").filter(has=page.get_by_text("text", exact=True))
    expect(text).to_contain_text("not measured")
    widths = [float(width) for width in readout.locator(".stack i").evaluate_all("all => all.map(e => e.offsetWidth)")]
    whole = readout.locator(".stack").evaluate("node => node.offsetWidth")
    assert sum(widths) / whole == pytest.approx(float(scores.score[4]), abs=0.03)


def _name(reel: Reel, number: int) -> str:
    return Path(reel.timelines[number].video.path).name


def test_a_moment_is_shown_on_the_timeline(page: Page, clips: Reel, clip_thumbs: list[Thumb], tmp_path: Path) -> None:
    opened(page, clips, clip_thumbs, tmp_path)
    first = clips.moments[1]
    card = page.locator(".moment").nth(1)
    expect(card).to_contain_text("people are in the picture")
    assert card.locator("img").evaluate("image => image.naturalWidth") == 384
    card.get_by_role("button", name="Show moment 2").click()
    expect(page.locator(".moment[aria-current]").first).to_contain_text("2")
    assert first.start_ns / SECOND <= chosen(page) < first.end_ns / SECOND
    view = page.get_by_role("slider", name=SLIDER).first
    expect(view).to_be_focused()
    expect(view).to_be_in_viewport()
    scale = view.evaluate("node => node.scrollWidth / node.clientWidth")
    assert scale == pytest.approx(clips.timelines[0].seconds / 15, rel=0.1)  # three times its 5 s
    left, right = view.evaluate("node => [node.scrollLeft, node.scrollLeft + node.clientWidth]")
    middle = (first.start_ns + first.end_ns) / 2 / clips.timelines[0].video.duration_ns
    assert left < middle * view.evaluate("node => node.scrollWidth") < right


def test_with_the_keyboard_alone(page: Page, tmp_path: Path) -> None:
    opened(page, made_up("/x/match.mp4", 600, 3), [BLANK] * 3, tmp_path)
    view = page.get_by_role("slider", name=SLIDER)
    for _ in range(10):
        page.keyboard.press("Tab")
        if view.evaluate("node => node === document.activeElement"):
            break
    expect(view).to_be_focused()
    found = []
    for key in ("Home", "n", "n", "N", "ArrowRight", "Shift+ArrowLeft", "p", "End", "ArrowRight"):
        page.keyboard.press(key)
        found.append(chosen(page))
    assert found == [0, 2, 12, 22, 23, 13, 2, 599, 599]
    assert re.match(r"9:59, score 0\.\d\d: cuts ", view.get_attribute("aria-valuetext") or "")
    page.keyboard.press("+")
    assert view.evaluate("node => node.scrollWidth / node.clientWidth") == pytest.approx(2, rel=0.01)
    page.keyboard.press("Home")
    page.wait_for_function("() => document.querySelector('.view').scrollLeft === 0")
    page.get_by_role("button", name="Show the whole video").press("Enter")
    assert view.evaluate("node => node.scrollWidth / node.clientWidth") == pytest.approx(1)


@pytest.mark.parametrize(
    "name", ["<img src=x onerror=alert(1)>.mp4", "a</script><script>alert(1)<!-- .mp4", "$script ${data} & \"x\" 'y'"]
)
def test_a_hostile_name_stays_text(name: str, page: Page, tmp_path: Path) -> None:
    reel = made_up(f"/x/{name}", 30)
    opened(page, reel, [BLANK], tmp_path)
    shown = name.rpartition("/")[2]
    expect(page.locator(".video h2")).to_have_text(shown)
    expect(page).to_have_title(f"Highlights of {shown}")
    assert page.locator("img").count() == 1
    data = json.loads(page.locator("#data").evaluate("node => node.textContent"))
    assert data["reel"]["videos"][0]["path"] == f"/x/{name}"


def test_its_policy_lets_nothing_else_run(browser: Browser, tmp_path: Path) -> None:
    write_page(made_up("/x/a.mp4", 30), tmp_path / "reel.html", [BLANK])
    content = (tmp_path / "reel.html").read_text()
    evil = '<p onclick="document.title = 1">x</p><script>document.title = 2</script><img src="http://127.0.0.1:9/x">'
    (tmp_path / "evil.html").write_text(content.replace("<header>", f"{evil}<header>"))
    page = browser.new_page()
    refused: list[str] = []
    page.on("console", lambda message: refused.append(message.text))
    page.goto((tmp_path / "evil.html").as_uri())
    page.get_by_text("x", exact=True).click()
    expect(page).to_have_title("Highlights of a.mp4")
    assert len([text for text in refused if "Content Security Policy" in text]) == 3
    page.close()


def test_hours_lose_no_second(page: Page, tmp_path: Path) -> None:
    """One second of ten hours stands out: it is seen where all of it is shown."""
    reel = made_up("/x/day.mp4", 36000, 0)
    reel.scores[0].score[:] = 0.1
    reel.scores[0].score[27000] = 0.9
    opened(page, reel, [], tmp_path)
    page.get_by_role("slider", name=SLIDER).press("Home")  # its own line covers nothing then
    shares = page.locator("canvas").evaluate(
        """async canvas => {
          await new Promise(requestAnimationFrame);
          const row = 22 + 4 + 20 + 4 + 10, { width } = canvas;
          const line = canvas.getContext("2d").getImageData(0, row, width, 1).data;
          const bar = (x) => line.slice(4 * x, 4 * x + 3).join() === "170,178,185";
          return [...Array(width).keys()].filter(bar).map((x) => x / width);
        }"""
    )
    assert shares
    assert shares == pytest.approx([0.75] * len(shares), abs=0.002)


def test_on_a_phone_and_in_the_dark(page: Page, clips: Reel, clip_thumbs: list[Thumb], tmp_path: Path) -> None:
    page.set_viewport_size({"width": 390, "height": 844})
    opened(page, clips, clip_thumbs, tmp_path)
    assert page.evaluate("document.documentElement.scrollWidth") == 390
    drawn = page.locator("canvas").first.evaluate("canvas => canvas.toDataURL()")
    grounds = []
    for scheme in SCHEMES:
        page.emulate_media(color_scheme=scheme)
        grounds.append(page.evaluate("getComputedStyle(document.body).backgroundColor"))
    assert grounds == [LIGHT, DARK]
    page.wait_for_function("drawn => document.querySelector('canvas').toDataURL() !== drawn", arg=drawn)


def test_it_prints_in_light_colours(page: Page, clips: Reel, clip_thumbs: list[Thumb], tmp_path: Path) -> None:
    page.emulate_media(color_scheme="dark")
    opened(page, clips, clip_thumbs, tmp_path)
    page.evaluate(
        "addEventListener('beforeprint', () => { window.ground = getComputedStyle(document.body).backgroundColor; })"
    )
    page.pdf(path=str(tmp_path / "reel.pdf"))
    assert (tmp_path / "reel.pdf").read_bytes().startswith(b"%PDF")
    assert page.evaluate("window.ground") == "rgb(244, 245, 246)"
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(16, 19, 21)"


def test_the_weights_and_what_was_asked_for(page: Page, tmp_path: Path) -> None:
    reel = made_up("/x/a.mp4", 60)
    why = {"people": 0.3, "motion": 0.005, "cuts": 0.0049}
    asked = replace(reel, moments=[msgspec.structs.replace(reel.moments[0], must=True, why=why)])
    opened(page, asked, [BLANK], tmp_path)
    expect(page.locator(".weights span")).to_have_text(
        ["people 2", "motion 1.5", "loudness 1", "cuts 0.5", "faces 0.5", "novelty 0.5"]
    )
    expect(page.locator(".moment")).to_contain_text("asked for")
    expect(page.locator(".moment li span.numbers")).to_have_text(["+0.30", re.compile(r"\+0\.0[01]")])
    expect(page.locator("#summary")).to_have_text("1 moment, 0:05 of 1:00 · preset sports")


@pytest.mark.parametrize(
    ("weights", "says"),
    [
        (PRESETS["sports"], "The weights of the preset “sports”:"),
        ({**PRESETS["sports"], "people": 7.0}, "The weights, changed from the preset “sports”:"),
        ({"people": 7.0}, "The weights, changed from the preset “sports”:"),
    ],
)
def test_whose_weights_they_are(weights: dict[str, float], says: str, page: Page, tmp_path: Path) -> None:
    opened(page, replace(made_up("/x/a.mp4", 30), weights=weights), [BLANK], tmp_path)
    expect(page.locator(".made")).to_contain_text(says)
    shown = [text.split() for text in page.locator(".weights span").all_inner_texts()]
    assert {"_".join(name): float(weight) for *name, weight in shown} == weights


def test_a_learned_score_has_no_weights(page: Page, tmp_path: Path) -> None:
    learned = replace(made_up("/x/a.mp4", 30), preset="mine.onnx", weights=None)
    opened(page, learned, [BLANK], tmp_path)
    made = page.locator(".made")
    expect(made).to_contain_text("The score of a second was learned: the scorer “mine.onnx” gave it.")
    expect(made).to_contain_text("what the score loses without the signal")
    expect(made).not_to_contain_text("weight")
    expect(page.locator("#summary")).to_have_text("1 moment, 0:05 of 0:30 · scorer mine.onnx")


def test_a_video_without_sound_has_no_pauses(page: Page, tmp_path: Path) -> None:
    page.add_init_script(
        "window.written = []; const write = CanvasRenderingContext2D.prototype.fillText;"
        "CanvasRenderingContext2D.prototype.fillText = function (text, ...at) {"
        " written.push(`${text} ${at[1]}`); write.call(this, text, ...at); };"
    )
    unmeasured = []
    for sound in (True, False):
        reel = made_up("a.mp4", 30)
        reel.timelines[0] = replace(
            reel.timelines[0], video=msgspec.structs.replace(reel.timelines[0].video, sound=sound)
        )
        opened(page, reel, [BLANK], tmp_path)
        page.wait_for_function("written.length > 0")
        lanes = page.evaluate("new Set(written.filter((text) => text.startsWith('not measured'))).size")
        unmeasured.append(lanes)
    assert unmeasured[1] == unmeasured[0] + 1


def test_what_something_is_taken_from_comes_first(page: Page, tmp_path: Path) -> None:
    one, other = made_up("nothing.mp4", 30, moments=0), made_up("taken.mp4", 30)
    moments = [msgspec.structs.replace(moment, video=1) for moment in other.moments]
    reel = Reel([*one.timelines, *other.timelines], [*one.scores, *other.scores], moments, "sports", WEIGHTS)
    opened(page, reel, [BLANK], tmp_path)
    expect(page.locator("section.video h2")).to_have_text(["taken.mp4", "nothing.mp4"])
    expect(page.get_by_role("navigation").get_by_role("link")).to_have_text(["taken.mp4", "nothing.mp4"])
