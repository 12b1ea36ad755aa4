"""SLURM is simulated by its environment variables; what its `srun` would start is started here."""

import os
import shutil
import signal
import time

import pytest
from conftest import forked, started

from gd_lightning.runs import checkpoint_in

TASK = {
    "SLURM_NTASKS": "1",
    "SLURM_JOB_NAME": "fit",
    "SLURM_JOB_ID": "7",
    "SLURM_PROCID": "0",
    "SLURM_LOCALID": "0",
    "SLURM_NODEID": "0",
    "SLURM_NODELIST": "localhost",
}


def test_a_run_goes_on_from_nothing_that_it_was_not_given(tmp_path):
    assert forked("fit", "--trainer.max_epochs=2", "--model.init.a=7", cwd=tmp_path, env=TASK).code == 0
    shutil.copy(checkpoint_in(tmp_path / "lightning_logs/version_0"), tmp_path / "hpc_ckpt_1.ckpt")
    done = forked("fit", "--trainer.max_epochs=4", cwd=tmp_path, env=TASK)
    assert (done.code, done.out) == (2, "")
    assert done.err == (
        "gd-lightning: error: ckpt_path: none is given, and under SLURM Lightning would go on from "
        f"{tmp_path}/hpc_ckpt_1.ckpt; remove that file, or name it\n"
    )
    named = forked("fit", "--trainer.max_epochs=4", "--ckpt_path=hpc_ckpt_1.ckpt", cwd=tmp_path, env=TASK)
    assert (named.code, named.err) == (0, "")
    assert "Going on from hpc_ckpt_1.ckpt after step 2." in named.out
    elsewhere = forked("fit", "--trainer.max_epochs=4", cwd=tmp_path)
    assert (elsewhere.code, elsewhere.err) == (0, "")


@pytest.mark.parametrize(("sent", "code"), [(signal.SIGUSR1, -signal.SIGUSR1), (signal.SIGTERM, 143)])
def test_a_signal_leaves_no_checkpoint_beside_the_runs(tmp_path, sent, code):
    quiet = ["--trainer.log_every_n_steps=100000", "--plots.every_n_steps=100000"]
    with started("fit", "--trainer.max_epochs=1000000", *quiet, cwd=tmp_path, env=TASK) as running:
        end = time.monotonic() + 120
        while checkpoint_in(tmp_path / "lightning_logs/version_0") is None:
            assert time.monotonic() < end
            time.sleep(0.01)
        running.send(sent)
        assert running.finished(60).code == code
    assert os.listdir(tmp_path) == ["lightning_logs"]
