"""Draws the pictures of the documentation and writes docs/functions.md: python docs/draw.py."""

import csv
import inspect
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import torch

from gd_lightning import FitResult, compare, fit, functions
from gd_lightning.catalog import description
from gd_lightning.comparison_drawing import draw_competitors
from gd_lightning.curve import Curve
from gd_lightning.drawing import drawable
from gd_lightning.listing import families
from gd_lightning.page import add_legend, blank_figure
from gd_lightning.rendering import png
from gd_lightning.resolve import equation, parameter_names, resolve

DOCS = Path(__file__).parent

# What each picture shows: the range of t, and the true parameters in the order of the signature.
EXAMPLES: dict[str, tuple[float, float, list[float]]] = {
    "linear": (0, 10, [0.8, 2]),
    "quadratic": (0, 19, [0.8, -12, 46]),
    "cubic": (-3, 3, [1, 0.5, -5, 2]),
    "polynomial": (-1, 1, [1, -2, -3, 3, 4]),
    "exponential_growth": (0, 10, [2, 0.35]),
    "exponential_decay": (0, 10, [3, 2, 1]),
    "double_exponential": (0, 10, [3, 0.5, 2, 5]),
    "power_law": (0.5, 20, [2, 0.6]),
    "logarithmic": (0.2, 20, [1.5, 2]),
    "logistic": (0, 12, [5, 1.2, 6]),
    "gompertz": (0, 12, [5, 0.6, 4]),
    "richards": (0, 12, [5, 1.2, 6, 3]),
    "hill": (0, 20, [5, 6, 3]),
    "michaelis_menten": (0, 20, [5, 3]),
    "arrhenius": (290, 360, [2e8, 5e4]),
    "gaussian": (0, 10, [3, 5, 1]),
    "lorentzian": (0, 10, [3, 5, 0.8]),
    "pseudo_voigt": (0, 10, [3, 5, 1, 0.5]),
    "sine": (0, 10, [2, 0.4, 0.5, 1]),
    "damped_sine": (0, 10, [2, 3, 0.7, 0.5, 1]),
    "error_function": (0, 10, [2, 5, 1.5, 1]),
    "rational": (0, 10, [1, 2, -0.2, 0.08]),
}

# The long run of why-it-stalls.md.
PATIENCE = [
    "--model.lr=3e-5",
    "--model.steps_per_epoch=1000",
    "--trainer.max_steps=20000",
    "--trainer.log_every_n_steps=1000",
]

HEAD = """\
# The families

Each is a plain function of `t` and its parameters, used by its name: `--model.function gaussian` on the command line,
`fit("gaussian", t, y)` in Python, and inside formulas, `"gaussian(t, a1, c1, w1) + slope*t + intercept"`. Each has a
starting guess from the data. The pictures show data with 5 % of noise and the fit from that guess; `docs/draw.py`
draws them, and writes this page from what the functions say of themselves. `gd-lightning functions` lists them in a
terminal.

"""
FOOT = "\nNone of them? Next: [your own function](your-function.md).\n"


def section(name: str) -> str:
    """What the page says of one family."""
    family = resolve(name)
    text = inspect.getdoc(getattr(functions, name)) or ""
    arguments = re.findall(
        r"^    \*?(\w+): (.+(?:\n {8}.+)*)", text.partition("Args:\n")[2].partition("\n\n")[0], re.MULTILINE
    )
    lines = [f"## {name}", "", f"    {equation(family)}", "", description(families()[name].documentation), ""]
    for argument, meaning in arguments:
        if argument != "t":
            plain = re.sub(r"; scalar or `\(\*batch, 1\)`(, like every parameter)?", "", " ".join(meaning.split()))
            lines.append(f"- `{argument}`: {plain}")
    further = [paragraph for paragraph in text.split("\n\n") if paragraph.startswith(("Defined", "Source"))]
    lines += ["", *(" ".join(paragraph.split()) + "  " for paragraph in further)]
    return "\n".join([*lines, "", f"![Data and fit of {name}](functions/{name}.png)", ""])


def page() -> str:
    """The whole of docs/functions.md."""
    contents = " · ".join(f"[{name}](#{name})" for name in EXAMPLES)
    return f"{HEAD}{contents}\n\n" + "\n".join(section(name) for name in EXAMPLES) + FOOT


def draw(name: str) -> bytes:
    """The picture of one family, as PNG."""
    low, high, values = EXAMPLES[name]
    generator = torch.Generator().manual_seed(2021)
    t = torch.linspace(low, high, 60, dtype=torch.float64)
    curve = Curve(name).double()
    assert len(parameter_names(resolve(name))) == len(values)
    y = curve.evaluate(t, torch.tensor(values, dtype=torch.float64))
    noise = 0.05 * (y.max() - y.min()) * torch.randn(60, generator=generator, dtype=torch.float64)
    return png(fit(name, t, y + noise, start="data", lr="auto", steps=2000).plot())


def uncertain() -> FitResult:
    """The decay of twelve points of uncertainty.md."""
    t = np.arange(12.0)
    y = 3 * np.exp(-t / 4) + 1 + np.random.default_rng(1).normal(0, 0.3, 12)
    return fit("a*exp(-t/tau) + c", t, y, parameters={"tau": {"min": 0.1}})


def beyond(*chosen: str) -> bytes:
    """Functions that the stopping distances do not tell apart, and where they part, as PNG."""
    with (DOCS.parent / "examples" / "stopping_distance.csv").open() as file:
        rows = list(csv.DictReader(file))
    speed, distance = (torch.tensor([float(row[name]) for row in rows], dtype=torch.float64) for name in rows[0])
    found = compare(speed, distance, chosen)
    grid = torch.linspace(0.5, 50, 400, dtype=torch.float64)
    results = [row.result for row in found.fitted if row.result is not None]
    lines = [(result.function, grid.numpy(), result.predict(grid).numpy()) for result in results]
    figure = blank_figure(6.4, 4.4)
    axes = figure.subplots()
    draw_competitors(axes, drawable(speed, distance, distance), lines)
    axes.set(xlim=(0, 50), ylim=(-5, 400), xlabel="speed", ylabel="dist")
    add_legend(figure, [axes], 0)
    return png(figure)


def run(config: str, *options: str, command: str = "fit", **pictures: str) -> None:
    """Keep pictures of a configuration's run: their names here, and what the run calls them."""
    with tempfile.TemporaryDirectory() as folder:
        typed = ["-m", "gd_lightning", command, "--config", f"configs/{config}.yaml", "--trainer.accelerator=cpu"]
        subprocess.run(
            [sys.executable, *typed, *options, f"--trainer.default_root_dir={folder}"],
            cwd=DOCS.parent,
            check=True,
            stdout=subprocess.DEVNULL,
        )
        for here, there in pictures.items():
            shutil.copy(Path(folder, "lightning_logs", "version_0", f"{there}.png"), DOCS / f"{here}.png")


def many() -> None:
    """The worst, median and best of ten thousand peaks."""
    with tempfile.TemporaryDirectory() as folder:
        config, script = DOCS.parent / "configs" / "million_series.yaml", DOCS.parent / "examples" / "million_series.py"
        for typed in (
            [str(script), "--series", "10000"],
            ["-m", "gd_lightning", "fit_many", "--config", str(config), "--trainer.accelerator=cpu"],
        ):
            subprocess.run([sys.executable, *typed], cwd=folder, check=True, stdout=subprocess.DEVNULL)
        shutil.copy(Path(folder, "fits.png"), DOCS / "many-series.png")


if __name__ == "__main__":
    many()
    run("quadratic", film_strip="film_strip", landscape="landscape")
    run("quadratic", *PATIENCE, parameters="parameters")
    run("quadratic", command="sweep", sweep="sweep")
    run("co2", co2="prediction")
    (DOCS / "bands.png").write_bytes(png(uncertain().plot()))
    (DOCS / "profile.png").write_bytes(png(uncertain().profile().plot()))
    run("peak", command="compare", **{"choosing-peak": "comparison"})
    (DOCS / "choosing-beyond.png").write_bytes(
        beyond("power_law", "exponential_growth", "exponential_decay", "quadratic")
    )
    (DOCS / "functions").mkdir(exist_ok=True)
    for family in EXAMPLES:
        (DOCS / "functions" / f"{family}.png").write_bytes(draw(family))
    (DOCS / "functions.md").write_text(page())
