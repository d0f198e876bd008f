"""The shared words: plain, immutable data that every layer passes around.

Siblings (activator, autoscaler, cache warmer) never import each other; what one tells
another is a value of a type defined here. Times are monotonic seconds (float) of the
world's clock, durations seconds, sizes bytes, unless a name says otherwise.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass, field
from typing import NamedTuple

DEFAULT_NAMESPACE = "default"


class ModelKey(NamedTuple):
    """The identity of a model, the thing that is scaled."""

    namespace: str
    name: str

    def __str__(self) -> str:
        return f"{self.namespace}/{self.name}"

    @classmethod
    def parse(cls, text: str) -> ModelKey:
        """``"ns/name"`` or ``"name"`` (in the default namespace)."""
        namespace, slash, name = text.rpartition("/")
        return cls(namespace if slash else DEFAULT_NAMESPACE, name)


class Phase(enum.StrEnum):
    """Where a replica is on its way up, or down. Declared in the order of progress."""

    PENDING_NODE = "pending-node"
    PULLING_IMAGE = "pulling-image"
    FETCHING_ARTIFACT = "fetching-artifact"
    STARTING = "starting"
    READY = "ready"
    DRAINING = "draining"
    FAILED = "failed"


PHASES_BEFORE_READY = (
    Phase.PENDING_NODE,
    Phase.PULLING_IMAGE,
    Phase.FETCHING_ARTIFACT,
    Phase.STARTING,
)


class Address(NamedTuple):
    """Where a replica listens."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


@dataclass(frozen=True, slots=True)
class Resources:
    """What one replica occupies on its node. 0 means not stated."""

    cpu_millis: int = 0
    memory_bytes: int = 0
    accelerators: int = 0


@dataclass(frozen=True, slots=True)
class Replica:
    """One running copy of a model, as its platform sees it at one moment.

    ``id`` is unique over the life of the platform, never reused. ``generation`` is the
    model's spec generation that the replica was started from. ``since`` is when the
    current phase began; ``phase_seconds`` what each earlier phase took.
    """

    model: ModelKey
    id: str
    generation: int
    phase: Phase
    since: float
    address: Address | None = None
    node: str = ""
    resources: Resources = Resources()
    reason: str = ""
    created: float = 0.0
    phase_seconds: tuple[tuple[Phase, float], ...] = ()

    @property
    def is_starting(self) -> bool:
        return self.phase in PHASES_BEFORE_READY


@dataclass(frozen=True, slots=True)
class Outage:
    """Why a model cannot start at all, for now: callers are refused at once with this.

    ``retry_at`` is when the platform tries again by itself.
    """

    model: ModelKey
    reason: str
    since: float
    retry_at: float


class Aggregation(enum.StrEnum):
    """How a window turns its buckets into one average."""

    LINEAR = "linear"
    WEIGHTED_EXPONENTIAL = "weighted-exponential"


class Balancing(enum.StrEnum):
    """How a replica is chosen for a request. AUTO: by how scarce its slots are."""

    AUTO = "auto"
    LEAST_OF_TWO = "least-of-two"
    FIRST_FREE = "first-free"
    ROUND_ROBIN = "round-robin"
    PREFIX = "prefix"


class AnswerHeaders(enum.StrEnum):
    """Which answers say what their requests waited for."""

    OFF = "off"
    HELD = "held"
    ALL = "all"


class PlaceholderFor(enum.StrEnum):
    """Who gets a model's placeholder. HTML: who GETs and accepts text/html."""

    HTML = "html"
    ALL = "all"


class Tenancy(enum.StrEnum):
    """By what callers are told apart. HEADER: what a trusted peer says of them."""

    OFF = "off"
    HEADER = "header"
    API_KEY = "api-key"


class ReplicaTls(enum.StrEnum):
    """How replicas are spoken to. INSECURE: encrypted, whoever it is."""

    OFF = "off"
    ON = "on"
    INSECURE = "insecure"


class Metric(enum.StrEnum):
    """What a model is scaled on."""

    CONCURRENCY = "concurrency"
    RPS = "rps"


class PolicyName(enum.StrEnum):
    """What decides how many replicas a model's load asks for (``autoscaler.policies``)."""

    KPA = "kpa"
    HYBRID_HISTOGRAM = "hybrid-histogram"
    SEASONAL = "seasonal"
    ERLANG_C = "erlang-c"


@dataclass(frozen=True, slots=True)
class ScalingConfig:
    """What the decider must know of one model. Meanings are Knative's.

    ``target`` is the wanted average per replica, ``capacity`` what one replica can take
    (requests, or requests per second when ``metric`` is rps). ``max_scale`` 0: no bound.
    ``target_burst_capacity`` -1: unlimited. Quantiles are percentages.
    """

    policy: PolicyName = PolicyName.KPA
    metric: Metric = Metric.CONCURRENCY
    target: float = 70.0
    capacity: float = 100.0
    min_scale: int = 0
    max_scale: int = 0
    initial_scale: int = 1
    activation_scale: int = 1
    enable_scale_to_zero: bool = True
    stable_window: float = 60.0
    panic_window: float = 6.0
    panic_threshold: float = 2.0
    max_scale_up_rate: float = 1000.0
    max_scale_down_rate: float = 2.0
    target_burst_capacity: float = 211.0
    scale_down_delay: float = 0.0
    scale_to_zero_grace_period: float = 30.0
    scale_to_zero_pod_retention_period: float = 0.0
    window_aggregation: Aggregation = Aggregation.LINEAR
    count_starting_as_capacity: bool = True
    keep_alive_default: float = 4 * 3600.0
    season: float = 24 * 3600.0
    season_quantile: float = 90.0
    slo_wait: float = 1.0
    slo_quantile: float = 99.0


@dataclass(frozen=True, slots=True)
class ServingConfig:
    """What the activator must know of one model: limits and budgets of its requests.

    ``container_concurrency`` 0: no limit per replica. ``total_timeout`` and
    ``tunnel_idle_timeout`` 0: none. Shares are percentages. ``replica_tls_ca``: a path;
    empty: the system's authorities. ``replica_tls_server_name`` empty: the address.
    ``hold_comments`` 0: none. ``fallback``: a model's name, ``namespace/name`` for one in
    another namespace; empty: none. ``placeholder``: a path; empty: none.
    """

    container_concurrency: int = 0
    queue_requests: int = 1000
    queue_bytes: int = 256 * 1024 * 1024
    hold_timeout: float = 300.0
    hold_timeout_cap: float = 900.0
    connect_timeout: float = 2.0
    first_byte_timeout: float = 300.0
    idle_timeout: float = 300.0
    total_timeout: float = 0.0
    tunnel_idle_timeout: float = 600.0
    retry_attempts: int = 2
    retry_post: bool = True
    replica_tls: ReplicaTls = ReplicaTls.OFF
    replica_tls_ca: str = ""
    replica_tls_server_name: str = ""
    probe_paths: tuple[str, ...] = ()
    priority: int = 0
    lower_priority_share: float = 0.0
    tenant_queue_share: float = 100.0
    balancing: Balancing = Balancing.AUTO
    prefix_chars: int = 100
    prefix_load_factor: float = 1.25
    answer_headers: AnswerHeaders = AnswerHeaders.HELD
    hold_comments: float = 0.0
    fallback: str = ""
    fallback_after: float = 0.0
    placeholder: str = ""
    placeholder_status: int = 503
    placeholder_for: PlaceholderFor = PlaceholderFor.HTML


@dataclass(frozen=True, slots=True)
class LaunchConfig:
    """How the local platform starts a replica: a command containing ``{port}``.

    ``readiness_path`` empty: a replica is ready when its port accepts a connection.
    """

    command: tuple[str, ...]
    env: tuple[tuple[str, str], ...] = ()
    directory: str = ""
    readiness_path: str = ""
    start_timeout: float = 600.0
    drain_timeout: float = 45.0
    grace_period: float = 30.0
    restart_backoff: float = 1.0
    restart_backoff_cap: float = 60.0
    failures_before_giving_up: int = 3
    output_bytes: int = 64 * 1024
    resources: Resources = Resources()


@dataclass(frozen=True, slots=True)
class ModelSpec:
    """A model as configured: its names for routing and its resolved settings.

    ``generation`` grows by one with each change of ``launch`` (replicas of an older
    generation are replaced); other changes keep it. ``aliases`` are further names under
    which bodies, paths and the header may ask for it. ``listeners`` are names of
    listeners that carry this model's traffic alone.
    """

    key: ModelKey
    generation: int = 1
    hosts: tuple[str, ...] = ()
    aliases: tuple[str, ...] = ()
    listeners: tuple[str, ...] = ()
    scaling: ScalingConfig = ScalingConfig()
    serving: ServingConfig = ServingConfig()
    launch: LaunchConfig | None = None


# --- load in -----------------------------------------------------------------


class Stat(NamedTuple):
    """One model's load in one report: time-weighted averages over its interval.

    ``queued`` and ``active`` are requests (average), ``arrivals`` and ``completions``
    counts. Concurrency is queued + active.
    """

    model: ModelKey
    queued: float
    active: float
    arrivals: int
    completions: int


class StatReport(NamedTuple):
    """What one reporter (an activator process) says of one interval, usually a second.

    A model that is not mentioned had nothing queued or active. ``epoch`` grows when the
    reporter restarts, ``sequence`` by one with each report: the collector drops what is
    old. ``interval`` is its length in seconds and ends at ``time``.
    """

    reporter: str
    epoch: int
    sequence: int
    time: float
    interval: float
    stats: tuple[Stat, ...]


class Poke(NamedTuple):
    """A hold found no slot: decide for this model now, not at the next tick."""

    reporter: str
    epoch: int
    model: ModelKey
    queued: int
    active: int
    time: float


# --- decisions out -----------------------------------------------------------


class Decision(NamedTuple):
    """What the decider concluded for one model at one tick, and why.

    ``desired`` is after bounds and scale-to-zero; ``wanted`` is the policy's own answer.
    ``valid`` False: there was no data, nothing is to be changed. Averages are -1
    without data.
    """

    model: ModelKey
    time: float
    desired: int
    wanted: int
    excess_burst_capacity: int
    stable: float
    panic: float
    panicking: bool
    valid: bool
    ready: int
    starting: int
    reason: str


class ScaleTo(NamedTuple):
    """Set a model's replica count. ``victims``: replica ids to prefer when shrinking."""

    model: ModelKey
    replicas: int
    reason: str = ""
    victims: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class AddNode:
    """Grow a node pool so that waiting replicas find room."""

    pool: str
    count: int
    reason: str = ""


@dataclass(frozen=True, slots=True)
class RemoveNode:
    """Let an empty node go."""

    pool: str
    node: str
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Stage:
    """Put an artifact (by digest) or an image on a node before a replica needs it."""

    model: ModelKey
    node: str
    artifact: str = ""
    image: str = ""
    reason: str = ""


@dataclass(frozen=True, slots=True)
class WakeAt:
    """Nothing to do before ``time``; decide for this model again then."""

    model: ModelKey
    time: float
    reason: str = ""


Command = ScaleTo | AddNode | RemoveNode | Stage | WakeAt


@dataclass(frozen=True, slots=True)
class Plan:
    """One tick's outcome: the decisions and the commands that follow from them."""

    time: float
    decisions: tuple[Decision, ...] = ()
    commands: tuple[Command, ...] = ()


# --- nodes -------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Node:
    """A machine that replicas run on."""

    name: str
    pool: str
    capacity: Resources = Resources()
    ready: bool = True


@dataclass(frozen=True, slots=True)
class NodePool:
    """Nodes of one kind that can be grown and shrunk together. ``max_nodes`` 0: no bound."""

    name: str
    nodes: int
    max_nodes: int = 0
    shape: Resources = Resources()


@dataclass(frozen=True, slots=True)
class PlatformEvent:
    """Something a person should be able to read later (a refusal, a give-up, a scale)."""

    model: ModelKey | None
    kind: str
    message: str
    time: float
    details: tuple[tuple[str, str], ...] = field(default=())
