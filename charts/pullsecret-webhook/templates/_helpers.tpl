{{/* The names of objects are fixed: a cluster has one such webhook, a second one would fight over the same Secrets. */}}
{{- define "name" -}}pullsecret-webhook{{- end }}
{{- define "entry" -}}mutate.pullsecret-webhook.io{{- end }}
{{- define "templates-entry" -}}templates.pullsecret-webhook.io{{- end }}
{{- define "prefix" -}}pullsecret-webhook/{{- end }}
{{- define "ca-secret" -}}pullsecret-webhook-ca{{- end }}
{{- define "safety-net" -}}pullsecret-webhook-safety-net{{- end }}
{{- define "checks-secret" -}}pullsecret-webhook-checks{{- end }}
{{- define "issuer-lease" -}}pullsecret-webhook-issuer{{- end }}
{{/* As many as there are replicas, 8 at most, with commas. webhook/core/shares.py has the same number, and
webhook/core/names.py the same beginning. */}}
{{- define "replica-leases" -}}
{{- range $number := until (int (min 8 .Values.replicas)) }}{{ if $number }}, {{ end }}pullsecret-webhook-replica-{{ $number }}{{ end -}}
{{- end }}

{{/* Whether the API server can have the safety net: Kubernetes 1.36. */}}
{{- define "has-safety-net" -}}
{{- if and .Values.safetyNet.enabled (.Capabilities.APIVersions.Has "admissionregistration.k8s.io/v1/MutatingAdmissionPolicy") }}true{{ end -}}
{{- end }}

{{/* Of the webhook's pods, which is also the selector of core/names.py; of those that issue credentials; of the registry's
     token service. */}}
{{- define "selector" }}{{ include "selector-of" (list . "webhook") }}{{- end }}
{{- define "issuer-selector" }}{{ include "selector-of" (list . "issuer") }}{{- end }}
{{- define "registry-auth-selector" }}{{ include "selector-of" (list . "registry-auth") }}{{- end }}
{{/* In: list of the chart's root and the component. */}}
{{- define "selector-of" -}}
app.kubernetes.io/name: {{ include "name" (first .) }}
app.kubernetes.io/instance: {{ (first .).Release.Name | quote }}
app.kubernetes.io/component: {{ index . 1 }}
{{- end }}

{{/* In: list of a value and its name. Refuses keys that are the chart's. */}}
{{- define "not-ours" -}}
{{- $name := index . 1 -}}
{{- range $key, $_ := first . -}}
{{- if regexMatch "^(pullsecret-webhook/|helm\\.sh/|app\\.kubernetes\\.io/(name|instance|component|version|managed-by)$)" $key -}}
{{- fail (printf "%s has %s, which the chart sets itself; take it out" $name $key) -}}
{{- end -}}
{{- if hasPrefix "container.apparmor.security.beta.kubernetes.io/" $key -}}
{{- fail (printf "%s has %s, which can take AppArmor off the pods; take it out" $name $key) -}}
{{- end -}}
{{- end -}}
{{- end }}

{{- define "labels" -}}
{{- include "not-ours" (list .Values.commonLabels "commonLabels") -}}
app.kubernetes.io/name: {{ include "name" . }}
app.kubernetes.io/instance: {{ .Release.Name | quote }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{- with .Values.commonLabels }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{/* In: list of the chart's root and the component. */}}
{{- define "pod-labels" -}}
{{- $root := first . -}}
{{- include "not-ours" (list $root.Values.podLabels "podLabels") -}}
{{- $own := include "labels" $root | fromYaml | merge (dict "app.kubernetes.io/component" (index . 1)) -}}
{{- merge (dict) $root.Values.podLabels $own | toYaml -}}
{{- end }}

{{/* In: list of the chart's root and the chart's own annotations of a pod. */}}
{{- define "pod-annotations" -}}
{{- $root := first . -}}
{{- include "not-ours" (list $root.Values.podAnnotations "podAnnotations") -}}
{{- merge (dict) (index . 1) $root.Values.podAnnotations | toYaml -}}
{{- end }}

{{- define "image" -}}
{{- with .Values.image -}}
{{ required "image.repository is empty, and there is no public image: build one (make image), bring it to where the nodes find it, and set image.repository, and image.tag or image.digest; docs/getting-started.md has the steps for kind, k3s, minikube and a registry" .repository }}:{{ .tag | default $.Chart.AppVersion }}{{ with .digest }}@{{ . }}{{ end }}
{{- end }}
{{- end }}

{{/* Of the container's security and of the pod's. */}}
{{- define "container-security" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities: {drop: [ALL]}
{{- end }}
{{- define "pod-security" -}}
runAsNonRoot: true
runAsUser: 65532
runAsGroup: 65532
fsGroup: 65532
seccompProfile: {type: RuntimeDefault}
{{- end }}

{{/* Files from Secrets and from other volumes, in a folder each. In: `files` and `volumes`, the two values; `called`: their
     names; `volume`: the beginnings of the names of volumes; `folder`. */}}
{{- define "file-mounts" -}}
{{- range $number, $name := .files }}
- {name: {{ first $.volume }}-{{ $number }}, mountPath: {{ $.folder }}/{{ $name }}, readOnly: true}
{{- end }}
{{- range .volumes }}
{{- if has .name $.files }}
{{- fail (printf "%s and %s both have %s, and their files would be in one folder; rename that of %s" (first $.called) (last $.called) .name (last $.called)) }}
{{- end }}
- {name: {{ last $.volume }}-{{ .name }}, mountPath: {{ $.folder }}/{{ .name }}, readOnly: true}
{{- end }}
{{- end }}
{{- define "file-volumes" -}}
{{- range $number, $name := .files }}
- name: {{ first $.volume }}-{{ $number }}
  secret:
    secretName: {{ $name | quote }}
    defaultMode: 288  # 0440
{{- end }}
{{- range .volumes }}
- {{- merge (dict "name" (printf "%s-%s" (last $.volume) .name)) . | toYaml | nindent 2 }}
{{- end }}
{{- end }}

{{/* Where pods of ours may run, for the webhook and for the hooks' Jobs. */}}
{{- define "placement" -}}
{{- range $key := list "imagePullSecrets" "nodeSelector" "tolerations" "affinity" }}
{{- with index $.Values $key }}
{{ $key }}:
{{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}
{{- end }}

{{/* In: list of the chart's root and ends of our keys. For CEL: these keys with commas between them. */}}
{{- define "ours" -}}
{{- $prefix := include "prefix" (first .) -}}
{{- range $i, $end := rest . }}{{ if $i }}, {{ end }}'{{ $prefix }}{{ $end }}'{{ end -}}
{{- end }}

{{/* In: the labels of pods, which are spread over nodes and zones where that is possible. */}}
{{- define "spread" -}}
{{- range $key := list "kubernetes.io/hostname" "topology.kubernetes.io/zone" }}
- topologyKey: {{ $key }}
  maxSkew: 1
  whenUnsatisfiable: ScheduleAnyway
  matchLabelKeys: [pod-template-hash]
  labelSelector:
    matchLabels: {{- $ | nindent 6 }}
{{- end }}
{{- end }}

{{/* -- what the configuration comes to; the defaults are webhook/config/models.py's, which a test compares -- */}}

{{- define "has-secrets-source" -}}
{{- range dig "sources" (list (dict "from" "secrets")) .Values.config }}{{ if eq .from "secrets" }}true{{ end }}{{ end -}}
{{- end }}

{{/* Whether credentials are issued. */}}
{{- define "has-issuers" -}}
{{- if .Values.config.issuers }}true{{ end -}}
{{- end }}

{{/* Whether the registry's token service runs here. Refuses values that contradict each other. */}}
{{- define "has-registry-auth" -}}
{{- with .Values.registryAuth -}}
{{- if .enabled -}}
{{- $service := false -}}
{{- range $.Values.config.issuers }}{{ if and (eq .issue "registry") .tokenService }}{{ $service = true }}{{ end }}{{ end -}}
{{- if not $service -}}
{{- fail "registryAuth.enabled is true, and no issuer of config.issuers has a tokenService; write one, as in docs/registry.md" -}}
{{- end -}}
{{- if and .tlsSecretName .plain -}}
{{- fail "registryAuth has tlsSecretName and plain: true; leave one out" -}}
{{- else if not (or .tlsSecretName .plain) -}}
{{- fail "registryAuth.enabled is true, and passwords need TLS: set registryAuth.tlsSecretName to a kubernetes.io/tls Secret in the release namespace, or registryAuth.plain to true behind an Ingress that speaks TLS" -}}
{{- end -}}
{{- $issuer := include "kept-in" (list $.Values.issuer.files $.Values.issuer.extraVolumes) | fromJsonArray -}}
{{- $webhook := include "kept-in" (list $.Values.sourceFiles $.Values.extraVolumes) | fromJsonArray -}}
{{- range include "kept-in" (list .files .extraVolumes) | fromJsonArray -}}
{{- if has . $issuer -}}
{{- fail (printf "issuer and registryAuth both have %s; give each one of its own: whoever takes the token service must not have the key that signs passwords" .) -}}
{{- else if has . $webhook -}}
{{- fail (printf "registryAuth has %s, which the webhook has by sourceFiles or extraVolumes; give each one of its own: the pods that answer the API server must not have the key that signs tokens" .) -}}
{{- end -}}
{{- end -}}
{{- if and .tlsSecretName (has (printf "the Secret %s" .tlsSecretName) $issuer) -}}
{{- fail (printf "issuer has the Secret %s of registryAuth.tlsSecretName; give each one of its own: whoever takes the token service must not have a key that signs passwords" .tlsSecretName) -}}
{{- end -}}
true
{{- end -}}
{{- end -}}
{{- end }}

{{/* In: list of names of Secrets and of volumes. A list in JSON: what there is that may hold a key, which a ConfigMap does
     not. */}}
{{- define "kept-in" -}}
{{- $found := list -}}
{{- range first . }}{{ $found = append $found (printf "the Secret %s" .) }}{{ end -}}
{{- range index . 1 -}}
{{- with .secret }}{{ $found = append $found (printf "the Secret %s" .secretName) }}{{ end -}}
{{- with .projected }}{{ range .sources }}{{ with .secret }}{{ $found = append $found (printf "the Secret %s" .name) }}{{ end }}{{ end }}{{ end -}}
{{- with .csi }}{{ $found = append $found (printf "the volume of %s with the attributes %s" .driver (.volumeAttributes | default dict | toJson)) }}{{ end -}}
{{- end -}}
{{- toJson $found -}}
{{- end }}

{{/* Refuses a key that signs passwords in the webhook's pods. Other files of issuers, such as CA certificates, may be in
     both. */}}
{{- define "no-key-in-the-webhook" -}}
{{- $webhook := include "kept-in" (list .Values.sourceFiles .Values.extraVolumes) | fromJsonArray -}}
{{- range .Values.config.issuers -}}
{{- if and (eq .issue "registry") (hasPrefix "/etc/pullsecret/issuers/" .keyFile) -}}
{{- $folder := regexReplaceAll "^/etc/pullsecret/issuers/([^/]*).*$" .keyFile "${1}" -}}
{{- $files := list -}}
{{- if has $folder $.Values.issuer.files }}{{ $files = list $folder }}{{ end -}}
{{- $volumes := list -}}
{{- range $.Values.issuer.extraVolumes }}{{ if eq .name $folder }}{{ $volumes = append $volumes . }}{{ end }}{{ end -}}
{{- range include "kept-in" (list $files $volumes) | fromJsonArray -}}
{{- if has . $webhook -}}
{{- fail (printf "the webhook has %s by sourceFiles or extraVolumes, in which there is a key that signs passwords; take it out there: the pods that answer the API server must not have it" .) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- end }}

{{- define "pull-secret" -}}
{{- dig "pullSecret" "name" "ghcr-secret" .Values.config -}}
{{- end }}

{{/* Whether registries are asked about credentials. */}}
{{- define "has-checks" -}}
{{- if dig "check" true .Values.config }}true{{ end -}}
{{- end }}

{{- define "owner-rules" -}}
{{- toJson (.Values.config.ownerRules | default (list (dict "from" "label" "key" "pullsecret-webhook/owner"))) -}}
{{- end }}

{{/* Namespaces that are excluded by name, and those that are by a pattern. A namespace selector has no patterns. */}}
{{- define "excluded" -}}
{{- $found := list "kube-system" "kube-public" "kube-node-lease" .Release.Namespace -}}
{{- range .Values.config.excludedNamespaces }}{{ if not (contains "*" .) }}{{ $found = append $found . }}{{ end }}{{ end -}}
{{- toJson (uniq $found) -}}
{{- end }}
{{- define "excluded-patterns" -}}
{{- $found := list -}}
{{- range .Values.config.excludedNamespaces }}{{ if contains "*" . }}{{ $found = append $found . }}{{ end }}{{ end -}}
{{- toJson (uniq $found) -}}
{{- end }}

{{/* -- what the API server asks about, the webhook as well as the safety net -- */}}

{{/* The kinds that get the reference, and where their pods' spec is: the table of webhook/core/kinds.py, which a test
     compares. */}}
{{- define "kinds" -}}
- {group: "", resource: pods, operations: "CREATE", at: spec}
- {group: apps, resource: deployments, operations: "CREATE, UPDATE", at: spec.template.spec}
{{- end }}

{{/* Namespaces that may be served. The process relies on it: of one label rule, it is asked about owned namespaces only
     (webhook/config/models.py); and never about one that is opted out. */}}
{{- define "namespace-selector" -}}
{{- $rules := include "owner-rules" . | fromJsonArray -}}
{{- $first := first $rules -}}
matchExpressions:
{{- if and (eq (len $rules) 1) (eq $first.from "label") }}
- {key: {{ $first.key | quote }}, operator: Exists}
{{- end }}
- {key: {{ include "prefix" . }}inject, operator: NotIn, values: [disabled]}
- {key: kubernetes.io/metadata.name, operator: NotIn, values: {{ include "excluded" . }}}
{{- end }}

{{/* Something if images of pods get their names at a mirror. */}}
{{- define "rewrites" -}}
{{- range .Values.config.mirrors }}{{ if eq (.how | default "node") "rewrite" }}yes{{ end }}{{ end -}}
{{- end }}

{{/* In: list of the chart's root, and whether it is about objects with a template. Nothing if there are none. */}}
{{- define "match-conditions" -}}
{{- $root := first . -}}
{{- $has := printf "spec.?template.?spec.?imagePullSecrets.orValue([]).exists(s, s.?name.orValue('') == '%s')" (include "pull-secret" $root) -}}
{{- $patterns := include "excluded-patterns" $root | fromJsonArray -}}
{{- if last . -}}
# An UPDATE that never had our reference must not get it: that would roll out what runs.
- name: created-or-lost-our-reference
  expression: >-
    request.operation == 'CREATE' || (
    oldObject.{{ $has }} &&
    !object.{{ $has }})
{{ end -}}
{{- with $patterns -}}
- name: not-excluded
  expression: "!request.namespace.matches('^({{ join "|" . | replace "*" ".*" }})$')"
{{- end -}}
{{- end }}

{{- define "config" -}}
{{- if eq (int .Values.ports.https) (int .Values.ports.metrics) -}}
{{- fail (printf "ports.https and ports.metrics are both %d; they need two different ports" (int .Values.ports.https)) -}}
{{- end -}}
{{- $server := merge (dict "port" .Values.ports.https "metricsPort" .Values.ports.metrics) (.Values.config.server | default dict) -}}
{{- $own := dict "namespace" .Release.Namespace "server" $server -}}
{{- if gt (int .Values.replicas) 1 -}}{{/* an image from before does not know the key */}}
{{- $_ := set $own "replicas" (int .Values.replicas) -}}
{{- end -}}
{{- if ne .Values.tls.mode "self-managed" -}}
{{- $_ := set $own "tls" (dict "certFile" "/etc/pullsecret/tls/tls.crt" "keyFile" "/etc/pullsecret/tls/tls.key") -}}
{{- end -}}
{{- toYaml (merge $own .Values.config) -}}
{{- end }}

{{- define "tls-secret" -}}
{{- if eq .Values.tls.mode "cert-manager" -}}
{{ include "name" . }}-tls
{{- else if eq .Values.tls.mode "files" -}}
{{ required "tls.mode is files: set tls.files.secretName to a kubernetes.io/tls Secret in the release namespace" .Values.tls.files.secretName }}
{{- end -}}
{{- end }}

{{/* The label or annotation by which `helm test` can own a namespace of its own, as JSON; nothing when no rule allows it. */}}
{{- define "test-owner" -}}
{{- $found := dict -}}
{{- range include "owner-rules" . | fromJsonArray -}}
{{- if and (ne .from "name") (include "takes-all" .) (not $found.key) -}}
{{- $_ := set $found "key" .key -}}{{- $_ := set $found "place" (printf "%ss" .from) -}}
{{- end -}}
{{- end -}}
{{- if $found.key }}{{ toJson $found }}{{ end -}}
{{- end }}

{{/* In: list of the chart's root and the command's arguments, each a word. The pod of a hook. */}}
{{- define "hook-pod" -}}
{{- $root := first . -}}
serviceAccountName: {{ include "name" $root }}-{{ index . 1 }}
automountServiceAccountToken: true  # the account says no, for all who use it by accident
restartPolicy: Never
securityContext: {{- include "pod-security" $root | nindent 2 }}
{{- include "placement" $root }}
containers:
- name: {{ index . 1 }}
  image: {{ include "image" $root | quote }}
  imagePullPolicy: {{ $root.Values.image.pullPolicy }}
  args: {{ concat (rest (rest .)) (list "--config" "/etc/pullsecret/config.yaml") | toJson }}
  resources:
    requests: {cpu: 20m, memory: 64Mi}
    limits: {memory: 256Mi}
  securityContext: {{- include "container-security" $root | nindent 4 }}
  volumeMounts:
  - {name: config, mountPath: /etc/pullsecret/config.yaml, subPath: config.yaml, readOnly: true}
volumes:
- name: config
  configMap: {name: {{ include "name" $root }}-{{ index . 1 }}}
{{- end }}

{{/* In: list of the chart's root, the hook's name in objects, Helm's name of the hook, weight. */}}
{{- define "hook-metadata" -}}
{{- $root := first . -}}
name: {{ include "name" $root }}-{{ index . 1 }}
labels:
  {{- include "labels" $root | nindent 2 }}
  app.kubernetes.io/component: {{ index . 1 }}
annotations:
  helm.sh/hook: {{ index . 2 }}
  helm.sh/hook-weight: {{ index . 3 | quote }}
  helm.sh/hook-delete-policy: before-hook-creation,hook-succeeded
{{- end }}

{{/* In: a selector of counters whose series begin with the first thing that they count, and a time: a new one has risen
     too. */}}
{{- define "rises" -}}
{{- $counter := index . 0 }}{{ $time := index . 1 -}}
sum(increase({{ $counter }}[{{ $time }}]) > 0 or ({{ $counter }} unless {{ $counter }} offset {{ $time }})) > 0
{{- end }}
