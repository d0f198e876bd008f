"""What may be done with objects: get, list, create, update, patch, delete."""

from __future__ import annotations

import copy
import random
import uuid
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

from tests.kubernetes.api import applying, defaults, errors, patching, schema, validation
from tests.kubernetes.api.applying import Manager
from tests.kubernetes.api.kinds import Kind, Obj, named
from tests.kubernetes.api.scales import replicas_of, scale_of
from tests.kubernetes.api.selectors import object_matches
from tests.kubernetes.api.store import Store, Stored

_SUFFIX_LETTERS = "bcdfghjklmnpqrstvwxz2456789"
_IMMEDIATE = ("Succeeded", "Failed")
_SNAPSHOTS = 100
CONTROLLERS = Manager("kube-controller-manager")


@dataclass(frozen=True, slots=True)
class Page:
    """One page of a list: all of one revision, however many pages."""

    items: list[Stored]
    revision: int
    token: str = ""
    remaining: int = 0


class Verbs:
    """Every method raises StatusError as a real server would answer; nothing else.

    ``now`` is the server's clock, in seconds since the epoch. ``loopback`` lets
    EndpointSlices name loopback addresses. ``by`` is who writes.
    """

    def __init__(
        self, store: Store, now: Callable[[], float], *, loopback: bool = False, seed: int = 1
    ) -> None:
        self.store = store
        self.now = now
        self._loopback = loopback
        self._random = random.Random(seed)
        self._snapshots: dict[str, tuple[list[Stored], int]] = {}
        for name in ("default", "kube-system", "kube-node-lease"):
            self.create(named("Namespace"), "", {"metadata": {"name": name}})

    def timestamp(self) -> str:
        """Now, as metadata has it: whole seconds."""
        return datetime.fromtimestamp(self.now(), UTC).strftime("%Y-%m-%dT%H:%M:%SZ")

    # --- reading ----------------------------------------------------------------------

    def get(self, kind: Kind, namespace: str, name: str, subresource: str = "") -> Stored:
        stored = self.store.get(kind, (namespace, name))
        if stored is None:
            raise errors.not_found(kind, name)
        return Stored(scale_of(kind, stored.data)) if subresource == "scale" else stored

    def list(
        self,
        kind: Kind,
        namespace: str = "",
        label_selector: str = "",
        field_selector: str = "",
        limit: int = 0,
        token: str = "",
    ) -> Page:
        """``limit`` 0: no bound. ``token`` goes on with an earlier list, as it was then."""
        if token:
            if token not in self._snapshots:
                raise errors.expired(
                    "The provided continue parameter is too old to display a consistent list"
                    " result. You must start a new list without the continue parameter."
                )
            rest, revision = self._snapshots.pop(token)
        else:
            matches = object_matches(kind, label_selector, field_selector)
            rest = [s for s in self.store.all(kind, namespace) if matches(s.data)]
            revision = self.store.revision
        if not limit or len(rest) <= limit:
            return Page(rest, revision)
        token = uuid.UUID(int=self._random.getrandbits(128)).hex
        self._snapshots[token] = (rest[limit:], revision)
        while len(self._snapshots) > _SNAPSHOTS:
            del self._snapshots[next(iter(self._snapshots))]
        return Page(rest[:limit], revision, token, len(rest) - limit)

    def expire_pages(self) -> None:
        """As after a compaction: no list can be continued."""
        self._snapshots.clear()

    # --- writing ----------------------------------------------------------------------

    def create(
        self,
        kind: Kind,
        namespace: str,
        body: Obj,
        *,
        dry_run: bool = False,
        by: Manager = CONTROLLERS,
        owners: Sequence[applying.Entry] | None = None,
    ) -> Stored:
        """``owners``, if given, own the fields; else whoever creates the object owns all."""
        schema.check(kind, body)
        obj = copy.deepcopy(schema.without_unset(body))
        metadata = obj.setdefault("metadata", {})
        if kind.namespaced:
            if metadata.setdefault("namespace", namespace) != namespace:
                raise errors.bad_request(
                    "the namespace of the provided object does not match the namespace sent on"
                    " the request"
                )
            self._need_namespace(kind, namespace, metadata.get("name", ""))
        if metadata.get("resourceVersion"):
            raise errors.bad_request("resourceVersion should not be set on objects to be created")
        if not metadata.get("name") and metadata.get("generateName"):
            metadata["name"] = metadata["generateName"] + self.suffix()
        obj["apiVersion"], obj["kind"] = kind.api_version, kind.kind
        metadata["uid"] = str(uuid.UUID(int=self._random.getrandbits(128), version=4))
        metadata["creationTimestamp"] = self.timestamp()
        if kind.generation:
            metadata["generation"] = 1
        for given_by_server in _NEVER_GIVEN:
            metadata.pop(given_by_server, None)
        if "status" in kind.subresources:
            obj.pop("status", None)
        if kind.kind == "Pod":
            obj["status"] = {"phase": "Pending", "qosClass": "BestEffort"}
        defaults.fill(kind, obj)
        if kind.kind == "Service" and obj["spec"]["type"] != "ExternalName":
            self._give_address(obj["spec"])
        validation.check(kind, obj, None, loopback=self._loopback)
        if self.store.get(kind, (metadata.get("namespace", ""), metadata["name"])):
            raise errors.already_exists(kind, metadata["name"])
        if owners is None:
            owners = applying.tracked(kind, None, obj, replace(by, stamp=self.timestamp()))
        metadata["managedFields"] = applying.written(owners)
        return Stored(obj) if dry_run else self.store.put(kind, obj)

    def suffix(self) -> str:
        """What generateName appends."""
        return "".join(self._random.choices(_SUFFIX_LETTERS, k=5))

    def _need_namespace(self, kind: Kind, namespace: str, name: str) -> None:
        space = self.store.get(named("Namespace"), ("", namespace))
        if space is None:
            raise errors.not_found(named("Namespace"), namespace)
        if space.data["metadata"].get("deletionTimestamp"):
            raise errors.forbidden(
                kind,
                name,
                f"unable to create new content in namespace {namespace} because it is being"
                " terminated",
            )

    def _give_address(self, spec: Obj) -> None:
        if not spec.get("clusterIP"):
            used = {s.data["spec"].get("clusterIP") for s in self.store.all(named("Service"))}
            numbers = (f"10.96.{n // 250}.{n % 250 + 1}" for n in range(60_000))
            spec["clusterIP"] = next(address for address in numbers if address not in used)
        spec.setdefault("clusterIPs", [spec["clusterIP"]])

    def update(
        self,
        kind: Kind,
        namespace: str,
        name: str,
        body: Obj,
        subresource: str = "",
        *,
        dry_run: bool = False,
        by: Manager = CONTROLLERS,
    ) -> Stored:
        """PUT. Without a resourceVersion it wins over whatever was written meanwhile."""
        if subresource == "scale":
            return self._write_scale(kind, namespace, name, body, dry_run, by)
        schema.check(kind, body)
        old = self.get(kind, namespace, name).data
        obj = copy.deepcopy(schema.without_unset(body))
        metadata = obj.setdefault("metadata", {})
        if not metadata.get("resourceVersion") and not kind.unconditional:
            cause = errors.Cause(
                "metadata.resourceVersion", "Invalid value: 0x0: must be specified for an update"
            )
            raise errors.invalid(kind, name, [cause])
        if metadata.get("name", "") != name:
            raise errors.bad_request(
                f"the name of the object ({metadata.get('name', '')}) does not match the name on"
                f" the URL ({name})"
            )
        return self._write(kind, old, obj, subresource, dry_run, by)

    def patch(
        self,
        kind: Kind,
        namespace: str,
        name: str,
        media_type: str,
        body: Any,
        subresource: str = "",
        *,
        dry_run: bool = False,
        by: Manager = CONTROLLERS,
    ) -> Stored:
        """PATCH in one of the three ways; custom resources know no strategic merge."""
        old = self.get(kind, namespace, name, subresource).data
        accepted = [patching.JSON, patching.MERGE]
        if not kind.custom:
            accepted.append(patching.STRATEGIC)
        if media_type not in accepted:
            raise errors.unsupported_patch(accepted)
        if media_type == patching.JSON:
            obj = patching.json_patched(old, body)
        elif not isinstance(body, dict):
            raise errors.bad_request("the patch is no object")
        elif media_type == patching.MERGE:
            obj = patching.merged(old, body)
        else:
            obj = patching.strategic(old, body)
        if subresource == "scale":
            return self._write_scale(kind, namespace, name, obj, dry_run, by)
        schema.check(kind, obj)
        return self._write(kind, old, copy.deepcopy(obj), subresource, dry_run, by)

    def apply(
        self,
        kind: Kind,
        namespace: str,
        name: str,
        body: Any,
        subresource: str = "",
        *,
        dry_run: bool = False,
        by: Manager,
    ) -> tuple[Stored, bool]:
        """Server-side apply: the object, and whether it was made by that."""
        if subresource == "scale":
            raise errors.unsupported_patch([patching.JSON, patching.MERGE])
        config = applying.checked(copy.deepcopy(body), name)
        schema.check(kind, config)
        by = replace(by, operation="Apply", subresource=subresource, stamp=self.timestamp())
        stored = self.store.get(kind, (namespace, name))
        if stored is None:
            if subresource:
                raise errors.not_found(kind, name)
            _, owners = applying.applied(kind, {"metadata": {}}, config, by)
            made = self.create(kind, namespace, config, dry_run=dry_run, by=by, owners=owners)
            return made, True
        obj, owners = applying.applied(kind, copy.deepcopy(stored.data), config, by)
        done = self._write(kind, stored.data, obj, subresource, dry_run, by, owners)
        return done, False

    def _write(
        self,
        kind: Kind,
        old: Obj,
        obj: Obj,
        subresource: str,
        dry_run: bool,
        by: Manager,
        owners: Sequence[applying.Entry] | None = None,
    ) -> Stored:
        metadata, was = obj["metadata"], old["metadata"]
        name = was["name"]
        for field in ("name", "namespace"):
            if metadata.setdefault(field, was.get(field)) != was.get(field):
                raise errors.bad_request(f"metadata.{field} may not be changed")
        if not kind.namespaced:
            metadata.pop("namespace", None)
        if metadata.get("uid", was["uid"]) != was["uid"]:
            raise errors.conflict(
                kind,
                name,
                f"Precondition failed: UID in precondition: {metadata['uid']}, UID in object meta:"
                f" {was['uid']}",
            )
        if metadata.get("resourceVersion") not in (None, "", was["resourceVersion"]):
            raise errors.conflict(kind, name)
        if subresource == "status":
            new = old | ({"status": obj["status"]} if "status" in obj else {})
            if "status" not in obj:
                new.pop("status", None)
        else:
            for field in _SERVERS_OWN:
                if field in was:
                    metadata[field] = was[field]
                else:
                    metadata.pop(field, None)
            new = obj | {"apiVersion": kind.api_version, "kind": kind.kind}
            if "status" in kind.subresources:
                new.pop("status", None)
                if "status" in old:
                    new["status"] = old["status"]
            defaults.fill(kind, new)
            validation.check(kind, new, old, loopback=self._loopback)
            changed = {k: v for k, v in new.items() if k not in ("metadata", "status")} != {
                k: v for k, v in old.items() if k not in ("metadata", "status")
            }
            if kind.generation and changed:
                metadata["generation"] = was["generation"] + 1
        given = metadata.get("managedFields") or was.get("managedFields") or []
        new["metadata"] = new["metadata"] | {"managedFields": given}
        return self._commit(
            kind, old, self._owned(kind, old, new, subresource, by, owners), dry_run
        )

    def _owned(
        self,
        kind: Kind,
        old: Obj,
        new: Obj,
        subresource: str,
        by: Manager,
        owners: Sequence[applying.Entry] | None = None,
    ) -> Obj:
        """``new``, saying who owns what after this write."""
        if owners is None:
            writer = replace(by, subresource=subresource, stamp=self.timestamp())
            owners = applying.tracked(kind, old, new, writer)
        metadata = new["metadata"] | {"managedFields": applying.written(owners)}
        return new | {"metadata": metadata}

    def _commit(self, kind: Kind, old: Obj, new: Obj, dry_run: bool) -> Stored:
        """Write, unless nothing changes: then no new revision and no event, as in etcd."""
        metadata = new["metadata"] | {"resourceVersion": old["metadata"]["resourceVersion"]}
        new = new | {"metadata": metadata}
        if dry_run or new == old:
            return Stored(new)
        if metadata.get("deletionTimestamp") and not metadata.get("finalizers"):
            wait = metadata.get("deletionGracePeriodSeconds") or 0
            if not wait:
                self.store.put(kind, new)
                return self.store.delete(kind, Stored(new).key)
        return self.store.put(kind, new)

    def _write_scale(
        self, kind: Kind, namespace: str, name: str, scale: Obj, dry_run: bool, by: Manager
    ) -> Stored:
        old = self.get(kind, namespace, name).data
        replicas = replicas_of(kind, name, scale, old)
        new = copy.deepcopy(old)
        new["spec"]["replicas"] = replicas
        if kind.generation and new["spec"] != old["spec"]:
            new["metadata"]["generation"] += 1
        new = self._owned(kind, old, new, "scale", by)
        return Stored(scale_of(kind, self._commit(kind, old, new, dry_run).data))

    def bind(self, namespace: str, name: str, binding: Obj) -> None:
        """POST to a pod's ``binding``: which node it is to run on. Only once."""
        kind = named("Pod")
        old = self.get(kind, namespace, name).data
        node = binding["target"]["name"]
        if old["spec"].get("nodeName"):
            why = f'pod {name} is already assigned to node "{old["spec"]["nodeName"]}"'
            raise errors.conflict(kind, name, why)
        new = copy.deepcopy(old)
        new["spec"]["nodeName"] = node
        condition = {"type": "PodScheduled", "status": "True"}
        condition["lastTransitionTime"] = self.timestamp()
        others = [c for c in new["status"].get("conditions") or () if c["type"] != "PodScheduled"]
        new["status"]["conditions"] = [*others, condition]
        self.store.put(kind, new)

    # --- deleting ---------------------------------------------------------------------

    def delete(
        self,
        kind: Kind,
        namespace: str,
        name: str,
        options: Obj | None = None,
        *,
        dry_run: bool = False,
    ) -> tuple[Stored, bool]:
        """The last state, and whether the object is gone already (else it is terminating)."""
        options = options or {}
        stored = self.get(kind, namespace, name)
        old = stored.data
        metadata = old["metadata"]
        for field, wanted in (options.get("preconditions") or {}).items():
            if wanted is not None and metadata[field] != wanted:
                raise errors.conflict(
                    kind,
                    name,
                    f"Precondition failed: {field} in precondition: {wanted}, {field} in object"
                    f" meta: {metadata[field]}",
                )
        grace = self._grace(kind, old, options.get("gracePeriodSeconds"))
        finalizers = list(metadata.get("finalizers") or ())
        policy = {"Foreground": "foregroundDeletion", "Orphan": "orphan"}
        added = policy.get(options.get("propagationPolicy", ""))
        if added and added not in finalizers:
            finalizers.append(added)
        if dry_run:
            return stored, not (finalizers or grace)
        if not finalizers and not grace:
            return self.store.delete(kind, stored.key), True
        shortened = grace < metadata.get("deletionGracePeriodSeconds", grace + 1)
        if metadata.get("deletionTimestamp") and not shortened:
            return stored, False
        end = datetime.fromtimestamp(self.now() + grace, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        marks: Obj = {"deletionTimestamp": end, "deletionGracePeriodSeconds": grace}
        if finalizers:
            marks["finalizers"] = finalizers
        if kind.generation:
            marks["generation"] = metadata["generation"] + 1
        return self.store.put(kind, old | {"metadata": metadata | marks}), False

    @staticmethod
    def _grace(kind: Kind, old: Obj, wanted: int | None) -> int:
        if kind.kind != "Pod":
            return 0
        spec = old["spec"]
        if not spec.get("nodeName") or old["status"].get("phase") in _IMMEDIATE:
            return 0
        grace = spec["terminationGracePeriodSeconds"] if wanted is None else wanted
        return int(grace)

    def delete_all(
        self, kind: Kind, namespace: str, label_selector: str, field_selector: str, options: Obj
    ) -> Iterable[Stored]:
        """DELETE of a collection."""
        page = self.list(kind, namespace, label_selector, field_selector)
        return [self.delete(kind, *stored.key, options)[0] for stored in page.items]


_NEVER_GIVEN = ("deletionTimestamp", "deletionGracePeriodSeconds", "selfLink", "managedFields")
_SERVERS_OWN = (
    *("uid", "creationTimestamp", "generation", "deletionTimestamp"),
    *("deletionGracePeriodSeconds", "resourceVersion"),
)
