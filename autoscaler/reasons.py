"""Why a decision is what it is, in one line for people. Built only for what is looked at."""

from __future__ import annotations

from functools import lru_cache
from math import ceil

from autoscaler.policies import Why, erlang_c
from autoscaler.scale_to_zero import Kept
from stoker.quantities import format_duration
from stoker.vocabulary import Decision, Metric, PolicyName, ScalingConfig


def reason(
    config: ScalingConfig,
    decision: Decision,
    kept: Kept,
    left: float,
    initialised: bool,
    why: Why = Why.NOTHING,
    figure: float = 0.0,
) -> str:
    """One line for a decision whose own reason is not set yet.

    ``left``: seconds until the reason to keep a replica ends, where ``kept`` says so.
    ``why`` and ``figure``: what the model's policy said last.
    """
    if kept is Kept.FLOOR:
        return _floor(config, decision, why, figure)
    if kept is not Kept.NOT:
        return _kept(config, kept, left)
    if not decision.valid:
        return _without_data(config, decision.desired, initialised)
    service = figure if why is Why.ERLANG and config.policy is PolicyName.ERLANG_C else 0.0
    return _load(config, decision, service) + _bound(config, decision, initialised)


def _without_data(config: ScalingConfig, desired: int, initialised: bool) -> str:
    if desired == 0:
        return "asleep: no load"
    if not initialised and desired <= config.initial_scale:
        return f"no load data yet: initial-scale {desired}"
    if desired == config.min_scale:
        return f"no load data: min-scale {desired}"
    return "no load data: nothing is changed"


def _floor(config: ScalingConfig, decision: Decision, why: Why, figure: float) -> str:
    """Why the policy asks for more than the load does."""
    desired = decision.desired
    match why:
        case Why.KEPT_LONG:
            return f"kept for {_rounded(figure)}: the model's idle times show no pattern (yet)"
        case Why.KEPT_PATTERN:
            return f"kept: idle times of this model are mostly below {_rounded(figure)}"
        case Why.PREWARMED:
            return (
                f"prewarmed: idle times of this model mostly end after {_rounded(figure)} or more"
            )
        case Why.SEASON_AWAKE:
            return f"kept or prewarmed: load came at this time, every {_rounded(config.season)}"
        case Why.SEASON:
            return (
                f"{number(figure)} {_unit(config.metric)} expected when a start begun now is ready "
                f"({number(config.season_quantile)} % of earlier seasons of "
                f"{_rounded(config.season)}), {_target(config.target)}: {desired}"
            )
        case _:
            return f"the policy asks for at least {desired}, whatever the load"


def _unit(metric: Metric) -> str:
    return "requests/s" if metric is Metric.RPS else "concurrent"


@lru_cache(maxsize=1024)
def _over(metric: Metric, window: float) -> str:
    return f" {_unit(metric)} over {seconds(window)}, "


def _promise(config: ScalingConfig, service: float) -> str:
    share, wait = number(config.slo_quantile), format_duration(config.slo_wait)
    return f"{number(service)} s each, {share} % to wait at most {wait}"


def _rounded(value: float) -> str:
    return format_duration(float(ceil(value)))


def _kept(config: ScalingConfig, kept: Kept, remaining: float) -> str:
    left = f"{number(remaining)} s left"
    match kept:
        case Kept.DISABLED:
            return "idle; one replica stays: enable-scale-to-zero is false"
        case Kept.ACTIVATING:
            return f"idle, but its first replica is still starting: not given up yet, {left}"
        case Kept.JUST_ACTIVE:
            window = seconds(config.stable_window)
            return f"idle, but active for less than a stable window of {window}: {left}"
        case Kept.GRACE:
            return f"idle; traffic does not pass the activator yet: grace period, {left}"
        case _:
            return f"idle; the last replica is retained: {left}"


def _load(config: ScalingConfig, decision: Decision, service: float) -> str:
    """``service``: mean service time where that is what sizes, else 0."""
    stable, panic, wanted = decision.stable, decision.panic, decision.wanted
    if service:
        target = _promise(config, service)
        by_stable = erlang_c.replicas(config, stable, service)
        by_panic = erlang_c.replicas(config, panic, service)
    else:
        target = _target(config.target)
        by_stable, by_panic = ceil(stable / config.target), ceil(panic / config.target)
    there = f"{decision.ready} ready"
    if decision.starting:
        there += f", {decision.starting} starting"
    if decision.panicking:
        over = _over(config.metric, config.panic_window)
        text = f"panic: {number(panic)}{over}{target}: {by_panic} wanted, {there}"
        if wanted > max(by_panic, by_stable):
            text += f"; not below {wanted} while in panic"
        elif wanted < max(by_panic, by_stable):
            text += f"; max-scale-up-rate allows {wanted}"
        return text
    if wanted == 0:
        return f"no load over {seconds(config.stable_window)}"
    over = _over(config.metric, config.stable_window)
    text = f"{number(stable)}{over}{target}: {by_stable} wanted, {there}"
    if wanted < by_stable:
        text += f"; max-scale-up-rate allows {wanted}"
    elif wanted > by_stable:
        if by_stable and wanted == config.activation_scale:
            text += f"; activation-scale {wanted}"
        elif config.scale_down_delay:
            text += f"; falling no lower than {wanted} yet (scale-down-delay, max-scale-down-rate)"
        else:
            text += f"; max-scale-down-rate allows no less than {wanted}"
    return text


@lru_cache(maxsize=1024)
def _target(value: float) -> str:
    return f"target {number(value)}"


def _bound(config: ScalingConfig, decision: Decision, initialised: bool) -> str:
    desired, wanted = decision.desired, decision.wanted
    if desired == wanted:
        return ""
    if desired < wanted:
        return f"; max-scale {desired}"
    if not initialised and desired > config.min_scale:
        return f"; initial-scale {desired}"
    return f"; min-scale {desired}"


def number(value: float) -> str:
    """Up to two decimals, none where there are none."""
    return f"{value:.2f}".rstrip("0").rstrip(".")


@lru_cache(maxsize=1024)
def seconds(value: float) -> str:
    """A duration out of the settings: few different ones, said again and again."""
    return f"{number(value)} s"
