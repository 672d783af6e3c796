"""Kubernetes manifests as they are rendered, by kustomize or by Helm: what has to hold for all of them."""
