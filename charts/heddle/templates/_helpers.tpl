{{/* Labels of every object. `.values` are the resolved ones. */}}
{{- define "heddle.labels" -}}
app.kubernetes.io/name: openservicemesh.io
app.kubernetes.io/instance: {{ .values.meshName }}
app.kubernetes.io/version: {{ .root.Chart.AppVersion | quote }}
app.kubernetes.io/part-of: heddle
app.kubernetes.io/managed-by: {{ .root.Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .root.Chart.Name .root.Chart.Version | replace "+" "_" }}
{{- end -}}

{{/* Name of the cluster's objects that no namespace holds. */}}
{{- define "heddle.clusterName" -}}
{{ printf "heddle-%s-%s" .meshName .part }}
{{- end -}}

{{- define "heddle.image" -}}
{{- $tag := .image.tag | default .default -}}
{{- if .image.digest -}}
{{ printf "%s%s@%s" .image.repository (ternary (printf ":%s" $tag) "" (ne $tag "")) .image.digest }}
{{- else -}}
{{ printf "%s:%s" .image.repository $tag }}
{{- end -}}
{{- end -}}

{{/* What Pod Security "restricted" asks of a container, and a root file system that nobody writes to. */}}
{{- define "heddle.containerSecurity" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities:
  drop: [ALL]
{{- end -}}

{{- define "heddle.podSecurity" -}}
runAsNonRoot: true
runAsUser: 1000
runAsGroup: 1000
seccompProfile:
  type: RuntimeDefault
{{- end -}}

{{/* Labels and annotations of a Deployment's pods: the user's, and ours, which win. `.annotations` are further ones of ours. */}}
{{- define "heddle.podMetadata" -}}
{{- $labels := include "heddle.labels" . | fromYaml -}}
{{- $own := dict "app" .app "meshName" .values.meshName -}}
{{- $annotations := dict "prometheus.io/scrape" "true" "prometheus.io/port" "9091" "prometheus.io/path" "/metrics" -}}
labels:
  {{- mergeOverwrite dict .part.podLabels $labels $own | toYaml | nindent 2 }}
annotations:
  {{- mergeOverwrite $annotations .part.podAnnotations (.annotations | default dict) | toYaml | nindent 2 }}
{{- end -}}

{{/* Where a Deployment's pods go. `.part` is its values, `.app` its label. */}}
{{- define "heddle.placing" -}}
{{- with .part.priorityClassName }}
priorityClassName: {{ . }}
{{- end }}
nodeSelector:
  {{- mergeOverwrite (dict "kubernetes.io/os" "linux") .part.nodeSelector | toYaml | nindent 2 }}
{{- with .part.tolerations }}
tolerations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- if .part.affinity }}
affinity:
  {{- toYaml .part.affinity | nindent 2 }}
{{- else }}
topologySpreadConstraints:
  {{- range list "kubernetes.io/hostname" "topology.kubernetes.io/zone" }}
  - maxSkew: 1
    topologyKey: {{ . }}
    whenUnsatisfiable: ScheduleAnyway
    labelSelector:
      matchLabels:
        app: {{ $.app }}
    matchLabelKeys: [pod-template-hash]
  {{- end }}
{{- end }}
{{- end -}}

{{/* Probes on the port of health and metrics. */}}
{{- define "heddle.probes" -}}
startupProbe:
  httpGet: { path: /healthz, port: http }
  periodSeconds: 1
  failureThreshold: 60
readinessProbe:
  httpGet: { path: /readyz, port: http }
  periodSeconds: 2
  timeoutSeconds: 2
  failureThreshold: 3
livenessProbe:
  httpGet: { path: /healthz, port: http }
  periodSeconds: 10
  timeoutSeconds: 5
  failureThreshold: 6
{{- end -}}

{{/* A pod that ends works on until everybody has learnt of it: webhooks and sidecars go to the others without having been refused. */}}
{{- define "heddle.lastSeconds" -}}
lifecycle:
  preStop:
    exec: { command: [sleep, "3"] }
{{- end -}}

{{/* Who the process is: for its Lease, its Events and its own objects. */}}
{{- define "heddle.env" -}}
- name: POD_NAME
  valueFrom: { fieldRef: { fieldPath: metadata.name } }
- name: POD_UID
  valueFrom: { fieldRef: { fieldPath: metadata.uid } }
- name: POD_NAMESPACE
  valueFrom: { fieldRef: { fieldPath: metadata.namespace } }
{{- end -}}

{{/* A PodDisruptionBudget and a HorizontalPodAutoscaler. */}}
{{- define "heddle.availability" -}}
{{- if and .part.podDisruptionBudget.enabled (or .part.autoscaling.enabled (gt (int .part.replicas) 1)) }}
---
apiVersion: policy/v1
kind: PodDisruptionBudget
metadata:
  name: {{ .app }}
  namespace: {{ .values.namespace }}
  labels:
    {{- include "heddle.labels" . | nindent 4 }}
    app: {{ .app }}
spec:
  maxUnavailable: {{ .part.podDisruptionBudget.maxUnavailable }}
  unhealthyPodEvictionPolicy: AlwaysAllow
  selector:
    matchLabels:
      app: {{ .app }}
{{- end }}
{{- if .part.autoscaling.enabled }}
---
apiVersion: autoscaling/v2
kind: HorizontalPodAutoscaler
metadata:
  name: {{ .app }}
  namespace: {{ .values.namespace }}
  labels:
    {{- include "heddle.labels" . | nindent 4 }}
    app: {{ .app }}
spec:
  scaleTargetRef:
    apiVersion: apps/v1
    kind: Deployment
    name: {{ .app }}
  minReplicas: {{ .part.autoscaling.minReplicas }}
  maxReplicas: {{ .part.autoscaling.maxReplicas }}
  metrics:
    - type: Resource
      resource: { name: cpu, target: { type: Utilization, averageUtilization: {{ .part.autoscaling.cpuPercent }} } }
    - type: Resource
      resource: { name: memory, target: { type: Utilization, averageUtilization: {{ .part.autoscaling.memoryPercent }} } }
{{- end }}
{{- end -}}

{{/* Which namespaces are in the mesh, as OSM has it; the control plane's never is. */}}
{{- define "heddle.meshNamespaces" -}}
matchLabels:
  openservicemesh.io/monitored-by: {{ .meshName }}
matchExpressions:
  - { key: openservicemesh.io/ignore, operator: DoesNotExist }
  - { key: control-plane, operator: DoesNotExist }
  - { key: kubernetes.io/metadata.name, operator: NotIn, values: [{{ .namespace }}, kube-system, kube-public] }
{{- end -}}

{{/* When an object of the clean-up is made, and when it goes again. */}}
{{- define "heddle.cleanupHook" -}}
helm.sh/hook: post-delete
helm.sh/hook-weight: {{ . | quote }}
helm.sh/hook-delete-policy: before-hook-creation,hook-succeeded
{{- end -}}

{{/* "true" when this release installs the CRD: not when somebody else owns it. */}}
{{- define "heddle.installs" -}}
{{- if .root.Values.crds.install -}}
{{- $there := lookup "apiextensions.k8s.io/v1" "CustomResourceDefinition" "" .name -}}
{{- $owner := dig "metadata" "annotations" "meta.helm.sh/release-name" "" $there -}}
{{- $place := dig "metadata" "annotations" "meta.helm.sh/release-namespace" "" $there -}}
{{- or .root.Values.adopt (not $there) (and (eq $owner .root.Release.Name) (eq $place .root.Release.Namespace)) -}}
{{- end -}}
{{- end -}}

{{/* MeshConfig's spec, as OSM's chart has it. */}}
{{- define "heddle.preset" -}}
{{- toPrettyJson .meshConfig -}}
{{- end -}}
