"""The report in a real browser: quiet, alone, and following the slider."""

from __future__ import annotations

import shutil

import pytest

from tests.runs import make_images, make_run, scores_for
from trainer.data import open_dataset

pytest.importorskip("jinja2")
playwright = pytest.importorskip("playwright.sync_api", reason="pip install playwright")

from trainer.report import write_report  # noqa: E402

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
FLAGS = (
    *("--no-sandbox", "--disable-gpu", "--disable-background-networking"),
    *("--disable-component-update", "--disable-sync", "--no-first-run"),
)
HOSTILE = {0: b"<img src=x onerror=alert(1)>", 1: b"</script><script>alert(2)<"}

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        CHROMIUM is None, reason="chromium is not installed: apt-get install chromium"
    ),
]


@pytest.fixture(scope="module")
def browser():
    with playwright.sync_playwright() as started:
        found = started.chromium.launch(executable_path=CHROMIUM, args=list(FLAGS))
        yield found
        found.close()


@pytest.fixture(scope="module")
def report(tmp_path_factory):
    """Of forty images: one escape, two overkills."""
    folder = tmp_path_factory.mktemp("report")
    # "/" can't be in a name: the second one's end tag is cut in two by the folder's.
    stems = {0: HOSTILE[0], 1: HOSTILE[1].replace(b"/", b"\xe2\x88\x95")}
    make_images(folder / "data", stems=stems)
    dataset = open_dataset(folder / "data")
    wrong = {"defect/005.png": 0.2, "ok/038.png": 0.7, "ok/039.png": 0.6}
    make_run(folder / "run", scores_for(dataset.samples, wrong))
    return write_report(folder / "run", dataset)


class Opened:
    """The page, and everything that it said, asked for or popped up."""

    def __init__(self, browser, report, **options):
        self.context = browser.new_context(**options)
        self.page = self.context.new_page()
        self.said, self.asked, self.alerts = [], [], []
        self.page.on("console", lambda message: self.said.append(message.text))
        self.page.on("pageerror", lambda error: self.said.append(str(error)))
        self.page.on("request", lambda request: self.asked.append(request.url))
        self.page.on("dialog", lambda dialog: (self.alerts.append(dialog.message), dialog.accept()))
        self.page.goto(report.as_uri())

    def text(self, selector):
        return self.page.inner_text(selector)

    def counts(self):
        return int(self.text("#escapes")), int(self.text("#overkills"))

    def cards(self, state):
        return self.page.eval_on_selector_all(
            f"#{state} .card b", "found => found.map(one => one.textContent)"
        )


@pytest.fixture
def opened(browser, report):
    made = Opened(browser, report, viewport={"width": 1280, "height": 900})
    yield made
    elsewhere = [url for url in made.asked if not url.startswith("data:")]
    assert made.said == []
    assert elsewhere == [report.as_uri()]
    assert made.alerts == []
    made.context.close()


def test_opens_at_the_calibrated_threshold(opened):
    assert opened.counts() == (1, 2)
    assert opened.text("#found") == "11"
    assert opened.cards("escape") == ["defect/005.png"]
    assert opened.cards("overkill") == ["ok/038.png", "ok/039.png"]


def test_the_keyboard_moves_the_slider_and_all_that_follows(opened):
    slider = opened.page.locator("#slider")
    slider.focus()
    for _ in range(80):
        slider.press("ArrowRight")
    escapes, overkills = opened.counts()
    assert (escapes, overkills) == (1, 1)
    assert opened.cards("overkill") == ["ok/038.png"]
    assert "ok/039.png" in opened.cards("right")
    assert slider.get_attribute("aria-valuetext").endswith("1 escape, 1 overkill")
    slider.press("End")
    assert opened.counts() == (12, 0)
    assert "No good part is rejected." in opened.text("#overkill")
    slider.press("Home")
    assert opened.counts()[0] == 0
    bare = opened.page.locator("#more-overkill")
    bare.locator("summary").click()
    assert "ok/0" in bare.inner_text()  # without a picture, but named
    opened.page.click("#reset")
    assert opened.counts() == (1, 2)


def test_buttons_go_from_verdict_to_verdict(opened):
    opened.page.click("#higher")
    assert opened.counts() == (1, 1)
    opened.page.click("#higher")
    assert opened.counts() == (1, 0)
    opened.page.click("#higher")
    assert opened.counts() == (2, 0)
    for expected in ((1, 0), (1, 1), (1, 2), (0, 2), (0, 3)):
        opened.page.click("#lower")
        assert opened.counts() == expected
    while opened.page.is_enabled("#lower"):
        opened.page.click("#lower")
    assert opened.counts() == (0, 28)
    while opened.page.is_enabled("#higher"):
        opened.page.click("#higher")
    assert opened.counts() == (12, 0)


def test_a_threshold_can_be_typed(opened):
    opened.page.fill("#number", "0.65")
    assert opened.counts() == (1, 1)
    assert opened.text("#at") == "0.6500"
    opened.page.fill("#number", "7")
    assert opened.text("#at") == "0.6500"


def test_the_knob_is_below_the_line(opened):
    for width in (1280, 420):
        opened.page.set_viewport_size({"width": width, "height": 900})
        opened.page.fill("#number", "0.65")
        knob, line = opened.page.evaluate(
            """() => {
              const slider = document.getElementById("slider");
              const box = slider.getBoundingClientRect();
              const share = (slider.value - slider.min) / (slider.max - slider.min);
              const charts = [...document.querySelectorAll("svg.scores")];
              const shown = charts.find((svg) => svg.getBoundingClientRect().width);
              const line = shown.querySelector(".live.line").getBoundingClientRect();
              return [box.left + 11 + share * (box.width - 22), line.left + line.width / 2];
            }"""
        )
        assert abs(knob - line) < 2


def test_a_picture_enlarges_and_closes_by_keyboard(opened):
    button = opened.page.locator("#escape .card button")
    button.focus()
    button.press("Enter")
    assert opened.page.locator("#large").is_visible()
    assert "defect/005.png" in opened.text("#large")
    assert opened.page.locator("#large .layers img").count() == 3
    opened.page.keyboard.press("Escape")
    assert not opened.page.locator("#large").is_visible()


def test_layers_can_be_hidden(opened):
    heat, mask = (opened.page.locator(f"#escape .{kind}") for kind in ("heat", "mask"))
    assert heat.is_visible()
    opened.page.uncheck("#show-heat")
    assert not heat.is_visible()
    assert mask.is_visible()
    opened.page.uncheck("#show-mask")
    assert not mask.is_visible()


def test_names_from_the_disk_do_nothing(opened):
    names = opened.cards("right")
    assert any("<img src=x onerror=alert(1)>" in name for name in names)
    assert any("<script>alert(2)<" in name for name in names)
    opened.page.locator("#slider").press("End")
    assert opened.alerts == []


def test_nothing_may_be_fetched_or_run_even_if_it_got_in(browser, report):
    made = Opened(browser, report)
    made.page.evaluate(
        """() => {
          const image = document.createElement("img");
          image.src = "http://127.0.0.1:9/x.png";
          const script = document.createElement("script");
          script.textContent = "window.got_in = true";
          document.body.append(image, script);
        }"""
    )
    assert made.page.evaluate("window.got_in") is None
    assert any("Content Security Policy" in line for line in made.said)
    made.context.close()


@pytest.mark.parametrize("width", [1280, 420, 320])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_fits_the_window_in_light_and_dark(browser, report, width, scheme):
    made = Opened(browser, report, viewport={"width": width, "height": 800}, color_scheme=scheme)
    wide = made.page.evaluate("document.documentElement.scrollWidth")
    assert wide <= width
    background = made.page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert (sum(map(int, background[4:-1].split(","))) > 384) is (scheme == "light")
    assert made.said == []
    made.context.close()


def test_says_the_same_without_scripts(browser, report):
    made = Opened(browser, report, java_script_enabled=False)
    assert made.page.locator("#slider").is_hidden()
    assert made.page.locator("#escapes").inner_text() == "1"
    assert made.page.locator("#overkill .card").count() == 2
    made.context.close()


def test_prints(browser, report):
    made = Opened(browser, report)
    assert made.page.pdf().startswith(b"%PDF")
    made.page.emulate_media(media="print")
    assert made.page.locator("#controls").is_hidden()
    made.context.close()
