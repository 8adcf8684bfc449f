{{/*
Owner rules as CEL, for the policies. Python's `fullmatch` and CEL's RE2 agree on what is let through here; the rest is
refused with what to write instead. A pattern is cut in three, BEFORE(?P<owner>OWNER)AFTER, each part a regular
expression of its own, because CEL cannot take a group out of a match.
*/}}

{{/* Reads one part. In: text, from, pattern (for messages), stop (end at the parenthesis that closes the group). Sets
     `part`, and `rest` with what follows that parenthesis. */}}
{{- define "read-part" -}}
{{- $in := . -}}
{{- $bad := printf "config.ownerRules: the pattern %q" .pattern -}}
{{- $s := dict "part" "" "rest" "" "escape" false "class" false "first" false "depth" 0 "opened" "" "done" false -}}
{{- range $c := splitList "" .text -}}
  {{- $before := $s.opened -}}
  {{- $_ := set $s "opened" "" -}}
  {{- if $s.done -}}
    {{- $_ := set $s "rest" (print $s.rest $c) -}}
  {{- else if and (eq $c ")") (not $s.escape) (not $s.class) (eq $s.depth 0) $in.stop -}}
    {{- $_ := set $s "done" true -}}
  {{- else -}}
    {{- $_ := set $s "part" (print $s.part $c) -}}
    {{- if $s.escape -}}
      {{- if and (regexMatch "[A-Za-z0-9]" $c) (not (and (has $c (list "d" "w")) (ne $in.from "annotation"))) -}}
        {{- fail (printf "%s has \\%s, which Python and the API server read differently; write a class such as [0-9] or [A-Za-z0-9_]" $bad $c) -}}
      {{- end -}}
      {{- $_ := set $s "escape" false -}}
      {{- $_ := set $s "first" false -}}
    {{- else if eq $c "\\" -}}
      {{- $_ := set $s "escape" true -}}
    {{- else if $s.class -}}
      {{- if eq $c "[" -}}{{- fail (printf "%s has a [ inside [...]; write \\[" $bad) -}}{{- end -}}
      {{- if and (eq $c "]") (not $s.first) -}}{{- $_ := set $s "class" false -}}{{- end -}}
      {{- if ne $c "^" -}}{{- $_ := set $s "first" false -}}{{- end -}}
    {{- else if eq $c "[" -}}
      {{- $_ := set $s "class" true -}}
      {{- $_ := set $s "first" true -}}
    {{- else if eq $c "(" -}}
      {{- $_ := set $s "depth" (add1 $s.depth) -}}
      {{- $_ := set $s "opened" "(" -}}
    {{- else if and (eq $before "(") (eq $c "?") -}}
      {{- $_ := set $s "opened" "(?" -}}
    {{- else if and (eq $before "(?") (ne $c ":") -}}
      {{- fail (printf "%s has (?%s; of the groups that begin with (? only (?:...) and one (?P<owner>...) can be used" $bad $c) -}}
    {{- else if eq $c ")" -}}
      {{- $_ := set $s "depth" (sub $s.depth 1) -}}
    {{- else if has $c (list "^" "$") -}}
      {{- fail (printf "%s has %s; leave it out, the whole text must match anyway" $bad $c) -}}
    {{- else if and (eq $c "|") (eq $s.depth 0) (not $in.stop) -}}
      {{- fail (printf "%s has a | outside of parentheses; write (?:a|b), or two rules" $bad) -}}
    {{- end -}}
  {{- end -}}
{{- end -}}
{{- if or $s.escape $s.class (ne (int $s.depth) 0) (ne $s.done $in.stop) -}}
  {{- fail (printf "%s: the group owner must stand outside of all other parentheses, and all must be closed" $bad) -}}
{{- end -}}
{{- if contains "{," $s.part -}}{{- fail (printf "%s has {,n}; write {0,n}" $bad) -}}{{- end -}}
{{- $_ := set . "part" (ternary "" (printf "(?:%s)" $s.part) (eq $s.part "")) -}}
{{- $_ := set . "rest" $s.rest -}}
{{- $matches_nothing := mustRegexMatch (printf "^%s$" .part) "" -}}
{{- if and .stop $matches_nothing -}}
  {{- fail (printf "%s lets the owner be empty; write + instead of *" $bad) -}}
{{- end -}}
{{- end }}

{{/* In: an owner rule. Sets before, owner, after in it. */}}
{{- define "read-pattern" -}}
{{- $parts := splitList "(?P<owner>" .pattern -}}
{{- if ne (len $parts) 2 -}}{{- fail (printf "config.ownerRules: the pattern %q needs exactly one group (?P<owner>...)" .pattern) -}}{{- end -}}
{{- $before := dict "text" (first $parts) "from" .from "pattern" .pattern "stop" false -}}
{{- $owner := dict "text" (last $parts) "from" .from "pattern" .pattern "stop" true -}}
{{- include "read-part" $before }}{{ include "read-part" $owner -}}
{{- $after := dict "text" $owner.rest "from" .from "pattern" .pattern "stop" false -}}
{{- include "read-part" $after -}}
{{- $_ := set . "before" $before.part }}{{ $_ = set . "owner" $owner.part }}{{ $_ = set . "after" $after.part -}}
{{- end }}

{{/* In: object (a CEL expression), place (labels or annotations), key. What stands there, or ''. */}}
{{- define "metadata-value" -}}
{{ .object }}.metadata.?{{ .place }}[?{{ toJson .key }}].orValue('')
{{- end }}

{{/* In: a rule after read-pattern, and text (a CEL expression). Whether the rule finds an owner in it; webhook/core/owner.py. */}}
{{- define "says" -}}
{{ .text }} != '' && size({{ .text }}) <= 253
{{- if eq .rule.from "annotation" }} && {{ .text }}.matches('^[\\pL\\pM\\pN\\pP\\pS ]+$'){{ end }}
{{- if .rule.pattern }} && {{ .text }}.matches({{ print "^" .rule.before .rule.owner .rule.after "$" | toJson }}){{ end }}
{{- end }}

{{/* In: a rule, text and owner (CEL expressions). Whether `owner` is what the rule finds; only where it says something.
     \Q...\E quotes the owner; an \E in it ends the quotation, is matched as such, and begins another. */}}
{{- define "is-owner" -}}
{{- if .rule.pattern -}}
{{ .owner }}.matches({{ print "^" .rule.owner "$" | toJson }}) &&
{{ .text }}.matches({{ print "^" .rule.before "\\Q" | toJson }} + {{ .owner }}.replace('\\E', '\\E\\\\E\\Q') + {{ print "\\E" .rule.after "$" | toJson }})
{{- else -}}
{{ .owner }} == {{ .text }}
{{- end -}}
{{- end }}

{{/* Variables of a policy, for each owner rule: what it looks at in the namespace, and whether it finds an owner there. */}}
{{- define "owner-variables" -}}
{{- range $i, $rule := include "owner-rules" . | fromJsonArray }}
{{- if .pattern }}{{ include "read-pattern" . }}{{ end }}
{{- if $i }}
{{ end -}}
- name: text{{ $i }}
  expression: >-
    {{ if eq .from "name" }}namespaceObject.metadata.name
    {{- else }}{{ include "metadata-value" (dict "object" "namespaceObject" "place" (printf "%ss" .from) "key" .key) }}{{ end }}
- name: says{{ $i }}
  expression: >-
    {{ include "says" (dict "rule" $rule "text" (printf "variables.text%d" $i)) | replace "\n" " " }}
{{- end }}
{{- end }}
