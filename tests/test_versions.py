import platform
from importlib.metadata import version

from gd_lightning.versions import versions


def test_what_is_installed_is_named_with_its_version():
    found = versions()
    assert found["python"] == platform.python_version()
    assert found["torch"] == version("torch")
    assert found["lightning"] == version("lightning")
