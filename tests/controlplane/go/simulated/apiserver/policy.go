package main

import (
	"fmt"
	"net/http"
)

// The policy of the chart on what the webhook's account writes (pullsecret-webhook-writes): what of it the webhook
// relies on. It is in force if the server was started with -secret.
const (
	release    = "pullsecret-webhook"
	account    = "system:serviceaccount:" + release + ":" + release
	policyName = "pullsecret-webhook-writes"
	ownerKey   = "pullsecret-webhook/owner"
	uidKey     = "pullsecret-webhook/namespace-uid"
	managedBy  = "app.kubernetes.io/managed-by"
)

// pullSecret is the name of the Secrets that the policy is about; empty: it is not in force.
var pullSecret string

// policy refuses what the webhook may not write. live nil: it is created; after nil: deleted.
func (s *store) policy(w write, live, after tree) error {
	if pullSecret == "" || w.user != account || w.plural != "secrets" || w.namespace == release && w.name != pullSecret {
		return nil
	}
	now := after
	if now == nil {
		now = live
	}
	space := tree{}
	if found := s.tables["namespaces"].objects[w.namespace]; found != nil {
		space = found.tree()
	}
	owner := textAt(now, "metadata", "annotations", ownerKey)
	releases := live != nil && after != nil && textAt(live, "metadata", "deletionTimestamp") != "" &&
		same(live["data"], after["data"]) && same(live["type"], after["type"]) &&
		same(metadataOf(live)["labels"], metadataOf(after)["labels"]) &&
		same(metadataOf(live)["annotations"], metadataOf(after)["annotations"])
	writes := after != nil && !releases
	for _, rule := range []struct {
		holds bool
		words string
	}{
		{w.name == pullSecret, "only the Secret " + pullSecret},
		{!writes || now["type"] == "kubernetes.io/dockerconfigjson", "only dockerconfigjson Secrets"},
		{
			live == nil || textAt(live, "metadata", "labels", managedBy) == release,
			"only Secrets that are managed by pullsecret-webhook are changed or deleted",
		},
		{textAt(now, "metadata", "labels", managedBy) == release, "the managed-by label is missing"},
		{
			!writes || owner != "" && owner == textAt(space, "metadata", "labels", ownerKey),
			"the Secret is for another owner than the namespace: " + owner,
		},
		{
			!writes || textAt(now, "metadata", "annotations", uidKey) == textAt(space, "metadata", "uid"),
			"the Secret is for an earlier namespace of this name",
		},
		{
			live == nil || after == nil || textAt(live, "metadata", "annotations", ownerKey) == owner,
			"another owner's Secret is deleted and created",
		},
	} {
		if !rule.holds {
			why := fmt.Sprintf("%s %q is forbidden: ValidatingAdmissionPolicy '%s' with binding '%s' denied request: %s",
				w.qualified(), w.name, policyName, policyName, rule.words)
			return &refusal{http.StatusUnprocessableEntity, "Invalid", why}
		}
	}
	return nil
}
