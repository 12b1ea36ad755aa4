import multiprocessing
import os
import signal
import subprocess
import sys
import tempfile
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch

from gd_lightning.optim import UpdateRule

ROOT = Path(__file__).parents[1]

# As the article prints them: the RMSE before each of its ten steps.
ARTICLE_RMSE = [
    74.96194346966999,
    36.43029986215973,
    22.692756149058336,
    19.006926227796704,
    18.225665028268686,
    18.073917779669408,
    18.04494798288646,
    18.039351786874853,
    18.03818276871748,
    18.037850320630035,
]


class HeavyBall(UpdateRule):
    """v <- beta * v + g; theta <- theta - lr * v: made by the recipe in CONTRIBUTING."""

    def __init__(self, params, lr, beta=0.9):
        super().__init__(params, lr, beta=beta)

    def update(self, theta, g, state, lr, beta):
        v = state["v"] = beta * state["v"] + g if "v" in state else g.clone()
        return theta - lr * v


@dataclass
class Article:
    """The article's series and start, drawn from the global generator as its notebook draws them."""

    t: torch.Tensor
    y: torch.Tensor
    start: torch.Tensor
    rmse: list[float]

    @property
    def init(self):
        return dict(zip("abc", self.start.tolist(), strict=True))


@pytest.fixture(scope="session")
def article():
    with torch.random.fork_rng():
        torch.manual_seed(2021)
        t = torch.arange(0, 20).float()
        y = torch.rand(20) * 5 + 0.8 * (t - 7.5) ** 2 + 1
        torch.randn(3)
        start = torch.randn(3)
    return Article(t, y, start, ARTICLE_RMSE)


@pytest.fixture(scope="session")
def peak():
    """A noisy peak of height 3 at 1, 0.6 wide."""
    t = torch.linspace(-5, 5, 60)
    noise = torch.randn(60, generator=torch.Generator().manual_seed(1))
    return t, 3 * torch.exp(-((t - 1) ** 2) / (2 * 0.6**2)) + 0.2 * noise


@dataclass
class Finished:
    code: int
    out: str
    err: str


def gd_lightning(*args, cwd, gpu=False, timeout=300):
    """The real command line in a fresh process, with nothing of this one but the path of the package.

    Without a GPU, unless one is asked for: the article's last digits are the CPU's.
    """
    env = {**os.environ, "COLUMNS": "120", "PYTHONPATH": str(ROOT)}
    if not gpu:
        env["CUDA_VISIBLE_DEVICES"] = ""
    for name in ("PYTHONWARNINGS", "FORCE_COLOR", "PYTEST_CURRENT_TEST"):
        env.pop(name, None)
    done = subprocess.run(
        [sys.executable, "-m", "gd_lightning", *map(str, args)],
        cwd=cwd,
        env=env,
        capture_output=True,
        text=True,
        timeout=timeout,
        stdin=subprocess.DEVNULL,
    )
    return Finished(done.returncode, done.stdout, done.stderr)


WATCHED = {"test": True}  # whether coverage counts what the present test runs


@pytest.fixture(autouse=True)
def _watched(request):
    """What is marked `no_cover` forks processes that are not watched either: they take twice their time else."""
    WATCHED["test"] = request.node.get_closest_marker("no_cover") is None


PROCESSES = multiprocessing.get_context("forkserver")
PROCESSES.set_forkserver_preload(["gd_lightning.cli"])


def forked(*args, cwd, timeout=300, **how):
    """The command line in a process of its own that has its imports behind it, for the many runs that end early.

    `how` is as `started` takes it.
    """
    with started(*args, cwd=cwd, **how) as running:
        return running.finished(timeout)


@dataclass
class Running:
    process: multiprocessing.Process
    folder: str

    def send(self, signal_number):
        os.kill(self.process.pid, signal_number)

    def finished(self, timeout=300):
        """What it said, at its end."""
        self.process.join(timeout)
        assert self.process.exitcode is not None, f"still running after {timeout} s"
        return Finished(self.process.exitcode, *(Path(self.folder, name).read_text() for name in ("out", "err")))


@contextmanager
def started(*args, cwd, env=None, path=(), given=b""):
    """The same, which ends with the block, by SIGKILL where it has not ended before.

    `env` is what the environment has more, `path` are folders in which it finds modules as if they were installed,
    `given` is its standard input.
    """
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "in").write_bytes(given)
        given = [str(arg) for arg in args], str(cwd), folder, env or {}, [str(one) for one in path], WATCHED["test"]
        process = PROCESSES.Process(target=_in_its_own_process, args=given)
        process.start()
        try:
            yield Running(process, folder)
        finally:
            process.kill()
            process.join()


def _in_its_own_process(args, cwd, folder, env, path, watched):
    if not watched:
        sys.settrace(None)
    os.environ.update(COLUMNS="120", CUDA_VISIBLE_DEVICES="", **env)
    sys.path.extend(path)
    os.chdir(cwd)
    for number, name in ((1, "out"), (2, "err")):
        os.dup2(os.open(Path(folder, name), os.O_CREAT | os.O_WRONLY), number)
    os.dup2(os.open(Path(folder, "in"), os.O_RDONLY), 0)
    sys.stdin = open(0)  # noqa: SIM115
    sys.stdout, sys.stderr = open(1, "w", buffering=1), open(2, "w", buffering=1)  # noqa: SIM115
    signal.signal(signal.SIGINT, signal.default_int_handler)  # which the server of forks ignores
    from gd_lightning.__main__ import main

    sys.exit(main(args))


@dataclass
class ArticleRun(Finished):
    folder: Path
    """Where the command ran."""

    @property
    def version_0(self):
        return self.folder / "lightning_logs" / "version_0"


@pytest.fixture(scope="session")
def article_run(tmp_path_factory):
    """`gd-lightning fit --config configs/quadratic.yaml`, run once and looked at by many tests."""
    folder = tmp_path_factory.mktemp("article")
    done = gd_lightning("fit", "--config", ROOT / "configs" / "quadratic.yaml", cwd=folder)
    return ArticleRun(done.code, done.out, done.err, folder)
