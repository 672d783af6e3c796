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

{{/* The ports of the endpoints that telemetry goes to, as a list in JSON. */}}
{{- define "otlp-service.destinationPorts" -}}
{{- $exporter := (include "otlp-service.config" . | fromYaml).exporter | default dict }}
{{- $ports := list }}
{{- range $key := list "endpoint" "traces_endpoint" "metrics_endpoint" "logs_endpoint" }}
{{- with get $exporter $key }}
{{- $url := urlParse . }}
{{- $port := regexFind ":[0-9]+$" $url.host | trimPrefix ":" }}
{{- $ports = append $ports (default (ternary "443" "80" (eq $url.scheme "https")) $port) }}
{{- end }}
{{- end }}
{{- $ports | uniq | sortAlpha | toJson }}
{{- end }}

{{/* What cannot go together, and would be found out only by pods that do not start, or not be found out. */}}
{{- define "otlp-service.validate" -}}
{{- if and .Values.auth.enabled (not .Values.auth.existingSecret) (not .Values.auth.apiKeys) }}
{{- fail "auth.enabled: no keys; name a Secret with the key api-key in auth.existingSecret, or list them in auth.apiKeys" }}
{{- end }}
{{- if and .Values.auth.existingSecret .Values.auth.apiKeys }}
{{- fail "auth.apiKeys: they would not be used, because auth.existingSecret has the keys; leave one of the two out" }}
{{- end }}
{{- if and .Values.tls.enabled (not .Values.tls.existingSecret) }}
{{- fail "tls.enabled: no certificate; name a Secret with tls.crt, tls.key and ca.crt in tls.existingSecret" }}
{{- end }}
{{- if and .Values.tls.enabled .Values.gatewayApi.enabled }}
{{- fail "gatewayApi.enabled: a gateway ends TLS and speaks in the clear to the pods; leave tls.enabled out, or use ingress" }}
{{- end }}
{{- if and .Values.gatewayApi.enabled (not .Values.gatewayApi.gateway.create) (not (and .Values.gatewayApi.httpParentRefs .Values.gatewayApi.grpcParentRefs)) }}
{{- fail "gatewayApi.gateway.create: no Gateway is made; name those that there are in gatewayApi.httpParentRefs and gatewayApi.grpcParentRefs" }}
{{- end }}
{{- if gt (int .Values.autoscaling.minReplicas) (int .Values.autoscaling.maxReplicas) }}
{{- fail (printf "autoscaling.minReplicas: %v is above autoscaling.maxReplicas, %v" .Values.autoscaling.minReplicas .Values.autoscaling.maxReplicas) }}
{{- end }}
{{- end }}
