"""How the API server is reached, and what is said when it is not."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from stoker.errors import ApiError, PlatformError
from stoker.platforms.kubernetes import access as access_module
from stoker.platforms.kubernetes.access import Access
from stoker.platforms.kubernetes.client import Client
from tests.kubernetes.api.faults import Hang
from tests.kubernetes.api.server import ApiServer
from tests.kubernetes.conftest import Cluster
from tests.kubernetes.objects import config_map, kubeconfig


async def test_every_request_has_a_time_limit(cluster: Cluster, server: ApiServer) -> None:
    """Its own, or the client's if that is shorter; then nobody knows whether it was done."""
    path = cluster.path("configmaps")
    fault = server.faults.add(Hang(after=True), agent="hurried")
    access = replace(cluster.access, timeout=0.2)
    async with await Client.connect(access, "hurried") as client:
        with pytest.raises(ApiError, match=r"API server: no answer within 0\.2 s") as raised:
            await client.create(path, config_map("a"), timeout=60.0)
        assert raised.value.status == 0
        with pytest.raises(ApiError, match=r"no answer within 0\.1 s"):
            await client.get(f"{path}/a", timeout=0.1)
        assert fault.met == 2
        assert client.outcomes == {("create", "0"): 1, ("get", "0"): 1}
    assert (await cluster.client.get(f"{path}/a"))["metadata"]["name"] == "a"


async def test_nobody_there(tmp_path: Path) -> None:
    """The address is in the message."""
    access = Access(kubeconfig(tmp_path, "http://127.0.0.1:1"))
    async with await Client.connect(access) as client:
        with pytest.raises(ApiError, match=r"127\.0\.0\.1") as raised:
            await client.get("/version")
        assert raised.value.status == 0


async def test_a_token_is_shown_and_checked(tmp_path: Path) -> None:
    """With the wrong one everything is 401."""
    async with ApiServer(token="right") as server:
        for token, status in (("right", 404), ("wrong", 401)):
            access = Access(kubeconfig(tmp_path, server.url, token))
            async with await Client.connect(access) as client:
                with pytest.raises(ApiError) as raised:
                    await client.get("/api/v1/nodes/none")
                assert raised.value.status == status


async def test_a_pod_s_service_account_is_used_in_a_cluster(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where the variables that pods get are set and no kubeconfig is named; what is missing
    there is said."""
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "127.0.0.1")
    monkeypatch.setenv("KUBERNETES_SERVICE_PORT", "1")
    with pytest.raises(PlatformError, match="the pod's service account cannot be used: Service"):
        await Client.connect(Access())


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (None, ": there is no such file; name one with --kubeconfig or KUBECONFIG"),
        ("a: [", " cannot be used: while parsing"),
        ("a: b", " cannot be used: Invalid kube-config"),
    ],
    ids=["missing", "no YAML", "no kubeconfig"],
)
async def test_a_kubeconfig_that_cannot_be_used_is_named(
    text: str | None, said: str, tmp_path: Path
) -> None:
    """Its path, and what is wrong with it."""
    file = tmp_path / "kubeconfig"
    if text is not None:
        file.write_text(text)
    with pytest.raises(PlatformError) as raised:
        await Client.connect(Access(str(file)))
    assert str(raised.value).startswith(f"kubeconfig {file}{said}")


async def test_a_credential_plugin_that_hangs_is_not_waited_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Its time limit is that of requests."""

    async def hang(**_: object) -> None:
        await asyncio.Event().wait()

    monkeypatch.setattr("kubernetes_asyncio.config.load_kube_config", hang)
    with pytest.raises(PlatformError, match=r"no credentials within 0\.1 s"):
        await Client.connect(Access(__file__, timeout=0.1))


async def test_without_the_package_it_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """What to install."""
    monkeypatch.setitem(sys.modules, "kubernetes_asyncio.client", None)
    with pytest.raises(PlatformError, match=r"install stoker\[kubernetes\]"):
        await Client.connect(Access("x"))
    assert access_module.Access().timeout == 10.0


def test_nobody_else_pays_for_it() -> None:
    """Neither the command nor this platform's own modules import kubernetes_asyncio: half a
    second and 64 MiB for every ``stoker up`` would be too much."""
    code = (
        "import sys, stoker.cli, stoker.cli.local, stoker.cli.fleet, stoker.cli.worker;"
        "assert not [m for m in sys.modules if m.startswith('stoker.platforms.kubernetes')];"
        "import stoker.platforms.kubernetes.client, stoker.platforms.kubernetes.lease;"
        "import stoker.platforms.kubernetes.reflector;"
        "print([m for m in sys.modules if m.startswith('kubernetes_asyncio')])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (done.stdout, done.stderr) == ("[]\n", "")
