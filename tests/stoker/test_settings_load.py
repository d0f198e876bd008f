"""Reading a settings file: what wins, and what is resolved."""

from __future__ import annotations

from stoker.settings import LogLevel, load
from stoker.vocabulary import Address, Aggregation, Balancing, Metric, ModelKey, Resources, Tenancy
from tests.stoker.settings_text import MODEL, model


def test_a_model_needs_only_a_command() -> None:
    """Everything else has a default; the name gives the key, the file the directory."""
    config = load(MODEL, "stoker.yaml", base_directory="/srv/models")
    (spec,) = config.models
    assert spec.key == ModelKey("default", "digits")
    assert spec.generation == 1
    assert spec.launch is not None
    assert spec.launch.command == ("serve", "--port", "{port}")
    assert spec.launch.directory == "/srv/models"
    assert config.process.listen == Address("127.0.0.1", 8080)
    assert config.notices == ()


def test_every_part_of_a_model_is_read() -> None:
    """Names, launch, serving and scaling end up where they belong."""
    spec = model(
        'env: {A: 1, B: "x y", EMPTY: ""}\n'
        "directory: ../digits\n"
        "readiness: /v2/health/ready\n"
        "grace-period: 1m30s\n"
        "output-bytes: 128Ki\n"
        "resources: {cpu: 500m, memory: 1Gi, accelerators: 1}\n"
        "hosts: [Digits.Example.org., other.example]\n"
        "aliases: acme/digits-v2, d\n"
        "namespace: vision\n"
        "container-concurrency: 4\n"
        "hold-timeout: 10s\n"
        "retry-post: false\n"
        "metric: rps\n"
        "window-aggregation: weighted-exponential\n"
        "target-burst-capacity: -1\n"
        "min-scale: 1\nmax-scale: 1"
    ).models[0]
    assert spec.key == ModelKey("vision", "digits")
    assert spec.hosts == ("digits.example.org", "other.example")
    assert spec.aliases == ("acme/digits-v2", "d")
    assert spec.launch is not None
    assert spec.launch.env == (("A", "1"), ("B", "x y"), ("EMPTY", ""))
    assert spec.launch.directory == "/srv/digits"
    assert spec.launch.readiness_path == "/v2/health/ready"
    assert spec.launch.grace_period == 90.0
    assert spec.launch.output_bytes == 128 * 1024
    assert spec.launch.resources == Resources(500, 1024**3, 1)
    assert (spec.serving.container_concurrency, spec.serving.hold_timeout) == (4, 10.0)
    assert not spec.serving.retry_post
    assert spec.scaling.metric is Metric.RPS
    assert spec.scaling.window_aggregation is Aggregation.WEIGHTED_EXPONENTIAL
    assert spec.scaling.target_burst_capacity == -1
    assert (spec.scaling.min_scale, spec.scaling.max_scale) == (1, 1)


def test_an_absolute_directory_and_fractions_of_a_cpu() -> None:
    """An absolute directory stays, CPUs may be fractions."""
    launch = model('directory: /opt/x\nresources: {cpu: "1.5"}\nreadiness: tcp').models[0].launch
    assert launch is not None
    assert launch.directory == "/opt/x"
    assert launch.resources == Resources(1500)
    assert launch.readiness_path == ""


def test_a_command_may_be_a_list_or_quoted() -> None:
    """A text is split as a shell would, a list is taken word by word."""
    text = "models:\n  a:\n    command: s 'two words' {port}\n  b:\n    command: [s, '{port}']\n"
    launches = [spec.launch for spec in load(text, "stoker.yaml").models]
    assert [launch.command for launch in launches if launch] == [
        ("s", "two words", "{port}"),
        ("s", "{port}"),
    ]


def test_a_models_own_block_wins_over_defaults() -> None:
    """Built-in < defaults < the model's own block, key by key."""
    config = load(
        "defaults:\n  stable-window: 30s\n  max-scale: 5\n"
        "models:\n"
        "  a:\n    command: serve {port}\n    stable-window: 10s\n"
        "  b:\n    command: serve {port}\n",
        "stoker.yaml",
    )
    a, b = (spec.scaling for spec in config.models)
    assert (a.stable_window, a.max_scale, a.min_scale) == (10.0, 5, 0)
    assert (b.stable_window, b.max_scale) == (30.0, 5)


def test_process_settings_are_read() -> None:
    """Every kind of process setting, paths relative to the file."""
    process = load(
        "stoker:\n"
        "  listen: 0.0.0.0:80\n"
        "  listeners:\n    grpc: '[::1]:9000'\n"
        "  journal-file: journal/log\n"
        "  max-body-bytes: 10M\n"
        "  probe-agents: [curl, My Probe/]\n"
        "  trust-forwarded-headers: 'true'\n"
        "  log-level: debug\n" + MODEL,
        "stoker.yaml",
        base_directory="/srv",
    ).process
    assert process.listen == Address("0.0.0.0", 80)
    assert process.listeners == (("grpc", Address("::1", 9000)),)
    assert process.journal_file == "/srv/journal/log"
    assert process.spool_directory == ""
    assert process.max_body_bytes == 10**7
    assert process.probe_agents == ("curl", "My Probe/")
    assert process.trust_forwarded_headers
    assert process.log_level is LogLevel.DEBUG


def test_tenants_and_balancing_are_read() -> None:
    """Weights as a mapping or as text; headers in lower case; what is per model."""
    for weights in ("{gold: 10, b.2: 0.5}", "gold=10, b.2=0.5"):
        settings = load(
            f"stoker:\n  tenancy: header\n  tenant-header: X-Team\n  tenant-weights: {weights}\n"
            "models:\n  digits:\n    command: serve {port}\n    balancing: prefix\n"
            "    prefix-chars: 200\n    prefix-load-factor: 1.5\n    lower-priority-share: 10\n"
            "    tenant-queue-share: 25\n",
            "stoker.yaml",
        )
        process, serving = settings.process, settings.models[0].serving
        assert process.tenancy is Tenancy.HEADER
        assert process.tenant_header == "x-team"
        assert process.tenant_weights == (("gold", 10.0), ("b.2", 0.5))
        assert serving.balancing is Balancing.PREFIX
        assert (serving.prefix_chars, serving.prefix_load_factor) == (200, 1.5)
        assert (serving.lower_priority_share, serving.tenant_queue_share) == (10.0, 25.0)


def test_the_environment_wins_over_the_file_and_the_command_line_over_both() -> None:
    """Precedence of process settings; other variables are nobody's business here."""
    process = load(
        "stoker:\n  listen: 127.0.0.1:1\n  admin: 127.0.0.1:2\n  max-headers: 5\n" + MODEL,
        "stoker.yaml",
        environ={
            "STOKER_LISTEN": "127.0.0.1:3",
            "STOKER_ADMIN": "127.0.0.1:4",
            "STOKER_LISTENERS": "a=127.0.0.1:5,b=127.0.0.1:6",
            "STOKER_PORT": "tcp://10.0.0.1:80",
            "HOME": "/root",
        },
        overrides={"listen": "127.0.0.1:7"},
    ).process
    assert (process.listen.port, process.admin.port, process.max_headers) == (7, 4, 5)
    assert [name for name, _ in process.listeners] == ["a", "b"]


def test_a_knative_config_map_can_be_pasted_under_defaults() -> None:
    """Quoted values are read; keys without a meaning here are noted, not refused."""
    config = load(
        "defaults:\n"
        '  container-concurrency-target-default: "50"\n'
        '  container-concurrency-target-percentage: "80"\n'
        '  enable-scale-to-zero: "true"\n'
        '  stable-window: "60s"\n'
        '  allow-zero-initial-scale: "false"\n'
        '  pod-autoscaler-class: "kpa.autoscaling.knative.dev"\n'
        "  _example: |\n    # everything\n" + MODEL,
        "stoker.yaml",
    )
    assert config.models[0].scaling.target == 40
    assert [notice.partition(" ")[0] for notice in config.notices] == [
        "defaults.allow-zero-initial-scale",
        "defaults.pod-autoscaler-class",
        "defaults._example",
    ]
