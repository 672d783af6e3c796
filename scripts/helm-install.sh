#!/usr/bin/env bash
# Install the chart, or upgrade it, and wait until its pods are ready. Arguments go to `helm upgrade`, for example:
# scripts/helm-install.sh --values mine.yaml --set image.tag=0.1.0
# NAMESPACE (otlp-system), RELEASE_NAME (otlp-service) and CHART_PATH name others. Helm 3.16 or newer, or 4.
set -Eeuo pipefail

NAMESPACE=${NAMESPACE:-otlp-system}
RELEASE_NAME=${RELEASE_NAME:-otlp-service}
CHART_PATH=${CHART_PATH:-$(dirname "$0")/../helm/otlp-service}

echo "Installing the Helm chart..."
echo "  Namespace: $NAMESPACE"
echo "  Release: $RELEASE_NAME"

# The collector's chart is in charts/; this sees that it is the one that Chart.lock names.
helm dependency build "$CHART_PATH"

helm upgrade --install "$RELEASE_NAME" "$CHART_PATH" \
    --namespace "$NAMESPACE" \
    --create-namespace \
    --wait \
    --timeout 10m \
    "$@"

echo "Verifying the deployment..."
# Deployments, and with persistence a StatefulSet.
kubectl --namespace "$NAMESPACE" get deployment,statefulset --selector "app.kubernetes.io/instance=$RELEASE_NAME" --output name |
    while read -r workload; do
        kubectl --namespace "$NAMESPACE" rollout status "$workload" --timeout 5m </dev/null
    done
kubectl --namespace "$NAMESPACE" get all --selector "app.kubernetes.io/instance=$RELEASE_NAME"

echo "Deployed"
