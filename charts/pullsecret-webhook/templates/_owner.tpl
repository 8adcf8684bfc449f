{{/* Owner rules as CEL, for the policies: what webhook/core/owner.py does. */}}

{{/* In: object (a CEL expression), place (labels or annotations), key. What stands there, or ''. */}}
{{- define "metadata-value" -}}
{{ .object }}.metadata.?{{ .place }}[?{{ toJson .key }}].orValue('')
{{- end }}

{{/* In: an owner rule. Whether the whole text is the owner. */}}
{{- define "takes-all" -}}
{{- if not (pick . "prefix" "owner" "suffix") }}true{{ end -}}
{{- end }}

{{/* In: a regular expression. It as it is; RE2 that is none is refused. */}}
{{- define "re2" -}}
{{- $_ := mustRegexMatch . "" }}{{ . -}}
{{- end }}

{{/* In: object (a CEL expression: the namespace), rule, id (ends the names of the variables). Variables of a policy, the
     last of them `foundID`: the owner that the rule finds, or ''. CEL cannot take a group out of a match, so each part is
     found on its own. */}}
{{- define "found-variables" -}}
{{- $rule := .rule -}}
{{- $text := printf "variables.text%v" .id -}}
{{- $shown := "" -}}
- name: text{{ .id }}
  expression: >-
    {{ if eq $rule.from "name" }}{{ .object }}.metadata.name
    {{- else }}{{ include "metadata-value" (dict "object" .object "place" (printf "%ss" $rule.from) "key" $rule.key) }}{{ end }}
{{- if eq $rule.from "annotation" }}
{{- $shown = printf "%s.size() <= 253 && %s.matches('^[\\\\pL\\\\pM\\\\pN\\\\pP\\\\pS ]+$')" $text $text }}
{{- end }}
{{- if include "takes-all" $rule }}
- name: found{{ .id }}
  expression: >-
    {{ with $shown }}{{ . }} ? {{ $text }} : ''{{ else }}{{ $text }}{{ end }}
{{- else }}
{{- $prefix := dig "prefix" "" $rule | include "re2" | printf "^(?:%s)" | toJson }}
{{- $owner := dig "owner" ".+" $rule | include "re2" | printf "^(?:%s)$" | toJson }}
{{- $suffix := dig "suffix" "" $rule | include "re2" | printf "(?:%s)$" | toJson }}
{{- $rest := printf "variables.rest%v" .id }}
{{- $middle := printf "variables.middle%v" .id }}
- name: rest{{ .id }}
  expression: >-
    {{ with $shown }}{{ . }} && {{ end }}{{ $text }}.matches({{ $prefix }}) ? {{ $text }}.substring({{ $text }}.find({{ $prefix }}).size()) : ''
- name: middle{{ .id }}
  expression: >-
    {{ $rest }}.matches({{ $suffix }}) ? {{ $rest }}.substring(0, {{ $rest }}.size() - {{ $rest }}.find({{ $suffix }}).size()) : ''
- name: found{{ .id }}
  expression: >-
    {{ $middle }}.matches({{ $owner }}) ? {{ $middle }} : ''
{{- end }}
{{- end }}

{{/* Variables of a policy, the last of them `namespaceOwner`, or ''. The first rule that finds an owner decides. */}}
{{- define "owner-variables" -}}
{{- $found := "" -}}
{{- range $i, $rule := include "owner-rules" . | fromJsonArray }}
{{- $found = printf "%svariables.found%d != '' ? variables.found%d : " $found $i $i }}
{{- include "found-variables" (dict "object" "namespaceObject" "rule" $rule "id" $i) }}
{{ end -}}
- name: namespaceOwner
  expression: >-
    {{ $found }}''
{{- end }}
