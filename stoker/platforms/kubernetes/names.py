"""Labels, annotations and other names that Stoker reads and writes in a cluster. Pure."""

from __future__ import annotations

PREFIX = "stoker.dev/"
KNATIVE_PREFIX = "autoscaling.knative.dev/"

MANAGED = PREFIX + "managed"
MANAGED_SELECTOR = f"{MANAGED}=true"
# On a Deployment: which port of its pods requests go to, by number or by its name.
PORT = PREFIX + "port"
# On a pod: it is to go, and gets no new requests; the value says since when.
DRAINING = PREFIX + "draining"

# The lowest goes first when a ReplicaSet shrinks; pods without one cost 0.
DELETION_COST = "controller.kubernetes.io/pod-deletion-cost"
COST_DRAINING = -1000
COST_DRAINED = -2000

COMPONENT = "stoker"
