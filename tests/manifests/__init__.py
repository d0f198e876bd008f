"""manifests/ and the container image: rendered, checked, tried out."""
