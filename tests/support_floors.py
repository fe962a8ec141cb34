"""Reads sources and says what is against the rules of the house: floors, sides, and what is never used."""

import ast
from collections.abc import Iterator, Mapping
from pathlib import Path

FACE = "paramserver"  # its `__init__`, which shows both sides to the user
FACES = {FACE, "paramserver.of_jobs", "paramserver.torch", "paramserver.jax"}  # with its parts, and adapters
# How modules begin that import an extra.
ADAPTERS = {"torch": "ps_worker.torch_", "jax": "ps_worker.jax_", "ray": "paramserver.ray"}
SIDES = ("paramserver", "ps_worker")
# Runs the machines of both sides in one thread, so it must import both. Command lines aside nobody may import
# it: nothing that takes part in a run depends on how one is simulated.
SIMULATION = "paramserver.simulation"
CODE_IN_DATA = {"pickle", "cPickle", "_pickle", "marshal", "shelve", "dill", "cloudpickle", "joblib"}
RUNS_TEXT = {"eval", "exec", "compile", "__import__"}
ENVIRONMENT = {"environ", "environb", "getenv", "getenvb"}
LOADS_CODE = {"import_module", "exec_module", "load_module", "run_path", "run_module"}


def sources_of(*folders: Path) -> dict[str, str]:
    """Module name -> text, for every module of the import packages in the folders."""
    found = {}
    for folder in folders:
        for path in folder.rglob("*.py"):
            parts = path.relative_to(folder).with_suffix("").parts
            found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path.read_text()
    return found


def imports_of(text: str, modules: Mapping[str, object]) -> Iterator[tuple[int, str]]:
    """Line and module of every import, those within functions too; a name that is a module counts as it."""
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = "." * node.level + (node.module or "")
            for alias in node.names:
                full = f"{base}.{alias.name}"
                yield node.lineno, full if full in modules else base


def complaints(
    sources: Mapping[str, str],
    floors: Mapping[str, int],
    cupy: frozenset[str],
    command_lines: frozenset[str],
    loaders: frozenset[str],
) -> list[str]:
    """Everything that is against the rules: cupy, command_lines and loaders are the modules that may."""
    told = [f"{name} is not in the table of floors" for name in sources.keys() - floors.keys()]
    told += [
        f"{name} is in the table of floors and does not exist" for name in floors.keys() - sources.keys()
    ]
    for name, text in sources.items():
        for line, imported in imports_of(text, sources):
            why = _against_import(name, imported, sources, floors, cupy, command_lines)
            if why:
                told.append(f"{name}:{line} imports {imported}: {why}")
        told += [f"{name}:{line} {why}" for line, why in _uses(text, name in command_lines, name in loaders)]
    return sorted(told)


def _against_import(
    name: str,
    imported: str,
    sources: Mapping[str, str],
    floors: Mapping[str, int],
    cupy: frozenset[str],
    command_lines: frozenset[str],
) -> str | None:
    top, own = imported.split(".")[0], name.split(".")[0]
    if imported.startswith("."):
        return "imports are absolute"
    if top in CODE_IN_DATA:
        return "data that holds code is never read"
    if top == "cupy" and name not in cupy:
        return f"only {', '.join(sorted(cupy))} may"
    if top in ADAPTERS and not name.startswith(ADAPTERS[top]):
        return f"only {ADAPTERS[top]}... may"
    if top == "click" and name not in command_lines:
        return "only a command line may"
    if top in SIDES and own == "ps_common":
        return "what both sides share knows neither"
    if top in SIDES and own in SIDES and top != own and name not in FACES and not _simulates(name):
        return "the two sides never import each other"
    if _simulates(imported) and not _simulates(name) and name not in command_lines:
        return "nothing that runs depends on the simulation"
    if imported == FACE and own == FACE and name != FACE:
        return "the face is for users"
    if top in (*SIDES, "ps_common"):
        if imported not in sources:
            return "there is no such module"
        if floors.get(imported, 0) > floors.get(name, 99):
            return f"floor {floors[imported]} from floor {floors[name]}: imports only go down"
    return None


def _simulates(name: str) -> bool:
    return name == SIMULATION or name.startswith(f"{SIMULATION}.")


def _uses(text: str, may_read_environment: bool, may_load_code: bool) -> Iterator[tuple[int, str]]:
    """Line and reason of whatever a module may not use, wherever it stands."""
    for node in ast.walk(ast.parse(text)):
        match node:
            case ast.Name(id=name) if name in RUNS_TEXT:
                yield node.lineno, f"uses {name}: text is never run"
            case ast.Attribute(attr=name) | ast.alias(name=name) if name in ENVIRONMENT:
                if not may_read_environment:
                    yield node.lineno, f"uses {name}: only a command line reads the environment"
            case ast.Attribute(attr=name) | ast.alias(name=name) if name in LOADS_CODE:
                if not may_load_code:
                    yield node.lineno, f"uses {name}: only the loader runs a user's file"
            case ast.keyword(arg="allow_pickle", value=value):
                if not (isinstance(value, ast.Constant) and value.value is False):
                    yield value.lineno, "allows pickles"
            case ast.Call(
                func=ast.Attribute(value=ast.Name(id="np" | "numpy"), attr="load"), keywords=keywords
            ):
                if "allow_pickle" not in [keyword.arg for keyword in keywords]:
                    yield node.lineno, "uses np.load without allow_pickle=False"
            case ast.ImportFrom(module="numpy", names=names) if "load" in [alias.name for alias in names]:
                yield node.lineno, "imports numpy's load by its bare name"
