"""Files that somebody else made to run code, or to say what the terminal or a spreadsheet would obey.

Each case writes its files, runs the real command on them, and looks whether the canary is alive: the module `evil`,
which stands for all that is installed, kills it as soon as it is imported, and so do the commands in the files.
"""

import csv
import io
import json
import os
import pickle
import re
import sys
import warnings
import zipfile

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
import yaml
from conftest import ROOT, forked, gd_lightning

from gd_lightning import CurveFit, FitResult, InputError, fit
from gd_lightning.card import card
from gd_lightning.spreadsheets import csv_text

EVIL = """
import os
from lightning.pytorch import Callback
from lightning.pytorch.loggers import CSVLogger
from torch.optim import SGD
from gd_lightning.data import NoisySeries
if os.path.exists("CANARY"):
    os.remove("CANARY")
def f(t, a, b):
    return a * t + b
class Data(NoisySeries):
    pass
"""
FIT = ["fit", "--config=x.yaml"]
GO_ON = ["fit", "--ckpt_path=x.ckpt"]
ONLY = "may not be named in a configuration; expected a class of this package"
NO_MODULE = "may not be imported"


class Bomb:
    """What removes the canary when it is unpickled."""

    def __init__(self, canary):
        self.canary = canary

    def __reduce__(self):
        return os.remove, (self.canary,)


def saved(content, **kwargs):
    file = io.BytesIO()
    torch.save(content, file, **kwargs)
    return file.getvalue()


def config(**sections):
    return {"x.yaml": yaml.safe_dump(sections)}


def changed(kept, keys, value):
    """The bytes of a checkpoint in which one thing is another."""
    *path, last = keys.split("/")
    inner = kept
    for key in path:
        inner = inner[key]
    inner[last] = value
    return saved(kept)


def program(canary):
    """What torch takes for a program: an archive with constants."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for name, content in {"data.pkl": Bomb(canary), "constants.pkl": Bomb(canary), "version": 3}.items():
            archive.writestr(f"x/{name}", pickle.dumps(content))
    return file.getvalue()


DEMANDS = {"a": {"class_path": "subprocess.Popen", "init_args": {"args": ["rm", "CANARY"]}}}
LAMBDA = "lightning.pytorch.callbacks.LambdaCallback"
BOMB = "a0: &a0 [1, 1, 1, 1, 1, 1, 1, 1, 1]\n" + "".join(
    f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]\n" for i in range(1, 12)
)
RULE = {"class_path": "torch.optim.sgd.torch.load", "init_args": {"f": "x.ckpt", "weights_only": False}}


def scheduler(path):
    return {"class_path": "torch.optim.lr_scheduler.LambdaLR", "init_args": {"lr_lambda": path}}


def trainer(**keys):
    return config(trainer=keys)


# name: (files, command, words of the message). Texts have CANARY for its path; what is callable takes a checkpoint of a
# fit and the path, and gives bytes.
CASES = {
    # checkpoints
    "a pickle": ({"x.ckpt": lambda kept, canary: pickle.dumps(Bomb(canary))}, GO_ON, "is no checkpoint of a fit"),
    "a pickle among the hyperparameters": (
        {"x.ckpt": lambda kept, canary: changed(kept, "hyper_parameters/function", Bomb(canary))},
        GO_ON,
        "is no checkpoint of a fit",
    ),
    "a pickle to predict from": (
        {"x.ckpt": lambda kept, canary: changed(kept, "state_dict/more", Bomb(canary))},
        ["predict", "--ckpt_path=x.ckpt"],
        "is no checkpoint of a fit",
    ),
    "a pickle to export": (
        {"x.ckpt": lambda kept, canary: changed(kept, "state_dict/more", Bomb(canary))},
        ["export", "x.ckpt", "--to=formula"],
        "is no checkpoint of a fit",
    ),
    "a pickle of the old kind": (
        {"x.ckpt": lambda kept, canary: saved(Bomb(canary), _use_new_zipfile_serialization=False)},
        GO_ON,
        "is no checkpoint of a fit",
    ),
    "a program of torch": ({"x.ckpt": lambda kept, canary: program(canary)}, GO_ON, "is no checkpoint of a fit"),
    "a class in a checkpoint": (
        {"x.ckpt": lambda kept, canary: changed(kept, "config/data", {"class_path": "evil.Data"})},
        GO_ON,
        "data: evil.Data " + ONLY,
    ),
    "a class in a checkpoint beside another configuration": (
        {"x.ckpt": lambda kept, canary: changed(kept, "config/data", {"class_path": "evil.Data"})},
        [*GO_ON, "--config", ROOT / "configs" / "quadratic.yaml"],
        "evil.Data " + ONLY,
    ),
    "a callback in a checkpoint": (
        {"x.ckpt": lambda kept, canary: changed(kept, "config/trainer/callbacks", [{"class_path": "evil.Callback"}])},
        GO_ON,
        "trainer.callbacks: evil.Callback " + ONLY,
    ),
    "a function in a checkpoint": (
        {"x.ckpt": lambda kept, canary: changed(kept, "config/model/function", "evil.f")},
        GO_ON,
        "evil.f " + NO_MODULE,
    ),
    "a function in a checkpoint to export": (
        {"x.ckpt": lambda kept, canary: changed(kept, "hyper_parameters/function", "evil.f")},
        ["export", "x.ckpt", "--to=formula"],
        "evil.f " + NO_MODULE,
    ),
    "files that a callback would remove": (
        {
            "x.ckpt": lambda kept, canary: changed(
                kept, "callbacks/ModelCheckpoint", {"best_k_models": {canary: torch.tensor(0.0)}, "dirpath": "/"}
            )
        },
        GO_ON,
        "for a checkpoint that it may remove",
    ),
    # configurations
    "a class of another module": (config(data={"class_path": "evil.Data"}), FIT, "data: evil.Data " + ONLY),
    "a class typed": ({}, ["fit", "--data=evil.Data"], "--allow-import evil allows it"),
    "a command as data": (
        config(data={"class_path": "os.system", "init_args": {"command": "rm CANARY"}}),
        FIT,
        "data: os.system " + ONLY,
    ),
    "a function for an update rule": (config(model={"optimizer": "evil.f"}), FIT, "model.optimizer: evil.f " + ONLY),
    "torch through one of its modules": (config(model={"optimizer": RULE}), FIT, "torch.serialization.load " + ONLY),
    "a command for a learning rate": (config(model={"scheduler": scheduler("os.system")}), FIT, "os.system " + ONLY),
    "a command through this package": (
        config(model={"scheduler": scheduler("gd_lightning.callbacks.math.sqrt")}),
        FIT,
        "math.sqrt " + ONLY,
    ),
    "a function of this package": (
        config(model={"scheduler": scheduler("gd_lightning.callbacks.steps_allowed")}),
        FIT,
        "gd_lightning.callbacks.steps_allowed " + ONLY,
    ),
    "a function of a class": (
        config(model={"scheduler": scheduler("gd_lightning.data.Table.__init__")}),
        FIT,
        "model.scheduler",
    ),
    "a class among values": (config(model={"parameters": DEMANDS}), FIT, "subprocess.Popen " + ONLY),
    "a callback": (trainer(callbacks=[{"class_path": "evil.Callback"}]), FIT, "evil.Callback " + ONLY),
    "a command in a callback": (
        trainer(callbacks=[{"class_path": LAMBDA, "init_args": {"on_fit_start": "os.system"}}]),
        FIT,
        "trainer.callbacks: os.system " + ONLY,
    ),
    "a logger": (trainer(logger={"class_path": "evil.CSVLogger"}), FIT, "trainer.logger: evil.CSVLogger " + ONLY),
    "a strategy": (trainer(strategy={"class_path": "evil.S"}), FIT, "trainer.strategy: evil.S " + ONLY),
    "a profiler": (trainer(profiler={"class_path": "evil.P"}), FIT, "trainer.profiler: evil.P " + ONLY),
    "a plugin": (trainer(plugins=[{"class_path": "evil.P"}]), FIT, "trainer.plugins: evil.P " + ONLY),
    "an accelerator": (trainer(accelerator={"class_path": "evil.A"}), FIT, "trainer.accelerator: evil.A " + ONLY),
    "a tag that runs": ({"x.yaml": "model: !!python/object/apply:os.remove [CANARY]"}, FIT, "not valid YAML"),
    "a tag that imports": ({"x.yaml": "data: !!python/name:evil.Data"}, FIT, "not valid YAML"),
    "aliases of aliases": ({"x.yaml": BOMB}, FIT, "its aliases stand for more than 100,000 values"),
    "an alias of itself": ({"x.yaml": "model: &a [*a]"}, FIT, "nested too deeply"),
    "a deep configuration": ({"x.yaml": "model: " + "[" * 5000 + "]" * 5000}, FIT, "nested too deeply"),
    "an interpolation": (config(model={"function": "${oc.env:HOME}"}), FIT, "not an expression"),
    "a configuration from elsewhere": ({}, ["fit", "--config=memory://x.yaml"], "no such file"),
    "a page for a section": (config(data="http://127.0.0.1:9/x.yaml"), FIT, "data"),
    "a run that is kept elsewhere": (
        trainer(default_root_dir="http://127.0.0.1:9/x"),
        FIT,
        "trainer.default_root_dir: given http://127.0.0.1:9/x, expected a folder here",
    ),
    "predictions over another file": (
        {**config(output="CANARY"), "x.ckpt": lambda kept, canary: saved(kept)},
        ["predict", "--config=x.yaml", "--ckpt_path=x.ckpt"],
        "expected a name that ends in .csv",
    ),
    # functions
    "a function of another module": (config(model={"function": "evil.f"}), FIT, "--allow-import evil allows it"),
    "a function of a module that is loaded": (
        config(model={"function": "os.system"}),
        FIT,
        "os.system " + NO_MODULE,
    ),
    "a function beside the configuration": (
        {"mail/x.yaml": "model: {function: mailed.f}", "mail/mailed.py": EVIL},
        ["fit", "--config=mail/x.yaml"],
        "no module 'mailed' here",
    ),
    "a module called like one that is loaded": (
        {"json.py": EVIL, **config(model={"function": "json.f"})},
        FIT,
        "json.f " + NO_MODULE,
    ),
    "a function to be shown": ({}, ["functions", "evil.f"], "evil.f " + NO_MODULE),
    "a function to compare": (config(), ["compare", "--functions=linear,evil.f"], "evil.f " + NO_MODULE),
    "a rule to sweep": ({}, ["sweep", "--rules=evil.SGD"], "'evil.SGD'"),
    "a function for many series": (
        {"x.yaml": "model: {function: evil.f}\ndata: {path: x.parquet, y: y}", "x.parquet": ""},
        ["fit_many", "--config=x.yaml"],
        "evil.f " + NO_MODULE,
    ),
    "a logger for many series": (
        {"x.yaml": "trainer: {logger: evil.CSVLogger}\nmodel: {function: linear}\ndata: {path: x.parquet, y: y}"},
        ["fit_many", "--config=x.yaml"],
        "evil.CSVLogger " + ONLY,
    ),
    "many series over another file": (
        {"x.yaml": "model: {function: linear}\ndata: {path: x.parquet, y: y}\noutput: CANARY"},
        ["fit_many", "--config=x.yaml"],
        "expected a name that ends in .parquet",
    ),
    "a name that is no module": ({}, ["fit", "--allow-import=os;evil"], "expected the name of a module"),
    "the reader of configurations": ({}, ["fit", "--allow-import=jsonargparse"], "leave it out"),
    # formulas
    "a formula that imports": ({}, ["functions", "__import__('os').remove('CANARY')"], "formula"),
    "a formula of attributes": ({}, ["functions", "t.__class__.__base__.__subclasses__()"], "formula"),
    "a formula that is a program": ({}, ["functions", "[exec(t) for t in (1,)]"], "formula"),
    "a formula without end": ({}, ["functions", "a*t" + "+a" * 10**5], "formula"),
    # results
    "a function in a result": (
        {
            "run/result.json": json.dumps({"function": "evil.f", "parameters": {"a": 1, "b": 2}}),
            "run/config.yaml": "model: {predictors: null}\ndata: {}\ntrainer: {precision: null}",
        },
        ["export", "run", "--to=formula"],
        "evil.f " + NO_MODULE,
    ),
    "aliases beside a result": (
        {"run/result.json": json.dumps({"function": "linear", "parameters": {}}), "run/config.yaml": BOMB},
        ["export", "run", "--to=formula"],
        "is not the configuration of a fit",
    ),
    "a deep result": ({"run/result.json": "[" * 10**5}, ["report", "run"], "result.json"),
    "a deep result to export": ({"x.json": "[" * 10**5}, ["export", "x.json", "--to=json"], "x.json"),
}


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    """The bytes of a checkpoint."""
    folder = tmp_path_factory.mktemp("kept")
    assert forked("fit", "--trainer.max_steps=1", cwd=folder).code == 0
    return (folder / "lightning_logs/version_0/checkpoints/last.ckpt").read_bytes()


@pytest.fixture
def canary(tmp_path):
    """A canary, the folder of the installed module that kills it, and an empty folder to work in."""
    path = tmp_path / "canary"
    path.write_text("alive")
    for name in ("installed", "here"):
        (tmp_path / name).mkdir()
    (tmp_path / "installed" / "evil.py").write_text(EVIL.replace("CANARY", str(path)))
    yield path
    sys.modules.pop("evil", None)


def lay(files, canary, kept=b""):
    """Write the files of a case."""
    for name, content in files.items():
        file = canary.parent / "here" / name
        file.parent.mkdir(exist_ok=True)
        if callable(content):
            content = content(torch.load(io.BytesIO(kept), weights_only=True), str(canary))
        file.write_bytes(content if isinstance(content, bytes) else content.replace("CANARY", str(canary)).encode())


def command(args, canary, monkeypatch, capfd):
    """The command in this process, which spends no second on a new one: exit code and lines of standard error."""
    from gd_lightning.__main__ import main

    monkeypatch.chdir(canary.parent / "here")
    monkeypatch.syspath_prepend(canary.parent / "installed")
    monkeypatch.setenv("JSONARGPARSE_DEPRECATION_WARNINGS", "off")  # of what Lightning calls; no user sees them
    capfd.readouterr()
    try:
        code = main([str(arg).replace("CANARY", str(canary)) for arg in args])
    except SystemExit as error:
        code = error.code
    return code, capfd.readouterr().err.splitlines()


@pytest.mark.parametrize(("files", "args", "said"), CASES.values(), ids=CASES)
def test_nothing_runs(files, args, said, canary, checkpoint, monkeypatch, capfd):
    lay(files, canary, checkpoint)
    code, err = command(args, canary, monkeypatch, capfd)
    assert canary.read_text() == "alive"
    assert "evil" not in sys.modules
    assert code == 2
    [line] = err
    assert line.startswith("gd-lightning: error: ")
    assert said in line


ALLOWED = {
    "a function": (config(model={"function": "evil.f"}), [*FIT, "--trainer.max_steps=1"]),
    "a class": (config(data={"class_path": "evil.Data"}), ["fit", "--config=x.yaml", "--trainer.max_epochs=0"]),
    "a function to be shown": ({}, ["functions", "evil.f"]),
}


@pytest.mark.parametrize(("files", "args"), ALLOWED.values(), ids=ALLOWED)
def test_what_is_allowed_runs_and_kills_the_canary(files, args, canary):
    lay(files, canary)
    done = forked(*args, "--allow-import", "evil", cwd=canary.parent / "here", path=[canary.parent / "installed"])
    assert NO_MODULE not in done.err
    assert ONLY not in done.err
    assert not canary.exists()


def test_a_class_in_the_working_folder_has_to_be_allowed(canary):
    lay({"mine.py": EVIL, **config(data={"class_path": "mine.Data"})}, canary)
    done = forked(*FIT, cwd=canary.parent / "here")
    assert "data: mine.Data " + ONLY in done.err
    assert canary.exists()
    done = forked(*FIT, "--trainer.max_steps=1", "--allow-import=mine", cwd=canary.parent / "here")
    assert done.code == 0
    assert not canary.exists()


def test_a_module_in_the_working_folder_runs(canary):
    lay({"my_curves.py": EVIL}, canary)
    done = forked("functions", "my_curves.f", cwd=canary.parent / "here")
    assert "my_curves" in done.out or "f(t, a, b)" in done.out
    assert not canary.exists()


SWITCHES = ("TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD", "TORCH_FORCE_WEIGHTS_ONLY_LOAD")


@pytest.mark.parametrize("args", [GO_ON, ["predict", "--ckpt_path=x.ckpt"], ["export", "x.ckpt", "--to=formula"]])
def test_an_environment_that_lets_code_run_lets_none_run_here(args, canary, checkpoint, monkeypatch, capfd):
    monkeypatch.setenv(SWITCHES[0], "1")
    lay({"x.ckpt": lambda kept, canary: changed(kept, "hyper_parameters/init", Bomb(canary))}, canary, checkpoint)
    code, [line] = command(args, canary, monkeypatch, capfd)
    assert code == 2
    assert "is no checkpoint of a fit" in line
    assert canary.read_text() == "alive"


def test_such_an_environment_is_told_of(canary, checkpoint, monkeypatch, capfd):
    lay({"x.ckpt": checkpoint}, canary)
    monkeypatch.setenv(SWITCHES[0], "1")
    code, [line] = command(["export", "x.ckpt", "--to=formula"], canary, monkeypatch, capfd)
    assert code == 0
    assert line.startswith(f"gd-lightning: warning: {SWITCHES[0]} is set in the environment; checkpoints are read as ")
    done = forked(
        "fit", "--ckpt_path=x.ckpt", "--trainer.max_steps=2", cwd=canary.parent / "here", env={SWITCHES[0]: "1"}
    )
    assert done.code == 0
    assert done.err.splitlines() == [line]
    monkeypatch.setenv(SWITCHES[1], "1")
    code, [line] = command(["export", "x.ckpt", "--to=formula"], canary, monkeypatch, capfd)
    assert code == 2
    assert "are both set in the environment; unset the first" in line


def test_modules_in_the_working_folder_take_the_place_of_no_other(canary):
    names = ("json", "yaml", "torch", "numpy", "lightning", "jsonargparse", "typing", "rich", "wandb", "sitecustomize")
    lay({"matplotlibrc": "backend: module://evil", **{f"{name}.py": EVIL for name in (*names, "evil")}}, canary)
    done = gd_lightning("fit", "--trainer.max_steps=1", cwd=canary.parent / "here")
    assert canary.read_text() == "alive"
    assert done.code == 0
    assert (canary.parent / "here/lightning_logs/version_0/film_strip.png").exists()


@pytest.mark.parametrize("kind", ["family", "formula", "python"])
def test_a_kept_fit_imports_nothing(kind, canary, monkeypatch):
    monkeypatch.syspath_prepend(canary.parent / "installed")
    file = canary.parent / "curve.json"
    fit("linear", [0, 1, 2], [1, 2, 4]).save(file)
    content = json.loads(file.read_text())
    file.write_text(json.dumps({**content, "function": "evil.f", "function_kind": kind}))
    with pytest.raises(InputError, match="a function of Python, which a file cannot hold"):
        FitResult.load(file)
    assert canary.exists()


@pytest.mark.parametrize(
    ("keys", "value"),
    [("hyper_parameters/function", "evil.f"), ("hyper_parameters/_instantiator", "evil.f"), ("state_dict/more", Bomb)],
)
def test_a_checkpoint_read_in_python(keys, value, canary, checkpoint, monkeypatch):
    monkeypatch.syspath_prepend(canary.parent / "installed")
    monkeypatch.setenv(SWITCHES[0], "1")
    file = canary.parent / "x.ckpt"
    value = value if isinstance(value, str) else value(str(canary))
    file.write_bytes(changed(torch.load(io.BytesIO(checkpoint), weights_only=True), keys, value))
    try:
        module = CurveFit.load_from_checkpoint(file)
    except (InputError, pickle.UnpicklingError) as error:
        assert NO_MODULE in str(error) or "Weights only load failed" in str(error)  # noqa: PT017
    else:
        assert keys.endswith("_instantiator")
        assert module.curve.function_name == "quadratic"
    assert canary.exists()


def test_a_checkpoint_read_in_python_with_a_module_that_is_allowed(canary, checkpoint, monkeypatch):
    monkeypatch.syspath_prepend(canary.parent / "installed")
    file = canary.parent / "x.ckpt"
    kept = torch.load(io.BytesIO(checkpoint), weights_only=True)
    kept["state_dict"] = {key: value[:2] if "curve" in key else value for key, value in kept["state_dict"].items()}
    file.write_bytes(changed(kept, "hyper_parameters/function", "evil.f"))
    assert CurveFit.load_from_checkpoint(file, allow_import=["evil"]).curve.names == ("a", "b")
    assert not canary.exists()


# text that acts on what shows it

TITLE = "\x1b]0;owned\x07"
NAMES = ("=cmd|' /C calc'!A0", "+1+cmd", "-2+3", "@SUM(1)", "\t=1", "-5", "\x1b[2J[b]:smile:")
SERIES = "series,t,y\n" + "".join(f'"{name}",{t},{t * t + k}\n' for k, name in enumerate(NAMES) for t in range(5))
READ = ["--data=Table", "--data.path=x.csv", "--data.t=t", "--data.y=y"]


def test_series_are_named_by_text_everywhere(canary):
    here = canary.parent / "here"
    lay({"x.csv": SERIES}, canary)
    done = forked("fit", *READ, "--data.series=series", "--model.function=linear", cwd=here)
    assert done.code == 0
    assert "\x1b" not in done.out + done.err
    assert r"\x1b[2J[b]:smile:" in done.out
    report = forked("report", "--format=md", cwd=here)
    assert "\x1b" not in report.out
    assert r"`\x1b[2J[b]:smile:`" in report.out
    done = forked("predict", "--ckpt_path=last", cwd=here)
    assert done.code == 0
    with (here / "lightning_logs/version_0/predictions.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    quoted = ["'" + name.strip() for name in NAMES[:5]] + list(NAMES[5:])
    assert [row["series"] for row in rows[::5]] == quoted
    assert [float(row["residual"]) for row in rows if row["residual"].startswith("-")]


def test_a_column_is_named_by_text_everywhere(canary, monkeypatch, capfd):
    lay({"x.csv": f'"=1+1","{TITLE}[bold]y"\n' + "".join(f"{t},{t * t}\n" for t in range(5))}, canary)
    here = canary.parent / "here"
    read = ["--data=Table", "--data.path=x.csv", "--data.t==1+1"]
    done = forked("compare", *read, f"--data.y={TITLE}[bold]y", "--functions=linear,`=1+1`*a+b", cwd=here)
    assert done.code == 0
    assert "\x1b" not in done.out + done.err
    done = forked("fit", *read, f"--data.y={TITLE}[bold]y", "--model.function=`=1+1`*a + `[red]b`", cwd=here)
    assert done.code == 0
    assert "\x1b" not in done.out + done.err
    assert "[red]b" in done.out
    assert forked("predict", "--ckpt_path=last", cwd=here).code == 0
    [file] = here.glob("lightning_logs/version_*/predictions.csv")
    assert file.read_text().startswith("'=1+1,data,prediction,")
    code, [line] = command(["fit", *read, f"--data.y={TITLE}"], canary, monkeypatch, capfd)
    assert code == 2
    assert r"\x1b]0;owned\x07" in line
    assert "\x1b" not in line


@pytest.mark.parametrize("form", ["text", "json", "md", "latex"])
def test_a_result_moves_no_cursor(form, canary):
    text = f"{TITLE}\x9b2J``` <script>"
    result = {"function": text, "parameters": {text: 1.0}, "rmse": 1.0, "steps": 1, "status": text, "message": text}
    lay({"run/result.json": json.dumps(result, ensure_ascii=False)}, canary)
    done = forked("report", "run", f"--format={form}", cwd=canary.parent / "here")
    assert done.code == 0
    assert all(one.isprintable() or one == "\n" for one in done.out)
    if form == "json":
        assert json.loads(done.out) == result


def test_numbers_stay_numbers_in_csv():
    rows = [["-1", "+2.5e3", -1.5, "-inf", "=1", "-x", "", "a=1", "\r1"], [1, None, "@", "+", "-"]]
    assert csv_text(rows) == "-1,+2.5e3,-1.5,-inf,'=1,'-x,,a=1,\"'\r1\"\r\n1,,'@,'+,'-\r\n"


def test_types_of_arrow_that_were_pickles_are_columns_of_what_they_hold(canary):
    """Arrow once kept Python's types as pickles beside a column, and made them again when it was read."""
    here = canary.parent / "here"
    marks = {b"ARROW:extension:name": b"arrow.py_extension_type"}
    marks[b"ARROW:extension:metadata"] = pickle.dumps(Bomb(str(canary)))
    t = pa.field("t", pa.float64(), metadata=marks)
    y = pa.field("y", pa.float64())
    pandas = json.dumps({"columns": [{"name": "t", "numpy_type": "evil.f", "metadata": {"pickle": "x"}}]})
    schema = pa.schema([t, y], metadata={b"pandas": pandas.encode()})
    pq.write_table(pa.table([[0.0, 1, 2, 3], [1.0, 3, 5, 7.5]], schema=schema), here / "x.parquet")
    done = forked(
        "fit", "--data=Table", "--data.path=x.parquet", "--data.t=t", "--data.y=y", "--model.function=linear", cwd=here
    )
    assert done.code == 0
    assert canary.exists()


def test_tensorboard_shows_a_card_as_text(canary):
    """As it makes a page of the card: without what else its Markdown would be, such as links and pictures."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of a library in its own
        from tensorboard.plugin_util import markdown_to_safe_html
    link = "[x](https://example.org) ![x](https://example.org) <script>alert(1)</script>"
    name = f"```\n{link}\n{TITLE}`{link}"
    result = fit("linear", [0, 1, 2], [1, 2, 4], lr=0.1, steps=1).to_dict()
    told = {"sentences": [link], **{key: value for key, value in result["guidance"].items() if key != "sentences"}}
    result |= {"function": name, "equation": name, "message": name, "guidance": told}
    page = markdown_to_safe_html(card(result, f"gd-lightning fit --model.function {name}"))
    assert "owned" in page
    assert "<h3>What you are looking at</h3>" in page
    assert not re.search("<(a|img|script) ", page.replace("<script>", "<script >"))
