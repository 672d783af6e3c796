{{/* The pods of the Deployment or the StatefulSet. */}}
{{- define "otlp-service.pod" -}}
{{- include "otlp-service.validate" . }}
{{- $config := include "otlp-service.config" . | fromYaml }}
metadata:
  {{- $annotations := dict "checksum/config" (include (print $.Template.BasePath "/configmap.yaml") . | sha256sum) }}
  {{- if .Values.auth.apiKeys }}
  {{- $_ := set $annotations "checksum/secret" (include (print $.Template.BasePath "/secret.yaml") . | sha256sum) }}
  {{- end }}
  {{- if and (dig "metrics" "enabled" true $config) (not .Values.serviceMonitor.enabled) }}
  {{- $_ := set $annotations "prometheus.io/scrape" "true" }}
  {{- $_ := set $annotations "prometheus.io/port" (dig "metrics" "port" 9090 $config | toString) }}
  {{- $_ := set $annotations "prometheus.io/path" (dig "metrics" "path" "/metrics" $config) }}
  {{- end }}
  annotations:
    {{- merge dict (.Values.podAnnotations | default dict) $annotations | toYaml | nindent 4 }}
  labels:
    {{- include "otlp-service.labels" . | nindent 4 }}
    {{- with .Values.podLabels }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
spec:
  {{- with .Values.imagePullSecrets }}
  imagePullSecrets:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  serviceAccountName: {{ include "otlp-service.serviceAccountName" . }}
  automountServiceAccountToken: false
  enableServiceLinks: false
  terminationGracePeriodSeconds: {{ .Values.terminationGracePeriodSeconds }}
  {{- with .Values.priorityClassName }}
  priorityClassName: {{ . }}
  {{- end }}
  securityContext:
    {{- toYaml .Values.podSecurityContext | nindent 4 }}
  containers:
    - name: otlp-service
      image: {{ include "otlp-service.image" . }}
      imagePullPolicy: {{ .Values.image.pullPolicy }}
      ports:
        - name: http
          containerPort: {{ dig "server" "port" 8080 $config }}
          protocol: TCP
        - name: grpc
          containerPort: {{ dig "server" "grpc_port" 4317 $config }}
          protocol: TCP
        - name: metrics
          containerPort: {{ dig "metrics" "port" 9090 $config }}
          protocol: TCP
      env:
        - name: CONFIG_PATH
          value: /app/config/production.yaml
        - name: POD_NAME
          valueFrom:
            fieldRef:
              fieldPath: metadata.name
        - name: POD_NAMESPACE
          valueFrom:
            fieldRef:
              fieldPath: metadata.namespace
        - name: POD_IP
          valueFrom:
            fieldRef:
              fieldPath: status.podIP
        - name: NODE_NAME
          valueFrom:
            fieldRef:
              fieldPath: spec.nodeName
        - name: OTEL_RESOURCE_ATTRIBUTES
          value: k8s.pod.name=$(POD_NAME),k8s.namespace.name=$(POD_NAMESPACE),k8s.pod.ip=$(POD_IP),k8s.node.name=$(NODE_NAME)
        {{- if .Values.auth.enabled }}
        - name: OTLP_AUTH__API_KEYS_FILE
          value: /app/secrets/api-key
        {{- end }}
        {{- if .Values.tls.enabled }}
        - name: OTLP_SERVER__TLS__CERT_FILE
          value: /app/tls/tls.crt
        - name: OTLP_SERVER__TLS__KEY_FILE
          value: /app/tls/tls.key
        {{- if not (dig "exporter" "tls" "ca_file" "" $config) }}
        - name: OTLP_EXPORTER__TLS__CA_FILE
          value: /app/tls/ca.crt
        {{- end }}
        {{- if .Values.tls.clientCertificates }}
        - name: OTLP_SERVER__TLS__CLIENT_CA_FILE
          value: /app/tls/ca.crt
        {{- if not (dig "exporter" "tls" "cert_file" "" $config) }}
        - name: OTLP_EXPORTER__TLS__CERT_FILE
          value: /app/tls/tls.crt
        - name: OTLP_EXPORTER__TLS__KEY_FILE
          value: /app/tls/tls.key
        {{- end }}
        {{- end }}
        {{- end }}
        {{- with concat .Values.env .Values.extraEnv }}
        {{- toYaml . | nindent 8 }}
        {{- end }}
      resources:
        {{- toYaml .Values.resources | nindent 8 }}
      {{- with .Values.lifecycle }}
      lifecycle:
        {{- toYaml . | nindent 8 }}
      {{- end }}
      livenessProbe:
        {{- include "otlp-service.probe" (list . .Values.livenessProbe) | nindent 8 }}
      readinessProbe:
        {{- include "otlp-service.probe" (list . .Values.readinessProbe) | nindent 8 }}
      startupProbe:
        {{- $patient := merge (dict "failureThreshold" .Values.persistence.startupFailureThreshold) .Values.startupProbe }}
        {{- include "otlp-service.probe" (list . (ternary $patient .Values.startupProbe .Values.persistence.enabled)) | nindent 8 }}
      volumeMounts:
        - name: config
          mountPath: /app/config
          readOnly: true
        - name: data
          mountPath: /data
        - name: tmp
          mountPath: /tmp
        {{- if .Values.auth.enabled }}
        - name: secrets
          mountPath: /app/secrets
          readOnly: true
        {{- end }}
        {{- if .Values.tls.enabled }}
        - name: tls
          mountPath: /app/tls
          readOnly: true
        {{- end }}
        {{- with .Values.extraVolumeMounts }}
        {{- toYaml . | nindent 8 }}
        {{- end }}
      securityContext:
        {{- toYaml .Values.securityContext | nindent 8 }}
  volumes:
    - name: config
      configMap:
        name: {{ include "otlp-service.fullname" . }}
    {{- if not .Values.persistence.enabled }}
    - name: data
      emptyDir:
        sizeLimit: {{ .Values.persistence.emptyDirSize }}
    {{- end }}
    - name: tmp
      emptyDir:
        sizeLimit: {{ .Values.tmpSize }}
    {{- include "otlp-service.secretVolumes" . | nindent 4 }}
    {{- with .Values.extraVolumes }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
  {{- with .Values.nodeSelector }}
  nodeSelector:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with .Values.affinity }}
  affinity:
    {{- tpl (toYaml .) $ | nindent 4 }}
  {{- end }}
  {{- with .Values.tolerations }}
  tolerations:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with .Values.topologySpreadConstraints }}
  topologySpreadConstraints:
    {{- tpl (toYaml .) $ | nindent 4 }}
  {{- end }}
{{- end }}

{{/* A probe. A kubelet has no client certificate: with TLS it asks the admin port, where the same pages are without. */}}
{{- define "otlp-service.probe" -}}
{{- $root := first . }}
{{- $probe := deepCopy (last .) }}
{{- $http := dig "server" "port" 8080 (include "otlp-service.config" $root | fromYaml) }}
{{- if and $root.Values.tls.enabled (has (toString $probe.httpGet.port) (list "http" (toString $http))) }}
{{- $_ := set $probe.httpGet "port" "metrics" }}
{{- end }}
{{- toYaml $probe }}
{{- end }}

{{- define "otlp-service.secretVolumes" -}}
{{- if .Values.auth.enabled }}
- name: secrets
  secret: # no envFrom: what else is in it stays out of the pod
    secretName: {{ include "otlp-service.keysSecret" . }}
    defaultMode: 0440
    items:
      - key: api-key
        path: api-key
{{- end }}
{{- if .Values.tls.enabled }}
- name: tls
  secret:
    secretName: {{ .Values.tls.existingSecret }}
    defaultMode: 0440
{{- end }}
{{- end }}
