{{- define "otlp-service.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 63 | trimSuffix "-" }}
{{- end }}

{{/* At most 54 characters: "-headless" comes behind it. */}}
{{- define "otlp-service.fullname" -}}
{{- $name := default .Chart.Name .Values.nameOverride }}
{{- $both := ternary .Release.Name (printf "%s-%s" .Release.Name $name) (contains $name .Release.Name) }}
{{- default $both .Values.fullnameOverride | trunc 54 | trimSuffix "-" }}
{{- end }}

{{/* What selectors choose by: it never changes with a version, because selectors cannot be changed. */}}
{{- define "otlp-service.selectorLabels" -}}
app.kubernetes.io/name: {{ include "otlp-service.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "otlp-service.labels" -}}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" | trunc 63 | trimSuffix "-" }}
{{ include "otlp-service.selectorLabels" . }}
app: otlp-service
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/part-of: otlp-service
app.kubernetes.io/managed-by: {{ .Release.Service }}
{{- end }}

{{- define "otlp-service.metadata" -}}
name: {{ include "otlp-service.fullname" . }}
namespace: {{ .Release.Namespace }}
labels:
  {{- include "otlp-service.labels" . | nindent 2 }}
{{- end }}

{{/* The chart's labels with some that are asked for, which win: a key that is there twice is no YAML. */}}
{{- define "otlp-service.labelsWith" -}}
{{- include "otlp-service.labels" (first .) | fromYaml | merge dict (last . | default dict) | toYaml }}
{{- end }}

{{- define "otlp-service.serviceAccountName" -}}
{{- default (ternary (include "otlp-service.fullname" .) "default" .Values.serviceAccount.create) .Values.serviceAccount.name }}
{{- end }}

{{- define "otlp-service.image" -}}
{{- $version := printf ":%s" (default .Chart.AppVersion .Values.image.tag) }}
{{- .Values.image.repository }}{{ ternary (printf "@%s" .Values.image.digest) $version (ne .Values.image.digest "") }}
{{- end }}

{{/* OTLP/HTTP at the own Service. */}}
{{- define "otlp-service.url" -}}
{{ ternary "https" "http" .Values.tls.enabled }}://{{ include "otlp-service.fullname" . }}:{{ .Values.service.http.port }}
{{- end }}

{{/* The service's configuration, as YAML. */}}
{{- define "otlp-service.config" -}}
{{- tpl (toYaml .Values.config) . }}
{{- end }}

{{- define "otlp-service.workload" -}}
apiVersion: apps/v1
kind: {{ ternary "StatefulSet" "Deployment" .Values.persistence.enabled }}
name: {{ include "otlp-service.fullname" . }}
{{- end }}

{{- define "otlp-service.keysSecret" -}}
{{- default (printf "%s-keys" (include "otlp-service.fullname" .)) .Values.auth.existingSecret }}
{{- end }}

{{- define "otlp-service.collector" -}}
{{- default (printf "%s-collector" .Release.Name) .Values.collector.fullnameOverride }}
{{- end }}

{{/* Where telemetry goes to: {"collector": whether to that of the chart, "ports": those of all other endpoints}, in JSON. */}}
{{- define "otlp-service.destinations" -}}
{{- $exporter := dig "exporter" dict (include "otlp-service.config" . | fromYaml) }}
{{- $collector := printf "^%s([.]%s([.]svc([.]cluster[.]local)?)?)?$" (include "otlp-service.collector" .) .Release.Namespace }}
{{- $own := false }}
{{- $ports := list }}
{{- range $key := list "endpoint" "traces_endpoint" "metrics_endpoint" "logs_endpoint" }}
{{- with get $exporter $key }}
{{- $url := ternary . (printf "http://%s" .) (contains "://" .) | urlParse }}
{{- $port := regexFind ":[0-9]+$" $url.host | trimPrefix ":" }}
{{- if and $.Values.collector.enabled (regexMatch $collector $url.hostname) }}
{{- $own = true }}
{{- else }}
{{- $ports = append $ports (default (ternary "443" "80" (eq $url.scheme "https")) $port) }}
{{- end }}
{{- end }}
{{- end }}
{{- dict "collector" $own "ports" ($ports | uniq | sortAlpha) | toJson }}
{{- end }}
