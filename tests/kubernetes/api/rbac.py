"""Who may do what: service accounts by the roles that are bound to them, nobody else."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

from tests.kubernetes.api.errors import StatusError
from tests.kubernetes.api.kinds import Kind, Obj, named
from tests.kubernetes.api.store import Store

_PREFIX = "system:serviceaccount:"


class Asked(NamedTuple):
    """What a request is about, as RBAC sees it."""

    verb: str
    kind: Kind
    namespace: str = ""
    name: str = ""
    subresource: str = ""

    @property
    def resource(self) -> str:
        return f"{self.kind.plural}/{self.subresource}" if self.subresource else self.kind.plural


class Right(NamedTuple):
    """One thing that one rule of one role grants. ``name`` "": of any object."""

    role: str
    group: str
    resource: str
    verb: str
    name: str = ""


@dataclass
class Authorizer:
    """``accounts``: bearer token → ``NAMESPACE:NAME`` of a ServiceAccount; other tokens may do
    everything. ``used`` are the rights that requests needed, ``denied`` those that were missing.
    """

    store: Store
    accounts: dict[str, str] = field(default_factory=dict)
    used: set[Right] = field(default_factory=set)
    denied: list[str] = field(default_factory=list)

    def check(self, token: str, asked: Asked) -> None:
        """Raises StatusError (403)."""
        account = self.accounts.get(token)
        if account is None:
            return
        found = {
            right
            for right, namespace in self.rights(account)
            if namespace in ("", asked.namespace) and _covers(right, asked)
        }
        if found:
            self.used |= found
            return
        where = (
            f'in the namespace "{asked.namespace}"' if asked.namespace else "at the cluster scope"
        )
        why = (
            f'User "{_PREFIX}{account}" cannot {asked.verb} resource "{asked.resource}" in API'
            f' group "{asked.kind.group}" {where}'
        )
        self.denied.append(why)
        name = f' "{asked.name}"' if asked.name else ""
        raise StatusError(403, "Forbidden", f"{asked.kind.resource}{name} is forbidden: {why}")

    def rights(self, account: str) -> Iterator[tuple[Right, str]]:
        """Every right of ``NAMESPACE:NAME``, and in which namespace; "": in all."""
        for kind in (named("ClusterRoleBinding"), named("RoleBinding")):
            for stored in self.store.all(kind):
                binding = stored.data
                if any(_is(subject, account) for subject in binding.get("subjects") or ()):
                    space = binding["metadata"].get("namespace", "")
                    for right in self._granted(binding["roleRef"], space):
                        yield right, space

    def _granted(self, reference: Obj, space: str) -> Iterator[Right]:
        kind, name = named(reference["kind"]), reference["name"]
        role = self.store.get(kind, (space if kind.namespaced else "", name))
        for rule in (role.data.get("rules") or ()) if role else ():
            for group in rule.get("apiGroups") or ():
                for resource in rule.get("resources") or ():
                    for verb in rule["verbs"]:
                        for only in rule.get("resourceNames") or ("",):
                            yield Right(f"{kind.kind} {name}", group, resource, verb, only)


def _is(subject: Obj, account: str) -> bool:
    named = f"{subject.get('namespace')}:{subject['name']}"
    return subject["kind"] == "ServiceAccount" and named == account


def _covers(right: Right, asked: Asked) -> bool:
    """Names and stars are not mixed: no role of ours has a star."""
    wanted = (asked.kind.group, asked.resource, asked.verb)
    return (right.group, right.resource, right.verb) == wanted and right.name in ("", asked.name)
