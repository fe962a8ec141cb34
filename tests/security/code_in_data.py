"""Reads sources and says where what comes from a socket or a file could become code.

What is a sin is a closed table of names: whatever unpickles, compiles, imports by a name that is no literal,
starts a shell or calls into memory. Who has a reason is in ALLOWED, with it.
"""

import ast
from collections.abc import Iterator, Mapping

MODULES = {
    "pickle": "unpickling runs code",
    "cPickle": "unpickling runs code",
    "_pickle": "unpickling runs code",
    "dill": "unpickling runs code",
    "cloudpickle": "unpickling runs code",
    "joblib": "its files are pickles",
    "shelve": "its files are pickles",
    "marshal": "it loads code",
    "code": "it runs text",
    "codeop": "it compiles text",
    "runpy": "it runs files",
    "imp": "it loads code",
    "importlib": "it loads code by name",
    "ctypes": "it calls into memory",
    "cffi": "it calls into memory",
}
BUILTINS = {"eval", "exec", "compile", "__import__", "execfile"}
CALLS = {
    "import_module": "it loads code by name",
    "exec_module": "it loads code",
    "load_module": "it loads code",
    "find_loader": "it loads code by name",
    "run_path": "it runs a file",
    "run_module": "it runs a module",
    "send_pyobj": "it pickles",
    "recv_pyobj": "it unpickles",
    "send_serialized": "what it does depends on what it is given",
    "recv_serialized": "what it does depends on what it is given",
    "read_pickle": "it unpickles",
    "to_pickle": "it pickles",
    "system": "it starts a shell",
    "popen": "it starts a shell",
    "getoutput": "it starts a shell",
    "getstatusoutput": "it starts a shell",
    "unsafe_load": "YAML builds any object",
    "full_load": "YAML builds any object",
}
LOADERS = {("np", "load"), ("numpy", "load"), ("torch", "load"), ("yaml", "load"), ("yaml", "load_all")}

ALLOWED: Mapping[tuple[str, str], str] = {
    ("ps_common.loader", "importlib"): "loads the user's own job, by the name given on the command line",
    ("ps_common.loader", "import_module"): "the same",
    ("ps_common.loader", "exec_module"): "the same",
    (
        "ps_common.command",
        "importlib",
    ): "knows the import system's own frames, to leave them out of a traceback",
    ("paramserver.examining", "importlib"): "looks whether CuPy is installed, and imports nothing",
    ("ps_common.data.parquet_file", "importlib"): "looks whether pyarrow is installed, and imports nothing",
    ("ps_common.datasets.registry", "importlib"): "looks whether pip is installed, and imports nothing",
    ("ps_common.signals", "ctypes"): "prctl: a child is to die with its parent; takes two constants",
    ("ps_worker.freed_memory", "ctypes"): "mallopt, which takes two constants",
}


def sins(name: str, text: str) -> Iterator[tuple[int, str, str]]:
    """Line, what is used, and why it must not be, of everything in a module that is not allowed there."""
    for node in ast.walk(ast.parse(text)):
        for what, why in _sins_of(node):
            if (name, what) not in ALLOWED:
                yield node.lineno, what, why  # type: ignore[attr-defined]


def _sins_of(node: ast.AST) -> Iterator[tuple[str, str]]:
    match node:
        case ast.Import(names=names):
            yield from _modules([alias.name for alias in names])
        case ast.ImportFrom(module=str(module), names=names):
            yield from _modules([module])
            yield from ((one.name, CALLS[one.name]) for one in names if one.name in CALLS)
            if (module, "load") in LOADERS and "load" in [one.name for one in names]:
                yield f"{module}.load", "its arguments cannot be seen under a name of its own"
        case ast.Name(id=name) if name in BUILTINS:
            yield name, "it runs text"
        case ast.Attribute(attr=name) if name in CALLS:
            yield name, CALLS[name]
        case ast.Attribute(value=ast.Name(id="builtins"), attr=name) if name in BUILTINS:
            yield name, "it runs text"
        case ast.Call():
            yield from _sins_of_call(node)


def _modules(names: list[str]) -> Iterator[tuple[str, str]]:
    for name in names:
        top = name.split(".")[0]
        if top in MODULES:
            yield top, MODULES[top]


def _sins_of_call(call: ast.Call) -> Iterator[tuple[str, str]]:
    given = {one.arg: one.value for one in call.keywords}

    def is_given(name: str, value: object) -> bool:
        one = given.get(name)
        return isinstance(one, ast.Constant) and one.value is value

    if "shell" in given and not is_given("shell", False):
        yield "shell", "a command is a list, never a text for a shell"
    if "allow_pickle" in given and not is_given("allow_pickle", False):
        yield "allow_pickle", "unpickling runs code"
    match call.func:
        case ast.Attribute(value=ast.Name(id="np" | "numpy"), attr="load") if "allow_pickle" not in given:
            yield "np.load", "it says allow_pickle=False, whatever NumPy's default is"
        case ast.Attribute(value=ast.Name(id="torch"), attr="load") if not is_given("weights_only", True):
            yield "torch.load", "it unpickles without weights_only=True"
        case ast.Attribute(value=ast.Name(id="yaml"), attr="load" | "load_all"):
            yield "yaml.load", "YAML builds any object: safe_load"
