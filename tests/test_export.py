import json
import math
import re
import subprocess
import sys

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from conftest import ROOT, forked, gd_lightning
from scipy import special

import gd_lightning as package
from gd_lightning import InputError, fit, functions
from gd_lightning.curve import Curve
from gd_lightning.export import input_names, to_onnx
from gd_lightning.formula import FUNCTIONS
from gd_lightning.resolve import parameter_names, resolve

FAMILIES = sorted(functions.__all__)
# Some operations of another library, each rounded at its own last digit, and of values near the largest.
CLOSE = 1e-12
T = torch.linspace(0.25, 3, 12, dtype=torch.float64)
NEW = np.linspace(0.1, 4, 57)  # other points, and another number of them


def fitted(name):
    """A family fitted to its own curve, so that it is there at once."""
    function = resolve(name)
    names = parameter_names(function)
    params = 0.3 + 1.5 * torch.rand(len(names), generator=torch.Generator().manual_seed(1)).double()
    init = dict(zip(names, params.tolist(), strict=True))
    return fit(name, T, function(T, *params), init=init)


def run_onnx(path, *columns):
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    names = [one.name for one in session.get_inputs()]
    [y] = session.run(None, dict(zip(names, columns, strict=True)))
    return y


def assert_equal_to_the_prediction(y, preds):
    preds = preds.numpy()
    assert y.shape == preds.shape
    assert y.dtype == preds.dtype
    np.testing.assert_allclose(y, preds, rtol=CLOSE, atol=CLOSE * np.abs(preds).max())


AT_ONCE = ("error_function", "gaussian", "logistic", "polynomial", "power_law", "sine")  # a second each, or two


@pytest.mark.parametrize(
    "name", [name if name in AT_ONCE else pytest.param(name, marks=pytest.mark.slow) for name in FAMILIES]
)
def test_every_family_in_onnx_runtime(name, tmp_path, capfd):
    result = fitted(name)
    result.to_onnx(tmp_path / "curve.onnx")
    assert capfd.readouterr() == ("", "")
    assert_equal_to_the_prediction(run_onnx(tmp_path / "curve.onnx", NEW), result.predict(NEW))
    assert [path.name for path in tmp_path.iterdir()] == ["curve.onnx"]


ONE_ARGUMENT = [name for name, (_, count) in FUNCTIONS.items() if count == 1]
PIECES = [f"{name}(a*t{' + 5*a' if name == 'acosh' else ''})" for name in ONE_ARGUMENT]
PIECES += ["atan2(t, -a)", "minimum(a, t)", "maximum(0.3, t)", "where(t < 0.1 + a, t, 0.7)", "0.1*t**2.2", "2.2**t/0.3"]
PIECES += ["a**-t", "(0.7 - t)/pi", "gaussian(t, a, 0.1, 0.3)"]


def test_every_function_of_formulas_in_onnx_runtime(tmp_path):
    """All in one model, since each costs a second: the piece for which x is i, of predictors t and x."""
    assert set(re.findall(r"[a-z]\w*", " ".join(PIECES))) >= set(FUNCTIONS)
    text = "0.0"
    for i, piece in enumerate(PIECES):
        text = f"where({i} <= x < {i + 1}, {piece}, {text})" if i % 8 else f"where(x < {i}, {text}, {piece})"
    t = torch.linspace(0.05, 0.95, 19, dtype=torch.float64)
    x = torch.arange(float(len(PIECES)), dtype=torch.float64)
    columns = {"t": t.repeat(len(PIECES)), "x": x.repeat_interleave(len(t))}
    curve = Curve(text, predictors=["t", "x"]).double()
    curve.set_params(torch.ones(1))
    to_onnx(curve, tmp_path / "curve.onnx")
    found = run_onnx(tmp_path / "curve.onnx", *(column.numpy() for column in columns.values()))
    found = found.reshape(len(PIECES), -1)
    for i, piece in enumerate(PIECES):
        single = Curve(f"{piece} + 0*a*t").double()
        single.set_params(torch.ones(1))
        expected = single(t).detach().numpy()
        np.testing.assert_allclose(found[i], expected, rtol=CLOSE, atol=1e-15, err_msg=piece)


def test_several_predictors_and_what_they_are_called(tmp_path):
    x1, x2 = T, T.flip(0)
    table = {"x1": x1, "x2": x2, "yield": 2 - 0.5 * x1 * torch.exp(-0.3 * x2)}
    result = fit("b1 - b2*x1*exp(-b3*x2)", table, "yield", init={"b1": 1, "b2": 1, "b3": 0.5})
    result.to_onnx(tmp_path / "curve.onnx")
    session = onnxruntime.InferenceSession(tmp_path / "curve.onnx")
    assert [one.name for one in session.get_inputs()] == ["x1", "x2"]
    assert [one.shape for one in session.get_inputs()] == [["points"], ["points"]]
    assert [(one.name, one.shape, one.type) for one in session.get_outputs()] == [
        ("yield", ["points"], "tensor(double)")
    ]
    [y] = session.run(["yield"], {"x1": NEW, "x2": NEW[::-1].copy()})
    expected = result.parameters["b1"] - result.parameters["b2"] * NEW * np.exp(-result.parameters["b3"] * NEW[::-1])
    np.testing.assert_allclose(y, expected, rtol=CLOSE)


@pytest.mark.parametrize(
    ("labels", "names"),
    [
        ((), ["t", "y"]),
        (("speed", "dist"), ["speed", "dist"]),
        (("date (years since 1980-01-01)", "log(y)"), ["t", "y"]),
        (("y", "y"), ["y", "y_"]),
        (("only one",), ["t", "y"]),
    ],
    ids=str,
)
def test_inputs_and_output_are_identifiers_that_differ(labels, names):
    assert input_names(Curve("linear"), labels) == names


def test_a_name_in_backquotes_becomes_an_identifier():
    curve = Curve("a*`speed (km/h)` + b*`2nd`", predictors=["speed (km/h)", "2nd"])
    assert input_names(curve) == ["speed__km_h_", "_2nd", "y"]


def test_a_step_of_the_curve_may_bear_the_name_of_an_input(tmp_path):
    result = fit("a*exp(-exp) + b".replace("exp)", "`exp`)"), {"exp": T}, 2 * torch.exp(-T) + 1, init={"a": 1, "b": 0})
    result.to_onnx(tmp_path / "curve.onnx")
    assert_equal_to_the_prediction(run_onnx(tmp_path / "curve.onnx", NEW), result.predict({"exp": NEW}))


def test_fixed_and_tied_parameters(tmp_path):
    demands = {"b": {"expr": "2*a"}, "c": {"fixed": -1}}
    result = fit("a*t + b + c", T, 3 * T + 5, parameters=demands)
    result.to_onnx(tmp_path / "curve.onnx")
    np.testing.assert_allclose(run_onnx(tmp_path / "curve.onnx", NEW), 3 * NEW + 5, rtol=1e-9)
    assert_equal_to_the_prediction(run_onnx(tmp_path / "curve.onnx", NEW), result.predict(NEW))


@pytest.mark.parametrize("batch", [(2,), (2, 3)])
def test_several_series_come_out_side_by_side(batch, tmp_path):
    slope = torch.arange(1.0, 1 + math.prod(batch)).double().reshape(*batch, 1)
    result = fit("linear", T, slope * T + 1)
    result.to_onnx(tmp_path / "curve.onnx")
    result.to_program(tmp_path / "curve.pt2")
    expected = result.predict(NEW)
    assert expected.shape == (*batch, len(NEW))
    assert_equal_to_the_prediction(run_onnx(tmp_path / "curve.onnx", NEW), expected)
    program = torch.export.load(tmp_path / "curve.pt2").module()
    assert torch.equal(program(torch.from_numpy(NEW)), expected)


def test_single_precision_as_fitted_or_asked_for(tmp_path, article):
    single = fit("quadratic", article.t, article.y, init=article.init, lr=1e-5)
    single.to_onnx(tmp_path / "single.onnx")
    y = run_onnx(tmp_path / "single.onnx", NEW.astype(np.float32))
    assert y.dtype == np.float32
    np.testing.assert_allclose(y, single.predict(NEW), rtol=1e-5)  # float32 has seven digits
    double = fitted("error_function")
    double.to_onnx(tmp_path / "asked.onnx", dtype=torch.float32)
    y = run_onnx(tmp_path / "asked.onnx", NEW.astype(np.float32))
    p = double.parameters
    expected = p["amplitude"] * special.erf((NEW - p["center"]) / p["width"]) + p["offset"]
    np.testing.assert_allclose(y, expected, rtol=1e-5)
    with pytest.raises(InputError, match=r"given torch\.float16, expected torch\.float32 or torch\.float64"):
        double.to_onnx(tmp_path / "half.onnx", dtype=torch.float16)
    assert not (tmp_path / "half.onnx").exists()


def test_the_file_tells_what_it_is_and_not_where_it_was_made(tmp_path):
    result = fitted("gaussian")
    result.to_onnx(tmp_path / "curve.onnx")
    model = onnx.load(tmp_path / "curve.onnx")
    onnx.checker.check_model(model, full_check=True)
    facts = {one.key: one.value for one in model.metadata_props}
    assert facts["gd_lightning"] == package.__version__
    assert facts["equation"] == "y = amplitude*exp(-(t - center)**2/(2*width**2))"
    assert json.loads(facts["parameters"]) == result.parameters
    assert json.loads(facts["labels"]) == ["t", "y"]
    result.to_program(tmp_path / "curve.pt2")
    extra = {"gd_lightning.json": ""}
    torch.export.load(tmp_path / "curve.pt2", extra_files=extra)
    assert json.loads(extra["gd_lightning.json"])["parameters"] == result.parameters
    for file in ("curve.onnx", "curve.pt2"):
        assert b".py" not in (tmp_path / file).read_bytes()


def test_a_function_of_python(tmp_path):
    result = fit(lambda t, a, b: a * torch.log2(t) + b * torch.pi, T, torch.log2(T) + torch.pi)
    result.to_onnx(tmp_path / "curve.onnx")
    y = run_onnx(tmp_path / "curve.onnx", NEW)
    np.testing.assert_allclose(y, np.log2(NEW) + np.pi, rtol=1e-9, atol=1e-9)
    assert_equal_to_the_prediction(y, result.predict(NEW))


def test_a_function_that_leaves_torch_is_refused_in_one_line(tmp_path):
    def through_lists(t, a, b):
        return a * torch.tensor([math.exp(-value) for value in t.tolist()], dtype=t.dtype) + b

    result = fit(through_lists, T, 2 * torch.exp(-T) + 1)
    for write in (result.to_onnx, result.to_program):
        with pytest.raises(InputError, match="through_lists does what torch cannot export") as raised:
            write(tmp_path / "curve")
        assert "\n" not in str(raised.value)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("missing", ["onnx", "onnxscript"])
def test_what_is_not_installed_is_named(missing, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, missing, None)
    with pytest.raises(InputError, match=rf"{missing} is not installed; pip install 'gd-lightning\[onnx\]'"):
        fitted("linear").to_onnx(tmp_path / "curve.onnx")


def test_a_curve_that_is_lost_has_no_file(tmp_path):
    curve = Curve("linear")
    curve.set_params(torch.tensor([math.nan, 1.0]))
    with pytest.raises(InputError, match="some are not finite numbers"):
        to_onnx(curve, tmp_path / "curve.onnx")


ALONE = """
import sys, torch
for path in sys.argv[1:]:
    program = torch.export.load(path).module()
    print(program(torch.linspace(0.1, 4, 57, dtype=torch.float64)).tolist())
assert not [name for name in sys.modules if name.startswith("gd_lightning")]
"""


def test_a_program_runs_in_a_process_without_this_package(tmp_path):
    names = ["richards", "error_function", "hill", "where(t < a, erf(t), b**t)"]
    results = [fitted(name) for name in names]
    files = [tmp_path / f"{i}.pt2" for i in range(len(names))]
    for result, file in zip(results, files, strict=True):
        result.to_program(file)
    done = subprocess.run(
        [sys.executable, "-c", ALONE, *map(str, files)], capture_output=True, text=True, cwd=tmp_path, check=True
    )
    t = torch.linspace(0.1, 4, 57, dtype=torch.float64)
    for line, result in zip(done.stdout.splitlines(), results, strict=True):
        assert json.loads(line) == result.predict(t).tolist()


@pytest.mark.parametrize("name", FAMILIES)
def test_every_family_as_a_program(name, tmp_path):
    result = fitted(name)
    result.to_program(tmp_path / "curve.pt2")
    program = torch.export.load(tmp_path / "curve.pt2").module()
    assert torch.equal(program(torch.from_numpy(NEW)), result.predict(NEW))


# the command


def test_a_run_is_exported_by_the_real_command_line(article_run, article, tmp_path):
    done = gd_lightning(
        "export", article_run.version_0, "--to", "onnx", "--output", tmp_path / "article.onnx", cwd=tmp_path
    )
    assert (done.code, done.err) == (0, "")
    assert done.out == f"Wrote {tmp_path / 'article.onnx'}\n"
    y = run_onnx(tmp_path / "article.onnx", article.t.numpy())
    result = fit("quadratic", article.t, article.y, init=article.init, lr=1e-5)
    np.testing.assert_allclose(y, result.predict(article.t), rtol=1e-6, atol=1e-5)
    formula = gd_lightning("export", article_run.version_0, "--to", "formula", cwd=tmp_path)
    assert (formula.code, formula.err, formula.out) == (0, "", result.to_formula() + "\n")


def test_json_is_the_result_as_it_stands_and_needs_no_torch(article_run, tmp_path):
    code = "import sys; from gd_lightning.__main__ import main; code = main(sys.argv[1:]); "
    code += "sys.stderr.write(str([name for name in ('torch', 'lightning') if name in sys.modules]))"
    done = subprocess.run(
        [sys.executable, "-c", code, "export", "last", "--to", "json"],
        capture_output=True,
        text=True,
        cwd=article_run.folder,
        check=True,
        env={"PYTHONPATH": str(ROOT)},
    )
    assert done.stdout == (article_run.version_0 / "result.json").read_text()
    assert done.stderr == "[]"


def main(*args):
    from gd_lightning.__main__ import main

    return main([str(arg) for arg in args])


def test_a_checkpoint_and_a_folder_give_the_same_program(article_run, tmp_path, capsys):
    checkpoint = article_run.version_0 / "checkpoints" / "last.ckpt"
    for i, source in enumerate((checkpoint, article_run.version_0, article_run.version_0 / "result.json")):
        assert main("export", source, "--to=program", "--output", tmp_path / f"{i}.pt2") == 0
    t = torch.linspace(0, 19, 39)
    found = [torch.export.load(tmp_path / f"{i}.pt2").module()(t) for i in range(3)]
    assert torch.equal(found[0], found[1])
    assert torch.equal(found[0], found[2])
    assert "Wrote" in capsys.readouterr().out


def test_a_table_s_columns_name_the_inputs(tmp_path, monkeypatch, capsys):
    folder = tmp_path / "lightning_logs" / "version_3"
    folder.mkdir(parents=True)
    result = {"function": "linear", "parameters": {"a": [2.0, -1.0], "b": [0.5, 1.0]}}
    (folder / "result.json").write_text(json.dumps(result))
    (folder / "config.yaml").write_text(
        "model: {predictors: [speed]}\ndata: {init_args: {t: speed, y: dist}}\ntrainer: {precision: 64-true}\n"
    )
    monkeypatch.chdir(tmp_path)
    assert main("export", "last", "--to", "formula") == 0
    assert capsys.readouterr().out == "2.0*t + 0.5\n(-1.0)*t + 1.0\n"
    assert main("export", "last", "--to", "onnx") == 0
    session = onnxruntime.InferenceSession(folder / "curve.onnx")
    assert [one.name for one in (*session.get_inputs(), *session.get_outputs())] == ["speed", "dist"]
    [y] = session.run(None, {"speed": np.array([0.0, 1.0])})
    assert y.tolist() == [[0.5, 2.5], [1.0, 0.0]]


def test_a_saved_fit_is_exported_too(tmp_path, capsys):
    fit("linear", [0.0, 1.0], [1.0, 3.0]).save(tmp_path / "fit.json")
    assert main("export", tmp_path / "fit.json", "--to", "formula", "--output", tmp_path / "formula.txt") == 0
    assert eval((tmp_path / "formula.txt").read_text(), {"t": 2.0}) == pytest.approx(5.0)
    assert capsys.readouterr().out == f"Wrote {tmp_path / 'formula.txt'}\n"


@pytest.mark.parametrize(
    ("args", "message"),
    [
        ((), "the following arguments are required: RUN"),
        (("nowhere", "--to", "json"), "no such folder or file: nowhere; expected the folder of a run"),
        (("last", "--to", "json"), "given last, and lightning_logs holds no run with a result"),
        ((".", "--to", "json"), "holds no result.json; expected the folder of a run that ended"),
        ((".", "--to", "formula"), "holds no result.json with config.yaml, and no checkpoint"),
        ((".", "--to", "onx"), "--to onx; did you mean 'onnx'?"),
        ((".",), "--to is missing; choose from onnx, program, formula, json"),
        ((".", "--to", "json", "--out", "x"), "unrecognized arguments: --out x"),
        (("other.json", "--to", "json"), "other.json is no result of a fit"),
        (("other.json", "--to", "formula"), "other.json is JSON of something else"),
        (("lost", "--to", "formula"), "does not hold a number for each of a, b; expected a run that has not diverged"),
        (("odd", "--to", "formula"), "config.yaml is not the configuration of a fit"),
        (("data", "--to", "formula"), "config.yaml is not the configuration of a fit"),
        (("names", "--to", "formula"), "config.yaml is not the configuration of a fit"),
        (("tag", "--to", "formula"), "config.yaml is not the configuration of a fit"),
        (("x.ckpt", "--to", "formula"), "x.ckpt is no checkpoint of a fit"),
    ],
    ids=str,
)
def test_what_cannot_be_exported_is_one_line(args, message, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "other.json").write_text("{}")
    (tmp_path / "x.ckpt").write_text("{}")
    for folder, values, config in (
        ("lost", "null", "model: {predictors: null}\ndata: {}\ntrainer: {precision: null}\n"),
        ("odd", "1.0", "[]\n"),
        ("data", "1.0", "model: {predictors: null}\ndata: {init_args: 5}\ntrainer: {precision: null}\n"),
        ("names", "1.0", "model: {predictors: 5}\ndata: {}\ntrainer: {precision: null}\n"),
        ("tag", "1.0", "model: !!int x\n"),
    ):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "result.json").write_text(
            f'{{"function": "linear", "parameters": {{"a": {values}, "b": 1}}}}'
        )
        (tmp_path / folder / "config.yaml").write_text(config)
    assert main("export", *args) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert re.fullmatch(r"gd-lightning: error: [^\n]+\n", err)
    assert message in err


def test_the_command_stands_in_the_help(tmp_path):
    assert "Write the curve of a run as ONNX" in forked("--help", cwd=tmp_path).out
    done = forked("export", "--help", cwd=tmp_path)
    assert done.code == 0
    assert "onnx, program, formula, json" in done.out
