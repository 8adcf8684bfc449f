{{- /* The registration as it was with one entry for all kinds: what an upgrade may find. */}}
apiVersion: admissionregistration.k8s.io/v1
kind: MutatingWebhookConfiguration
metadata:
  name: {{ include "name" . }}
  labels: {{- include "labels" . | nindent 4 }}
  annotations:
    # AKS would add to the namespaceSelector: the next upgrade by Helm 4 would fail, and GitOps tools would see drift.
    admissions.enforcer/disabled: "true"
webhooks:
- name: {{ include "entry" . }}
  admissionReviewVersions: [v1]
  sideEffects: NoneOnDryRun
  failurePolicy: {{ .Values.failurePolicy }}
  reinvocationPolicy: IfNeeded
  matchPolicy: Equivalent
  timeoutSeconds: 3
  clientConfig:
    service: {name: {{ include "name" . }}, namespace: {{ .Release.Namespace | quote }}, path: /mutate, port: 443}
  namespaceSelector: {{- include "namespace-selector" . | nindent 4 }}
  objectSelector: {}
  rules:
  {{- range include "kinds" . | fromYamlArray }}
  - {apiGroups: [{{ .group | quote }}], apiVersions: [v1], operations: [{{ .operations }}], resources: [{{ .resource }}], scope: Namespaced}
  {{- end }}
  matchConditions:
  - name: no-mirror-pods
    expression: "!('kubernetes.io/config.mirror' in object.metadata.?annotations.orValue({}))"
  {{- include "match-conditions" (list . true) | nindent 2 }}
