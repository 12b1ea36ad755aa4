import json
import math
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import ARTICLE_RMSE
from hypothesis import given, settings
from hypothesis import strategies as st

from gd_lightning import FitResult, InputError, fit
from gd_lightning.points import Points
from gd_lightning.result import rmse_of
from gd_lightning.saved import FORMAT, NOT_FINITE, SCHEMA, _exact

HERE = Path(__file__).parent
T = torch.linspace(0, 5, 12, dtype=torch.float64)
NOISE = 0.05 * torch.randn(12, generator=torch.Generator().manual_seed(3)).double()
Y = 2 * torch.exp(-T / 1.3) + 0.4 + NOISE


def damped(t, a, tau=1.0):
    return a * torch.exp(-t / tau)


def unequal():
    """Three series of unequal lengths, with infinities where there is no point."""
    sigma = torch.full((3, 12), 0.05, dtype=torch.float64)
    sigma[1, 8:] = math.inf
    return fit("exponential_decay", T, torch.stack([Y, 2 * Y, 3 - Y]), sigma=sigma)


def with_holdout():
    result = fit("exponential_decay", T, Y, parameters={"tau": {"min": 0.5}})
    holdout = Points(T + 5, Y.flip(0), torch.full_like(Y, 0.1))
    return replace(
        result, holdout=holdout, holdout_rmse=rmse_of(result.curve, holdout), facts={"points": 12, "rows": 14}
    )


def lost():
    return fit("quadratic", T, Y, init={"a": 1.0, "b": 1.0, "c": 1.0}, lr=1.0, steps=40)


# Results of every kind, each by what is peculiar to it.
KINDS = {
    "the article's": lambda: fit("quadratic", T.float(), Y.float(), init={"a": -0.1, "b": -1, "c": 0.5}, lr=1e-5),
    "least squares": lambda: fit("exponential_decay", T, Y),
    "a formula": lambda: fit("a*exp(-t/tau) + c", T, Y, sigma=0.05, loss="huber(1.2)"),
    "demands": lambda: fit(
        "a*exp(-t/tau) + c + d",
        T,
        Y,
        parameters={"tau": {"min": 0, "max": 9}, "c": {"fixed": 0.1}, "d": {"expr": "2*c"}, "a": 1.0},
        optimizer=torch.optim.Adam,
        lr=0.05,
        steps=30,
    ),
    "several predictors": lambda: fit("a*x1 + b*`x 2`", {"x1": T, "x 2": T**2, "y": 3 * T - T**2 + NOISE}, "y"),
    "several series": unequal,
    "a block of series": lambda: fit("linear", T, torch.stack([Y, Y + 1, -Y, 2 * Y]).reshape(2, 2, 12), lr="auto"),
    "a learning rate for each": lambda: fit("linear", T, torch.stack([Y, -Y]), lr=[1e-3, 2e-3], steps=7),
    "kept out": with_holdout,
    "diverged": lost,
    "no finite loss at all": lambda: fit("linear", T, Y, init={"a": 1e300}, lr=1e-3),
    "half precision": lambda: fit("linear", T, Y, lr=1e-3, steps=5, dtype=torch.bfloat16),
    "very many series, one of them unusable": lambda: fit("linear", T, torch.stack([Y] * 59 + [Y * math.nan])),
    "a degree": lambda: fit("polynomial(6)", T, Y),
}


def assert_same(one, other):
    """Everything that a result has, to the last bit."""
    assert repr(one) == repr(other)
    assert str(one) == str(other)
    assert one.to_dict() == other.to_dict()
    for name in ("function", "message", "seed", "loss", "start", "steps", "labels", "series", "optimizer", "facts"):
        assert getattr(one, name) == getattr(other, name), name
    assert np.array_equal(one.status, other.status)
    assert one.curve.names == other.curve.names
    assert [demanded(one) for one in one.curve.demands.all] == [demanded(one) for one in other.curve.demands.all]
    for name in ("rmse", "holdout_rmse", "rmse_history", "lr", "parameters", "initial_parameters", "path"):
        assert_bits(getattr(one, name), getattr(other, name), name)
    assert repr(one.guidance) == repr(other.guidance)
    for mine, its in ((one.points, other.points), (one.holdout, other.holdout)):
        assert (mine is None) == (its is None)
        if mine is not None:
            assert_bits(list(mine.columns), list(its.columns), "t")
            assert_bits(mine.targets, its.targets, "targets")
            assert_bits(mine.sigma, its.sigma, "sigma")
    t = dict.fromkeys(one.curve.predictors, torch.linspace(-1, 7, 15))
    assert np.array_equal(one.messages, other.messages)
    assert_bits(one.steps_each, other.steps_each, "steps_each")
    assert_bits(one.predict(t), other.predict(t), "predict")
    assert one.curve.params.requires_grad == other.curve.params.requires_grad


def demanded(one):
    return one.init, one.min, one.max, one.fixed, one.tie and one.tie.text


def assert_bits(one, other, what):
    assert type(one) is type(other), what
    if isinstance(one, torch.Tensor):
        assert (one.dtype, one.shape) == (other.dtype, other.shape), what
        assert torch.equal(one.nan_to_num(nan=7e77), other.nan_to_num(nan=7e77)), what
    elif isinstance(one, float):
        assert one == other or (math.isnan(one) and math.isnan(other)), what
    elif isinstance(one, dict):
        assert one.keys() == other.keys(), what
        for key in one:
            assert_bits(one[key], other[key], f"{what} {key}")
    elif isinstance(one, list | tuple):
        assert len(one) == len(other), what
        for i, (a, b) in enumerate(zip(one, other, strict=True)):
            assert_bits(a, b, f"{what} {i}")
    else:
        assert one == other, what


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_read_is_what_was_written(kind, tmp_path):
    result = KINDS[kind]()
    result.save(tmp_path / "fit.json")
    assert [path.name for path in tmp_path.iterdir()] == ["fit.json"]
    again = FitResult.load(tmp_path / "fit.json")
    assert_same(again, result)
    again.save(tmp_path / "again.json")
    assert (tmp_path / "again.json").read_text() == (tmp_path / "fit.json").read_text()


def test_the_picture_is_the_same(tmp_path):
    result = with_holdout()
    result.save(tmp_path / "fit.json")
    for name, one in (("a.png", result), ("b.png", FitResult.load(tmp_path / "fit.json"))):
        one.plot().savefig(tmp_path / name)
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()


def test_it_is_read_in_another_process(tmp_path):
    result = unequal()
    result.save(tmp_path / "fit.json")
    code = "import sys; from gd_lightning import FitResult; result = FitResult.load(sys.argv[1]); print(result); "
    code += "print(result.predict([0.5, 6.0]).tolist()); print(result.summary.sentences)"
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "fit.json")],
        capture_output=True,
        text=True,
        check=True,
        cwd=HERE.parent,
    )
    assert done.stdout == f"{result}\n{result.predict([0.5, 6.0]).tolist()}\n{result.summary.sentences}\n"


def test_the_file_has_the_keys_of_result_json_and_is_standard_json(tmp_path):
    result = lost()
    result.save(tmp_path / "fit.json")
    text = (tmp_path / "fit.json").read_text()
    content = json.loads(text, parse_constant=pytest.fail)
    assert (content["format"], content["schema"]) == (FORMAT, SCHEMA) == ("gd_lightning fit", 1)
    assert result.to_dict().keys() <= content.keys()
    assert text.startswith('{\n  "format": "gd_lightning fit",\n  "schema": 1,\n')
    assert content["parameters"] == result.parameters


@settings(deadline=None, derandomize=True)
@given(st.lists(st.floats(), min_size=1))
def test_every_float_comes_back(numbers):
    written = json.dumps(_exact(torch.tensor(numbers, dtype=torch.float64)), allow_nan=False)
    for one, number in zip(json.loads(written), numbers, strict=True):
        found = NOT_FINITE[one] if isinstance(one, str) else one
        assert found == number or (math.isnan(found) and math.isnan(number))
        assert math.isnan(number) or math.copysign(1, found) == math.copysign(1, number)


def test_files_of_schema_1_are_read_for_ever():
    """Two files that the first version wrote: the article's ten steps, and lines whose numbers are known."""
    article = FitResult.load(HERE / "fit_schema_1_article.json")
    assert article.rmse_history == ARTICLE_RMSE
    assert (article.function, article.steps, article.status, article.seed) == ("quadratic", 10, "step limit", 2021)
    assert list(article.initial_parameters.values()) == [
        -0.12840519845485687,
        -1.0042424201965332,
        0.5672656297683716,
    ]
    a, b, c = (torch.tensor(value) for value in article.parameters.values())
    t = torch.arange(20.0)
    assert torch.equal(article.predict(t), a * t**2 + b * t + c)
    assert article.points.targets.dtype == torch.float32
    assert article.guidance.condition_number == pytest.approx(2.2e5, rel=0.02)  # as docs/why-it-stalls.md has it

    lines = FitResult.load(HERE / "fit_schema_1_lines.json")
    # y = 2*t + 1 and y = 3 - t, the second of four points only; c is tied to 2*b, and bounded b is at least -5
    np.testing.assert_allclose(lines.parameters["a"], [2, -1], rtol=1e-12)
    np.testing.assert_allclose(lines.parameters["b"], [1 / 3, 1], rtol=1e-12)
    np.testing.assert_allclose(lines.parameters["c"], [2 / 3, 2], rtol=1e-12)
    np.testing.assert_allclose(lines.predict([10.0]), [[21.0], [-7.0]], rtol=1e-12)
    assert lines.points.present.sum(dim=-1).tolist() == [5, 4]
    assert lines.status.tolist() == ["converged", "converged"]
    assert lines.curve.demands.all[1].min == -5


# functions of Python


def test_a_function_of_python_has_to_be_handed_over(tmp_path):
    result = fit(damped, T, Y)
    result.save(tmp_path / "fit.json")
    with pytest.raises(InputError, match="was fitted with damped, a function of Python, which a file cannot hold"):
        FitResult.load(tmp_path / "fit.json")
    assert_same(FitResult.load(tmp_path / "fit.json", function=damped), result)
    with pytest.raises(InputError, match=r"other has the arguments x, b; .*fit.json was fitted with t, a, tau"):
        FitResult.load(tmp_path / "fit.json", function=other)
    with pytest.raises(InputError, match="given function='damped', expected the callable"):
        FitResult.load(tmp_path / "fit.json", function="damped")


def other(x, b):
    return b * x


def test_a_lambda(tmp_path):
    def function(t, a, b):
        return a * t + b

    result = fit(lambda t, a, b: a * t + b, T, Y)
    result.save(tmp_path / "fit.json")
    assert_bits(FitResult.load(tmp_path / "fit.json", function=function).predict(T), result.predict(T), "predict")


def test_a_function_that_bears_the_name_of_a_family_is_not_taken_for_it(tmp_path):
    def gaussian(t, amplitude, center, width):
        return amplitude * t**2 + center * t + width

    result = fit(gaussian, T, Y)
    result.save(tmp_path / "fit.json")
    with pytest.raises(InputError, match="gaussian, a function of Python"):
        FitResult.load(tmp_path / "fit.json")
    assert_same(FitResult.load(tmp_path / "fit.json", function=gaussian), result)


def test_no_file_makes_this_import_a_module(tmp_path, monkeypatch):
    (tmp_path / "my_curves.py").write_text("import torch\ndef damped(t, a, tau):\n    return a * torch.exp(-t / tau)\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.delitem(sys.modules, "my_curves", raising=False)  # of whatever ran before
    result = fit("my_curves.damped", T, Y)
    sys.modules.pop("my_curves")
    result.save("fit.json")
    content = json.loads(Path("fit.json").read_text())
    for kind in ("python", "family", "formula"):  # whatever it says of itself
        Path("fit.json").write_text(json.dumps({**content, "function_kind": kind}))
        with pytest.raises(InputError, match=r"was fitted with my_curves\.damped, a function of Python"):
            FitResult.load("fit.json")
    assert "my_curves" not in sys.modules
    assert repr(FitResult.load("fit.json", function=damped)) == repr(result)


# what is refused


@pytest.fixture(scope="module")
def content(tmp_path_factory):
    path = tmp_path_factory.mktemp("saved") / "fit.json"
    with_holdout().save(path)
    return json.loads(path.read_text())


def refusal(text, tmp_path):
    (tmp_path / "bad.json").write_text(text)
    with pytest.raises(InputError) as raised:
        FitResult.load(tmp_path / "bad.json")
    message = str(raised.value)
    assert message.startswith("load: ")
    assert "\n" not in message
    assert len(message) < 600
    return message


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "is damaged or no JSON"),
        ("[1, 2", "is damaged or no JSON"),
        ("[]", "holds no keys and values"),
        ("null", "holds no keys and values"),
        ("{}", "is JSON of something else"),
        ('{"format": "other"}', "has the format 'other'"),
        ('{"format": "gd_lightning fit"}', "has schema None, expected a whole number from 1 to 1"),
        ('{"format": "gd_lightning fit", "schema": "1"}', "has schema '1'"),
        ('{"format": "gd_lightning fit", "schema": true}', "has schema True"),
        ('{"format": "gd_lightning fit", "schema": 0}', "has schema 0"),
        (
            '{"format": "gd_lightning fit", "schema": 2}',
            "was written by a newer gd_lightning (schema 2; this one reads",
        ),
        ('{"format": "gd_lightning fit", "schema": 1}', "has no 'dtype'; it is damaged"),
        ('{"format": "gd_lightning fit", "schema": NaN}', "NaN is not part of JSON"),
        ('{"a":' * 100_000, "is nested too deeply"),
        ("[" * 100_000, "is nested too deeply"),
        (
            '{"function": "linear", "parameters": {}, "rmse_history": []}',
            "is the result.json of a run, which holds no po",
        ),
    ],
    ids=range(16),
)
def test_what_is_no_fit_is_refused_in_one_line(text, message, tmp_path):
    assert message in refusal(text, tmp_path)


def test_a_run_s_result_json_says_what_it_lacks(tmp_path):
    fit("linear", T, Y).write_json(tmp_path / "result.json")
    with pytest.raises(InputError, match=r"is the result\.json of a run, which holds no points to rebuild a fit from"):
        FitResult.load(tmp_path / "result.json")


def test_other_files(tmp_path):
    with pytest.raises(InputError, match="load: no such file"):
        FitResult.load(tmp_path / "nothing.json")
    with pytest.raises(InputError, match="load: cannot read"):
        FitResult.load(tmp_path)
    (tmp_path / "binary").write_bytes(b"\x89PNG\xff\xfe\x00")
    with pytest.raises(InputError, match="is no text"):
        FitResult.load(tmp_path / "binary")


def test_every_cut_is_noticed(content, tmp_path):
    text = json.dumps(content)
    for end in range(0, len(text) - 1, 97):
        assert "damaged or no JSON" in refusal(text[:end], tmp_path)


NEEDED = [
    *("function", "function_kind", "predictors", "names", "dtype", "demands", "values", "initial_values", "rmse"),
    *("rmse_history", "steps", "status", "message", "seed", "loss", "start", "optimizer", "lr", "guidance", "facts"),
    *("labels", "series", "points", "holdout", "holdout_rmse", "path"),
]


@pytest.mark.parametrize("key", NEEDED)
def test_a_missing_key_is_named(key, content, tmp_path):
    message = refusal(json.dumps({name: value for name, value in content.items() if name != key}), tmp_path)
    assert f"has no {key!r}; it is damaged" in message


DEEP = []
for _ in range(200):
    DEEP = [DEEP]
WRONG = [
    True,
    -1,
    0.5,
    "text",
    [],
    [[1], [1, 2]],
    {},
    {"t": 1},
    {"a": {"b": None}},
    DEEP,
    "1" * 5000,
    10**400,
    ["inf", {}],
]


@pytest.mark.parametrize("key", NEEDED)
def test_wrong_values_are_refused_or_are_as_good(key, content, tmp_path):
    """A value of another kind is refused in one line, whatever it is, unless that key can hold it."""
    refused = [message for value in (*WRONG, None) if (message := attempt({**content, key: value}, tmp_path))]
    assert len(refused) >= 9
    assert not [message for message in refused if "\n" in message or len(message) > 600]


def attempt(content, tmp_path):
    """What is said where a file is refused, else nothing."""
    (tmp_path / "odd.json").write_text(json.dumps(content))
    try:
        FitResult.load(tmp_path / "odd.json")
    except InputError as error:
        return str(error)
    return ""


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"points": {"t": [[0, 1]], "targets": [1, 2, 3], "sigma": None}}, "expected as many t, and sigma, as targets"),
        ({"points": {"t": [[0, 1], [2, 3]], "targets": [1, 2], "sigma": None}}, "expected one t for each of t"),
        ({"points": {"t": [[0, 1]], "targets": [[1], [2, 3]], "sigma": None}}, "in lists of one length"),
        ({"values": [1.0, 2.0]}, "expected numbers of shape (3,)"),
        ({"path": [[0, [1.0, 2.0]]]}, "expected parameters of shape (3,)"),
        ({"function": "linear", "demands": {}}, "load: linear has the arguments"),
        ({"function": "a*exp(-t", "demands": {}}, "formula"),
        ({"function": "__import__('os').system('true')", "demands": {}}, "formula"),
        ({"demands": {"tau": {"expr": "__import__('os')"}}}, "formula"),
        ({"demands": {"nobody": {"min": 0}}}, "has no parameter 'nobody'"),
        ({"dtype": "object"}, "expected one of float64, float32, float16, bfloat16"),
        ({"status": ["converged"]}, "expected a status"),
        ({"rmse_history": [None]}, "expected numbers"),
    ],
    ids=range(13),
)
def test_what_does_not_fit_together_is_refused(change, message, content, tmp_path):
    assert message in refusal(json.dumps({**content, **change}), tmp_path)


def test_a_file_is_written_whole_or_not_at_all(tmp_path, monkeypatch):
    result = fit("linear", T, Y)
    result.save(tmp_path / "fit.json")
    before = (tmp_path / "fit.json").read_text()
    monkeypatch.setattr("os.replace", lambda *_: (_ for _ in ()).throw(OSError("full")))
    with pytest.raises(OSError, match="full"):
        fit("linear", T, -Y).save(tmp_path / "fit.json")
    assert (tmp_path / "fit.json").read_text() == before
