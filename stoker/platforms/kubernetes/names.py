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

# In the selector of a Service whose traffic the activators have: no pod carries it.
DIRECT = PREFIX + "direct"
# On such a Service: the activators' port for each of its ports, ``http=20000,grpc=20001``.
ACTIVATOR_PORTS = PREFIX + "activator-ports"
# On EndpointSlices: who writes them; the names are Kubernetes'.
SLICE_SERVICE = "kubernetes.io/service-name"
SLICE_MANAGER = "endpointslice.kubernetes.io/managed-by"
SLICE_MANAGER_OURS = "stoker.dev"

# The lowest goes first when a ReplicaSet shrinks; pods without one cost 0.
DELETION_COST = "controller.kubernetes.io/pod-deletion-cost"
COST_DRAINING = -1000
COST_DRAINED = -2000

COMPONENT = "stoker"
# Whose holder leads, in the namespace that Stoker runs in.
LEASE = "stoker"
