import os
import subprocess
import sys
import threading

import pytest

from gd_lightning.errors import InputError
from gd_lightning.files import write_whole


def test_text_and_bytes_take_the_place_of_what_was_there(tmp_path):
    path = tmp_path / "a.txt"
    write_whole(path, "é")
    assert path.read_bytes() == "é".encode()
    write_whole(str(path), b"\x00")
    assert path.read_bytes() == b"\x00"
    assert os.listdir(tmp_path) == ["a.txt"]


def test_a_link_stays_and_leads_to_the_new_text(tmp_path):
    (tmp_path / "real.txt").write_text("old")
    (tmp_path / "link.txt").symlink_to("real.txt")
    write_whole(tmp_path / "link.txt", "new")
    assert (tmp_path / "link.txt").is_symlink()
    assert (tmp_path / "real.txt").read_text() == "new"


def test_a_pipe_is_written_to(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    read = []
    reader = threading.Thread(target=lambda: read.append((tmp_path / "pipe").read_text()))
    reader.start()
    write_whole(tmp_path / "pipe", "through")
    reader.join(timeout=60)
    assert read == ["through"]
    assert (tmp_path / "pipe").is_fifo()


@pytest.mark.parametrize("path", ["", ".", "/", "folder", "missing/a.txt"])
def test_what_names_no_file_is_refused_in_one_line(path, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "folder").mkdir()
    with pytest.raises(InputError, match=r"^given '.*' to write to, ") as caught:
        write_whole(path, "text")
    assert "\n" not in str(caught.value)
    assert os.listdir(tmp_path) == ["folder"]
    assert os.listdir(tmp_path / "folder") == []


def test_a_file_that_cannot_grow_leaves_what_was_there(tmp_path):
    """A limit on the size of files stands for a full disk."""
    (tmp_path / "a.txt").write_text("old")
    code = (
        "import resource, signal; from gd_lightning.files import write_whole\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))\n"
        "write_whole('a.txt', 'x' * 2000)"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True)
    assert "File too large" in done.stderr
    assert os.listdir(tmp_path) == ["a.txt"]
    assert (tmp_path / "a.txt").read_text() == "old"
