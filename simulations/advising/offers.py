"""What running functions by the invocation costs, and where it ends: one table. Pure.

As published for us-east-1 and Tier 1 regions around 2022, the time of the talk "Serverless
for ML serving: genius or folly?", free tiers left out; cold starts are those that the talk
measured for DistilBERT in a container. ``simulations.advising.pricing`` changes any of it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

GIB = 1 << 30


def _key(meaning: str, default: float = 0.0, high: float = math.inf) -> Any:
    return field(default=default, metadata={"meaning": meaning, "high": high})


@dataclass(frozen=True, slots=True)
class Offer:
    """One way to pay by the invocation. Keys of a pricing file are these fields in kebab-case;
    seconds are written as durations, bytes as sizes. 0 for a limit: there is none.
    """

    name: str
    title: str = ""
    gib_second: float = _key("dollars per GiB and second", high=1.0)
    vcpu_second: float = _key("dollars per vCPU and second", high=1.0)
    request: float = _key("dollars per request", high=1.0)
    granularity: float = _key("seconds that time is rounded up to", 0.001, 3600.0)
    vcpus: float = _key("vCPUs of an instance", 1.0, 1024.0)
    concurrency: float = _key("requests at once in an instance; 0: as in a replica", 1.0, 1000.0)
    start_paid: float = _key("1: a cold start is paid for, 0: it is not", 0.0, 1.0)
    cold_start: float = _key("seconds of a cold start", 10.0, 3600.0)
    kept_warm: float = _key("seconds an idle instance is kept", 600.0, 86400.0)
    most_memory: float = _key("bytes of an instance at most")
    most_package: float = _key("bytes of the image at most")
    most_time: float = _key("seconds of a request at most")
    accelerators: float = _key("accelerators in an instance", 0.0, 16.0)


OFFERS = (
    Offer(
        "lambda",
        "AWS Lambda",
        gib_second=0.0000166667,
        request=0.20e-6,
        granularity=0.001,
        vcpus=0.0,  # they come with the memory and its price
        concurrency=1.0,
        cold_start=41.0,
        kept_warm=600.0,
        most_memory=10 * GIB,
        most_package=10e9,
        most_time=900.0,
    ),
    Offer(
        "cloud-run",
        "Google Cloud Run",
        gib_second=0.0000025,
        vcpu_second=0.000024,
        request=0.40e-6,
        granularity=0.1,
        vcpus=4.0,
        concurrency=0.0,
        start_paid=1.0,
        cold_start=8.2,
        kept_warm=900.0,
        most_memory=32 * GIB,
        most_time=3600.0,
    ),
)
