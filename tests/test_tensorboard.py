"""What a run shows in TensorBoard: a real server, asked over HTTP."""

import html
import json
import re
import subprocess
import sys
import time
import urllib.parse
import urllib.request
from contextlib import contextmanager

import pytest
from conftest import gd_lightning

pytestmark = pytest.mark.xdist_group("tensorboard")


@contextmanager
def serving(logs, log_file):
    """TensorBoard on a free port of 127.0.0.1; gives a function that fetches a path, with its address."""
    with log_file.open("w") as log:
        server = subprocess.Popen(
            [
                *[sys.executable, "-m", "tensorboard.main", "--logdir", logs, "--host", "127.0.0.1", "--port", "0"],
                *["--samples_per_plugin", "images=1000", "--load_fast", "false"],
            ],
            stdout=log,
            stderr=subprocess.STDOUT,
        )
    try:
        end = time.monotonic() + 90
        while "http://127.0.0.1:" not in (said := log_file.read_text()):
            assert time.monotonic() < end, said
            assert server.poll() is None, said
            time.sleep(0.2)
        address = "http://127.0.0.1:" + said.partition("http://127.0.0.1:")[2].split("/")[0]
        direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))

        def fetch(path, **query):
            with direct.open(f"{address}{path}?{urllib.parse.urlencode(query)}", timeout=30) as answer:
                return answer.read()

        while any(logs.iterdir()) and not json.loads(fetch("/data/runs")):
            assert time.monotonic() < end
            time.sleep(0.2)
        fetch.address = address
        yield fetch
    finally:
        server.terminate()
        server.wait(30)


@pytest.fixture(scope="module")
def fetch(article_run, tmp_path_factory):
    logs = article_run.folder / "lightning_logs"
    with serving(logs, tmp_path_factory.mktemp("server") / "log") as fetch:
        yield fetch


def scalars(fetch, tag):
    points = json.loads(fetch("/data/plugin/scalars/scalars", run="version_0", tag=tag))
    return [(step, value) for _, step, value in points]


def test_scalars_against_steps(fetch, article, article_run):
    rmse = scalars(fetch, "train/rmse")
    assert [step for step, _ in rmse] == list(range(11))
    assert [value for _, value in rmse[:10]] == pytest.approx(article.rmse, rel=1e-6)
    loss = scalars(fetch, "train/loss")
    assert [value for _, value in loss[:10]] == pytest.approx([value**2 for value in article.rmse], rel=1e-6)
    result = json.loads((article_run.version_0 / "result.json").read_text())
    assert rmse[-1][1] == pytest.approx(result["rmse"], rel=1e-6)
    for name in "abc":
        values = scalars(fetch, f"parameters/{name}")
        assert len(values) == 11
        assert values[0][1] == result["initial_parameters"][name]
        assert values[-1][1] == result["parameters"][name]


def test_every_prediction_plot_and_the_film_strip(fetch):
    tags = json.loads(fetch("/data/plugin/images/tags"))["version_0"]
    assert sorted(tags) == ["film_strip", "landscape", "parameters", "prediction"]
    images = json.loads(fetch("/data/plugin/images/images", run="version_0", tag="prediction", sample=0))
    assert [image["step"] for image in images] == list(range(11))
    strips = json.loads(fetch("/data/plugin/images/images", run="version_0", tag="film_strip", sample=0))
    assert len(strips) == 1
    seen = set()
    for image in [*images, *strips]:
        data = fetch("/data/plugin/images/individualImage", **dict(urllib.parse.parse_qsl(image["query"])))
        assert data.startswith(b"\x89PNG\r\n")
        seen.add(data)
    assert len(seen) == 12


def test_hparams_with_the_final_rmse(fetch, article_run):
    request = {
        "experimentName": "",
        "allowedStatuses": ["STATUS_UNKNOWN", "STATUS_SUCCESS"],
        "colParams": [],
        "startIndex": 0,
        "sliceSize": 10,
    }
    groups = json.loads(fetch("/data/plugin/hparams/session_groups", request=json.dumps(request)))["sessionGroups"]
    [group] = groups
    assert group["hparams"]["lr"] == pytest.approx(1e-5)
    assert group["hparams"]["function"] == "quadratic"
    assert group["hparams"]["steps"] == 10
    assert group["hparams"]["seed"] == 2021
    [metric] = group["metricValues"]
    result = json.loads((article_run.version_0 / "result.json").read_text())
    assert metric["name"]["tag"] == "final/rmse"
    assert metric["value"] == pytest.approx(result["rmse"], rel=1e-6)


def test_the_errors_and_how_good_the_fit_is(fetch, article_run):
    result = json.loads((article_run.version_0 / "result.json").read_text())
    for name, error in result["standard_errors"].items():
        assert scalars(fetch, f"errors/{name}") == [(10, pytest.approx(error, rel=1e-6))]
    for name in ("r2", "adjusted_r2", "reduced_chi2", "aic", "aicc", "bic"):
        assert scalars(fetch, f"goodness/{name}") == [(10, pytest.approx(result["goodness"][name], rel=1e-6))]


def test_the_text_card_explains_the_run(fetch, article_run):
    tags = json.loads(fetch("/data/plugin/text/tags"))["version_0"]
    [tag] = [tag for tag in tags if tag.startswith("about this run")]
    [card] = json.loads(fetch("/data/plugin/text/text", run="version_0", tag=tag))
    text = html.unescape(card["text"])
    told = gd_lightning("report", article_run.version_0, cwd=article_run.folder)
    assert (told.code, told.err) == (0, "")
    [shown] = re.findall("<code>(quadratic: .*?)</code>", text, re.DOTALL)
    assert shown == told.out
    assert "gd-lightning fit --config" in text
    assert "learning rate" in text
