"""What a newcomer sees in TensorBoard: a real server, opened in a real browser that shows no window.

`SCREENSHOTS=docs python -m pytest -m browser` keeps the pictures that docs/tensorboard.md shows:
tensorboard-images.png, tensorboard-scalars.png and tensorboard-hparams.png.
"""

import base64
import fcntl
import json
import os
import shutil
import subprocess
import time
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path

import pytest
from conftest import ROOT, forked
from PIL import Image
from test_tensorboard import serving

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome", "chrome"))), None)
PATIENCE = 60  # seconds until a page shows what it is to show

pytestmark = [
    pytest.mark.browser,
    pytest.mark.xdist_group("tensorboard"),
    pytest.mark.skipif(CHROMIUM is None, reason="there is no chromium, chromium-browser, google-chrome or chrome"),
]

# TensorBoard's elements stand in shadow trees within one another, where querySelectorAll does not look.
EVERYWHERE = """
function everywhere(selector, root = document) {
  const inside = [...root.querySelectorAll("*")].filter(one => one.shadowRoot);
  return [...root.querySelectorAll(selector), ...inside.flatMap(one => everywhere(selector, one.shadowRoot))];
}
function visible(one) {
  const box = one.getBoundingClientRect();
  return box.width > 0 && box.height > 0 && one.checkVisibility();
}
"""


class Page:
    """A page in the browser, asked over its DevTools protocol."""

    def __init__(self, commands, answers):
        self._commands, self._answers = commands, answers
        self._number, self._session = 0, {}
        target = self._ask("Target.createTarget", url="about:blank")["targetId"]
        session = self._ask("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        self._session = {"sessionId": session}

    def _ask(self, method, **params):
        self._number += 1
        message = {"id": self._number, "method": method, "params": params, **self._session}
        os.write(self._commands, json.dumps(message).encode() + b"\0")
        while True:
            answer = json.loads(self._next())
            if answer.get("id") == self._number:
                assert "error" not in answer, answer
                return answer["result"]

    def _next(self):
        message = b""
        while not message.endswith(b"\0"):
            byte = self._answers.read(1)
            assert byte, "the browser has ended"
            message += byte
        return message[:-1]

    def open(self, address):
        self._ask("Page.navigate", url="about:blank")
        self._ask("Page.navigate", url=address)

    def value(self, expression):
        done = self._ask("Runtime.evaluate", expression=EVERYWHERE + expression, returnByValue=True)
        assert "exceptionDetails" not in done, done
        return done["result"].get("value")

    def wait(self, expression, expected, patience):
        """Wait until an expression gives what is expected; what it gave last is told where it never does."""
        end = time.monotonic() + patience
        while (found := self.value(expression)) != expected and time.monotonic() < end:
            time.sleep(0.2)
        assert found == expected

    def screenshot(self, path, height):
        """Keep the upper part of what the window shows, in few colours."""
        data = base64.b64decode(self._ask("Page.captureScreenshot", format="png")["data"])
        shown = Image.open(BytesIO(data)).convert("RGB")
        shown.crop((0, 0, shown.width, height)).quantize(256, dither=Image.Dither.NONE).save(path, optimize=True)


@contextmanager
def browsing(profile):
    """A page of a browser that is started for it; commands and answers go through its file descriptors 3 and 4."""
    ends = [fcntl.fcntl(end, fcntl.F_DUPFD, 10) for end in (*os.pipe(), *os.pipe())]
    their_commands, commands, answers, their_answers = ends
    options = "--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking "
    options += "--disable-component-update --disable-sync --no-proxy-server --window-size=1500,1000 --hide-scrollbars "
    browser = subprocess.Popen(
        [
            *["bash", "-c", f'exec "$@" 3<&{their_commands} 4>&{their_answers}', "browser", CHROMIUM],
            *[*options.split(), f"--user-data-dir={profile}", "--remote-debugging-pipe"],
        ],
        pass_fds=[their_commands, their_answers],
        stderr=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
    )
    os.close(their_commands)
    os.close(their_answers)
    try:
        with open(answers, "rb") as file:
            yield Page(commands, file)
    finally:
        os.close(commands)
        browser.terminate()
        browser.wait(30)


# what each tab is to show, each pixel of it known from the files of the runs


def sees_pictures(page, address, runs, patience=PATIENCE):
    """Each picture of each run is visible, and as large as the file beside it."""
    page.open(f"{address}/#images&tagFilter=prediction")
    expected = [
        [run.name, name, [list(Image.open(BytesIO((run / f"{name}.png").read_bytes())).size)]]
        for name in ("prediction", "film_strip", "landscape")
        for run in runs
    ]
    page.wait(
        """everywhere("tf-image-loader").filter(visible).map(one => [one.run, one.tag,
             everywhere("img", one.shadowRoot).filter(image => image.complete && visible(image))
               .map(image => [image.naturalWidth, image.naturalHeight])])""",
        expected,
        patience,
    )


def sees_scalars(page, address, runs, patience=PATIENCE):
    """RMSE is a line for each run, with a corner for each step, that falls from one to the next."""
    page.open(f"{address}/#scalars&tagFilter=train%2Frmse%7Cparameters&_smoothingWeight=0")
    page.wait("everywhere('tf-scalar-dashboard').length", 1, patience)
    page.value("everywhere('tf-scalar-dashboard')[0]._ignoreYOutliers = false")
    steps = [json.loads((run / "result.json").read_text())["steps"] for run in runs]
    page.wait(
        """everywhere("tf-scalar-card").filter(card => card.tag == "train/rmse" && visible(card)).flatMap(card =>
             everywhere("path.line", card.shadowRoot).filter(visible).map(line => line.getAttribute("d"))
               .map(line => line.slice(1).split("L").map(corner => Number(corner.split(",")[1])))
               .filter(heights => heights.every((height, i) => i == 0 || height > heights[i - 1]))
               .map(heights => heights.length)).sort((one, other) => other - one)""",
        sorted((count + 1 for count in steps), reverse=True),
        patience,
    )


def sees_hparams(page, address, runs, patience=PATIENCE):
    """A row for each run, with its function, learning rate and final RMSE."""
    page.open(f"{address}/#hparams")
    results = [json.loads((run / "result.json").read_text()) for run in runs]
    page.wait(
        """(() => {
             const cells = everywhere("vaadin-grid-cell-content").filter(visible).map(cell => cell.innerText.trim());
             const width = cells.indexOf("final/rmse") + 1;
             const at = ["Trial ID", "function", "lr", "final/rmse"].map(name => cells.indexOf(name));
             const rows = Array.from({length: width && cells.length / width - 1}, (_, i) => (i + 1) * width);
             return rows.map(row => at.map((place, i) => i < 2 ? cells[row + place] : Number(cells[row + place])));
           })()""",
        [
            [run.name, one["function"], one["lr"] or 0, float(f"{one['rmse']:.5g}")]
            for run, one in zip(runs, results, strict=True)
        ],
        patience,
    )


TABS = {"images": (sees_pictures, 630), "scalars": (sees_scalars, 740), "hparams": (sees_hparams, 460)}


@pytest.fixture(scope="module")
def logs(tmp_path_factory):
    """The article's fit, and Levenberg-Marquardt's beside it; and a folder without a run."""
    folder = tmp_path_factory.mktemp("runs")
    for options in ([], ["--model.optimizer=LevenbergMarquardt"]):
        done = forked("fit", "--config", ROOT / "configs" / "quadratic.yaml", *options, cwd=folder)
        assert (done.code, done.err) == (0, "")
    (folder / "empty").mkdir()
    return folder


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    with browsing(tmp_path_factory.mktemp("profile")) as page:
        yield page


@pytest.fixture(scope="module")
def address(logs):
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(logs)  # the page tells the folder as it is typed
        with serving(Path("lightning_logs"), logs / "log") as fetch:
            yield fetch.address


@pytest.mark.parametrize("tab", TABS)
def test_a_newcomer_sees(tab, page, address, logs, tmp_path):
    sees, height = TABS[tab]
    sees(page, address, [logs / "lightning_logs" / name for name in ("version_0", "version_1")])
    picture = ROOT / os.environ.get("SCREENSHOTS", tmp_path) / f"tensorboard-{tab}.png"
    page.screenshot(picture, height)
    assert 5_000 < picture.stat().st_size < 150_000


def test_where_there_is_no_run_nothing_is_seen(page, logs):
    runs = [logs / "lightning_logs" / "version_0"]
    with serving(logs / "empty", logs / "log_of_none") as fetch:
        for sees, _ in TABS.values():
            with pytest.raises(AssertionError):
                sees(page, fetch.address, runs, patience=3)
