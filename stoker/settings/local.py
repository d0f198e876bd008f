"""The local YAML file: ``stoker:``, ``defaults:`` and ``models:`` to a LocalConfig."""

from __future__ import annotations

import dataclasses
import importlib.util
import math
from collections.abc import Mapping, Sequence
from typing import Any

from stoker.errors import Problem, SettingsError
from stoker.settings import instead, resolve
from stoker.settings.blocks import (
    DEFAULTS_BLOCK,
    MODEL_BLOCK,
    PROCESS_BLOCK,
    near,
    read_block,
    shown,
)
from stoker.settings.document import Document, dotted
from stoker.settings.kinds import LABEL_RULE, LOG_FILE, PATH, Raw, is_label
from stoker.settings.process_rows import Tracing
from stoker.settings.resolve import ProcessConfig
from stoker.settings.table import IGNORED_KNATIVE_KEYS, PROCESS_TUNABLES
from stoker.vocabulary import LaunchConfig, ModelKey, ModelSpec, Tenancy

ENVIRONMENT_PREFIX = "STOKER_"
_TOP_LEVEL = ("stoker", "defaults", "models")
_COMMAND_HINT = "for example command: python server.py --port {port}"


@dataclasses.dataclass(frozen=True, slots=True)
class LocalConfig:
    """Everything one file says. ``notices`` are remarks for people about what has no effect."""

    process: ProcessConfig
    models: tuple[ModelSpec, ...]
    notices: tuple[str, ...] = ()


def load(
    text: str,
    source: str,
    *,
    base_directory: str = "",
    environ: Mapping[str, str] | None = None,
    overrides: Mapping[str, str] | None = None,
) -> LocalConfig:
    """Read and check a settings file's text; every model gets generation 1.

    ``source`` names the file in errors. ``environ`` may hold ``STOKER_LISTEN`` and the like,
    ``overrides`` process settings by their kebab-case name (from the command line); they win
    over the file, overrides over the environment. Raises SettingsError with every problem.
    """
    document = Document(text)
    if document.malformed:
        raise SettingsError(source, document.problems)
    loader = _Loader(document, base_directory)
    config = loader.config(environ or {}, overrides or {})
    if loader.problems:
        raise SettingsError(source, sorted(loader.problems, key=lambda p: p.line or math.inf))
    return config


def environment_name(setting: str) -> str:
    """The variable that overrides a process setting: ``listen`` → ``STOKER_LISTEN``."""
    return ENVIRONMENT_PREFIX + setting.upper().replace("-", "_")


def _there(module: str) -> bool:
    """Whether ``module`` could be imported."""
    try:
        return importlib.util.find_spec(module) is not None
    except (ImportError, ValueError):
        return False


class _Loader:
    def __init__(self, document: Document, base_directory: str) -> None:
        self._document = document
        self._base_directory = base_directory
        self.problems = list(document.problems)
        self._notices: list[str] = []

    def config(self, environ: Mapping[str, str], overrides: Mapping[str, str]) -> LocalConfig:
        root = self._top_level()
        process = self._process(root.get("stoker"), environ, overrides)
        models = self._models(root.get("defaults"), root.get("models"))
        self._check_listeners(process, models)
        self._check_names(models)
        self._check_instead(models)
        return LocalConfig(process, tuple(models), tuple(self._notices))

    def _problem(self, path: tuple[str, ...], value: str, message: str, **rest: str) -> None:
        line = self._document.line(path)
        self.problems.append(Problem(dotted(path), value, message, line=line, **rest))

    def _top_level(self) -> Mapping[str, Raw]:
        root = self._document.root
        if not isinstance(root, Mapping):
            self._problem((), "", "has no settings", hint="it needs at least models:")
            return {}
        for key in root:
            if key not in _TOP_LEVEL:
                meant = near(key, _TOP_LEVEL)
                hint = f"did you mean {meant}?" if meant else ""
                allowed = " | ".join(_TOP_LEVEL)
                self._problem((key,), "", "is not a part of the file", allowed=allowed, hint=hint)
        if root.get("models") is None:
            hint = "name at least one model, or write models: {}"
            self._problem(("models",), "", "is missing or empty", hint=hint)
        return root

    def _process(
        self, raw: Raw, environ: Mapping[str, str], overrides: Mapping[str, str]
    ) -> ProcessConfig:
        in_file, problems = read_block(PROCESS_BLOCK, raw, ("stoker",), self._document)
        for tunable in PROCESS_TUNABLES.values():
            if tunable.kind is LOG_FILE and in_file.get(tunable.field) == "-":
                continue
            if tunable.kind in (PATH, LOG_FILE) and tunable.field in in_file:
                in_file[tunable.field] = resolve.joined(
                    self._base_directory, in_file[tunable.field]
                )
        layers = [in_file]
        variables = {environment_name(name): name for name in PROCESS_TUNABLES}
        set_here = {variables[v]: text for v, text in environ.items() if v in variables}
        for values, name_of in ((set_here, environment_name), (overrides, "--{}".format)):
            layer, found = read_block(PROCESS_BLOCK, values, ())
            layers.append(layer)
            for problem in found:
                key, dot, inner = problem.where.partition(".")
                problems.append(problem._replace(where=name_of(key) + dot + inner))
        self.problems += problems
        process = resolve.process_config(*layers)
        if not problems:
            self._check_process(process)
        return process

    def _check_process(self, process: ProcessConfig) -> None:
        if process.peer_listen is not None and process.workers != 1:
            self._problem(
                ("stoker", "peer-listen"),
                str(process.peer_listen),
                "cannot be combined with several workers, which are peers of one another",
                hint="set workers: 1, and list one Stoker more for each core",
            )
        if process.tracing is Tracing.SPANS and not _there("opentelemetry.trace"):
            self._problem(
                ("stoker", "tracing"),
                "spans",
                "needs the package opentelemetry-api, which is not installed",
                hint="install stoker[tracing], or set propagate",
            )
        if process.silent_reporter_timeout < process.report_interval:
            self._problem(
                ("stoker", "silent-reporter-timeout"),
                f"{process.silent_reporter_timeout:g}s",
                "is below report-interval",
                allowed=f"at least {process.report_interval:g}s",
            )
        for given, missing in (("tls-certificate", "tls-key"), ("tls-key", "tls-certificate")):
            path = getattr(process, given.replace("-", "_"))
            if path and not getattr(process, missing.replace("-", "_")):
                self._problem(
                    ("stoker", given),
                    path,
                    f"is of no use without {missing}",
                    hint=f"set {missing} too, or neither",
                )
        if process.tenant_weights and process.tenancy is not Tenancy.HEADER:
            self._problem(
                ("stoker", "tenant-weights"),
                ", ".join(name for name, _ in process.tenant_weights),
                f"is of no use with tenancy: {process.tenancy}, which knows no names",
                hint="set tenancy: header, or remove it",
            )
        declared = [name for name, _ in process.listeners]
        for name in process.plain_listeners:
            if name not in declared:
                self._problem(
                    ("stoker", "plain-listeners"),
                    name,
                    "is not declared under stoker.listeners",
                    allowed=" | ".join(declared) or "none is declared",
                )
        taken = {process.listen: "listen"}
        named = [(f"listeners.{name}", address) for name, address in process.listeners]
        for name, address in [("admin", process.admin), *named]:
            if address in taken and address.port:
                self._problem(
                    ("stoker", *name.split(".")),
                    str(address),
                    f"is also the address of {taken[address]}",
                    hint="give each its own port",
                )
            taken[address] = name

    def _models(self, defaults: Raw, raw: Raw) -> list[ModelSpec]:
        if isinstance(defaults, Mapping):
            for key in [key for key in defaults if key in IGNORED_KNATIVE_KEYS]:
                self._notices.append(f"defaults.{key} has no effect: {IGNORED_KNATIVE_KEYS[key]}")
            defaults = {k: v for k, v in defaults.items() if k not in IGNORED_KNATIVE_KEYS}
        shared, problems = read_block(DEFAULTS_BLOCK, defaults, ("defaults",), self._document)
        self.problems += problems
        if raw is None:
            return []
        if not isinstance(raw, Mapping):
            self._problem(("models",), shown(raw), "is not a mapping of names to models")
            return []
        return [self._model(name, block, shared, not problems) for name, block in raw.items()]

    def _model(
        self, name: str, raw: Raw, shared: Mapping[str, Any], defaults_are_good: bool
    ) -> ModelSpec:
        path = ("models", name)
        if not is_label(name):
            hint = "it is part of the host name NAME.localhost; put other names under aliases:"
            self._problem(
                path, "", "is not usable as a model's name", allowed=LABEL_RULE, hint=hint
            )
        own, problems = read_block(MODEL_BLOCK, raw, path, self._document)
        self.problems += problems
        values = resolve.model_values(shared, own)
        launch: LaunchConfig | None = None
        if "command" in values:
            launch = resolve.launch_config(values, self._base_directory)
        elif not isinstance(raw, Mapping) or "command" not in raw:
            self._problem((*path, "command"), "", "is missing", hint=_COMMAND_HINT)
        if defaults_are_good and not problems:
            for found in resolve.contradictions(values):
                place = (*path, found.where)
                line = self._document.line(place)
                self.problems.append(found._replace(where=dotted(place), line=line))
        return ModelSpec(
            key=ModelKey(values["namespace"], name),
            hosts=values.get("hosts", ()),
            aliases=values.get("aliases", ()),
            listeners=values.get("listeners", ()),
            scaling=resolve.scaling_config(values),
            serving=resolve.serving_config(values, self._base_directory),
            launch=launch,
        )

    def _check_listeners(self, process: ProcessConfig, models: Sequence[ModelSpec]) -> None:
        declared = [name for name, _ in process.listeners]
        for spec in models:
            for name in spec.listeners:
                if name not in declared:
                    self._problem(
                        ("models", spec.key.name, "listeners"),
                        name,
                        "is not declared under stoker.listeners",
                        allowed=" | ".join(declared) or "none is declared",
                    )

    def _check_instead(self, models: Sequence[ModelSpec]) -> None:
        for spec in models:
            for key, value, message, hint in instead.problems(spec, models):
                self._problem(("models", spec.key.name, key), value, message, hint=hint)

    def _check_names(self, models: Sequence[ModelSpec]) -> None:
        """No host, name or listener may mean two models."""
        for kind, key, names_of in (
            ("host", "hosts", lambda spec: (f"{spec.key.name}.localhost", *spec.hosts)),
            ("name", "aliases", lambda spec: (spec.key.name, *spec.aliases)),
            ("listener", "listeners", lambda spec: spec.listeners),
        ):
            owners: dict[str, str] = {}
            for spec in models:
                for name in names_of(spec):
                    owner = owners.setdefault(name, spec.key.name)
                    if owner != spec.key.name:
                        self._problem(
                            ("models", spec.key.name, key),
                            name,
                            f"means two models: {owner} and {spec.key.name}",
                            hint=f"a {kind} may mean only one",
                        )
