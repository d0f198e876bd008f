"""What is wrong with single values, and between values that are each right."""

from __future__ import annotations

import pytest

from stoker.settings import load
from tests.stoker.settings_text import MODEL, model, model_problem, problems, the_problem


@pytest.mark.parametrize(
    ("line", "message", "allowed"),
    [
        ("stable-window: 5s", "is out of range", "[6s, 1h]"),
        ("stable-window: 2h", "is out of range", "[6s, 1h]"),
        ("stable-window: 60", "has no unit; seconds are written 60s", "1m30s"),
        ("stable-window: 10.5s", "is finer than a second", "whole seconds"),
        ("stable-window:", "has no value", ""),
        ("stable-window: [10s]", "is a list where one value belongs", "in [6s, 1h]"),
        ("stable-window: {a: 1}", "is a mapping where one value belongs", ""),
        ("max-scale-up-rate: 1", "is out of range", "(1, 1e9]"),
        ("max-scale-up-rate: .nan", "is not a number", "a number"),
        ("max-scale-up-rate: .inf", "is not a number", "a number"),
        ("max-scale-up-rate: nan", "is not a number", "a number"),
        ("max-scale-up-rate: 1e999", "is not a finite number", "a number"),
        ("target-burst-capacity: -2", "is out of range", "-1 or [0, 1e9]"),
        ("panic-window-percentage: 0", "is out of range", "[1, 100]"),
        ("container-concurrency-target-percentage: 0", "is out of range", "(0, 100]"),
        ("min-scale: -1", "is out of range", "[0, 2147483647]"),
        ("min-scale: true", "is not a whole number", "a whole number"),
        ("min-scale: 1.0", "is not a whole number", "a whole number"),
        ("min-scale: 1_000", "is not a whole number", "a whole number"),
        ("max-scale: 99999999999", "is not a whole number", "a whole number"),
        ("enable-scale-to-zero: yes", "is neither true nor false", "true or false"),
        ("enable-scale-to-zero: 1", "is neither true nor false", "true or false"),
        ("policy: forecast", "is not one of the choices", "kpa | hybrid-histogram | seasonal"),
        ("season: 30m", "is out of range", "[1h, 168h]"),
        ("keep-alive-default: 200h", "is out of range", "[0s, 168h]"),
        ("season-quantile: 101", "is out of range", "[0, 100]"),
        ("slo-quantile: 100", "is out of range", "[1, 99.999]"),
        ("slo-wait: 2h", "is out of range", "[0s, 1h]"),
        ("metric: cpu", "is not one of the choices", "concurrency | rps"),
        ("queue-bytes: 1KB", "has an unknown suffix KB", "64Ki"),
        ("readiness: v2/ready", "is neither tcp nor a path", "tcp"),
        ('directory: "a\\0b"', "holds a NUL", "a path"),
        ("namespace: A", "is not a DNS label", "a-z"),
        ("hosts: a.example:80", "has a port", "host names"),
        ("hosts: ['*.example']", "is not a host name", "host names"),
        ("hosts: {a: b}", "is a mapping where a list belongs", ""),
        ("aliases: ['a b']", "is not usable as a name", "printable"),
        ("listeners: [A]", "is not a name", "stoker.listeners"),
        ("env: [A=1]", "is not a mapping", "NAME: text"),
        ("env: {1A: x}", "is not a name of a variable", "NAME: text"),
        ("resources: 1Gi", "is not a mapping", "memory"),
        ("resources: {disk: 1Gi}", "is not a resource", "memory"),
        ("resources: {memory: 1GB}", "has an unknown suffix GB", "memory"),
        ("resources: {cpu: lots}", "is not a number of CPUs", "cpu"),
        ("resources: {accelerators: -1}", "is negative", "accelerators"),
        ("resources: {cpu: }", "has no value", ""),
    ],
)
def test_a_bad_value_names_key_value_and_what_is_allowed(
    line: str, message: str, allowed: str
) -> None:
    """Each kind of value is refused with its own message, at its place."""
    problem = model_problem(line)
    assert problem.where.startswith("models.digits." + line.partition(":")[0])
    assert message in problem.message
    assert allowed in problem.allowed
    assert problem.line == 4


def test_the_value_is_shown_as_written() -> None:
    """What the message calls wrong is what the file says, shortened when long."""
    assert str(model_problem("stable-window: 5s")) == (
        "models.digits.stable-window = 5s: is out of range; allowed: [6s, 1h]"
    )
    assert len(model_problem(f"namespace: {'x' * 500}").value) == 80


def test_the_value_of_a_variable_is_never_repeated() -> None:
    """env may hold secrets: the key is named, nothing else."""
    problem = model_problem("env: {TOKEN: [hunter2]}")
    assert problem.where == "models.digits.env.TOKEN"
    assert "hunter2" not in str(problem)
    assert "no value" not in str(model_problem("env: {TOKEN: }"))


@pytest.mark.parametrize(
    ("command", "message", "hint"),
    [
        ("serve", "does not contain {port}", "--port {port}"),
        ("[]", "names no program", ""),
        ("''", "names no program", ""),
        ("['', '{port}']", "names no program", ""),
        ("serve 'oops {port}", "cannot be split into words", "quotes"),
        ('[serve, "a\\0{port}"]', "holds a NUL", ""),
        ("[serve, [a]]", "is a list where one value belongs", ""),
    ],
)
def test_a_bad_command(command: str, message: str, hint: str) -> None:
    """A command must name a program and pass the port on."""
    problem = the_problem(f"models:\n  digits:\n    command: {command}\n")
    assert problem.where == "models.digits.command"
    assert message in problem.message
    assert hint in problem.hint


@pytest.mark.parametrize("block", ["{}", "", "{max-scale: 1}"])
def test_a_missing_command(block: str) -> None:
    """A model without a command cannot be started."""
    problem = problems(f"models:\n  digits: {block}\n")[-1]
    assert str(problem).startswith("models.digits.command: is missing")


@pytest.mark.parametrize("name", ["Digits", "a_b", "a.b", "-a", "a" * 64, '""'])
def test_a_name_that_cannot_be_a_host_is_refused(name: str) -> None:
    """NAME.localhost must work; other names are for aliases."""
    problem = the_problem(f"models:\n  {name}:\n    command: serve {{port}}\n")
    assert problem.message == "is not usable as a model's name"
    assert "aliases" in problem.hint


@pytest.mark.parametrize("text", ["models: [a]\n", "models: a\n"])
def test_models_must_be_a_mapping(text: str) -> None:
    """A list of models has no names."""
    assert the_problem(text).message == "is not a mapping of names to models"


def test_blocks_must_be_mappings() -> None:
    """Each block that is something else is named."""
    found = problems("stoker: 1\ndefaults: [a]\nmodels:\n  a: text\n")
    assert [problem.where for problem in found] == [
        *("stoker", "defaults", "models.a", "models.a.command")
    ]


@pytest.mark.parametrize(
    ("first", "second", "key", "name"),
    [
        ("hosts: x.example", "hosts: X.example.", "hosts", "x.example"),
        ("hosts: b.localhost", "", "hosts", "b.localhost"),
        ("aliases: m", "aliases: m", "aliases", "m"),
        ("aliases: b", "", "aliases", "b"),
        ("listeners: own", "listeners: own", "listeners", "own"),
    ],
)
def test_one_name_for_two_models_is_refused(first: str, second: str, key: str, name: str) -> None:
    """Hosts, names and listeners mean one model; both are named."""
    problem = the_problem(
        "stoker:\n  listeners: {own: '127.0.0.1:9000'}\n"
        f"models:\n  a:\n    command: s {{port}}\n    {first}\n"
        f"  b:\n    command: s {{port}}\n    {second}\n"
    )
    assert problem.where == f"models.b.{key}"
    assert (problem.value, problem.message) == (name, "means two models: a and b")


def test_an_undeclared_listener_is_refused() -> None:
    """A model can only use listeners that the process opens."""
    assert model_problem("listeners: own").allowed == "none is declared"
    problem = the_problem("stoker: {listeners: {mine: 'a:1'}}\n" + MODEL + "    listeners: own\n")
    assert (problem.value, problem.allowed) == ("own", "mine")


@pytest.mark.parametrize(
    ("lines", "where"),
    [
        ("min-scale: 3\nmax-scale: 2", "min-scale"),
        ("activation-scale: 3\nmax-scale: 2", "activation-scale"),
        ("hold-timeout: 2h", "hold-timeout"),
        ("restart-backoff: 2m", "restart-backoff"),
    ],
)
def test_settings_that_contradict_each_other(lines: str, where: str) -> None:
    """Each value is in range, together they make no sense."""
    problem = model_problem(lines)
    assert problem.where == f"models.digits.{where}"
    assert "is above" in problem.message
    assert problem.allowed


def test_a_promised_wait_is_about_concurrency() -> None:
    """Erlang's formula counts requests in service: with arrivals as metric it makes no sense."""
    problem = model_problem("policy: erlang-c\nmetric: rps")
    assert (problem.where, problem.value) == ("models.digits.policy", "erlang-c")
    assert problem.allowed == "metric: concurrency with erlang-c"


def test_contradictions_across_layers_name_the_model() -> None:
    """A default can contradict a model's own value."""
    problem = the_problem("defaults:\n  min-scale: 5\n" + MODEL + "    max-scale: 2\n")
    assert problem.where == "models.digits.min-scale"


def test_an_unbounded_max_scale_contradicts_nothing() -> None:
    """max-scale 0 means no bound; initial-scale 0 is allowed."""
    scaling = model("min-scale: 500\ninitial-scale: 0\nmax-scale: 0").models[0].scaling
    assert (scaling.min_scale, scaling.initial_scale) == (500, 0)


@pytest.mark.parametrize(
    ("lines", "where", "message"),
    [
        ("listen: 8080", "stoker.listen", "does not end in a port"),
        ("listen: ':8080'", "stoker.listen", "names no host"),
        ("listen: 127.0.0.1:99999", "stoker.listen", "does not end in a port"),
        ("listen: '::1:80'", "stoker.listen", "goes in brackets"),
        ("admin: 127.0.0.1:8080", "stoker.admin", "is also the address of listen"),
        ("listeners: {a: '127.0.0.1:8081'}", "stoker.listeners.a", "is also the address of admin"),
        ("listeners: {a: nowhere}", "stoker.listeners.a", "does not end in a port"),
        ("listeners: {A: 'a:1'}", "stoker.listeners", "is not a new name"),
        ("listeners: 'a=b:1,a=b:2'", "stoker.listeners", "is not a new name"),
        ("silent-reporter-timeout: 1s\n  report-interval: 2s", "stoker.silent", "is below"),
        ('probe-agents: ["a\\tb"]', "stoker.probe-agents", "is not a User-Agent prefix"),
        ("max-head-bytes: 1", "stoker.max-head-bytes", "is out of range"),
        ("log-level: loud", "stoker.log-level", "is not one of the choices"),
        ("tenancy: 'on'", "stoker.tenancy", "is not one of the choices"),
        ("tenant-header: 'x team'", "stoker.tenant-header", "is not the name of a header"),
        ("tenant-header: Host", "stoker.tenant-header", "a meaning of its own"),
        ("tenant-weights: {gold: 2}", "stoker.tenant-weights", "is of no use with tenancy: off"),
        ("tenant-weights: {gold: much}", "stoker.tenant-weights.gold", "is not a number"),
        ("tenant-weights: {gold: 0}", "stoker.tenant-weights.gold", "is out of range"),
        ("tenant-weights: 'a=1,a=2'", "stoker.tenant-weights", "is not a new name of a tenant"),
        ("tenant-weights: 'a'", "stoker.tenant-weights", "is not a new name of a tenant"),
    ],
)
def test_bad_process_settings(lines: str, where: str, message: str) -> None:
    """Addresses, sizes and intervals of the process are checked as strictly."""
    problem = the_problem(f"stoker:\n  {lines}\n" + MODEL)
    assert problem.where.startswith(where)
    assert message in problem.message
    assert problem.line


def test_any_free_port_may_be_asked_for_twice() -> None:
    """Port 0 is a different port each time."""
    process = load("stoker: {listen: 'a:0', admin: 'a:0'}\n" + MODEL, "stoker.yaml").process
    assert process.listen == process.admin
