{{/* The roles: what each is told, and the pod around it. */}}

{{- define "heliograph.watchFile" -}}
{{- default "# Nothing may be watched: see filewatch.watchFile." .Values.filewatch.watchFile -}}
{{- end -}}

{{/* The roles that there are, and what is special about each: JSON. `secrets` are files, each read by a setting. */}}
{{- define "heliograph.roles" -}}
{{- $roles := dict
  "hub" (dict "port" 55055 "secrets" (list "database" "bus" "join-token" "read-token" "signing-secret"))
  "writer" (dict "port" 55056 "secrets" (list "database" "bus"))
  "dashboard" (dict "port" 8080 "secrets" (list "database" "bus" "signing-secret" "dashboard-password" "dashboard-token"))
-}}
{{- if include "heliograph.hasPublicBus" . -}}
{{- $_ := set $roles.hub "secrets" (append $roles.hub.secrets "public-bus") -}}
{{- end -}}
{{- if .Values.filewatch.enabled -}}
{{- $_ := set $roles "filewatch" (dict "port" 55056 "secrets" (list "database" "bus")) -}}
{{- end -}}
{{- toJson $roles -}}
{{- end -}}

{{- define "heliograph.publicUrl" -}}
{{- if .Values.hub.publicUrl -}}
{{- .Values.hub.publicUrl -}}
{{- else if and .Values.ingress.enabled .Values.ingress.hub.host -}}
{{- $host := .Values.ingress.hub.host -}}
{{- $scheme := "http" -}}
{{- range .Values.ingress.tls -}}{{- if has $host .hosts -}}{{- $scheme = "https" -}}{{- end -}}{{- end -}}
{{- printf "%s://%s" $scheme $host -}}
{{- end -}}
{{- end -}}

{{/* The settings of a role as environment: JSON of a map. In: root, role, secrets. */}}
{{- define "heliograph.environment" -}}
{{- $values := .root.Values -}}
{{- $e := dict "HELIOGRAPH_DATA" "/var/lib/heliograph" "HELIOGRAPH_LOG_FORMAT" $values.log.format "HELIOGRAPH_LOG_LEVEL" $values.log.level -}}
{{- range .secrets -}}
{{- $_ := set $e (printf "HELIOGRAPH_%s_FILE" (upper . | replace "-" "_")) (printf "/secrets/%s" .) -}}
{{- end -}}
{{- if eq .role "hub" -}}
{{- $_ := set $e "HELIOGRAPH_HUB_HOST" "0.0.0.0" -}}
{{- with include "heliograph.publicUrl" .root -}}{{- $_ := set $e "HELIOGRAPH_PUBLIC_URL" . -}}{{- end -}}
{{- if $values.hub.tls.existingSecret -}}
{{- $_ := set $e "HELIOGRAPH_TLS_CERTIFICATE" "/tls/tls.crt" -}}
{{- $_ := set $e "HELIOGRAPH_TLS_KEY" "/tls/tls.key" -}}
{{- else -}}
{{- $_ := set $e "HELIOGRAPH_PLAIN_HTTP" "true" -}}
{{- end -}}
{{- else if eq .role "dashboard" -}}
{{- $_ := set $e "HELIOGRAPH_DASHBOARD_HOST" "0.0.0.0" -}}
{{- $_ := set $e "HELIOGRAPH_PLAIN_HTTP" "true" -}}
{{- with $values.dashboard -}}
{{- $_ := set $e "HELIOGRAPH_DASHBOARD_PREFIX" .prefix -}}
{{- with .trustedProxies -}}{{- $_ := set $e "HELIOGRAPH_DASHBOARD_TRUSTED_PROXIES" (toJson .) -}}{{- end -}}
{{- with .userHeader -}}{{- $_ := set $e "HELIOGRAPH_DASHBOARD_USER_HEADER" . -}}{{- end -}}
{{- with .logRoots -}}{{- $_ := set $e "HELIOGRAPH_DASHBOARD_LOG_ROOTS" (toJson .) -}}{{- end -}}
{{- end -}}
{{- else if eq .role "writer" -}}
{{- $_ := set $e "HELIOGRAPH_HEALTH_HOST" "0.0.0.0" -}}
{{- with $values.writer.rawSamplesFor -}}{{- $_ := set $e "HELIOGRAPH_RAW_SAMPLES_FOR" (toString .) -}}{{- end -}}
{{- with $values.writer.minuteSamplesFor -}}{{- $_ := set $e "HELIOGRAPH_MINUTE_SAMPLES_FOR" (toString .) -}}{{- end -}}
{{- else if eq .role "filewatch" -}}
{{- $_ := set $e "HELIOGRAPH_HEALTH_HOST" "0.0.0.0" -}}
{{- $_ := set $e "HELIOGRAPH_FILEWATCH_CONFIG" "/etc/heliograph/watch.toml" -}}
{{- end -}}
{{- toJson $e -}}
{{- end -}}

{{/* In: list of a map. */}}
{{- define "heliograph.env" -}}
{{- range $name, $value := . }}
- {name: {{ $name }}, value: {{ $value | quote }}}
{{- end }}
{{- end -}}

{{/* The template of a role's pods. In: root, role, port, secrets. */}}
{{- define "heliograph.pod" -}}
{{- $root := .root -}}{{- $role := .role -}}{{- $values := get $root.Values .role -}}
{{- $name := include "heliograph.fullname" $root -}}
{{- $scheme := ternary "HTTPS" "HTTP" (and (eq .role "hub") (not (empty $root.Values.hub.tls.existingSecret))) -}}
metadata:
  labels:
    {{- include "heliograph.podLabels" (list $root $role) | nindent 4 }}
  annotations:
    checksum/secrets: {{ include "heliograph.checksum.secrets" $root }}
    {{- if eq $role "filewatch" }}
    checksum/watch: {{ include "heliograph.watchFile" $root | sha256sum }}
    {{- end }}
    {{- with $values.podAnnotations }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
spec:
  {{- with $root.Values.serviceAccountName }}
  serviceAccountName: {{ . }}
  {{- end }}
  automountServiceAccountToken: false
  # A Service's variables would be taken for settings: HELIOGRAPH_HUB_PORT.
  enableServiceLinks: false
  terminationGracePeriodSeconds: 30
  {{- include "heliograph.pullSecrets" $root | nindent 2 }}
  securityContext:
    {{- include "heliograph.pod.security" 10001 | nindent 4 }}
    {{- if eq $role "filewatch" }}
    {{- with $values.supplementalGroups }}
    supplementalGroups: {{ toJson . }}
    {{- end }}
    {{- end }}
  {{- with $values.nodeSelector }}
  nodeSelector:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with $values.tolerations }}
  tolerations:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  affinity:
    {{- if $values.affinity }}
    {{- toYaml $values.affinity | nindent 4 }}
    {{- else }}
    podAntiAffinity:
      preferredDuringSchedulingIgnoredDuringExecution:
        - weight: 1
          podAffinityTerm:
            topologyKey: kubernetes.io/hostname
            labelSelector:
              matchLabels:
                {{- include "heliograph.selector" (list $root $role) | nindent 16 }}
    {{- end }}
  containers:
    - name: {{ $role }}
      image: {{ include "heliograph.image" $root | quote }}
      imagePullPolicy: {{ $root.Values.image.pullPolicy }}
      args: [{{ $role }}]
      env:
        {{- include "heliograph.env" (include "heliograph.environment" . | fromJson) | trim | nindent 8 }}
        {{- with $values.env }}
        {{- toYaml . | nindent 8 }}
        {{- end }}
      ports:
        - {name: http, containerPort: {{ .port }}}
      # Two minutes to start on a busy node; after that, alive is who answers, and ready who has broker and database.
      startupProbe:
        httpGet: {path: /healthz, port: http, scheme: {{ $scheme }}}
        periodSeconds: 2
        timeoutSeconds: 5
        failureThreshold: 60
      readinessProbe:
        httpGet: {path: /readyz, port: http, scheme: {{ $scheme }}}
        periodSeconds: 5
        timeoutSeconds: 5
        failureThreshold: 3
      livenessProbe:
        httpGet: {path: /healthz, port: http, scheme: {{ $scheme }}}
        periodSeconds: 10
        timeoutSeconds: 10
        failureThreshold: 6
      securityContext:
        {{- include "heliograph.container.security" nil | nindent 8 }}
      resources:
        {{- toYaml $values.resources | nindent 8 }}
      volumeMounts:
        - {name: secrets, mountPath: /secrets, readOnly: true}
        - {name: data, mountPath: /var/lib/heliograph}
        - {name: tmp, mountPath: /tmp}
        {{- if eq $scheme "HTTPS" }}
        - {name: tls, mountPath: /tls, readOnly: true}
        {{- end }}
        {{- if eq $role "filewatch" }}
        - {name: watch, mountPath: /etc/heliograph, readOnly: true}
        {{- end }}
        {{- with $values.volumeMounts }}
        {{- toYaml . | nindent 8 }}
        {{- end }}
  volumes:
    - name: secrets
      projected:
        defaultMode: 0440
        sources:
          {{- include "heliograph.sources" (dict "root" $root "names" .secrets "known" (printf "%s-addresses" $name)) | trim | nindent 10 }}
    - name: tmp
      emptyDir: {sizeLimit: 256Mi}
    {{- if not (and (eq $role "filewatch") $values.storage.enabled) }}
    - name: data
      emptyDir: {sizeLimit: 256Mi}
    {{- end }}
    {{- if eq $scheme "HTTPS" }}
    - name: tls
      secret: {secretName: {{ $values.tls.existingSecret }}, defaultMode: 0440}
    {{- end }}
    {{- if eq $role "filewatch" }}
    - name: watch
      configMap: {name: {{ $name }}-watch}
    {{- end }}
    {{- with $values.volumes }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
{{- end -}}
