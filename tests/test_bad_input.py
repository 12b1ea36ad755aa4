"""Wrong input on the real command line: one line, exit code 2, nothing written."""

import pytest
from conftest import forked

TABLE = ["fit", "--data=Table", "--data.t=speed", "--data.y=dist"]
FILES = {
    "good.csv": "speed,dist\n4,2\n7,4\n8,16\n9,10\n",
    "text.csv": "speed,dist\n4,2\n7,abc\n8,16\n9,10\n",
    "nan.csv": "speed,dist\n4,2\n7,4\n8,nan\n9,10\n",
    "speeds.csv": "speed\n4\n7\n8\n",
    "gaps.csv": "speed,dist\n4,\n7,\n",
    "one.csv": "speed,dist\n4,2\n",
    "empty.csv": "",
    "key.yaml": "model: {lrr: 1e-5}\n",
    "section.yaml": "modell: {lr: 1e-5}\n",
    "broken.yaml": "model: {lr: [1\n",
    "type.yaml": "trainer: {max_epochs: ten}\n",
    "class.yaml": "data: {class_path: NoisySerie}\n",
    "argument.yaml": "data: {class_path: NoisySeries, init_args: {pointts: 3}}\n",
    "quadratic.yaml": "model: {function: quadratic}\n",
    "large.csv": "speed,dist\n1,1e300\n2,3\n3,4\n",
    "null.yaml": "model: null\n",
    "latin.yaml": b"model: {function: quadr\xe4tic}\n",
    "twice.csv": "speed,dist,dist\n1,2,3\n2,3,4\n3,4,5\n",
    "constant.csv": "speed,dist\n4,2\n4,3\n4,4\n",
    "sigma.csv": "speed,dist,err\n4,2,1\n5,3,0\n6,4,1\n",
    "mixed.csv": b"speed,dist\n4,2\n5,3\xe9\n6,4\n",
    "short.csv": "speed,dist,who\n1,2,a\n2,3,a\n3,4,a\n1,2,b\n",
    "below.csv": "speed,dist\n-1,2\n1,3\n2,4\n",
    "old.parquet": b"PAR1 but no Parquet",
    "curves.py": "def f(t, a):\n    return a * t\n\n\nthing = 3\n",
    "broken_curves.py": "def f(t, a)\n",
    "ties.yaml": "model: {parameters: {a: {expr: b}, b: {expr: 2*a}}}\n",
    "bounds.yaml": "model: {parameters: {a: {init: 1, min: 2}}}\n",
}
CASES = {
    "misspelt option": (["fit", "--model.lrr=1e-5"], ["--model.lrr", "did you mean --model.lr?"]),
    "abbreviated option": (["fit", "--trainer.max_epoch=3"], ["did you mean --trainer.max_epochs?"]),
    "misspelt key": (["fit", "--config=key.yaml"], ["'model.lrr'", "did you mean model.lr?"]),
    "misspelt section": (["fit", "--config=section.yaml"], ["'modell.lr'", "did you mean model.lr?"]),
    "misspelt data class": (["fit", "--data=Tabel"], ["'Tabel'", "did you mean 'Table'?"]),
    "misspelt class in a file": (["fit", "--config=class.yaml"], ["'NoisySerie'", "did you mean 'NoisySeries'?"]),
    "misspelt argument": (["fit", "--data.point=3"], ["NoisySeries takes no 'point'", "did you mean 'points'?"]),
    "misspelt argument in a file": (["fit", "--config=argument.yaml"], ["'pointts'", "did you mean 'points'?"]),
    "misspelt family": (["fit", "--model.function=quadratik"], ["'quadratik'", "did you mean 'quadratic'?"]),
    "misspelt rule": (["fit", "--model.optimizer=SDG"], ["'SDG'", "did you mean 'SGD'?"]),
    "misspelt rule of torch": (
        ["fit", "--model.optimizer=torch.optim.Adm"],
        ["torch.optim.Adm", "did you mean 'Adam'?"],
    ),
    "a rule that needs closures": (["fit", "--model.optimizer=LBFGS"], ["LBFGS needs more than one", "such as SGD"]),
    "a number of a rule out of range": (
        ["fit", "--model.optimizer=Adam", "--model.optimizer.eps=-1"],
        ["optimizer: eps is -1.0", "above 0"],
    ),
    "misspelt scheduler": (
        ["fit", "--model.scheduler=StepLRR"],
        ["model.scheduler", "'StepLRR'", "did you mean 'StepLR'?"],
    ),
    "misspelt callback": (["fit", "--trainer.callbacks=EarlyStoping"], ["'EarlyStoping'", "'EarlyStopping'?"]),
    "misspelt command": (["fti"], ["unknown command 'fti'", "did you mean 'fit'?"]),
    "no command": ([], ["no command given", "fit, predict"]),
    "text for a whole number": (["fit", "--config=type.yaml"], ["trainer.max_epochs", "'ten'", "a whole number"]),
    "text for points": (["fit", "--data.points=many"], ["data.points", "'many'", "a whole number"]),
    "a number for a mapping": (["fit", "--model.init=3"], ["model.init", "'3'", "a mapping such as {a: 1, b: 2}"]),
    "unknown parameter": (["fit", "--model.init.z=3"], ["quadratic has no parameter 'z'", "a, b, c"]),
    "negative lr": (["fit", "--model.lr=-1"], ["lr: given -1.0", "expected a finite number above 0"]),
    "lr of zero": (["fit", "--model.lr=0"], ["lr: given 0.0", "above 0"]),
    "zero epochs": (["fit", "--trainer.max_epochs=0"], ["trainer.max_epochs: given 0", "at least 1"]),
    "zero steps": (["fit", "--trainer.max_steps=0"], ["trainer.max_steps: given 0", "at least 1"]),
    "endless": (["fit", "--trainer.max_epochs=-1"], ["never ends"]),
    "zero steps an epoch": (["fit", "--model.steps_per_epoch=0"], ["steps_per_epoch: given 0", "at least 1"]),
    "a random seed": (["fit", "--seed_everything=true"], ["seed_everything: given True", "a whole number"]),
    "a negative seed": (["fit", "--seed_everything=-1"], ["seed_everything: given -1", "at least 0"]),
    "a section of null": (["fit", "--config=null.yaml"], ["model"]),
    "a config in another encoding": (["fit", "--config=latin.yaml"], []),
    "an empty config": (["fit", "--config=empty.csv"], ["no keys and values", "model: {lr: 1e-5}"]),
    "no points": (["fit", "--data.points=0"], ["data.points: given 0", "at least 1"]),
    "points of null": (["fit", "--data.points=null"], ["points"]),
    "a negative seed of the data": (["fit", "--data.seed=-1"], ["data.seed: given -1"]),
    "a checkpoint without its value": (["fit", "--ckpt_path"], ["ckpt_path"]),
    "a folder for a checkpoint": (
        ["fit", "--ckpt_path=."],
        ["ckpt_path: . holds no checkpoints/last.ckpt", "the folder of a fit"],
    ),
    "a number too large": (
        [*TABLE, "--data.path=large.csv"],
        ["y: point 1 of 3 is 1e+300", "computes with squares of 1e-146 to 2e+146", "multiply it by 1e-300"],
    ),
    "a repeated column": ([*TABLE, "--data.path=twice.csv"], ["has 2 columns 'dist', expected one"]),
    "what the rules share": (["fit", "--model.optimizer=UpdateRule"], ["UpdateRule is what the rules share"]),
    "what torch's rules share": (["fit", "--model.optimizer=torch.optim.Optimizer"], ["optimizer"]),
    "what the data share": (["fit", "--data=gd_lightning.data.Series"], ["data"]),
    "no batches": (["fit", "--trainer.limit_train_batches=0"], ["a limit of 0 batches"]),
    "half precision": (["fit", "--trainer.precision=bf16-true"], ["trainer.precision: given 'bf16-true'", "'64-true'"]),
    "null for a number": (["fit", "--data.holdout=null"], ["data.holdout: given null; leave it out for 0.0"]),
    "null for a seed": (["fit", "--seed_everything=null"], ["seed_everything"]),
    "a callback that cannot be made": (
        ["fit", "--trainer.callbacks=Timer", "--trainer.callbacks.interval=null"],
        ["a class of the configuration cannot be made: Unsupported parameter value", "Possible choices are"],
    ),
    "limits that are none": (["fit", "--plots.ylim=[5,5]"], ["plots.ylim: given [5.0, 5.0]", "the lower one first"]),
    "missing config": (["fit", "--config=quadratik.yaml"], ["no such file: quadratik.yaml", "'quadratic.yaml'?"]),
    "broken config": (["fit", "--config=broken.yaml"], ["not valid YAML", "line 1"]),
    "missing table": ([*TABLE, "--data.path=goood.csv"], ["goood.csv is no such file", "did you mean 'good.csv'?"]),
    "missing column": ([*TABLE, "--data.path=good.csv", "--data.y=dits"], ["no column 'dits'", "'dist'?"]),
    "no column with the data": (
        ["fit", "--data=Table", "--data.path=speeds.csv", "--data.t=speed", "--data.y=dist"],
        ["speeds.csv: only one column, 'speed'"],
    ),
    "no data in their column": ([*TABLE, "--data.path=gaps.csv"], ["none of 2 data rows", "'speed' and 'dist'"]),
    "table without columns": (["fit", "--data=Table", "--data.path=good.csv"], ["also needs t", "--data.t ..."]),
    "empty table": ([*TABLE, "--data.path=empty.csv"], ["empty.csv: empty file"]),
    "text in a column": ([*TABLE, "--data.path=text.csv"], ["'dist'", "data row 2 (line 3 of the file)", "'abc'"]),
    "no value left in a column": (
        [*TABLE, "--data.path=nan.csv", "--data.sigma=dist", "--data.holdout=0.9"],
        ["data.holdout: 0.9 leaves a series no point to fit"],
    ),
    "a formula with ^": (["fit", "--model.function=a*t^2"], ["column 4", "^ is no power here; expected **"]),
    "an attribute in a formula": (["fit", "--model.function=a*t.real"], ["column 4", "an attribute"]),
    "an unknown function in a formula": (["fit", "--model.function=a*ep(t)"], ["column 3", "did you mean 'exp'?"]),
    "a formula that runs code": (["fit", "--model.function=open(t)"], ["column 1", "no function 'open'"]),
    "a formula without its predictor": (
        [*TABLE, "--data.path=good.csv", "--model.function=a*seconds"],
        ["has the names a, seconds", "a formula in speed, or in t"],
    ),
    "a predictor that is not used": (
        ["fit", "--data=Table", "--data.path=good.csv", "--data.t=[speed,dist]", "--data.y=dist"],
        ["quadratic does not use the predictor 'speed'"],
    ),
    "a module that is not there": (
        ["fit", "--model.function=no_curves.f"],
        ["no module 'no_curves'", "my_curves.damped"],
    ),
    "a function that is not there": (["fit", "--model.function=curves.g"], ["curves has no 'g'", "choose from f"]),
    "no function at all": (["fit", "--model.function=curves.thing"], ["curves.thing is int, expected a function"]),
    "a module with a mistake": (["fit", "--model.function=broken_curves.f"], ["SyntaxError", "line 1"]),
    "demands on no parameter": (["fit", "--model.parameters.z.min=0"], ["quadratic has no parameter 'z'", "a, b, c"]),
    "an unknown demand": (["fit", "--model.parameters.a.minn=0"], ["a has the key 'minn'", "did you mean 'min'?"]),
    "circular ties": (["fit", "--config=ties.yaml"], ["in a circle", "a = b", "b = 2*a"]),
    "a start outside its bounds": (["fit", "--config=bounds.yaml"], ["a has init 1, outside its bounds 2 to inf"]),
    "min above max": (["fit", "--model.parameters.a.min=2", "--model.parameters.a.max=1"], ["min 2 and max 1"]),
    "an unknown loss": (["fit", "--model.loss=hubber"], ["loss: given 'hubber'", "did you mean 'huber'?"]),
    "an unknown start": (["fit", "--model.start=guess"], ["start: given 'guess'", "data, random"]),
    "an lr that is no number": (["fit", "--model.lr=fast"], ["model.lr", "'fast'"]),
    "a holdout that leaves nothing": (["fit", "--data.holdout=1"], ["data.holdout: given 1", "from 0 to below 1"]),
    "constant t": ([*TABLE, "--data.path=constant.csv"], ["speed: all 3 points", "at 4", "at least two places"]),
    "a sigma of zero": ([*TABLE, "--data.path=sigma.csv", "--data.sigma=err"], ["'err'", "holds 0", "above 0"]),
    "mixed encodings": ([*TABLE, "--data.path=mixed.csv"], ["mixed.csv", "row 2"]),
    "a short series": ([*TABLE, "--data.path=short.csv", "--data.series=who"], ["series 2 has 1 point", "at least 3"]),
    "outside the domain": (
        [*TABLE, "--data.path=below.csv", "--model.function=power_law"],
        ["speed: point 1 of 3 is -1", "power_law is defined for t > 0"],
    ),
    "a broken Parquet file": ([*TABLE, "--data.path=old.parquet"], ["old.parquet: cannot be read as Parquet"]),
    "standard input without a table": ([*TABLE, "--data.path=-"], ["standard input: empty file"]),
    "a degree too high": (["fit", "--model.function=polynomial(99)"], ["polynomial", "99", "20"]),
    "functions of two names": (["functions", "a", "b"], ["given 'a b'", "expected one name"]),
    "a single point": ([*TABLE, "--data.path=one.csv"], ["1 point", "at least 3", "a, b, c"]),
    "resume from no checkpoint": (["fit", "--ckpt_path=good.csv"], ["good.csv is no checkpoint", "last.ckpt"]),
    "resume from a missing file": (["fit", "--ckpt_path=no.ckpt"], ["no such file: no.ckpt", "'last'"]),
    "predict from nothing": (["predict"], ["ckpt_path: given none", "'last'"]),
    "predict from no run": (["predict", "--ckpt_path=last"], ["'last'", "no run with a checkpoint"]),
    "missing accelerator": (["fit", "--trainer.accelerator=cuda"], ["accelerator auto takes what this machine has"]),
    "processes that keep the result": (["fit", "--trainer.strategy=ddp_spawn"], ["'ddp_spawn'", "expected ddp"]),
    "unknown accelerator": (["fit", "--trainer.accelerator=gpuu"], ["'gpuu'", "cpu"]),
    "plots of every zeroth step": (["fit", "--plots.every_n_steps=0"], ["plots.every_n_steps: given 0"]),
}


@pytest.mark.parametrize(("args", "said"), CASES.values(), ids=CASES)
def test_one_line_and_exit_code_2(tmp_path, args, said):
    for name, text in FILES.items():
        (tmp_path / name).write_bytes(text if isinstance(text, bytes) else text.encode())
    done = forked(*args, cwd=tmp_path)
    assert done.code == 2
    assert done.out == ""
    [line] = done.err.splitlines()
    assert line.startswith("gd-lightning: error: ")
    for words in said:
        assert words in line
    assert sorted(p.name for p in tmp_path.iterdir()) == sorted(FILES)
