import csv
import json
import subprocess
import sys

import pytest
import yaml
from conftest import ROOT, forked, gd_lightning
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from test_comparison import names, noisy_peak

from gd_lightning import compare
from gd_lightning.__main__ import main
from gd_lightning.comparison_fits import split_functions

CHOSEN = "gaussian,a/(1+((t-m)/s)**2),linear,logarithmic"


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("compare")
    with (folder / "peak.csv").open("w", newline="") as file:
        csv.writer(file).writerows([("t", "height"), *zip(*noisy_peak(), strict=True)])
    done = gd_lightning(
        *["compare", "--data", "Table", "--data.path", "peak.csv", "--data.t", "t", "--data.y", "height"],
        *["--functions", CHOSEN],
        cwd=folder,
    )
    return done, folder


def test_the_command_with_a_table(run):
    done, folder = run
    assert (done.code, done.err) == (0, "")
    lines = done.out.splitlines()
    assert [line.split()[0] for line in lines[:5]] == ["function", *split_functions(CHOSEN)[:3], "logarithmic"]
    assert max(map(len, lines[:6])) <= 80
    here = compare(*noisy_peak(), split_functions(CHOSEN))
    for sentence in here.sentences:
        assert sentence in done.out
    assert "logarithmic: t: point 1 of 60 is 0, and logarithmic is defined for t > 0" in done.out
    content = json.loads((folder / "lightning_logs/version_0/comparison.json").read_text())
    assert [row["function"] for row in content["functions"]] == names(here.rows)
    for row, expected in zip(content["functions"][:3], here.rows, strict=False):
        assert row["aicc"] == pytest.approx(expected.aicc, rel=1e-9)
        assert row["weight"] == pytest.approx(expected.weight, rel=1e-9)
    assert "tensorboard --logdir lightning_logs/version_0 " in lines[-1]
    assert (folder / "lightning_logs/version_0/comparison.png").read_bytes().startswith(b"\x89PNG")


def test_the_report_tells_it_again_without_torch(run):
    done, folder = run
    code = "import sys; from gd_lightning.__main__ import main; code = main(sys.argv[1:]); "
    code += "sys.exit(code or 10 * ('torch' in sys.modules))"

    def report(*args):
        command = [sys.executable, "-c", code, "report", *args]
        return subprocess.run(command, cwd=folder, env={"PYTHONPATH": str(ROOT)}, capture_output=True, text=True)

    told = report()
    assert (told.returncode, told.stderr) == (0, "")
    assert max(map(len, told.stdout.splitlines())) <= 80
    assert told.stdout.endswith("Run folder: lightning_logs/version_0\n")
    assert " ".join(told.stdout.split()[:-3]) in " ".join(done.out.split())
    path = folder / "lightning_logs" / "version_0"
    assert report(path, "--format", "json").stdout == (path / "comparison.json").read_text()
    table = [line for line in report(path, "--format", "md").stdout.splitlines() if line.startswith("|")]
    assert [line.count("|") for line in table] == [9] * 7
    refused = report(path, "--format", "latex")
    assert refused.returncode == 2
    assert "--format: given latex, and the run is a comparison; expected text, json or md" in refused.stderr


@pytest.mark.parametrize(
    ("change", "value"),
    [("by", "r2"), ("functions", None), ("functions", [3]), ("sentences", [1]), ("data", {}), ("baseline", {"p": "x"})],
)
def test_what_is_no_comparison_is_refused_by_the_report(change, value, tmp_path, capsys):
    content = compare(*noisy_peak(), "linear,gaussian").to_dict() | {change: value}
    (tmp_path / "comparison.json").write_text(json.dumps(content))
    assert main(["report", str(tmp_path)]) == 2
    assert "comparison.json is no comparison.json of gd-lightning compare" in capsys.readouterr().err


def test_tensorboard_compares_the_functions(run):
    folder = run[1] / "lightning_logs" / "version_0"
    content = json.loads((folder / "comparison.json").read_text())

    def events(path):
        return EventAccumulator(str(path), {"scalars": 0, "images": 0, "tensors": 0}).Reload()

    own = events(folder)
    assert own.Tags()["images"] == ["comparison"]
    text = own.Tensors("report/text_summary")[0].tensor_proto.string_val[0].decode()
    assert "| `gaussian` | 3 |" in text
    assert "compare --data Table" in text
    runs = {path.name for path in folder.iterdir() if path.is_dir()}
    assert runs == {"gaussian", "a_1+_t-m_s_2", "linear", "logarithmic"}
    gaussian = events(folder / "gaussian")
    for tag, key in (("final/rmse", "rmse"), ("compare/aicc", "aicc"), ("compare/weight", "weight")):
        [point] = gaussian.Scalars(tag)
        assert point.value == pytest.approx(content["functions"][0][key], rel=1e-6)
    told = gaussian.PluginTagToContent("hparams")
    assert b"gaussian" in told["_hparams_/session_start_info"]
    assert b"compare/difference" in told["_hparams_/experiment"]
    assert events(folder / "logarithmic").Tags()["scalars"] == []


def test_its_config_repeats_a_run(run):
    _, folder = run
    config = folder / "lightning_logs" / "version_0" / "config.yaml"
    assert yaml.safe_load(config.read_text())["functions"] == CHOSEN
    again = forked("compare", "--config", config, "--by", "cv", "--best", 2, cwd=folder)
    assert (again.code, again.err) == (0, "")
    content = json.loads((folder / "lightning_logs" / "version_1" / "comparison.json").read_text())
    assert content["by"] == "cv"
    assert content["functions"][0]["function"] == "gaussian"


def test_a_list_in_a_configuration_of_fit(tmp_path):
    file = tmp_path / "own.yaml"
    content = yaml.safe_load((ROOT / "configs" / "quadratic.yaml").read_text())
    formula = "a*(t-m)**2 + minimum(c, c)"
    file.write_text(yaml.safe_dump({**content, "functions": ["linear", "quadratic", formula]}))
    done = forked("compare", "--config", file, "--trainer.logger", "false", cwd=tmp_path)
    assert done.err == ""
    assert done.code == 0
    assert formula in done.out
    assert "draw the same curve" in done.out
    assert not (tmp_path / "lightning_logs").exists()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--functions", "linear,gausian"], "did you mean 'gaussian'"),
        (["--functions", "linear,a*t+"], "formula 'a*t+', column 5"),
        (["--by", "aci"], "by: given 'aci'; did you mean 'aic'"),
        (["--by", "cv", "--folds", "50"], "folds: given 50, expected at most one for each of the 20 points"),
        (["--best", "0"], "best: given 0"),
        (["--folds", "three"], "folds"),
        (["--model.function", "linear"], "model.function: compare fits each function as it stands"),
        (["--data.holdout", "0.2"], "--by holdout or --by cv"),
        (["--functions", "power_law"], "none could be fitted; power_law: t: point 1 of 20 is 0"),
        (["--function", "linear"], "did you mean"),
    ],
)
def test_wrong_input_of_the_command(arguments, words, tmp_path):
    done = forked("compare", *arguments, cwd=tmp_path)
    assert (done.code, done.out) == (2, "")
    assert words in done.err
    assert done.err.count("\n") == 1
    assert not (tmp_path / "lightning_logs").exists()
