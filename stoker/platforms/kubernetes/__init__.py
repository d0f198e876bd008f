"""A Kubernetes cluster as a world: models are labelled Deployments, replicas their pods.

Nothing here is imported but where this platform is used, and kubernetes_asyncio only once a
client connects: importing it takes half a second and 64 MiB.
"""
