{{/*
What cannot go together, and would be found out only by pods that do not start or are killed, or not be found out.
Each is told by its key, with what to do; all of them at once.
*/}}
{{- define "otlp-service.validate" -}}
{{- $wrong := list }}
{{- $values := .Values }}
{{- $config := include "otlp-service.config" . | fromYaml }}
{{- $metrics := dig "metrics" "enabled" true $config }}
{{- $port := dig "server" "port" 8080 $config }}

{{- /* What runs */}}
{{- if eq (toString .Values.image.tag) "latest" }}
{{- $wrong = append $wrong "image.tag: latest is another image tomorrow; write a version, or image.digest" }}
{{- end }}
{{- if regexMatch ":[^/]*$" .Values.image.repository }}
{{- $wrong = append $wrong (printf "image.repository: %s has a version; put it into image.tag or image.digest" .Values.image.repository) }}
{{- end }}

{{- /* Who may send */}}
{{- if and .Values.auth.enabled (not .Values.auth.existingSecret) (not .Values.auth.apiKeys) }}
{{- $wrong = append $wrong "auth.enabled: no keys; name a Secret with the key api-key in auth.existingSecret, or list them in auth.apiKeys" }}
{{- end }}
{{- if and .Values.auth.apiKeys (not .Values.auth.enabled) }}
{{- $wrong = append $wrong "auth.apiKeys: nobody asks for them, and anybody may send; set auth.enabled, or leave them out" }}
{{- end }}
{{- if and .Values.auth.existingSecret .Values.auth.apiKeys }}
{{- $wrong = append $wrong "auth.apiKeys: they would not be used, because auth.existingSecret has the keys; leave one of the two out" }}
{{- end }}
{{- if and .Values.tls.enabled (not .Values.tls.existingSecret) }}
{{- $wrong = append $wrong "tls.enabled: no certificate; name a Secret with tls.crt, tls.key and ca.crt in tls.existingSecret" }}
{{- end }}
{{- if and .Values.tls.clientCertificates (not .Values.tls.enabled) }}
{{- $wrong = append $wrong "tls.clientCertificates: nobody asks for them, and anybody may send; set tls.enabled, or leave it out" }}
{{- end }}
{{- if and .Values.tls.enabled (eq (dig "server" "grpc_engine" "grpcio" $config) "native") }}
{{- $wrong = append $wrong "config.server.grpc_engine: native has no TLS; leave it out, or tls.enabled" }}
{{- end }}

{{- /* Ways in */}}
{{- if has (dig "server" "host" "0.0.0.0" $config) (list "127.0.0.1" "::1" "localhost") }}
{{- $wrong = append $wrong (printf "config.server.host: nobody outside of the container gets to %s; write 0.0.0.0 or ::" $config.server.host) }}
{{- end }}
{{- $own := list $port (dig "server" "grpc_port" 4317 $config) (dig "metrics" "port" 9090 $config) }}
{{- if or (has 0.0 $own) (ne (len $own) (len (uniq (toStrings $own)))) }}
{{- $wrong = append $wrong (printf "config.server.port, config.server.grpc_port and config.metrics.port are %s; write three different ones, none of them 0" (toStrings $own | join ", ")) }}
{{- end }}
{{- $offered := list }}
{{- range list "http" "otlpHttp" "grpc" "metrics" }}
{{- $offered = append $offered (get (get $values.service .) "port" | toString) }}
{{- end }}
{{- if ne (len $offered) (len (uniq $offered)) }}
{{- $wrong = append $wrong (printf "service: the ports of http, otlpHttp, grpc and metrics are %s; write four different ones" (join ", " $offered)) }}
{{- end }}
{{- $largest := dig "server" "max_request_size" "16MiB" $config }}
{{- $body := printf "%si" .Values.ingress.maxBodySize | include "otlp-service.amount" | float64 }}
{{- if and .Values.ingress.enabled (gt $body 0.0) (lt $body (include "otlp-service.amount" $largest | float64)) }}
{{- $wrong = append $wrong (printf "ingress.maxBodySize: %s is below config.server.max_request_size, %v; raise it, or lower that" .Values.ingress.maxBodySize $largest) }}
{{- end }}
{{- if and .Values.tls.enabled .Values.gatewayApi.enabled }}
{{- $wrong = append $wrong "gatewayApi.enabled: a gateway ends TLS and speaks in the clear to the pods; leave tls.enabled out, or use ingress" }}
{{- end }}
{{- if and .Values.gatewayApi.enabled (not .Values.gatewayApi.gateway.create) (not (and .Values.gatewayApi.httpParentRefs .Values.gatewayApi.grpcParentRefs)) }}
{{- $wrong = append $wrong "gatewayApi.gateway.create: no Gateway is made; name those that there are in gatewayApi.httpParentRefs and gatewayApi.grpcParentRefs" }}
{{- end }}
{{- if and .Values.gatewayApi.enabled .Values.gatewayApi.gateway.create (or .Values.gatewayApi.httpParentRefs .Values.gatewayApi.grpcParentRefs) }}
{{- $wrong = append $wrong "gatewayApi.httpParentRefs, gatewayApi.grpcParentRefs: they are not used, because a Gateway is made; set gatewayApi.gateway.create to false, or leave them out" }}
{{- end }}

{{- /* Where to */}}
{{- if not (dig "exporter" "endpoint" "" $config) }}
{{- $wrong = append $wrong "config.exporter.endpoint: without it telemetry goes to the pod itself; write where to, such as http://collector.observability.svc:4318" }}
{{- else if and .Values.collector.enabled (not (include "otlp-service.destinations" . | fromJson).collector) }}
{{- $wrong = append $wrong (printf "collector.enabled: nothing goes to it, because config.exporter.endpoint is %s; set collector.enabled to false, or write http://%s:4318 there" $config.exporter.endpoint (include "otlp-service.collector" .)) }}
{{- end }}

{{- /* Room */}}
{{- $bound := dig "queue" "max_bytes" "768MiB" $config }}
{{- $beside := 67108864.0 }}
{{- if eq (dig "queue" "storage" "disk" $config) "disk" }}
{{- $directory := dig "queue" "directory" "data/queue" $config }}
{{- if not (regexMatch "^/data(/|$)" $directory) }}
{{- $wrong = append $wrong (printf "config.queue.directory: %s is not in the volume at /data, and what is not is gone with the container, or cannot be written to" $directory) }}
{{- end }}
{{- $volume := ternary "persistence.size" "persistence.emptyDirSize" .Values.persistence.enabled }}
{{- $size := ternary .Values.persistence.size .Values.persistence.emptyDirSize .Values.persistence.enabled }}
{{- if gt (addf (include "otlp-service.amount" $bound | float64) $beside) (include "otlp-service.amount" $size | float64) }}
{{- $wrong = append $wrong (printf "config.queue.max_bytes: %v and 64MiB beside it are above %s, %v; lower the one or raise the other" $bound $volume $size) }}
{{- end }}
{{- end }}
{{- $limits := (.Values.resources | default dict).limits | default dict }}
{{- $requests := (.Values.resources | default dict).requests | default dict }}
{{- with get $limits "ephemeral-storage" }}
{{- $volumes := include "otlp-service.amount" $values.tmpSize | float64 }}
{{- if not $values.persistence.enabled }}
{{- $volumes = addf $volumes (include "otlp-service.amount" $values.persistence.emptyDirSize | float64) }}
{{- end }}
{{- if ge $volumes (include "otlp-service.amount" . | float64) }}
{{- $wrong = append $wrong (printf "resources.limits.ephemeral-storage: %v is not above tmpSize and persistence.emptyDirSize together, and the kubelet would evict the pod with its queue; raise it" .) }}
{{- end }}
{{- end }}
{{- with get $limits "memory" }}
{{- $needed := 134217728.0 }}
{{- $needed = addf $needed (dig "queue" "memory_bytes" "64MiB" $config | include "otlp-service.amount" | float64) }}
{{- $needed = addf $needed (dig "server" "max_inflight_bytes" "64MiB" $config | include "otlp-service.amount" | float64) }}
{{- if gt $needed (include "otlp-service.amount" . | float64) }}
{{- $wrong = append $wrong (printf "resources.limits.memory: %v is below config.queue.memory_bytes, config.server.max_inflight_bytes and 128MiB together; raise it, or lower those" .) }}
{{- end }}
{{- end }}
{{- range $name, $request := $requests }}
{{- $limit := get $limits $name }}
{{- if and $limit (gt (include "otlp-service.amount" $request | float64) (include "otlp-service.amount" $limit | float64)) }}
{{- $wrong = append $wrong (printf "resources.requests.%s: %v is above resources.limits.%s, %v; lower the one or raise the other" $name $request $name $limit) }}
{{- end }}
{{- end }}

{{- /* Time */}}
{{- $sleep := dig "preStop" "sleep" "seconds" 0 (.Values.lifecycle | default dict) | float64 }}
{{- $delay := dig "shutdown" "delay" "5s" $config }}
{{- $grace := dig "shutdown" "grace" "25s" $config }}
{{- $drain := addf $sleep (include "otlp-service.seconds" $delay | float64) (include "otlp-service.seconds" $grace | float64) }}
{{- if le (float64 .Values.terminationGracePeriodSeconds) $drain }}
{{- $wrong = append $wrong (printf "terminationGracePeriodSeconds: %v is not above config.shutdown.delay, config.shutdown.grace and a sleep of lifecycle.preStop together, %vs, so pods would be killed while they drain; raise it, or lower those" .Values.terminationGracePeriodSeconds $drain) }}
{{- end }}

{{- /* How many */}}
{{- with .Values.autoscaling }}
{{- if gt (int .minReplicas) (int .maxReplicas) }}
{{- $wrong = append $wrong (printf "autoscaling.minReplicas: %v is above autoscaling.maxReplicas, %v; lower the one or raise the other" .minReplicas .maxReplicas) }}
{{- end }}
{{- if and .enabled (not (or .targetCPUUtilizationPercentage .targetMemoryUtilizationPercentage .targetRequestsPerSecond)) }}
{{- $wrong = append $wrong "autoscaling.enabled: nothing to scale by; set autoscaling.targetCPUUtilizationPercentage or autoscaling.targetRequestsPerSecond" }}
{{- end }}
{{- range $name, $target := dict "cpu" .targetCPUUtilizationPercentage "memory" .targetMemoryUtilizationPercentage }}
{{- if and $values.autoscaling.enabled $target (not (get $requests $name)) (not (get $limits $name)) }}
{{- $wrong = append $wrong (printf "resources.requests.%s: autoscaling goes by a share of it, and it is not set; set it, or the target of autoscaling to null" $name) }}
{{- end }}
{{- end }}
{{- end }}

{{- /* Who looks on */}}
{{- range $key, $asked := dict "serviceMonitor.enabled" .Values.serviceMonitor.enabled "prometheusRule.enabled" .Values.prometheusRule.enabled "autoscaling.targetRequestsPerSecond" .Values.autoscaling.targetRequestsPerSecond }}
{{- if and $asked (not $metrics) }}
{{- $wrong = append $wrong (printf "%s: there are no metrics; set config.metrics.enabled, or leave it out" $key) }}
{{- end }}
{{- end }}
{{- with .Values.serviceMonitor }}
{{- if gt (include "otlp-service.seconds" .scrapeTimeout | float64) (include "otlp-service.seconds" .interval | float64) }}
{{- $wrong = append $wrong (printf "serviceMonitor.scrapeTimeout: %s is above serviceMonitor.interval, %s, and the operator would refuse it; lower it" .scrapeTimeout .interval) }}
{{- end }}
{{- end }}

{{- /* What would be there twice */}}
{{- range $key, $tags := pick .Values "podAnnotations" "podLabels" }}
{{- range $name, $_ := $tags }}
{{- if not (regexMatch "^([a-z0-9]([-a-z0-9.]*[a-z0-9])?/)?[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?$" $name) }}
{{- $wrong = append $wrong (printf "%s: Kubernetes takes no key %q; write letters, digits, - _ and ., after a domain and / if you like" $key $name) }}
{{- end }}
{{- end }}
{{- end }}
{{- range $label, $_ := include "otlp-service.labels" . | fromYaml }}
{{- if hasKey ($values.podLabels | default dict) $label }}
{{- $wrong = append $wrong (printf "podLabels: %s is the chart's own, by which pods are found; use another" $label) }}
{{- end }}
{{- end }}
{{- $names := list "CONFIG_PATH" "POD_NAME" "POD_NAMESPACE" "POD_IP" "NODE_NAME" "OTEL_RESOURCE_ATTRIBUTES" }}
{{- range concat .Values.env .Values.extraEnv }}
{{- if has .name $names }}
{{- $wrong = append $wrong (printf "env, extraEnv: %s is there already; leave one of the two out" .name) }}
{{- end }}
{{- if and (hasKey . "value") (hasKey . "valueFrom") }}
{{- $wrong = append $wrong (printf "env, extraEnv: %s has a value and a valueFrom; leave one of the two out" .name) }}
{{- end }}
{{- $names = append $names .name }}
{{- end }}
{{- $volumes := list "config" "data" "tmp" "secrets" "tls" }}
{{- range .Values.extraVolumes }}
{{- if has .name $volumes }}
{{- $wrong = append $wrong (printf "extraVolumes: there is a volume %s already; use another name" .name) }}
{{- end }}
{{- $volumes = append $volumes .name }}
{{- end }}
{{- $mounts := list "/app/config" "/data" "/tmp" "/app/secrets" "/app/tls" }}
{{- range .Values.extraVolumeMounts }}
{{- if has .mountPath $mounts }}
{{- $wrong = append $wrong (printf "extraVolumeMounts: something is mounted at %s already; use another path" .mountPath) }}
{{- end }}
{{- if not (has .name $volumes) }}
{{- $wrong = append $wrong (printf "extraVolumeMounts: there is no volume %s; add it to extraVolumes" .name) }}
{{- end }}
{{- $mounts = append $mounts .mountPath }}
{{- end }}

{{- with $wrong }}
{{- fail (join "\n" .) }}
{{- end }}
{{- end }}

{{/* The number that is meant by 1Gi, 500m or 3, as Kubernetes writes it; 768MiB or 1GB, as the service does; 16mi, as nginx with an i. */}}
{{- define "otlp-service.amount" -}}
{{- $text := kindIs "string" . | ternary . (printf "%f" (float64 .)) }}
{{- $number := regexFind "^[0-9.]+" $text }}
{{- $unit := trimPrefix $number $text | trim | trimSuffix "B" }}
{{- $factors := dict "" 1 "m" 0.001 "k" 1e3 "K" 1e3 "M" 1e6 "G" 1e9 "T" 1e12 "Ki" 1024 "Mi" 1048576 "Gi" 1073741824 "Ti" 1099511627776 }}
{{- $factors = merge $factors (dict "i" 1 "ki" 1024 "mi" 1048576 "gi" 1073741824) }}
{{- mulf (float64 $number) (get $factors $unit | float64) }}
{{- end }}

{{/* Seconds of 1m30s or 200ms. */}}
{{- define "otlp-service.seconds" -}}
{{- $seconds := 0.0 }}
{{- if kindIs "string" . }}
{{- range regexFindAll "[0-9.]+(ms|us|s|m|h)" (lower .) -1 }}
{{- $unit := regexFind "[a-z]+$" . }}
{{- $seconds = addf $seconds (mulf (trimSuffix $unit . | float64) (get (dict "us" 1e-6 "ms" 1e-3 "s" 1.0 "m" 60.0 "h" 3600.0) $unit)) }}
{{- end }}
{{- else }}
{{- $seconds = float64 . }}
{{- end }}
{{- $seconds }}
{{- end }}
