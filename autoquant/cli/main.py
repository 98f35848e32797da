"""The command line, ``autoquant COMMAND key=value ...``: the only home of Hydra."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from autoquant.cli import output
from autoquant.cli.error_messages import BAD_INPUT, STOPPED, explain
from autoquant.cli.help import page
from autoquant.errors import RunError, UserError, first_line

if TYPE_CHECKING:
    from omegaconf import DictConfig

    from autoquant.study.folder import Study
    from autoquant.task import Task

PATHS = ("study", "artifact", "plan", "pretrained", "task.data_dir", "task.root")

HELP = """\
autoquant: which bits and which width each layer should have, under a size budget.

Usage: autoquant COMMAND [key=value ...]

  profile    print the layers: share, operations, what growing each would cost
  search     find the best plan whose packed file fits the budget
  sweep      train every plan of a grid in full, in one table
  report     redraw the figures of a study
  apply      train a plan in full and write the packed file
  evaluate   score a packed file

A first run, on text that every machine has:

  autoquant search budget=0.15x
  autoquant apply study=runs/stdlib-0.15x

'autoquant COMMAND --help' lists a command's settings, '--cfg job' prints them as they would be.
Exit codes: 0 done, 1 the run failed, 2 bad input, 130 stopped (the same command goes on).
Set AUTOQUANT_TRACEBACK=1 to see where an error comes from.
"""


def main(arguments: Sequence[str] | None = None) -> None:
    """Run a command and exit with its code."""
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    if not arguments or arguments[0] in ("-h", "--help", "help"):
        print(HELP, end="")
        sys.exit(0 if arguments else BAD_INPUT)
    if arguments[0] == "--version":
        import autoquant

        print(autoquant.__version__)
        return
    command = arguments[0]
    if command not in COMMANDS:
        _fail(BAD_INPUT, f"command must be one of {', '.join(COMMANDS)}, got {command!r}")
    if {"-h", "--help"} & set(arguments[1:]):
        print(page(command), end="")
        return
    sys.argv = [f"autoquant {command}", *_quoted(arguments[1:])]
    sys.exit(_guarded(command))


def _quoted(arguments: Sequence[str]) -> Iterator[str]:
    """Arguments in Hydra's grammar: odd paths in its quotes, rules as additions to a mapping."""
    comma = "," if {"-m", "--multirun"} & set(arguments) else ""  # there it parts values
    plain = rf"[A-Za-z0-9_./:+{comma}-]*|['\"\[{{].*|.*\$\{{.*"
    for argument in arguments:
        key, _, value = argument.partition("=")
        if key.lstrip("+").partition(".")[0] == "rules":
            yield _rules(key.lstrip("+"), value)
        elif key in PATHS and not re.fullmatch(plain, value):
            value = value.replace('"', '\\"')
            yield f'{key}="{value}"'
        else:
            yield argument


def _rules(key: str, value: str) -> str:
    """``rules={"a.*": {...}}`` or ``rules.a.*.width=...`` as Hydra takes it: keys unquoted."""
    pattern, _, field = key.removeprefix("rules").removeprefix(".").rpartition(".")
    if pattern:
        return f"++rules={{{_hydra_key(pattern)}: {{{field}: {value}}}}}"
    value = re.sub(r"""(["'])(.*?)\1\s*:""", lambda found: _hydra_key(found[2]) + ":", value)
    return f"++{key}={value}"


def _hydra_key(text: str) -> str:
    return re.sub(r"([\\()\[\]{}:=, \t])", r"\\\1", text)


def _guarded(command: str) -> int:
    """Run a command; errors become one line and a code."""
    os.environ["HYDRA_FULL_ERROR"] = "1"  # let errors reach us instead of Hydra's own printing
    try:
        _compose(command)
    except BrokenPipeError:  # the reader, such as head, has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except KeyboardInterrupt:
        print("\nstopped; the same command goes on from here", file=sys.stderr)
        return STOPPED
    except Exception as error:
        if os.environ.get("AUTOQUANT_TRACEBACK"):
            raise
        code, line = explain(error)
        print(f"autoquant: {line}", file=sys.stderr)
        return code
    return 0


def _fail(code: int, line: str) -> None:
    print(f"autoquant: {line}", file=sys.stderr)
    sys.exit(code)


# --- configuration -------------------------------------------------------------------------------


def _compose(command: str) -> None:
    """Let Hydra parse the command line and call the command with the configuration."""
    from tempfile import TemporaryDirectory

    import hydra
    from omegaconf import OmegaConf

    _register_schemas()
    OmegaConf.register_new_resolver("named", _named, replace=True)
    raised: list[BaseException] = []

    def job(config: DictConfig) -> None:
        if raised and isinstance(raised[-1], KeyboardInterrupt):
            return  # of several runs, those after the one that was stopped
        try:
            COMMANDS[command](config)
        except BaseException as error:  # kept from Hydra, which would print it
            raised.append(error)

    run = hydra.main(version_base="1.3", config_path="pkg://autoquant.conf", config_name=command)
    with TemporaryDirectory() as folder:
        if {"-m", "--multirun"} & set(sys.argv):
            sys.argv.append(f"hydra.sweep.dir={folder}")  # Hydra leaves a multirun.yaml there
        try:
            run(job)()
        except (ValueError, KeyError) as error:  # of Hydra's own, before the command ran
            raise UserError(first_line(error)) from error
    for each in raised[:-1]:
        print(f"autoquant: {explain(each)[1]}", file=sys.stderr)
    if raised:
        raise raised[-1]


def _register_schemas() -> None:
    from dataclasses import field, make_dataclass

    from hydra.core.config_store import ConfigStore
    from omegaconf import MISSING

    from autoquant.settings import Search, Sweep

    fields: list[Any] = [("task", Any, field(default=None))]
    plain = _mirror(Search)
    study: list[Any] = [("study", str, field(default=MISSING))]
    artifact: list[Any] = [
        ("artifact", str, field(default=MISSING)),
        ("split", str, field(default="test")),
    ]
    applied: list[Any] = [
        *((name, str | None, field(default=None)) for name in ("trial", "plan", "start", "device")),
        *((name, float | None, field(default=None)) for name in ("epochs", "lr")),
        ("steps", int | None, field(default=None)),
    ]
    mirrored = _mirror(Sweep)
    grid: list[Any] = [("sweep", mirrored, field(default_factory=mirrored))]
    schemas = {
        "sweep": make_dataclass("SweepConfig", fields + study + grid, bases=(plain,)),
        "search": make_dataclass("SearchConfig", fields + study, bases=(plain,)),
        "profile": make_dataclass("ProfileConfig", fields, bases=(plain,)),
        "evaluate": make_dataclass("EvaluateConfig", fields + artifact, bases=(plain,)),
        "apply": make_dataclass("ApplyConfig", study + applied),
        "report": make_dataclass("ReportConfig", study),
    }
    for name, schema in schemas.items():
        ConfigStore.instance().store(name=f"{name}_schema", node=schema)


def _named(task: str, model: str) -> str:
    """What default folders call a task: with its model where that is not the task's own."""
    return task if model == "lstm" else f"{task}-{model}"


def _mirror(settings: type) -> type:
    """A copy of a settings class that OmegaConf may fill in: it cannot write to frozen ones."""
    from dataclasses import MISSING, field, fields, is_dataclass, make_dataclass
    from typing import get_type_hints

    hints = get_type_hints(settings)
    made: list[Any] = []
    for each in fields(settings):
        if each.default is MISSING:  # a mapping, whose keys OmegaConf leaves as they are
            made.append((each.name, dict[Any, Any], field(default_factory=dict)))
            continue
        if not is_dataclass(each.default):
            made.append((each.name, hints[each.name], field(default=each.default)))
            continue
        inner = _mirror(type(each.default))
        made.append((each.name, inner, field(default_factory=partial(inner, **vars(each.default)))))
    return make_dataclass(settings.__name__, made)


def _settings(config: DictConfig) -> Any:
    """The search settings of a configuration."""
    from omegaconf import OmegaConf

    from autoquant.settings import Search, from_dict

    values: Any = OmegaConf.to_container(config, resolve=True, throw_on_missing=True)
    own = {"task", "study", "artifact", "split", "sweep"}
    return from_dict(Search, {name: value for name, value in values.items() if name not in own})


def _origin(config: DictConfig) -> dict[str, Any]:
    from omegaconf import OmegaConf

    values: Any = OmegaConf.to_container(config, resolve=True, throw_on_missing=True)
    if values["task"] is None:
        raise UserError("task must be given, as in task=stdlib")
    return dict(values["task"])


def _build_task(origin: dict[str, Any]) -> Task:
    """Call a task's ``_target_``, which may be in a module of the current folder.

    A configuration is code: run only those you trust.
    """
    from pathlib import Path

    from hydra.utils import instantiate

    from autoquant.task import Task
    from autoquant.training.loop import seed_everything

    if "_target_" not in origin:
        raise UserError("the task must name its _target_, got " + repr(sorted(origin)))
    here = str(Path.cwd())
    if here not in sys.path:
        sys.path.append(here)
    seed_everything(0)  # a task may draw data, or a model's weights, while it is built
    task = instantiate(origin, _convert_="all")
    if not isinstance(task, Task):
        raise UserError(f"the task must follow autoquant.Task, got a {type(task).__name__}")
    return task


def _enclosing_study(path: str) -> Study:
    """The study that a packed file lies in."""
    from pathlib import Path

    from autoquant.study.folder import Study

    for folder in Path(path).resolve().parents:
        study = Study(folder)
        if study.config_file.is_file() and (
            study.journal_file.is_file() or study.cells_file.is_file()
        ):
            return study
    raise UserError(f"task must be given for a file outside a study, got artifact={path}")


def _recorded(study: Study) -> dict[str, Any]:
    """How a study's task was configured."""
    origin = study.config().get("task")
    if not isinstance(origin, dict):
        raise UserError(f"'{study.config_file}' must name the task of the study, got {origin!r}")
    return origin


# --- commands ------------------------------------------------------------------------------------


def _profile(config: DictConfig) -> None:
    settings = _settings(config)
    task = _build_task(_origin(config))
    from autoquant.analysis.profile import profile_model
    from autoquant.graph.describe import describe
    from autoquant.graph.prepare import prepare
    from autoquant.space.layer_overrides import resolve
    from autoquant.training.baseline import float_model

    model, example = prepare(float_model(task)), task.example()
    network = describe(model, example.inputs)
    profile = profile_model(model, network, example, settings.widening)
    output.print_profile(profile, resolve(network, settings.rules))


def _search(config: DictConfig) -> None:
    settings, origin = _settings(config), _origin(config)
    task = _build_task(origin)
    from autoquant.commands.report import report
    from autoquant.commands.search import search

    result = search(task, settings, study=config.study, origin=origin)
    figures = report(result.study)
    output.print_search(result, figures)
    if result.best is None:
        raise RunError("no plan within the budget was trained to its end")


def _sweep(config: DictConfig) -> None:
    from omegaconf import OmegaConf

    from autoquant.settings import Sweep, from_dict

    settings, origin = _settings(config), _origin(config)
    values: Any = OmegaConf.to_container(config.sweep, resolve=True, throw_on_missing=True)
    grid = from_dict(Sweep, values, "sweep.")
    task = _build_task(origin)
    from autoquant.commands.report import report
    from autoquant.commands.sweep import sweep

    made: dict[str, Any] = {"study": config.study, "origin": origin, "on_cell": report}
    result = sweep(task, settings, sweep=grid, **made)
    output.print_sweep(result, report(result.study) if result.results else [])
    if not result.missing and all(each.state != "complete" for each in result.results):
        raise RunError("no cell was trained to its end")


def _report(config: DictConfig) -> None:
    from autoquant.commands.report import report
    from autoquant.study.folder import Study

    for path in report(Study.open(config.study)):
        print(path)


def _apply(config: DictConfig) -> None:
    from autoquant.plan import Plan
    from autoquant.study.folder import Study

    study = Study.open(config.study)
    plan = None if config.plan is None else Plan.read(config.plan)
    changes = {key: config[key] for key in ("epochs", "steps", "lr") if config[key] is not None}
    task = _build_task(_recorded(study))
    from autoquant.commands.apply import apply

    applied = apply(
        study.path,
        task,
        trial=config.trial,
        plan=plan,
        start=config.start,
        changes=changes,
        device=config.device,
    )
    output.print_applied(applied)


def _evaluate(config: DictConfig) -> None:
    from pathlib import Path

    from autoquant.task import SPLITS

    if config.split not in SPLITS:
        raise UserError(f"split must be one of {', '.join(SPLITS)}, got {config.split!r}")
    if not Path(config.artifact).is_file():
        raise UserError(f"artifact must be an existing packed file, got '{config.artifact}'")
    if config.task is None:
        origin = _recorded(_enclosing_study(config.artifact))
    else:
        origin = _origin(config)
    task = _build_task(origin)
    from autoquant.commands.evaluate import evaluate

    where = {"device": config.device, "kernel": config.kernel}
    score = evaluate(config.artifact, task, split=config.split, **where)
    size = Path(config.artifact).stat().st_size
    print(f"{task.metric} {score:.4f} on the {config.split} split, {size} bytes")


COMMANDS: dict[str, Callable[[DictConfig], None]] = {
    "profile": _profile,
    "search": _search,
    "sweep": _sweep,
    "report": _report,
    "apply": _apply,
    "evaluate": _evaluate,
}
