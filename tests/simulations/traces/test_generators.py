"""Made-up traces have the rates, bursts and popularity that were asked for."""

from __future__ import annotations

import numpy as np
import pytest

from simulations.traces import generators
from simulations.traces.generators import KINDS, Service, Shape, generated
from stoker.errors import TraceError


def rng(seed: int = 1) -> np.random.Generator:
    return np.random.default_rng(seed)


@pytest.mark.parametrize("kind", KINDS)
def test_the_mean_is_the_rate(kind: str) -> None:
    """Over many periods, within what a doubly random count may be off."""
    peak = 1.5 if kind == "diurnal" else 5
    shape = Shape(rate=0.3, peak=peak, on=20, off=80, every=300, length=30)
    trace = generated(kind, shape, 20 * 86_400, rng())
    assert len(trace) / trace.duration == pytest.approx(0.3, rel=0.05)
    again = generated(kind, shape, 20 * 86_400, rng())
    np.testing.assert_array_equal(again.times, trace.times)
    assert len(generated(kind, shape, 20 * 86_400, rng(2))) != len(trace)


def fano(times: np.ndarray[tuple[int], np.dtype[np.float64]], width: float) -> float:
    """Variance by mean of counts."""
    counts = np.bincount((times / width).astype(int))
    return float(counts.var() / counts.mean())


def test_poisson() -> None:
    """Gaps vary as much as their mean, counts too."""
    times = generated("poisson", Shape(rate=5), 50_000, rng()).times
    gaps = np.diff(times)
    assert gaps.std() / gaps.mean() == pytest.approx(1, abs=0.02)
    assert fano(times, 10) == pytest.approx(1, abs=0.06)


def test_mmpp() -> None:
    """The Fano factor of an MMPP of two states, and nothing at all while it is low.

    With rates h and 0, means a of high and b of low, k = 1/a + 1/b, p = a / (a + b), counts
    in T have the variance m + 2 h^2 p (1-p) (T/k - (1 - e^(-kT)) / k^2), m = h p T
    (Fischer and Meier-Hellstern, The MMPP cookbook, 1993).
    """
    on, off, width = 20.0, 60.0, 40.0
    times = generated("mmpp", Shape(rate=2, peak=4, on=on, off=off), 1e6, rng(3)).times
    k, p, h = 1 / on + 1 / off, on / (on + off), 8.0
    extra = 2 * h**2 * p * (1 - p) * (width / k - (1 - np.exp(-k * width)) / k**2)
    assert fano(times, width) == pytest.approx(1 + extra / (h * p * width), rel=0.05)


def test_mmpp_that_is_never_silent() -> None:
    """With a lower peak the low state has what is left of the mean."""
    times = generated("mmpp", Shape(rate=2, peak=2, on=500, off=1500), 1e6, rng()).times
    minutes = np.bincount((times / 60).astype(int))
    # High 4/s, low (2 - 4/4) / (3/4) = 4/3 per second.
    assert np.percentile(minutes, 95) / 60 == pytest.approx(4, rel=0.1)
    assert np.percentile(minutes, 30) / 60 == pytest.approx(4 / 3, rel=0.1)


def test_on_off() -> None:
    """Exactly none while it is off; the last period may be cut."""
    shape = Shape(rate=1, on=60, off=540)
    times = generated("on-off", shape, 86_430, rng()).times
    assert (times % 600 <= 60).all()
    assert times[-1] > 86_400
    cut = generated("on-off", shape, 660, rng()).times
    assert cut[-1] > 600
    whole = generated("on-off", shape, 1100, rng())
    assert whole.duration == 1100
    assert (whole.times % 600 <= 60).all()


def test_diurnal() -> None:
    """Lowest at the beginning of a period, highest in its middle, as far apart as asked for."""
    times = generated("diurnal", Shape(rate=5, peak=1.5), 10 * 86_400, rng()).times
    hours = np.bincount((times % 86_400 // 3600).astype(int)) / 36_000
    assert hours.argmin() in (0, 23)
    assert hours.argmax() in (11, 12)
    assert hours.max() == pytest.approx(7.5, rel=0.02)
    assert hours.min() == pytest.approx(2.5, rel=0.02)


def test_spikes() -> None:
    """As many as asked for, as high as asked for."""
    shape = Shape(rate=3, peak=20, every=3600, length=60)
    times = generated("spikes", shape, 10 * 86_400, rng()).times
    seconds = np.bincount((times / 20).astype(int)) / 20
    between = np.median(seconds)
    high = seconds > 3 * between
    assert seconds[high].max() / between == pytest.approx(20, rel=0.25)
    spikes = (np.diff(high.astype(int)) == 1).sum()
    assert spikes == pytest.approx(10 * 24, rel=0.15)
    dense = generated("spikes", Shape(rate=1, every=1e-9, length=1e-9), 0.001, rng())
    assert dense.duration == 0.001


def test_models_by_zipf() -> None:
    """The k-th has 1/k of the first; each has bursts of its own."""
    trace = generated("poisson", Shape(rate=10), 10_000, rng(), models=4)
    counts = np.bincount(trace.which)
    np.testing.assert_allclose(counts / counts[0], [1, 1 / 2, 1 / 3, 1 / 4], rtol=0.05)
    assert [str(key) for key in trace.models[:2]] == ["default/model-1", "default/model-2"]
    alike = generated("poisson", Shape(rate=10), 10_000, rng(), models=4, zipf=0)
    np.testing.assert_allclose(np.bincount(alike.which), 25_000, rtol=0.05)
    bursty = generated("mmpp", Shape(rate=4, on=60, off=540), 36_000, rng(), models=2, zipf=0)
    first, second = (
        np.bincount((bursty.times[bursty.which == k] / 60).astype(int), minlength=600)
        for k in range(2)
    )
    assert abs(np.corrcoef(first, second)[0, 1]) < 0.3


def test_service_times() -> None:
    """Lognormal of this mean and CV; all the same without one."""
    trace = generated("poisson", Shape(rate=10), 5000, rng(), service=Service(0.5, 0.4))
    assert trace.service is not None
    assert trace.service.mean() == pytest.approx(0.5, rel=0.02)
    assert trace.service.std() / trace.service.mean() == pytest.approx(0.4, rel=0.03)
    same = generated("poisson", Shape(rate=1), 500, rng(), service=Service(0.5))
    assert same.service is not None
    np.testing.assert_allclose(same.service, 0.5)


@pytest.mark.parametrize(
    ("how", "why"),
    [
        ({"kind": "sawtooth"}, "kind = sawtooth: unknown; known: poisson, mmpp"),
        ({"duration": 0}, "duration = 0: allowed: above 0, to 1e"),
        ({"duration": float("nan")}, "duration = nan"),
        ({"shape": Shape(rate=-1)}, "rate = -1: allowed: above 0"),
        ({"shape": Shape(on=float("inf"))}, "on = inf: allowed"),
        (
            {"shape": Shape(rate=1e6)},
            "rate x duration = 3,600,000,000 arrivals: at most 50,000,000",
        ),
        ({"models": 0}, "models = 0: allowed: 1 to 100,000"),
        ({"zipf": -1}, "zipf = -1: allowed: 0"),
        ({"service": Service(-1)}, "service = -1 s, CV 0: allowed"),
        ({"service": Service(1, 1e9)}, r"service = 1 s, CV 1e\+09: allowed"),
        ({"kind": "diurnal"}, "peak = 10: a sine around its mean reaches 1 to 2"),
        (
            {"kind": "mmpp", "shape": Shape(peak=11)},
            "with 60 s on and 540 s off .* 1 to 10",
        ),
        ({"kind": "mmpp", "shape": Shape(peak=0.5)}, "peak = 0.5: with 60 s on"),
        ({"kind": "on-off", "shape": Shape(on=1e-6, off=1e-6)}, "2e-06 s is too short for a trace"),
    ],
)
def test_arguments_out_of_range(how: dict[str, object], why: str) -> None:
    """Each is told with its value and what is allowed."""
    arguments = {"kind": "poisson", "shape": Shape(), "duration": 3600.0, **how}
    with pytest.raises(TraceError, match=why):
        generated(**arguments, rng=rng())  # type: ignore[arg-type]


def test_chance_may_not_make_it_absurd_either(monkeypatch: pytest.MonkeyPatch) -> None:
    """The mean is allowed, but more would come."""
    monkeypatch.setattr(generators, "MOST_ARRIVALS", 10)
    # Of 10 expected arrivals more than 10 come with this seed.
    with pytest.raises(TraceError, match=r"[0-9]+ arrivals: at most 10"):
        generated("poisson", Shape(rate=10), 1, rng(4))
