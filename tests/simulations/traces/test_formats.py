"""Each format, from a small file that is true to what is published, is read as it is meant."""

from __future__ import annotations

import shutil
import tarfile
from pathlib import Path

import numpy as np
import pytest

from activator.access_lines import Entry, as_json, combined
from simulations.trace import Trace, gathered
from simulations.traces import FORMATS, Loaded, read_source
from simulations.traces.reading import sniffed
from simulations.traces.windows import Windows
from tests.simulations.traces.real import SAMPLES, sample

EXPECTED = {
    "azure_llm.csv": "azure-llm",
    "azure_functions_2019": "azure-functions-2019",
    "azure_functions_2021.txt": "azure-functions-2021",
    "burstgpt_1.csv": "burstgpt",
    "burstgpt_3.csv": "burstgpt",
    "mooncake.csv": "mooncake",
    "mooncake.jsonl": "mooncake",
    "servegen": "servegen",
    "prometheus_counter.json": "prometheus",
    "prometheus_rate.json": "prometheus",
    "combined.log": "access-log",
    "vhost.log": "access-log",
    "request_time.log": "access-log",
    "nginx.jsonl": "access-log-json",
    "caddy.jsonl": "access-log-json",
    "traefik.jsonl": "access-log-json",
    "envoy.jsonl": "access-log-json",
    "plain.csv": "csv",
}


def trace(name: str, **how: object) -> tuple[Trace, Loaded]:
    """A sample as one trace, and as it was loaded."""
    loaded = read_source(sample(name), **how)  # type: ignore[arg-type]
    return gathered(loaded), loaded


def models(read: Trace) -> list[str]:
    """For each arrival its model."""
    return [str(read.models[place]) for place in read.which]


def test_every_format_has_a_sample_and_is_recognised_by_it() -> None:
    """By content alone: a file's name decides nothing."""
    assert {path.name for path in SAMPLES.iterdir()} == set(EXPECTED)
    assert set(EXPECTED.values()) == set(FORMATS)
    assert {name: sniffed(sample(name)) for name in EXPECTED} == EXPECTED


@pytest.mark.parametrize("name", EXPECTED)
def test_named_and_recognised_are_the_same(name: str) -> None:
    """--format with the format's name gives what sniffing gives; reading twice too."""
    found, loaded = trace(name)
    named = gathered(read_source(sample(name), loaded.format))
    assert len(found) > 1
    for column in ("times", "which", "service", "prompt_tokens", "output_tokens"):
        np.testing.assert_array_equal(getattr(found, column), getattr(named, column))


def test_azure_llm() -> None:
    """Times to 100 ns from the first request, which is kept as the moment it was."""
    read, loaded = trace("azure_llm.csv")
    np.testing.assert_allclose(read.times, [0, 0.5000001, 1.875, 1.875, 7], rtol=0, atol=1e-12)
    assert read.prompt_tokens is not None
    assert read.output_tokens is not None
    assert read.prompt_tokens.tolist() == [512, 48, 2301, 77, 1024]
    assert read.output_tokens.tolist() == [24, 7, 181, 12, 1]
    assert read.service is None
    assert loaded.began == 1_700_125_200.125
    assert models(read) == ["default/azure-llm"] * 5


def test_azure_llm_of_2024(tmp_path: Path) -> None:
    """Its times carry an offset."""
    file = tmp_path / "week.csv"
    file.write_text(
        "TIMESTAMP,ContextTokens,GeneratedTokens\n"
        "2024-05-10 00:00:00.009930+00:00,2162,5\n2024-05-10 00:00:00.017335Z,2399,6\n"
    )
    read = gathered(read_source(str(file)))
    np.testing.assert_allclose(read.times, [0, 0.007405], atol=1e-9)


def test_azure_functions_2019_by_app() -> None:
    """Counts fall into their minutes; two days in a row; durations are of what they say."""
    read, loaded = trace("azure_functions_2019")
    assert isinstance(loaded.source, Windows)
    assert loaded.duration == 2 * 86_400
    assert [str(key) for key in read.models] == ["default/a1", "default/b7", "default/c3"]
    assert loaded.source.per_model().tolist() == [154, 500, 1]
    assert len(read) == 655
    minutes = (read.times // 60).astype(int)
    assert np.bincount(minutes)[[0, 1, 719, 1439, 1440, 1499]].tolist() == [4, 1, 500, 2, 4, 1]
    assert read.service is not None
    a1, b7, c3 = (read.service[read.which == place] for place in range(3))
    # 144 of 154 calls of a1 are of the function that takes 1 to 4 s, the others take 0.04 s.
    assert 0.8 < (a1 >= 1).mean() < 1
    assert ((a1 >= 1) & (a1 <= 4) | (a1 >= 0.01) & (a1 <= 0.04)).all()
    np.testing.assert_allclose(b7, 0.1)
    assert np.isnan(c3).all()


def test_azure_functions_2019_by_function() -> None:
    """Functions are called after themselves, in a namespace of their app."""
    read, loaded = trace("azure_functions_2019", model_by="function")
    assert [str(key) for key in read.models] == ["a1/f1", "a1/f2", "b7/f9", "c3/f5"]
    assert isinstance(loaded.source, Windows)
    assert loaded.source.per_model().tolist() == [10, 144, 500, 1]
    assert read.service is not None
    assert read.service[read.which == 0].max() <= 0.04
    assert read.service[read.which == 1].min() >= 1
    one = gathered(read_source(sample("azure_functions_2019"), model_by="fixed:all"))
    assert (len(one), len(one.models)) == (655, 1)
    assert one.service is not None
    # The one call of c3, of which nothing is known, weighs 1 of 655.
    assert np.isnan(one.service).mean() < 0.02


def test_azure_functions_2021() -> None:
    """A call came its duration before its end; the app is the model, or the function."""
    read, loaded = trace("azure_functions_2021.txt")
    assert read.times.tolist() == [8, 10, 20, 298.5]
    assert read.service is not None
    assert read.service.tolist() == [4, 0.5, 0.25, 1.5]
    assert models(read) == ["default/a1f0", "default/a1f0", "default/b2e9", "default/a1f0"]
    assert loaded.notices == ()
    read, _ = trace("azure_functions_2021.txt", model_by="function")
    assert models(read) == ["a1f0/f2", "a1f0/f1", "b2e9/f1", "a1f0/f1"]


def test_azure_functions_2021_from_before_second_0(tmp_path: Path) -> None:
    """A call that ended sooner than it took moves the beginning, with a notice."""
    file = tmp_path / "trace.txt"
    file.write_text("app,func,end_timestamp,duration\na,f,0.5,2.5\na,f,10,1\n")
    loaded = read_source(str(file))
    assert gathered(loaded).times.tolist() == [0, 11]
    (notice,) = loaded.notices
    assert "-2.000" in notice


def test_burstgpt_without_elapsed_times() -> None:
    """From the midnight before; whole seconds are spread; requests that failed are kept."""
    read, loaded = trace("burstgpt_1.csv")
    assert (read.times // 1).tolist() == [5, 5, 12, 70]
    assert len(set(read.times.tolist())) == 4
    assert models(read)[2:] == ["default/ChatGPT"] * 2
    assert read.output_tokens is not None
    assert read.output_tokens.tolist() == [22, 141, 0, 58]
    assert any("whole seconds" in notice for notice in loaded.notices)
    assert any(notice.endswith("kept: 1") for notice in loaded.notices)


def test_burstgpt_with_elapsed_times() -> None:
    """They are service times; 0 is not known. Times that have fractions stay."""
    read, loaded = trace("burstgpt_3.csv")
    assert read.times.tolist() == [10.25, 12.5]
    assert read.service is not None
    assert read.service[0] == 12.5
    assert np.isnan(read.service[1])
    assert loaded.notices == ()


@pytest.mark.parametrize("name", ["mooncake.csv", "mooncake.jsonl"])
def test_mooncake(name: str) -> None:
    """Milliseconds, from JSON lines and from CSV alike."""
    read, loaded = trace(name)
    assert read.times.tolist() == [0, 3, 3]
    assert read.prompt_tokens is not None
    assert read.output_tokens is not None
    assert read.prompt_tokens.tolist() == [6600, 512, 9000]
    assert read.output_tokens.tolist() == [410, 32, 5]
    assert loaded.notices == ()


def test_servegen() -> None:
    """As many arrivals as rate x 600 s, each in its window; clients in their natural order."""
    read, loaded = trace("servegen")
    assert [str(key) for key in read.models] == ["m-tiny/chunk-2", "m-tiny/chunk-10"]
    windows = (read.times // 600).astype(int)
    for place, expected in enumerate(([300, 0, 750], [0, 20, 3])):
        assert np.bincount(windows[read.which == place], minlength=3).tolist() == expected
    assert loaded.duration == 1800
    other = gathered(read_source(sample("servegen"), seed=1))
    assert len(other) == len(read)
    assert (other.times != read.times).any()


def test_servegen_as_a_tar(tmp_path: Path) -> None:
    """Packed as it is published it is the same, in the order of the archive."""
    file = tmp_path / "m-tiny.tar.xz"
    with tarfile.open(file, "w:xz") as archive:
        archive.add(sample("servegen/m-tiny"), "data/language/m-tiny")
    loaded = read_source(str(file), models=["chunk-2"])
    folder = read_source(sample("servegen"), models=["chunk-2"])
    np.testing.assert_array_equal(gathered(loaded).times, gathered(folder).times)
    assert loaded.notices == ("1 of 2 models, as asked for",)


def test_the_combined_format() -> None:
    """One model by default; by the path where that is asked for. Offsets of zones count."""
    read, loaded = trace("combined.log")
    assert models(read) == ["default/combined"] * 3
    assert loaded.began is not None
    assert 1_767_323_045 <= loaded.began < 1_767_323_046
    assert 3 <= read.times[2] - read.times[0] < 5
    read, loaded = trace("combined.log", model_by=r"path:/models/(\w+):")
    assert sorted(models(read)) == ["default/digits", "default/faces"]
    assert "requests that are for no model, left out: 1" in loaded.notices
    read, _ = trace("combined.log", model_by="path:/[a-z0-9]+")
    assert sorted(models(read)) == ["default/healthz", "default/v1", "default/v1"]


def test_virtual_hosts_in_front() -> None:
    """Where the log has the host, that is the model."""
    read, _ = trace("vhost.log")
    assert models(read) == ["default/digits.example.com", "default/faces.example.com"]


def test_request_time_at_the_end() -> None:
    """It is the service time, and how much earlier than its line a request came."""
    read, loaded = trace("request_time.log")
    assert read.times.tolist() == [0, 3.75]
    assert read.service is not None
    assert read.service.tolist() == [8, 0.25]
    assert loaded.notices == ()


@pytest.mark.parametrize("name", ["nginx.jsonl", "caddy.jsonl", "traefik.jsonl", "envoy.jsonl"])
def test_json_access_logs(name: str) -> None:
    """Durations in their units; a time that is the end or the beginning; the host's model."""
    read, loaded = trace(name)
    assert models(read) == ["default/digits.example.com", "default/faces.example.com"]
    assert read.service is not None
    if name == "nginx.jsonl":
        assert (read.times.tolist(), read.service.tolist()) == ([0, 2.375], [0.5, 0.125])
        assert loaded.began == 1_767_323_044.5
    else:
        assert (read.times.tolist(), read.service.tolist()) == ([0, 1.5], [0.25, 0.5])
        assert loaded.began == 1_767_323_045.5
    read, _ = trace(name, model_by="path:^/(pred)ict")
    assert models(read) == ["default/pred"] * 2


ENTRIES = [
    # Ended at 1767323045.75 after 2.5 s, of which 2 s held; then refused after 5 s; then a
    # request for no model; then one more.
    Entry(
        *("::1", "", 1767323045.75, "POST", "/p", "HTTP/1.1", 200, 9, "", "", 2.5, 2.0),
        *("team/digits", "digits-1", 0, "", ""),
    ),
    Entry(
        *("::1", "ada b", 1767323046.5, "POST", "/p", "HTTP/1.1", 503, 9, "", "", 5.0, 5.0),
        *("team/digits", "", 0, "ab12", "overflow"),
    ),
    Entry(
        *("::1", "", 1767323047.0, "GET", '/"x', "HTTP/1.1", 404, 9, "", "", 0.0, 0.0),
        *("", "", 0, "", "no-model"),
    ),
    Entry(
        *("::1", "", 1767323048.0, "GET", "/", "HTTP/1.1", 200, 9, "", "", 0.5, 0.0),
        *("default/d", "d-1", 1, "", ""),
    ),
]


def test_stoker_s_own_access_log(tmp_path: Path) -> None:
    """What the activator writes in either format is read in full."""
    for name, write, time in (
        ("text.log", combined, "02/Jan/2026:03:04:{:02d} +0000"),
        ("json.log", as_json, "2026-01-02T03:04:{:02d}.{:03d}Z"),
    ):
        file = tmp_path / name
        moments = [divmod(round((entry.wall - 1767323040) * 1000), 1000) for entry in ENTRIES]
        lines = [write(e, time.format(*at)) for e, at in zip(ENTRIES, moments, strict=True)]
        file.write_text("".join(lines))
        loaded = read_source(str(file))
        read = gathered(loaded)
        assert models(read) == ["team/digits", "team/digits", "default/d"]
        assert read.service is not None
        # The refused one came first: 5 s before its line.
        assert np.isnan(read.service[0])
        np.testing.assert_allclose(read.service[1:], [0.5, 0.5], atol=1e-9)
        assert "requests that are for no model, left out: 1" in loaded.notices
        if write is as_json:
            np.testing.assert_allclose(read.times, [0, 1.75, 6.0], atol=1e-6)
            assert loaded.began == pytest.approx(1767323041.5)


def test_a_counter_of_prometheus() -> None:
    """Increases; a restart counts from 0; a missing sample is spread; codes are added up."""
    read, loaded = trace("prometheus_counter.json")
    assert [str(key) for key in read.models] == ["team/digits", "team/faces"]
    minutes = (read.times // 60).astype(int)
    digits = np.bincount(minutes[read.which == 0], minlength=5)
    # 30 + 5 in the first minute, none, 12 after the restart, then 40 over two minutes.
    assert digits.tolist() == [35, 0, 12, 20, 20]
    assert np.bincount(minutes[read.which == 1], minlength=5).tolist() == [0, 0, 0, 0, 2]
    assert (loaded.duration, loaded.began) == (300, 1767323040)
    assert "falls of counters, taken as restarts from 0: 1" in loaded.notices


def test_a_rate_of_prometheus() -> None:
    """A sample stands for the step before it; broken counts are kept in total."""
    read, loaded = trace("prometheus_rate.json")
    assert [str(key) for key in read.models] == ["default/a", "default/b"]
    minutes = (read.times // 60).astype(int)
    a = np.bincount(minutes[read.which == 0], minlength=3)
    assert (a[0], a[1]) == (30, 0)
    assert a[2] in (7, 8)
    assert np.bincount(minutes[read.which == 1], minlength=3).tolist() == [6, 0, 120]
    assert (loaded.duration, loaded.began) == (180, 1767323000)
    read, _ = trace("prometheus_rate.json", model_by="label:job", values="increase")
    assert [str(key) for key in read.models] == ["default/serving"]
    assert len(read) in (2, 3)


def test_plain_csv() -> None:
    """What is not said is not known; what the comments say counts."""
    read, loaded = trace("plain.csv")
    assert read.times.tolist() == [0.5, 0.75, 10]
    assert models(read) == ["default/digits", "team/faces", "default/digits"]
    assert read.service is not None
    assert read.prompt_tokens is not None
    assert read.output_tokens is not None
    np.testing.assert_array_equal(read.service, [0.025, 1.5, np.nan])
    assert read.prompt_tokens.tolist() == [-1, 100, -1]
    assert read.output_tokens.tolist() == [-1, 20, 3]
    assert (loaded.duration, loaded.began) == (60, 1_700_000_000)


def test_plain_csv_with_times_of_the_clock(tmp_path: Path) -> None:
    """Seconds since 1970 become seconds from the first arrival, with a notice."""
    file = tmp_path / "clock.csv"
    file.write_text("model,t\na,1700000000.5\n,1700000002.5\n")
    loaded = read_source(str(file))
    read = gathered(loaded)
    assert read.times.tolist() == [0, 2]
    assert models(read) == ["default/a", "default/clock"]
    assert read.began == 1_700_000_000.5
    assert "1970" in loaded.notices[0]


def test_a_folder_and_a_tar_of_plain_files(tmp_path: Path) -> None:
    """Files are read one after the other, and sorted together."""
    folder = tmp_path / "many"
    (folder / "inner").mkdir(parents=True)
    for name in ("a.csv", "inner/b.csv"):
        shutil.copy(sample("plain.csv"), folder / name)
    loaded = read_source(str(folder))
    assert gathered(loaded).times.tolist() == [0.5, 0.5, 0.75, 0.75, 10, 10]
    assert any("sorted" in notice for notice in loaded.notices)
