{{/*
The values that count: ours, with OSM's below `osm` put where files/osm-values.yaml says. As YAML.
*/}}
{{- define "heddle.values" -}}
{{- $values := deepCopy (omit .Values "osm" "contour" "smi" "global") -}}
{{- $table := .Files.Get "files/osm-values.yaml" | fromYaml -}}
{{- include "heddle.take" (dict "node" .Values.osm "path" "" "table" $table "values" $values) -}}
{{- with $values.controlPlaneTolerations -}}
{{- range $part := list $values.controller $values.injector -}}
{{- $_ := set $part "tolerations" (concat ($part.tolerations | default list) $values.controlPlaneTolerations) -}}
{{- end -}}
{{- end -}}
{{- if hasKey (.Values.osm | default dict) "controllerLogLevel" -}}
{{- $_ := set $values.injector "logLevel" .Values.osm.controllerLogLevel -}}
{{- end -}}
{{- range $part := list "controller" "injector" -}}
{{- $level := (get $values $part).logLevel -}}
{{- $_ := set (get $values $part) "logLevel" (get (dict "trace" "debug" "warning" "warn" "fatal" "error" "panic" "error" "disabled" "silent") $level | default $level) -}}
{{- end -}}
{{- $_ := set $values "namespace" ($values.osmNamespace | default .Release.Namespace) -}}
{{- $_ := set $values.injector.webhook "name" ($values.injector.webhook.name | default (printf "%s-%s" ($values.webhookConfigNamePrefix | default "osm-webhook") $values.meshName)) -}}
{{- $_ := set $values.validator "name" ($values.validator.name | default (printf "osm-validator-mesh-%s" $values.meshName)) -}}
{{- $values | toYaml -}}
{{- end -}}

{{/* Goes down OSM's values and puts each that is in the table where it belongs in `values`. */}}
{{- define "heddle.take" -}}
{{- range $key, $value := .node -}}
{{- $path := ternary $key (printf "%s.%s" $.path $key) (eq $.path "") -}}
{{- $entry := get $.table $path | default dict -}}
{{- if kindIs "invalid" $value -}}
{{- else if and (kindIs "map" $value) (not (hasKey $entry "to")) -}}
{{- include "heddle.take" (dict "node" $value "path" $path "table" $.table "values" $.values) -}}
{{- else if hasKey $entry "to" -}}
{{- include "heddle.put" (dict "values" $.values "path" (splitList "." $entry.to) "value" $value) -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{/* values.a.b = value, for the path (list "a" "b"). */}}
{{- define "heddle.put" -}}
{{- $key := first .path -}}
{{- if eq (len .path) 1 -}}
{{- $_ := set .values $key .value -}}
{{- else -}}
{{- if not (kindIs "map" (get .values $key)) -}}{{- $_ := set .values $key dict -}}{{- end -}}
{{- include "heddle.put" (dict "values" (get .values $key) "path" (rest .path) "value" .value) -}}
{{- end -}}
{{- end -}}

{{/* A line for each of OSM's values that was given and has no meaning here. */}}
{{- define "heddle.notes" -}}
{{- $notes := dict -}}
{{- $table := .Files.Get "files/osm-values.yaml" | fromYaml -}}
{{- include "heddle.note" (dict "node" .Values.osm "path" "" "table" $table "notes" $notes "above" dict) -}}
{{- range $path := keys .Values.contour -}}
{{- if or (ne $path "enabled") $.Values.contour.enabled -}}{{- $_ := set $notes "contour" "no ingress is deployed: IngressBackend works with yours" -}}{{- end -}}
{{- end -}}
{{- if hasKey .Values.smi "validateTrafficTarget" -}}
{{- if not .Values.smi.validateTrafficTarget -}}{{- $_ := set $notes "smi.validateTrafficTarget" "TrafficTargets are always validated: see validator" -}}{{- end -}}
{{- end -}}
{{- range $path, $why := $notes }}
  {{ $path }}: {{ $why }}
{{- end -}}
{{- end -}}

{{/* Goes down OSM's values; `above` is the entry of the table that stands for what has none of its own. */}}
{{- define "heddle.note" -}}
{{- range $key, $value := .node -}}
{{- $path := ternary $key (printf "%s.%s" $.path $key) (eq $.path "") -}}
{{- $own := get $.table $path -}}
{{- $entry := ternary (dict "path" $path "says" $own) $.above (not (empty $own)) -}}
{{- if kindIs "invalid" $value -}}
{{- else if and (kindIs "map" $value) (not (dig "says" "to" "" $entry)) -}}
{{- include "heddle.note" (dict "node" $value "path" $path "table" $.table "notes" $.notes "above" $entry) -}}
{{- else if not $entry -}}
{{- $_ := set $.notes (printf "osm.%s" $path) "OSM 1.2 has no such value" -}}
{{- else if hasKey $entry.says "none" -}}
{{- if or (not (hasKey $entry.says "unless")) (ne (toString $entry.says.unless) (toString $value)) -}}
{{- $_ := set $.notes (printf "osm.%s" $entry.path) $entry.says.none -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- end -}}
