"""Every overlay: valid, restricted, and of one piece with the program that it runs."""

from __future__ import annotations

import re
from itertools import chain
from typing import Any

import kubernetes_validate
import pytest
import yaml

from stoker import __version__
from stoker.cli import _parser
from stoker.platforms.kubernetes.traffic import FIRST_PORT, LAST_PORT
from stoker.quantities import parse_duration, parse_size
from stoker.settings.configmap import NAME, process_config, read_data
from stoker.settings.resolve import MODEL_DEFAULTS
from tests.manifests.rendering import (
    HOME,
    MANIFESTS,
    OVERLAYS,
    Obj,
    of_kind,
    overlay,
    pods,
    rendered,
)

every_overlay = pytest.mark.parametrize("name", OVERLAYS)


def test_what_is_applied_without_choosing_is_the_minimal_one() -> None:
    """``kubectl apply -k manifests/``."""
    assert rendered(".") == overlay("minimal")


@pytest.mark.parametrize("version", ["1.30", "1.37"])
@every_overlay
def test_every_object_is_valid(name: str, version: str) -> None:
    """By Kubernetes' own schemas, with no field that they do not know."""
    for obj in overlay(name):
        kubernetes_validate.validate(obj, version, strict=True)


def test_what_is_invalid_would_be_noticed() -> None:
    """The check can fail: a field that there is not."""
    wrong = {**overlay("minimal")[1], "automountServiceAccountTokens": True}
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(wrong, "1.37", strict=True)


def test_no_file_is_left_out() -> None:
    """Each is named by a kustomization, and each folder by another, but for what is chosen."""
    for path in MANIFESTS.rglob("*.yaml"):
        if path.name == "kustomization.yaml" or path.parent.name == "monitoring":
            continue
        named = yaml.safe_load((path.parent / "kustomization.yaml").read_text())
        assert path.name in named["resources"], path
    named_folders = set()
    for path in MANIFESTS.rglob("kustomization.yaml"):
        content = yaml.safe_load(path.read_text())
        for entry in chain(content.get("resources", ()), content.get("components", ())):
            named_folders.add((path.parent / entry).resolve())
    for path in MANIFESTS.rglob("kustomization.yaml"):
        if path.parent.parent.name != "overlays" and path.parent != MANIFESTS:
            assert path.parent.resolve() in named_folders, path


@every_overlay
def test_the_namespace_allows_only_restricted_pods_and_they_are(name: str) -> None:
    """Each rule of the Pod Security Standard "restricted", and a read-only root besides."""
    (space,) = of_kind(overlay(name), "Namespace")
    assert space["metadata"]["labels"]["pod-security.kubernetes.io/enforce"] == "restricted"
    found = list(pods(overlay(name)))
    assert found
    for _, template in found:
        spec = template["spec"]
        assert not {"hostNetwork", "hostPID", "hostIPC"} & set(spec)
        assert {kind for v in spec["volumes"] for kind in v if kind != "name"} <= {
            *("configMap", "csi", "downwardAPI", "emptyDir", "ephemeral"),
            *("persistentVolumeClaim", "projected", "secret"),
        }
        whole = spec["securityContext"]
        assert whole["runAsNonRoot"] is True
        assert whole["runAsUser"] > 0
        assert whole["seccompProfile"] == {"type": "RuntimeDefault"}
        for container in spec["containers"] + spec.get("initContainers", []):
            own = container["securityContext"]
            assert own["allowPrivilegeEscalation"] is False
            assert own["capabilities"] == {"drop": ["ALL"]}
            assert own["readOnlyRootFilesystem"] is True
            assert not {"privileged", "runAsUser", "seccompProfile", "procMount"} & set(own)
            assert not any("hostPort" in port for port in container.get("ports", ()))


@every_overlay
def test_the_program_takes_what_the_pods_give_it(name: str) -> None:
    """Arguments are parsed, variables are settings, the tag is this version's."""
    for _, template in pods(overlay(name)):
        (container,) = template["spec"]["containers"]
        arguments = _parser().parse_args(container["args"])
        assert arguments.command == template["metadata"]["labels"]["stoker.dev/process"]
        variables = {v["name"]: v.get("value", "") for v in container["env"]}
        ours = {k: v for k, v in variables.items() if k.startswith("STOKER_")}
        default = process_config({}, "")
        assert process_config({}, "", environ=ours) != default
        for key, value in ours.items():
            alone = process_config({}, "", environ={key: value})
            assert alone != default, f"{key}={value} changes nothing"
        assert {"POD_NAME", "POD_NAMESPACE", "POD_IP"} <= set(variables)
        assert container["image"] == f"stoker:{__version__}"


@every_overlay
def test_pods_have_the_time_to_drain(name: str) -> None:
    """The grace period is drain-delay and drain-timeout, and at least 5 s to end in; what takes
    no requests has nothing to drain."""
    for _, template in pods(overlay(name)):
        (container,) = template["spec"]["containers"]
        given = {v["name"]: v.get("value", "") for v in container["env"]}
        needed = 0.0
        if "http" in named_ports(template):
            needed = parse_duration(given["STOKER_DRAIN_TIMEOUT"])
            needed += parse_duration(given["STOKER_DRAIN_DELAY"])
        grace = template["spec"]["terminationGracePeriodSeconds"]
        assert needed + 5 <= grace <= needed + 30


@every_overlay
def test_what_is_written_has_its_place(name: str) -> None:
    """The spool's volume is larger than its budget, its folder is mounted, and nothing else is."""
    for _, template in pods(overlay(name)):
        spec = template["spec"]
        (container,) = spec["containers"]
        given = {v["name"]: v.get("value", "") for v in container["env"]}
        mounts = {m["mountPath"]: m["name"] for m in container["volumeMounts"]}
        volumes = {
            v["name"]: parse_size(v["emptyDir"]["sizeLimit"])
            for v in spec["volumes"]
            if "emptyDir" in v
        }
        others = {m["name"] for m in container["volumeMounts"] if m.get("readOnly")}
        assert set(mounts.values()) == {v["name"] for v in spec["volumes"]}
        assert set(volumes) == set(mounts.values()) - others
        assert "/tmp" in mounts
        if (folder := given.get("STOKER_SPOOL_DIRECTORY")) is not None:
            budget = process_config({}, "", environ=given).spool_bytes
            assert volumes[mounts[folder]] > budget
        limits, requests = (container["resources"][part] for part in ("limits", "requests"))
        assert parse_size(limits["ephemeral-storage"]) >= sum(volumes.values())
        assert parse_size(requests["memory"]) <= parse_size(limits["memory"])
        assert "cpu" in requests


@every_overlay
def test_probes_services_and_policies_name_ports_that_there_are(name: str) -> None:
    """By name, so that a number stands once; each Service and policy selects pods."""
    templates = dict(pods(overlay(name)))
    for template in templates.values():
        (container,) = template["spec"]["containers"]
        ports = {port["name"]: port["containerPort"] for port in container["ports"]}
        for probe, path in (("readinessProbe", "/readyz"), ("livenessProbe", "/healthz")):
            assert container[probe]["httpGet"] == {"path": path, "port": "admin"}
        scrape = template["metadata"]["annotations"]
        assert scrape["prometheus.io/port"] == str(ports["admin"])
        assert f"--admin=0.0.0.0:{ports['admin']}" in container["args"]
    for service in of_kind(overlay(name), "Service"):
        selected = selects(service["spec"]["selector"], templates)
        assert selected, service["metadata"]["name"]
        for port in service["spec"]["ports"]:
            assert all(port["targetPort"] in named_ports(t) for t in selected)
    for policy in of_kind(overlay(name), "NetworkPolicy"):
        selected = selects(policy["spec"]["podSelector"]["matchLabels"], templates)
        assert selected, policy["metadata"]["name"]
        for rule in policy["spec"]["ingress"]:
            for port in rule["ports"]:
                if "endPort" in port:
                    assert (port["port"], port["endPort"]) == (FIRST_PORT, LAST_PORT)
                else:
                    assert any(port["port"] in named_ports(t) for t in selected)


def selects(labels: dict[str, str], templates: dict[str, Obj]) -> list[Obj]:
    return [t for t in templates.values() if labels.items() <= t["metadata"]["labels"].items()]


def named_ports(template: Obj) -> set[Any]:
    return {port["name"] for port in template["spec"]["containers"][0]["ports"]}


@every_overlay
def test_every_right_is_somebody_s(name: str) -> None:
    """Roles are bound, subjects exist, and outside of Stoker's own namespace only the allowed one
    is named."""
    objects = overlay(name)
    accounts = {a["metadata"]["name"] for a in of_kind(objects, "ServiceAccount")}
    bound = set()
    for binding in of_kind(objects, "RoleBinding", "ClusterRoleBinding"):
        bound.add((binding["roleRef"]["kind"], binding["roleRef"]["name"]))
        for subject in binding["subjects"]:
            assert subject["namespace"] == HOME
            assert subject["name"] in accounts
    roles = {(r["kind"], r["metadata"]["name"]) for r in of_kind(objects, "Role", "ClusterRole")}
    assert bound == roles
    assert {t["spec"]["serviceAccountName"] for _, t in pods(objects)} == accounts
    everywhere = {o["roleRef"]["name"] for o in of_kind(objects, "ClusterRoleBinding")}
    about_pods = {
        role["metadata"]["name"]
        for role in of_kind(objects, "ClusterRole")
        if any("pods" in rule["resources"] for rule in role["rules"])
    }
    assert about_pods
    assert about_pods & everywhere == (set() if name == "restricted" else about_pods)
    spaces = {o["metadata"]["namespace"] for o in objects if "namespace" in o["metadata"]}
    assert spaces == ({HOME, "default"} if name == "restricted" else {HOME})
    for _, template in pods(objects):
        given = [a for a in template["spec"]["containers"][0]["args"] if "--namespace" in a]
        assert given == (["--namespace=default"] if name == "restricted" else [])


@every_overlay
def test_no_rule_has_a_star_or_reads_a_secret(name: str) -> None:
    """Whatever is granted is named."""
    for role in of_kind(overlay(name), "Role", "ClusterRole"):
        for rule in role["rules"]:
            words = [*rule["apiGroups"], *rule["resources"], *rule["verbs"]]
            assert not {"*", "impersonate", "escalate", "bind"} & set(words)
            assert "secrets" not in rule["resources"] or rule["verbs"] == ["create"]


def test_the_settings_shown_are_the_built_in_ones() -> None:
    """Applying the manifests changes no setting, and what they show is right."""
    (settings,) = of_kind(overlay("minimal"), "ConfigMap")
    assert settings["metadata"]["name"] == NAME
    found = read_data(settings["data"], NAME)
    assert found.notices == ()
    assert found.models
    assert {key: MODEL_DEFAULTS[key] for key in found.models} == found.models


def test_the_documentation_s_table_of_rights_is_the_roles() -> None:
    """docs/kubernetes.md says what Stoker may do: every verb of every resource, and no other."""
    granted: dict[str, set[str]] = {}
    for name in OVERLAYS:
        for role in of_kind(overlay(name), "Role", "ClusterRole"):
            for rule in role["rules"]:
                for resource in rule["resources"]:
                    granted.setdefault(resource, set()).update(rule["verbs"])
    text = (MANIFESTS.parent / "docs" / "kubernetes.md").read_text()
    table = text.partition("## What it may do")[2].partition("\n## ")[0]
    written: dict[str, set[str]] = {}
    for resources, verbs in re.findall(r"^\| (`.*?) \| ([a-z, ]+) \|$", table, re.MULTILINE):
        for resource in re.findall(r"`([a-z/]+)`", resources):
            written.setdefault(resource, set()).update(verbs.split(", "))
    assert written == granted
