{{- define "rheostat.fullname" -}}
{{- if contains .Chart.Name .Release.Name }}{{ .Release.Name }}{{ else }}{{ .Release.Name }}-{{ .Chart.Name }}{{ end }}
{{- end }}

{{/* Of one component: (dict "root" $ "component" "gateway"). What selects pods is the first three. */}}
{{- define "rheostat.selector" -}}
app.kubernetes.io/name: {{ .root.Chart.Name }}
app.kubernetes.io/instance: {{ .root.Release.Name }}
app.kubernetes.io/component: {{ .component }}
{{- end }}

{{- define "rheostat.labels" -}}
{{ include "rheostat.selector" . }}
app.kubernetes.io/version: {{ .root.Chart.AppVersion | quote }}
{{- end }}

{{- define "rheostat.image" -}}
{{- $image := index .root.Values.image .image -}}
{{- $repository := $image.repository -}}
{{- with .root.Values.image.registry }}{{ $repository = printf "%s/%s" . $repository }}{{ end -}}
{{- if $image.digest }}{{ $repository }}@{{ $image.digest }}{{ else }}{{ $repository }}:{{ $image.tag | default .root.Chart.AppVersion }}{{ end }}
{{- end }}

{{- define "rheostat.serviceAccount" -}}
{{- if .Values.serviceAccount.create }}{{ .Values.serviceAccount.name | default (include "rheostat.fullname" .) }}{{ else }}{{ .Values.serviceAccount.name | default "default" }}{{ end }}
{{- end }}

{{- define "rheostat.redisSecret" -}}
{{- if .Values.redis.url }}{{ include "rheostat.fullname" . }}-redis{{ else }}{{ .Values.redis.existingSecret }}{{ end }}
{{- end }}

{{- define "rheostat.redisSecretKey" -}}
{{- if .Values.redis.url }}url{{ else }}{{ .Values.redis.existingSecretKey }}{{ end }}
{{- end }}

{{/* Of every pod. */}}
{{- define "rheostat.podSecurity" -}}
serviceAccountName: {{ include "rheostat.serviceAccount" . }}
automountServiceAccountToken: false
enableServiceLinks: false
securityContext:
  runAsNonRoot: true
  runAsUser: 10001
  runAsGroup: 10001
  fsGroup: 10001
  fsGroupChangePolicy: OnRootMismatch
  seccompProfile: {type: RuntimeDefault}
{{- with .Values.image.pullSecrets }}
imagePullSecrets: {{ toYaml . | nindent 2 }}
{{- end }}
{{- end }}

{{- define "rheostat.containerSecurity" -}}
securityContext:
  allowPrivilegeEscalation: false
  readOnlyRootFilesystem: true
  capabilities: {drop: [ALL]}
{{- end }}

{{/* The store, for both sides: (dict "root" $ "prefix" "RHEOSTAT_SERVER"). */}}
{{- define "rheostat.storeEnv" -}}
- name: {{ .prefix }}_REDIS_URL
  valueFrom:
    secretKeyRef:
      name: {{ include "rheostat.redisSecret" .root }}
      key: {{ include "rheostat.redisSecretKey" .root }}
- name: {{ .prefix }}_ARTIFACTS
  value: {{ .root.Values.artifacts.url | quote }}
{{- with .root.Values.artifacts.s3.endpoint }}
- name: AWS_ENDPOINT_URL_S3
  value: {{ . | quote }}
{{- end }}
{{- with .root.Values.artifacts.s3.region }}
- name: AWS_DEFAULT_REGION
  value: {{ . | quote }}
{{- end }}
{{- with .root.Values.artifacts.s3.existingSecret }}
{{- $secret := . }}
{{- range tuple "AWS_ACCESS_KEY_ID" "AWS_SECRET_ACCESS_KEY" }}
- name: {{ . }}
  valueFrom:
    secretKeyRef: {name: {{ $secret }}, key: {{ . }}}
{{- end }}
{{- end }}
{{- end }}

{{- define "rheostat.moreEnv" -}}
{{- range $name, $value := . }}
- name: {{ $name }}
  value: {{ $value | quote }}
{{- end }}
{{- end }}

{{/* A class over the defaults, as YAML. */}}
{{- define "rheostat.worker" -}}
{{ toYaml (mergeOverwrite (deepCopy .root.Values.workerDefaults) (deepCopy .class)) }}
{{- end }}

{{/* Which series are this release's. */}}
{{- define "rheostat.series" -}}
{{- .Values.prometheus.selector | default (printf "namespace=\"%s\",service=\"%s-gateway\"" .Release.Namespace (include "rheostat.fullname" .)) -}}
{{- end }}

{{/* A class's models as the catalogue calls them: {names: [...]}. A folder by its last part. */}}
{{- define "rheostat.names" -}}
{{- $names := list -}}
{{- range (.catalogNames | default .models) }}
{{- $parts := splitList "/" . -}}
{{- if or (hasPrefix "/" .) (gt (len $parts) 2) }}{{ $names = append $names (last $parts) }}{{ else }}{{ $names = append $names . }}{{ end -}}
{{- end -}}
{{ toYaml (dict "names" $names) }}
{{- end }}

{{/*
How many pods the work that waits is worth: (dict "root" $ "worker" <merged class>). One element, or none where
the gateways or Redis are away, which KEDA takes as an error and not as zero.
*/}}
{{- define "rheostat.query" -}}
{{- $names := (include "rheostat.names" .worker | fromYaml).names -}}
{{- $escaped := list -}}
{{- range $names }}{{ $escaped = append $escaped (regexQuoteMeta .) }}{{ end -}}
{{- $ours := include "rheostat.series" .root -}}
{{- $match := printf "%s,model=~%s" $ours (join "|" $escaped | quote) -}}
{{- $terms := list -}}
{{- range $names }}
{{- $of := printf "%s,model=%q" $ours . -}}
{{- $seconds := get ($.worker.scaling.targetSecondsOf | default dict) . | default $.worker.scaling.targetSeconds -}}
{{- $terms = append $terms (printf "max by (model) (rheostat_outstanding_tflops{%s}) / (%v * (max by (model) (rheostat_model_tflops_per_second{%s}) > 0))" $of $seconds $of) -}}
{{- end -}}
{{- $outstanding := printf "max by (model) (rheostat_outstanding_tflops{%s})" $match -}}
{{- $pods := printf "sum(%s or (%s > bool 0))" (join " or " $terms) $outstanding -}}
{{- if .worker.scaling.offset }}{{ $pods = printf "clamp_min(%s - %v, 0)" $pods .worker.scaling.offset }}{{ end -}}
{{- $unknown := printf "(max(rheostat_redis_up{%s} == 1) unless count(%s) >= %d)" $ours $outstanding (len $names) -}}
({{ $pods }} > 0) or {{ $unknown }} or {{ $pods }}
{{- end }}

{{/*
How many pods of this class would be busy for `busyTarget` of the time with what ran in the last two minutes:
(dict "root" $ "worker" <merged class> "class" <its name>). None where no worker runs.
*/}}
{{- define "rheostat.busyQuery" -}}
{{- $names := (include "rheostat.names" .worker | fromYaml).names -}}
{{- $terms := list -}}
{{- $full := include "rheostat.fullname" .root -}}
{{- $theirs := .root.Values.prometheus.workerSelector | default (printf "namespace=\"%s\",service=\"%s-worker-%s\"" .root.Release.Namespace $full .class) -}}
{{- $ours := include "rheostat.series" .root -}}
{{- range $names }}
{{- $terms = append $terms (printf "sum by (model) (rate(rheostat_step_tflops_total{%s,model=%q}[2m])) / (max by (model) (rheostat_model_tflops_per_second{%s,model=%q}) > 0)" $theirs . $ours .) -}}
{{- end -}}
sum({{ join " or " $terms }}) / {{ .worker.scaling.busyTarget }}
{{- end }}
