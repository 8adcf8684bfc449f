#!/bin/sh
# With Helm 4 or Helm 3. --atomic is called --rollback-on-failure in Helm 4; neither is needed: nothing waits for the
# webhook, because its failurePolicy is Ignore.
set -eu
CHART=${CHART:-oci://ghcr.io/pullsecret-webhook/charts/pullsecret-webhook}
helm upgrade --install pullsecret-webhook "$CHART" \
  --namespace pullsecret-webhook --create-namespace "$@"
