"""``stoker simulate``: what each flag does, as a user runs it."""

from __future__ import annotations

import csv
import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from simulations.report import read_json
from stoker import cli

Said = pytest.CaptureFixture[str]

ARRIVALS = "t,model,service_s\n" + "".join(
    f"{1_700_000_000 + t},{model},0.5\n"
    for t, model in ((0, "a"), (1, "a"), (2, "b"), (40, "a"), (300, "b"), (301, "a"))
)


@pytest.fixture
def trace(tmp_path: Path) -> Path:
    """Six requests for two models in five minutes."""
    path = tmp_path / "trace.csv"
    path.write_text(ARRIVALS)
    return path


def run(said: Said, *words: str | Path) -> tuple[int, str, str]:
    """The command's exit code and what it printed; in this process alone."""
    code = cli.main(["simulate", *map(str, words), "--jobs", "1"])
    out, err = said.readouterr()
    return code, out, err


def simulated(said: Said, trace: Path, *words: str | Path) -> list[Any]:
    """The runs, as the JSON file has them."""
    to = trace.with_name("results.json")
    code, _, err = run(said, trace, *words, "--json", to)
    assert code == 0, err
    runs = json.loads(to.read_text())["runs"]
    assert isinstance(runs, list)
    return runs


def refused(said: Said, *words: str | Path) -> str:
    """What is said on stderr where nothing is simulated: exit code 1, no output, no traceback."""
    code, out, err = run(said, *words)
    assert (code, out) == (1, "")
    assert err.startswith("stoker: ")
    assert "Traceback" not in err
    return err


def row(out: str, name: str) -> list[str]:
    """The cells of the table's row of this name, without the marks of the best ones."""
    (line,) = (line for line in out.splitlines() if line.strip().startswith(f"{name} "))
    return line.strip().removeprefix(name).replace("*", "").split()


def test_out_of_the_box(capsys: Said, trace: Path) -> None:
    """A file is enough: a table of what came, who waited and what it cost."""
    code, out, err = run(capsys, trace)
    assert (code, "\x1b" in out) == (0, False)
    assert row(out, "requests") == row(out, "answered") == ["6"]
    # One replica each at first, gone before the requests at 300 s, where each starts for 30 s.
    assert row(out, "starts") == ["4"]
    assert "nothing arrives for" in err


def test_settings_change_what_is_decided(capsys: Said, trace: Path, tmp_path: Path) -> None:
    """``--set`` for all models; a file for its own; a ConfigMap for all; ``--set`` over both."""
    (plain,) = simulated(capsys, trace)
    assert plain["totals"]["starts"] == 4
    (always,) = simulated(capsys, trace, "--set", "min-scale=1", "--set", "stable-window=30s")
    assert always["totals"]["starts"] == 2
    assert always["settings"] == {"min-scale": "1", "stable-window": "30s"}
    file = tmp_path / "stoker.yaml"
    file.write_text("defaults: {initial-scale: 0}\nmodels: {a: {min-scale: 1}}\n")
    (own,) = simulated(capsys, trace, "--settings", file)
    starts = {model["name"]: model["starts"] for model in own["models"]}
    assert starts == {"a": 1, "b": 2}
    assert own["settings"] == {"initial-scale": "0"}
    config_map = tmp_path / "map.yaml"
    config_map.write_text(
        "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: config}\ndata: {min-scale: '1'}\n"
    )
    assert simulated(capsys, trace, "--settings", config_map)[0]["totals"]["starts"] == 2
    for path in (file, config_map):
        (over,) = simulated(capsys, trace, "--settings", path, "--set", "min-scale=2")
        assert over["totals"]["starts"] == 4
        assert over["totals"]["utilisation"] < own["totals"]["utilisation"]


def test_what_has_no_effect_is_remarked_once(capsys: Said, trace: Path, tmp_path: Path) -> None:
    """Remarks on the settings are told, not once per run."""
    file = tmp_path / "map.yaml"
    file.write_text("kind: ConfigMap\ndata: {max-scale-limit: '5', min-scale: '1'}\n")
    _, _, err = run(capsys, trace, "--settings", file, "--versus", "keda")
    told = [line for line in err.splitlines() if line.startswith("note: ")]
    assert len(told) == len(set(told)) == 3
    assert "note: defaults.max-scale-limit has no effect" in err


def test_others_side_by_side(capsys: Said, trace: Path) -> None:
    """Every kind of ``--versus`` is a run of its own, in order, with its own decisions."""
    kinds = ("knative", "always-on:2", "hpa", "keda:5", "kubeai", "stable-window=6s,min-scale=3")
    words = [word for kind in kinds for word in ("--versus", kind)]
    runs = simulated(capsys, trace, "--set", "min-scale=1", *words)
    labels = [run["label"] for run in runs]
    assert labels == ["settings as given", "Knative's defaults", *kinds[1:]]
    starts = [run["totals"]["starts"] for run in runs]
    assert starts[:3] == [2, 4, 4]
    assert starts[-1] == 6
    assert runs[1]["settings"]["min-scale"] == "0"
    assert runs[-1]["settings"] == {"min-scale": "3", "stable-window": "6s"}
    assert runs[2]["totals"]["replica_seconds"] == pytest.approx(4 * runs[2]["duration"])


def test_the_world_is_as_told(capsys: Said, trace: Path) -> None:
    """Each of its flags is in the assumptions, and has its effect."""
    words = (
        *("--service", "1s", "--start", "image=9s, start=1s", "--price", "2", "--accelerators"),
        *("4", "--room", "1", "--timeout", "20s", "--retries", "3", "--crash-after", "2h"),
        *("--failed-starts", "0", "--slow-starts", "1"),
    )
    (told,) = simulated(capsys, trace, *words)
    assert told["assumptions"] == [
        "service: 1s",
        "start of a replica: image=9s, start=1s (10s on average)",
        "price: 2 $ per replica and hour",
        "accelerators per replica: 4",
        "clients: give up after 20s, then try 3 more times, 1s later, doubling",
        "a replica dies 2h after it was ready",
        "100 % of starts take 5 times as long",
        "room for 1 replicas",
    ]
    assert told["latencies"]["longest"] > 20
    assert told["totals"]["tries"] > told["totals"]["requests"]
    hours = told["totals"]["replica_seconds"] / 3600
    assert told["money"]["dollars"] == pytest.approx(2 * hours)
    assert told["money"]["gpu_hours"] == pytest.approx(4 * hours)
    (nodes,) = simulated(capsys, trace, "--node-price", "3", "--replicas-per-node", "2")
    hours = nodes["totals"]["node_seconds"] / 3600
    assert nodes["money"]["dollars"] == pytest.approx(3 * hours)
    (crashing,) = simulated(capsys, trace, "--crash-after", "5s")
    assert crashing["totals"]["crashes"] > 0


def test_a_part_of_the_trace(capsys: Said, trace: Path) -> None:
    """``--from`` and ``--until`` cut it, and it begins where it was cut."""
    (part,) = simulated(capsys, trace, "--from", "30s", "--until", "301s")
    assert part["totals"]["requests"] == 2
    assert part["began"] == 1_700_000_030
    (one,) = simulated(capsys, trace, "--models", "b", "--busiest", "1")
    assert (one["totals"]["requests"], len(one["models"])) == (2, 1)
    assert simulated(capsys, trace, "--limit", "3")[0]["totals"]["requests"] == 3


def test_a_warm_up_moves_the_begin(capsys: Said, trace: Path, tmp_path: Path) -> None:
    """What is counted and drawn begins 35 s later: four requests, curves from then on."""
    page = tmp_path / "page.html"
    (warm,) = simulated(capsys, trace, "--warm-up", "35s", "--html", page)
    assert warm["totals"]["requests"] == 3
    assert warm["began"] == 1_700_000_035
    assert warm["series"]["arrivals"][5] == 1  # the one at 40 s
    moment = datetime.fromtimestamp(1_700_000_035, UTC)
    assert f"from {moment.day} {moment:%b %Y %H:%M} UTC" in page.read_text()


def test_every_file(capsys: Said, trace: Path, tmp_path: Path) -> None:
    """Each is written, said to be, and holds both runs."""
    names = ("page.html", "runs.json", "runs.csv", "series.csv")
    html, results, totals, series = (tmp_path / name for name in names)
    code, _, err = run(
        *(capsys, trace, "--versus", "keda", "--html", html, "--json", results),
        *("--csv", totals, "--series-csv", series),
    )
    assert code == 0
    assert [line for line in err.splitlines() if line.startswith("written: ")] == [
        f"written: {tmp_path / name}" for name in names
    ]
    assert [result.label for result in read_json(results)] == ["settings as given", "keda"]
    with totals.open() as file:
        lines = list(csv.DictReader(file))
    assert [line["row"] for line in lines] == ["run", "model", "model"] * 2
    with series.open() as file:
        runs = {line["run"] for line in csv.DictReader(file)}
    assert runs == {"1", "2"}
    assert "Simulation of trace.csv" in html.read_text()


def test_the_same_seed_gives_the_same(capsys: Said, trace: Path) -> None:
    """To the last figure; another seed draws other times."""
    words = ("--service", "exponential(1s)", "--start", "exponential(9s)")

    def told(seed: str) -> Any:
        (one,) = simulated(capsys, trace, *words, "--seed", seed)
        return {key: value for key, value in one.items() if key not in ("wall_seconds", "seed")}

    assert told("1") == told("1") != told("2")


VERSUS = "allowed: knative, always-on[:N], hpa[:N], keda[:N], kubeai[:N], key=value,..."


@pytest.mark.parametrize(
    ("words", "parts"),
    [
        (["--versus", "nothing"], ["--versus = nothing: is not known", VERSUS]),
        (["--versus", "always-on:0"], ["--versus = always-on:0: '0' is not a whole", VERSUS]),
        (["--versus", "always-on:1.5"], ["'1.5' is not a whole number above 0", VERSUS]),
        (["--versus", "hpa:x=1"], ["'x=1' is not a number above 0", VERSUS]),
        (["--versus", "stable-windw=9s"], ["--versus:", "stable-windw", "stable-window"]),
        (["--versus", "a=1,a=2"], ["--versus:", "a = 2: is set twice"]),
        (["--set", "stable-window"], ["--set:", "stable-window: is not key=value"]),
        (["--set", "=1"], ["=1: is not key=value"]),
        (["--set", "stable-window=1s"], ["stable-window = 1s", "allowed: [6s, 1h]"]),
        (["--set", "min-scale=3", "--set", "max-scale=2"], ["min-scale", "3", "2"]),
        (["--set", "min-scale=1", "--set", "min-scale=2"], ["min-scale = 2: is set twice"]),
        (["--service", "soon"], ["--service = soon", "tokens(prefill=8000/s"]),
        (["--start", "boot=3s"], ["--start = boot=3s", "schedule, node, image"]),
        (["--timeout=-1s"], ["--timeout = -1s: is not a duration"]),
        (["--crash-after", "gamma(1s)"], ["--crash-after = gamma(1s)", "mean= and cv="]),
        (["--warm-up", "x"], ["--warm-up = x: is not a duration"]),
        (["--warm-up", "301s"], ["--warm-up = 301s: is out of range; allowed: below the trace"]),
        (["--price", "-1"], ["--price = -1: is out of range; allowed: [0, 1e+06]"]),
        (["--price", "nan"], ["--price = nan: is out of range"]),
        (["--node-price", "inf"], ["--node-price = inf: is out of range"]),
        (["--accelerators", "1e9"], ["--accelerators = 1e+09: is out of range; allowed: [0, "]),
        (["--replicas-per-node", "0"], ["--replicas-per-node = 0", "allowed: [1, 10000]"]),
        (["--room", "-1"], ["--room = -1: is out of range; allowed: [0, 1e+06]"]),
        (["--retries", "101"], ["--retries = 101: is out of range; allowed: [0, 100]"]),
        (["--failed-starts", "1.1"], ["--failed-starts = 1.1", "allowed: [0, 1]"]),
        (["--slow-starts", "-0.1"], ["--slow-starts = -0.1", "allowed: [0, 1]"]),
        (["--seed", "-1"], ["seed = -1: must be 0 or more"]),
        (["--from", "later"], ["--from = later: is not a duration"]),
        (["--from", "400s"], ["from 400 to inf s: must be within its 301 s"]),
        (["--until", "0s"], ["from 0 to 0 s: must be within"]),
        (["--from", "50s", "--until", "60s"], ["no arrivals from 50 to 60 s"]),
        (["--format", "tarot"], ["format = tarot: unknown; known: azure-llm"]),
        (["--models", "z*"], ["no model is called z*; there are: default/a, default/b"]),
        (["--busiest", "0"], ["busiest = 0: must be 1 or more"]),
        (["--limit", "0"], ["limit = 0: must be 1 or more"]),
        (["--model-by", "host"], ["model-by = host: not for csv; allowed: fixed:"]),
    ],
)
def test_bad_input_is_told(capsys: Said, trace: Path, words: list[str], parts: list[str]) -> None:
    """With the flag, the value and what is allowed; nothing is simulated."""
    said = refused(capsys, trace, *words)
    assert [part for part in parts if part not in said] == [], said


def test_a_number_of_processes_out_of_range(capsys: Said, trace: Path) -> None:
    """0 and 257 are refused."""
    for jobs in ("0", "257"):
        assert cli.main(["simulate", str(trace), "--jobs", jobs]) == 1
        assert f"--jobs = {jobs}: is out of range; allowed: [1, 256]" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("content", "why"),
    [
        ("", "is empty, or not text"),
        ("t,model,service_s\n", "holds no arrivals"),
        ("hello world\n", "no known format"),
        ("t\n5\n-3\n7\nx\n", "2 of 4 lines are malformed"),
    ],
)
def test_a_bad_trace_is_told(capsys: Said, tmp_path: Path, content: str, why: str) -> None:
    """Empty, without arrivals, of no known format, negative times."""
    path = tmp_path / "bad.csv"
    path.write_text(content)
    assert why in refused(capsys, path)
    assert "No such file" in refused(capsys, tmp_path / "missing.csv")


def test_what_can_be_mended_is(capsys: Said, tmp_path: Path) -> None:
    """Unsorted times are sorted, a gap of eleven days is remarked and left out quickly."""
    path = tmp_path / "odd.csv"
    path.write_text("t\n30\n10\n1000000\n20\n")
    code, out, err = run(capsys, path)
    assert (code, row(out, "answered")) == (0, ["4"])
    assert "not in order" in err or "sorted" in err
    assert "nothing arrives for 999,970 s from 30 s on" in err


def test_a_bad_settings_file_is_told(capsys: Said, trace: Path, tmp_path: Path) -> None:
    """Missing, no text, no YAML, unknown and wrong keys of either kind of file."""
    path = tmp_path / "settings.yaml"
    assert "No such file" in refused(capsys, trace, "--settings", path)
    for content, why in (
        (b"\xff\xfe\x00", "is not text"),
        (b"a: [", "line 2, column 1: is not YAML"),
        (b"defaults: {stable-windw: 9s}\nmodels: {}\n", "defaults.stable-windw"),
        (b"defaults: {min-scale: -1}\n", "defaults.min-scale = -1"),
        (b"kind: ConfigMap\ndata: {stable-window: 1s}\n", "stable-window = 1s"),
        (b"- a\n- b\n", "settings.yaml"),
    ):
        path.write_bytes(content)
        assert why in refused(capsys, trace, "--settings", path)


@pytest.mark.parametrize("flag", ["--html", "--json", "--csv", "--series-csv"])
def test_a_file_that_cannot_be_written(capsys: Said, trace: Path, flag: str) -> None:
    """The table is there all the same; the file and the reason are told."""
    to = trace.parent / "missing" / "file"
    code, out, err = run(capsys, trace, flag, to)
    assert code == 1
    assert row(out, "answered") == ["6"]
    assert f"stoker: {to}:" in err
    assert "cannot be written: No such file or directory" in err
