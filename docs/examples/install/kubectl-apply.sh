#!/bin/sh
# Without Helm in the cluster, from the repository: kubectl-apply.sh --set image.repository=.... --no-hooks: hooks are for `helm uninstall` and `helm test`, and would be applied with the
# rest. To uninstall, delete the MutatingWebhookConfiguration first, then the rest of what is printed here.
set -eu
CHART=${CHART:-charts/pullsecret-webhook}
kubectl get namespace pullsecret-webhook > /dev/null 2>&1 || kubectl create namespace pullsecret-webhook
helm template pullsecret-webhook "$CHART" --namespace pullsecret-webhook --no-hooks "$@" |
  kubectl apply --server-side -f -
