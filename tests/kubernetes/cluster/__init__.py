"""What makes an API server a cluster: controllers (ours only beside our own server), a kubelet."""
