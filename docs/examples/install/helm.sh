#!/bin/sh
# With Helm 4 or Helm 3, from the repository: helm.sh --set image.repository=... (docs/getting-started.md). --atomic is called --rollback-on-failure in Helm 4; neither is needed: nothing waits for the
# webhook, because its failurePolicy is Ignore.
set -eu
CHART=${CHART:-charts/pullsecret-webhook}
helm upgrade --install pullsecret-webhook "$CHART" \
  --namespace pullsecret-webhook --create-namespace "$@"
