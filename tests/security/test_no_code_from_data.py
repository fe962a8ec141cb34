"""Nothing that is read is run: no source of ours turns data into code, but where a reason stands."""

from pathlib import Path

import pytest

from security.code_in_data import ALLOWED, sins
from support_floors import sources_of

ROOT = Path(__file__).parents[2]
SOURCES = sources_of(ROOT / "common", ROOT / "paramserver", ROOT / "worker")


def test_no_source_turns_data_into_code() -> None:
    found = [
        f"{name}:{line} {what}: {why}"
        for name, text in SOURCES.items()
        for line, what, why in sins(name, text)
    ]
    assert found == []


def test_every_exception_is_one_and_has_a_reason() -> None:
    """Who is allowed what is not used any more is allowed it no more."""
    for (name, what), reason in ALLOWED.items():
        assert reason
        used = [one for _, one, _ in sins("a module that is allowed nothing", SOURCES[name])]
        assert what in used, f"{name} does not use {what}"


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("import pickle", "pickle"),
        ("from pickle import loads", "pickle"),
        ("def f():\n    import _pickle as harmless", "_pickle"),
        ("import dill", "dill"),
        ("import cloudpickle", "cloudpickle"),
        ("from joblib import load", "joblib"),
        ("import shelve", "shelve"),
        ("import marshal", "marshal"),
        ("import importlib.util", "importlib"),
        ("from importlib import import_module", "importlib"),
        ("import runpy", "runpy"),
        ("import ctypes", "ctypes"),
        ("eval(text)", "eval"),
        ("run = exec", "exec"),
        ("compile(text, '', 'exec')", "compile"),
        ("__import__(name)", "__import__"),
        ("builtins.eval(text)", "eval"),
        ("loader.exec_module(module)", "exec_module"),
        ("socket.send_pyobj(x)", "send_pyobj"),
        ("socket.recv_pyobj()", "recv_pyobj"),
        ("pandas.read_pickle(path)", "read_pickle"),
        ("np.load(path)", "np.load"),
        ("numpy.load(path, mmap_mode='r')", "np.load"),
        ("np.load(path, allow_pickle=True)", "allow_pickle"),
        ("read_array(file, allow_pickle=trusted)", "allow_pickle"),
        ("from numpy import load", "numpy.load"),
        ("torch.load(path)", "torch.load"),
        ("torch.load(path, weights_only=False)", "torch.load"),
        ("from torch import load", "torch.load"),
        ("yaml.load(text, Loader=yaml.Loader)", "yaml.load"),
        ("yaml.unsafe_load(text)", "unsafe_load"),
        ("subprocess.run(text, shell=True)", "shell"),
        ("subprocess.Popen(text, shell=is_text)", "shell"),
        ("os.system(text)", "system"),
        ("from os import popen", "popen"),
    ],
)
def test_each_sin_is_found(text: str, what: str) -> None:
    assert what in [used for _, used, _ in sins("ps_common.errors", text)]


@pytest.mark.parametrize(
    "text",
    [
        "np.load(path, allow_pickle=False)", "torch.load(path, weights_only=True)", "re.compile('x')",
        "yaml.safe_load(text)", "subprocess.run(['ls'])", "subprocess.run(words, shell=False)",
        "module.eval()", "np.loadtxt(path)", "vector.ctypes.data",
    ],
)  # fmt: skip
def test_what_only_looks_like_a_sin_is_none(text: str) -> None:
    assert list(sins("ps_common.errors", text)) == []
