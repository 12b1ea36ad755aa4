import json
import re
import shutil
import sys
from dataclasses import replace
from statistics import median

import numpy as np
import pytest
from scipy.optimize import curve_fit
from scipy.stats import t as students_t
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from gd_lightning import SGD, fit
from gd_lightning.__main__ import main
from gd_lightning.card import steps_table
from gd_lightning.report import report
from gd_lightning.report_formats import latex, markdown

TIMES = np.linspace(0, 10, 25)
NOISE = np.random.default_rng(0).normal(size=(12, 25))
DECAY = 2 * np.exp(-TIMES / 3) + 0.5 + 0.02 * NOISE[0]
FORMULA = "a*exp(-t/tau) + c"
LONG = "amplitude_of_the_slow_component_in_the_second_of_our_two_runs"


def decay(t, a, tau, c):
    return a * np.exp(-t / tau) + c


def many(series, names=()):
    y = np.stack([(2 + 0.1 * i) * np.exp(-TIMES / 3) + 0.5 + 0.02 * NOISE[i] for i in range(series)])
    found = fit(FORMULA, TIMES, y).to_dict()
    found["data"]["series"] = list(names)
    return found


def with_intervals(result, kind):
    return replace(result, interval_kind=kind).to_dict()


RESULTS = {
    "one series": lambda: fit(FORMULA, TIMES, DECAY).to_dict(),
    "at a bound": lambda: fit(FORMULA, TIMES, DECAY, parameters={"c": {"max": 0.3}}).to_dict(),
    "undetermined": lambda: fit("a*b*exp(-t/tau) + c", TIMES, DECAY).to_dict(),
    "fixed and tied": lambda: fit(
        "a*exp(-t/tau) + c + d", TIMES, DECAY, parameters={"c": {"fixed": 0.5}, "d": {"expr": "a/100"}}
    ).to_dict(),
    "absolute sigma": lambda: fit(FORMULA, TIMES, DECAY, sigma=0.02, absolute_sigma=True).to_dict(),
    "profile": lambda: with_intervals(fit(FORMULA, TIMES, DECAY, parameters={"c": {"max": 0.3}}), "profile"),
    "bootstrap": lambda: with_intervals(fit("linear", TIMES, 1e-7 * DECAY), "bootstrap"),
    "tiny": lambda: fit("linear", 1e-9 * TIMES, 1e-12 * DECAY).to_dict(),
    "exact": lambda: fit("linear", TIMES, 3 * TIMES + 1).to_dict(),
    "as many parameters as points": lambda: fit("linear", TIMES[:2], DECAY[:2]).to_dict(),
    "not arrived": lambda: fit("quadratic", TIMES, DECAY, optimizer=SGD, lr=1e-5, steps=10).to_dict(),
    "diverged": lambda: fit("log(a)*t + b", TIMES, DECAY, init={"a": -1, "b": 0}, lr=0.01, steps=5).to_dict(),
    "long names": lambda: fit(f"{LONG}*exp(-t/tau) + {LONG}_2*{LONG}_3*{LONG}_4*0.01", TIMES, DECAY).to_dict(),
    "two series": lambda: many(2, ["a|b", "a_b"]),
    "twelve series": lambda: many(12),
    "a grid of series": lambda: fit("linear", TIMES, np.stack([DECAY] * 4).reshape(2, 2, -1)).to_dict(),
    "series with long names": lambda: many(3, ["x" * 40] * 3),
    "series at a bound": lambda: fit(
        FORMULA, TIMES, np.stack([DECAY, DECAY - 0.4]), parameters={"c": {"max": 0.3}, "tau": {"fixed": 3}}
    ).to_dict(),
    "a series that diverged": lambda: {**many(2), "rmse": [0.1, None], "status": ["converged", "diverged"]},
}


@pytest.fixture(scope="module")
def results():
    found = {}

    def one(name):
        if name not in found:
            found[name] = json.dumps(RESULTS[name]())
        return json.loads(found[name])

    return one


def table(text, heading="parameter"):
    """The rows of a table in a report: the first cell and the rest of the line."""
    lines = text.splitlines()
    first = next(i for i, line in enumerate(lines) if line.startswith(f"{heading} "))
    rows = lines[first + 1 :]
    rows = rows[: rows.index("")] if "" in rows else rows
    return {row.split("  ")[0]: row for row in rows}


@pytest.mark.parametrize("name", RESULTS)
def test_it_fits_a_terminal(name, results):
    text = report(results(name))
    lines = text.splitlines()
    assert max(map(len, lines)) <= 80
    assert all(line == line.rstrip() for line in lines)
    assert "None" not in text
    assert "nan" not in text.replace("is nan before step 1", "")
    if "series" not in name and name != "long names":
        assert len(lines) <= 24


@pytest.mark.parametrize("name", RESULTS)
def test_every_parameter_and_warning_is_told(name, results):
    result = results(name)
    text = report(result)
    flat = " ".join(text.split())
    for parameter in result["parameters"]:
        assert re.search(rf"^{parameter}\b", text, re.MULTILINE)
    for line in [*result["warnings"], *result["summary"]]:
        assert line in flat
    assert "RMSE " in text


def test_values_errors_and_intervals_are_those_of_scipy(results):
    best, covariance = curve_fit(decay, TIMES, DECAY, [2, 3, 0.5])
    errors = np.sqrt(np.diag(covariance))
    q = students_t.ppf(0.975, len(TIMES) - 3)
    rows = table(report(results("one series")))
    for name, value, error in zip(["a", "tau", "c"], best, errors, strict=True):
        found = [float(number) for number in re.findall(r"-?[\d.]+", rows[name])]
        places = len(re.search(r"± [\d]*\.?(\d*)", rows[name]).group(1))
        half = 0.5001 * 10.0**-places
        assert found[:4] == pytest.approx([value, error, value - q * error, value + q * error], abs=half)
        assert found[1] == pytest.approx(error, rel=0.15)


def test_the_measures_of_a_straight_line_by_hand(results):
    design = np.stack([TIMES, np.ones_like(TIMES)], -1)
    residual = design @ np.linalg.lstsq(design, DECAY)[0] - DECAY
    text = report(fit("linear", TIMES, DECAY).to_dict())
    variance = residual @ residual / 23
    r2 = 1 - residual @ residual / ((DECAY - DECAY.mean()) @ (DECAY - DECAY.mean()))
    assert f"RMSE {np.sqrt(np.mean(residual**2)):.6g}, R2 {r2:.2f} " in text
    assert f"reduced chi-square {variance:.4g}\n" in text
    assert "; n = 25, p = 2, dof = 23\n" in text


def test_what_has_no_error_says_why(results):
    assert re.search(r"0\.3 at its bound +0\.3$", table(report(results("at a bound")))["c"])
    rows = table(report(results("undetermined")))
    assert "undetermined" in rows["a"]
    assert "undetermined" in rows["b"]
    assert "±" not in rows["a"] + rows["b"]
    assert "±" in rows["tau"]
    rows = table(report(results("fixed and tied")))
    assert re.search(r"0\.5 fixed +0\.5$", rows["c"])
    assert ", tied " in rows["d"]
    assert "tied" not in rows["a"]
    text = report(results("as many parameters as points"))
    assert all("± unknown" in row for row in table(text).values())
    assert "interval" not in text
    assert "±" not in report(results("diverged"))


def test_intervals_of_other_kinds(results):
    result = results("profile")
    low, high = result["intervals"]["parameters"]["c"]
    assert high is None or high == pytest.approx(0.3)
    assert low < 0.3
    text = report(result)
    assert re.search("^parameter   value ± std. error +95 % by profile +start$", text, re.MULTILINE)
    [shown] = re.findall(r"0\.3 at its bound +(\S+) to \S+ +\S+$", table(text)["c"])
    assert float(shown) == pytest.approx(low, abs=0.01 * (0.3 - low) + 1e-9)
    assert "by bootstrap" in report(results("bootstrap"))
    result["intervals"]["parameters"]["a"] = [None, 2.2]
    assert " ? to 2.20 " in table(report(result))["a"]
    assert r"$? \mbox{ to } 2.20$" in latex(result)
    result["intervals"]["parameters"]["a"] = [None, None]
    assert " to " not in table(report(result))["a"]


def test_what_sigma_means():
    sigma = np.full(25, 0.02)
    assert "data    25 points, no sigma\n" in report(fit("linear", TIMES, DECAY).to_dict())
    assert "data    25 points, relative sigma\n" in report(fit("linear", TIMES, DECAY, sigma=sigma).to_dict())
    absolute = fit("linear", TIMES, DECAY, sigma=np.ones(25), absolute_sigma=True)
    assert "data    25 points, absolute sigma\n" in report(absolute.to_dict())


def test_which_data():
    result = fit("a*speed + b", {"speed": TIMES, "dist": DECAY}, "dist").to_dict()
    assert "data    25 points, dist against speed, no sigma\n" in report(result)
    result["source"] = "cars.csv"
    assert "data    25 points of cars.csv, dist against speed, no sigma\n" in report(result)
    plane = fit("a*x1 + b*x2", {"x1": TIMES, "x2": TIMES**2}, DECAY).to_dict()
    assert "25 points, y against x1 and x2, no sigma\n" in report(plane)


def test_criteria_of_several_series_and_of_few_points(results):
    several = results("twelve series")
    told = f"AIC {np.median(several['goodness']['aic']):.2f}, AICc {np.median(several['goodness']['aicc']):.2f}, BIC "
    assert told in report(several)
    assert "in the median; n = 25, p = 3, dof = 22" in report(several)
    few = fit("linear", TIMES[:3], DECAY[:3])
    assert few.goodness.aicc == np.inf
    assert "AICc infinite with so few points" in report(few.to_dict())
    assert "infinite" not in report(results("one series"))


def test_nothing_moves_the_terminal_s_cursor(results):
    result = results("two series")
    result["data"]["series"] = ["A\x1b[2J", "B\x07"]
    result["equation"] = "y = \x1b]0;title\x07"
    text = report(result)
    assert all(letter.isprintable() or letter == "\n" for letter in text)
    assert r"A\x1b[2J" in text


def test_rows_left_out_and_points_kept_out(results):
    result = results("one series")
    result["data"] = {"points": 25, "rows": 40, "left out": 5, "kept out": 10}
    result["holdout_rmse"] = 0.0123456789
    text = " ".join(report(result).split())
    assert "5 of 40 rows lack a value and were left out; 10 points kept out of the fit, of RMSE 0.0123457 " in text


def test_strong_correlations_the_worst_first_and_no_ties(results):
    result = fit("cubic", TIMES + 20, DECAY).to_dict()
    design = np.vander(TIMES + 20, 4)
    covariance = np.linalg.inv(design.T @ design)
    spread = np.sqrt(np.diag(covariance))
    expected = (covariance / spread / spread[:, None])[np.triu_indices(4, 1)]
    [line] = re.findall(r"Strong correlations: (.*?)(?:\n(?! )|$)", report(result), re.DOTALL)
    found = [float(number) for number in re.findall(r"-?\d\.\d+", line)]
    assert found == pytest.approx(sorted(expected, key=lambda value: -abs(value)), abs=1e-3)
    assert [abs(value) for value in found] == sorted(map(abs, found), reverse=True)
    assert "Strong correlations" not in report(results("one series"))
    tied = fit("a*t + b", TIMES, DECAY, parameters={"b": {"expr": "2*a"}}).to_dict()
    assert "Strong correlations" not in report(tied)


def test_medians_and_ranges_of_several_series(results):
    result = results("twelve series")
    text = report(result)
    values = result["parameters"]["a"]
    assert f"{median(values):.6g}" in table(text)["a"]
    assert f"{min(values):.6g} to {max(values):.6g}" in table(text)["a"]
    errors = result["standard_errors"]["a"]
    assert f"{median(errors):.2g}   {min(errors):.2g} to {max(errors):.2g}" in table(text)["a"]
    assert "status  12 converged\n" in text
    assert f"RMSE {median(result['rmse']):.6g} in the median" in text


def test_the_first_series_one_by_one_where_there_is_room(results):
    rows = table(report(results("twelve series")), "series")
    assert list(rows)[:-1] == [str(i + 1) for i in range(10)]
    assert "(the first 10 of 12 series)" in report(results("twelve series"))
    rows = table(report(results("two series")), "series")
    assert list(rows) == ["a|b", "a_b"]
    assert list(table(report(results("a grid of series")), "series")) == ["1", "2", "3", "4"]
    assert "\nseries " not in report(results("series with long names"))
    text = report(results("a series that diverged"))
    assert "status  1 converged, 1 diverged" in text
    assert "±" not in table(text, "series")["2"]


def test_series_without_an_error(results):
    rows = table(report(results("series at a bound")))
    assert rows["tau"].endswith("fixed")
    assert rows["c"].endswith("1 at its bound")
    assert re.search(r"^series +status +RMSE +a +c$", report(results("series at a bound")), re.MULTILINE)


def test_a_wide_table_becomes_blocks(results):
    text = report(results("long names"))
    result = results("long names")
    assert f"\n{LONG}_2\n    " in text
    start = result["initial_parameters"][f"{LONG}_2"]
    assert f"    start {start:.6g}\n" in text
    assert text.partition("\ndata  ")[0].count(LONG) == 4


@pytest.mark.parametrize(
    ("found", "lines"),
    [
        (None, []),
        ({"optimizer": "LevenbergMarquardt", "steps": 3}, ["Try: --model.optimizer LevenbergMarquardt"]),
        (
            {"optimizer": "LevenbergMarquardt", "steps": 3, "options": None},
            ["Try: optimizer=LevenbergMarquardt, the default without lr and scheduler"],
        ),
        (
            {
                "optimizer": "LevenbergMarquardt",
                "steps": 30,
                "options": [
                    *("--model.optimizer", "LevenbergMarquardt", "--trainer.max_steps", "30"),
                    *("--model.scheduler", "null", "--model.compile", "false"),
                ],
            },
            [
                "Try: --model.optimizer LevenbergMarquardt --trainer.max_steps 30 \\",
                "  --model.scheduler null --model.compile false",
            ],
        ),
    ],
    ids=["nothing", "an older result", "in Python", "a command"],
)
def test_what_to_try(found, lines, results):
    text = report({**results("not arrived"), "suggestion": found})
    assert [line for line in text.splitlines() if line.startswith(("Try", "  --"))] == lines


def test_an_older_result_is_told_as_far_as_it_goes(results):
    now = results("not arrived")
    before = ["function", "equation", "parameters", "initial_parameters", "rmse", "rmse_history", "steps", "status"]
    text = report({key: now[key] for key in [*before, "message", "seed", "versions"]})
    assert text.splitlines()[0] == "quadratic: y = a*t**2 + b*t + c"
    assert f"{now['parameters']['a']:.6g}" in table(text)["a"]
    assert "±" not in text
    assert f"RMSE {now['rmse']:.6g}" in text
    for form in (markdown, latex):
        assert form({key: now[key] for key in [*before, "message"]})
    several = results("two series")
    assert "median" in report({key: several[key] for key in [*before, "message"]})


@pytest.mark.parametrize("name", RESULTS)
def test_markdown_tables_have_as_many_cells_in_each_row(name, results):
    text = markdown(results(name))
    tables = re.findall(r"(?:^\|.*\n?)+", text, re.MULTILINE)
    assert len(tables) == (2 if isinstance(results(name)["rmse"], list) else 1)
    for one in tables:
        rows = [re.split(r"(?<!\\)\|", row) for row in one.splitlines()]
        assert len({len(row) for row in rows}) == 1
        assert set(rows[1][1:-1]) == {"---"}
    for parameter in results(name)["parameters"]:
        assert f"| `{parameter}` | " in text


def test_markdown_takes_nothing_for_markup(results):
    result = results("one series")
    result["warnings"] = ["a*b*c and _d_ <e> `f`"]
    result["function"] = "a*`speed (km/h)`"
    result["equation"] = "y = a*`speed (km/h)`"
    text = markdown(result)
    assert r"- Warning: a\*b\*c and \_d\_ &lt;e> \`f\`" in text
    assert text.startswith("## `` y = a*`speed (km/h)` ``\n")


@pytest.mark.parametrize("name", RESULTS)
def test_latex_is_balanced(name, results):
    text = latex(results(name))
    lines = text.splitlines()
    while lines[0].startswith("% "):
        lines.pop(0)
    columns = re.fullmatch(r"\\begin\{tabular\}\{(l+)\}", lines[0]).group(1)
    assert lines[-1] == r"\end{tabular}"
    assert [line for line in lines if "rule" in line] == [r"\toprule", r"\midrule", r"\midrule", r"\bottomrule"]
    body = [line for line in lines[1:-1] if "rule" not in line]
    assert len(body) > len(results(name)["parameters"])
    for line in body:
        assert line.endswith(r" \\")
        assert len(re.findall(r"(?<!\\)&", line)) in (0 if "multicolumn" in line else len(columns) - 1,)
        assert len(re.findall(r"(?<!\\)\$", line)) % 2 == 0
        bare = re.sub(r"\\[{}]", "", line)
        assert bare.count("{") == bare.count("}")
        outside = re.sub(r"\$[^$]*\$", "", line)
        assert not re.search(r"(?<!\\)[_#%^~]|±", outside)
        formulas = re.findall(r"\$([^$]*)\$", line)
        assert all(one.count("(") == one.count(")") for one in formulas)
        assert not any(re.search(r"\de[+-]\d|±", one) for one in formulas)


def test_latex_writes_errors_and_powers(results):
    result = fit("linear", TIMES, 1e-9 * DECAY).to_dict()
    assert re.search(r"^a & \$\(-\d\.\d+ \\pm 0\.\d+\) \\times 10\^\{-10\}\$ & ", latex(result), re.MULTILINE)
    result["parameters"] = {"a_1": 5e-7, "b": 2.0}
    result["standard_errors"] = result["kinds"] = {}
    assert re.search(r"^a\\_1 & \$5 \\times 10\^\{-7\}\$ ", latex(result), re.MULTILINE)
    assert "% linear: y = a*t + b\n" in latex(result)


def test_steps_are_shown_one_by_one_and_then_the_round_ones(results):
    result = results("one series")
    for count, shown in ((0, None), (20, 20), (25, 12)):
        found = steps_table({**result, "rmse_history": [float(step) for step in range(count)]})
        assert (found if found is None else found.row_count) == shown
    assert steps_table({**result, "rmse_history": [1.0] * 5000}).row_count == 2


class TestCommand:
    @pytest.fixture
    def here(self, tmp_path, monkeypatch, results):
        """A folder with three runs, the newest of which is number 10."""
        monkeypatch.chdir(tmp_path)
        for version, name in ((2, "one series"), (10, "at a bound"), (9, "tiny")):
            folder = tmp_path / "lightning_logs" / f"version_{version}"
            folder.mkdir(parents=True)
            (folder / "result.json").write_text(json.dumps(results(name), indent=2) + "\n")
        return tmp_path

    def run(self, capsys, *args):
        code = main(["report", *args])
        return code, *capsys.readouterr()

    def refused(self, capsys, *args):
        code, out, err = self.run(capsys, *args)
        assert (code, out) == (2, "")
        [line] = err.splitlines()
        assert line.startswith("gd-lightning: error: report: ")
        return line

    @pytest.mark.parametrize("run", ["lightning_logs/version_2", "lightning_logs/version_2/result.json"])
    def test_a_run_by_its_folder_or_file(self, here, capsys, results, run):
        assert self.run(capsys, run) == (0, report(results("one series")) + "\n", "")

    def test_the_newest_run_and_which_it_is(self, here, capsys, results):
        (here / "lightning_logs/version_11").mkdir()
        text = report(results("at a bound")) + "\nRun folder: lightning_logs/version_10\n"
        assert self.run(capsys) == (0, text, "")

    def test_json_is_the_file(self, here, capsys):
        file = here / "lightning_logs/version_9/result.json"
        assert self.run(capsys, "lightning_logs/version_9", "--format=json") == (0, file.read_text(), "")

    @pytest.mark.parametrize(("form", "made"), [("md", markdown), ("latex", latex)])
    def test_other_formats(self, here, capsys, results, form, made):
        assert self.run(capsys, "--format", form) == (0, made(results("at a bound")) + "\n", "")

    def test_it_explains_its_words(self, capsys):
        assert main(["report", "--help"]) == 0
        out = capsys.readouterr().out
        for word in ("±", "undetermined", "R2", "AICc", "dof", "--format"):
            assert word in out

    def test_no_such_run(self, here, capsys):
        assert "did you mean 'version_10'?" in self.refused(capsys, "lightning_logs/version_100")
        assert "no such run: nowhere; expected a folder such as lightning_logs/version_0" in self.refused(
            capsys, "nowhere"
        )
        (here / "empty").mkdir()
        assert "empty has no result.json; expected the folder of a fit" in self.refused(capsys, "empty")
        assert ". has no result.json; expected the folder of a fit, such as lightning_logs/version_" in self.refused(
            capsys, "."
        )
        (here / "empty" / "sweep.json").write_text("{}")
        assert "empty holds a sweep, not a fit" in self.refused(capsys, "empty")
        shutil.rmtree(here / "lightning_logs")
        assert "no run with a result.json in lightning_logs" in self.refused(capsys)

    @pytest.mark.parametrize(
        ("content", "says"),
        [
            (b"", "is no whole result.json"),
            (b'{"function": "linear", "par', "is no whole result.json"),
            (b"\xff\xfe\x00", "is no result.json"),
            (b"[1, 2]", "is no result.json of a"),
            (b"3", "is no result.json of a"),
            (b"{}", "is no result.json of a"),
            (b"[" * 100_000, "is no result.json of a"),
            (b'{"schema": 2}', "has schema 2, and this version knows 1; update"),
            (b'{"function": "f", "parameters": {}, "rmse": 1, "steps": 1, "status": "", "message": ""}', "of a fit"),
            (b'{"function": "f", "parameters": {"a": "b"}, "rmse": 1, "steps": 1, "status": "", "message": ""}', "fit"),
        ],
        ids=range(10),
    )
    def test_what_is_no_result(self, here, capsys, content, says):
        (here / "my.json").write_bytes(content)
        assert says in self.refused(capsys, "my.json")

    def test_a_result_cut_anywhere_is_refused(self, here, capsys):
        content = (here / "lightning_logs/version_2/result.json").read_text().rstrip()
        for length in range(0, len(content), 97):
            (here / "cut.json").write_text(content[:length])
            assert "cut.json is no whole result.json" in self.refused(capsys, "cut.json")

    @pytest.mark.parametrize("form", ["text", "md", "latex"])
    def test_a_result_that_someone_edited(self, here, capsys, results, form):
        for change in (
            {"intervals": "x"},
            {"goodness": []},
            {"standard_errors": {"a": 1e400}},
            {"suggestion": 1.5},
            {"initial_parameters": {"a": "one"}},
            {"covariance": 3, "correlation": [1]},
        ):
            (here / "edited.json").write_text(json.dumps(results("one series") | change))
            code, said = main(["report", "edited.json", "--format", form]), capsys.readouterr().err
            if code:
                assert said.count("\n") == 1
                assert "edited.json does not hold what a run writes" in said
        (here / "edited.json").write_text(json.dumps(results("one series") | {"intervals": "x"}))
        assert "edited.json does not hold what a run writes" in self.refused(capsys, "edited.json", "--format", form)

    def test_wrong_options(self, here, capsys):
        assert "--format: given 'txt'; did you mean 'text'?" in self.refused(capsys, "--format=txt")
        assert "unrecognized arguments: c d" in self.refused(capsys, "a", "c", "d")
        assert "unrecognized arguments: --form=md" in self.refused(capsys, "--form=md")


class TestOneText:
    """The same in the terminal, in TensorBoard's card, from the command and from print."""

    def test_of_a_run(self, article_run, capsys):
        result = json.loads((article_run.version_0 / "result.json").read_text())
        assert main(["report", str(article_run.version_0)]) == 0
        text = capsys.readouterr().out
        assert text == report(result) + "\n"
        assert article_run.out.count(text) == 1
        assert article_run.out.index(text) < article_run.out.index("Run folder: ")
        events = EventAccumulator(str(article_run.version_0))
        events.Reload()
        [tag] = [tag for tag in events.Tags()["tensors"] if tag.startswith("about this run")]
        [card] = [event.tensor_proto.string_val[0].decode() for event in events.Tensors(tag)]
        assert card.startswith(f"```\n{text}```\n")
        assert "What you are looking at" in card

    def test_of_its_result_in_python(self, tmp_path, capsys):
        from lightning.pytorch import Trainer
        from lightning.pytorch.loggers import TensorBoardLogger

        from gd_lightning import CurveFit, NoisySeries, RunReport

        told = RunReport("a command")
        logger = TensorBoardLogger(tmp_path, name="lightning_logs", default_hp_metric=False)
        options = {"enable_checkpointing": False, "enable_progress_bar": False, "enable_model_summary": False}
        trainer = Trainer(
            accelerator="cpu", logger=logger, callbacks=[told], max_epochs=3, log_every_n_steps=1, **options
        )
        trainer.fit(CurveFit(), datamodule=NoisySeries())
        capsys.readouterr()
        assert main(["report", str(tmp_path / "lightning_logs" / "version_0")]) == 0
        print(told.result)
        text = capsys.readouterr().out
        assert text[: len(text) // 2] == text[len(text) // 2 :]

    def test_nothing_is_cut_short_in_a_narrow_pipe(self, article_run):
        assert "…" not in article_run.out


def test_the_report_needs_no_more_than_the_standard_library():
    import gd_lightning

    package = gd_lightning.__path__[0]
    for name in ("digits", "report_cells", "report_words", "report", "report_formats", "report_command"):
        with open(f"{package}/{name}.py") as file:
            modules = re.findall(r"^\s*(?:from|import) (\w+)", file.read(), re.MULTILINE)
        assert set(modules) <= {"gd_lightning", *sys.stdlib_module_names}
