{{/* What cannot work is said before anything is changed: one line, what and what to do. */}}

{{- define "heliograph.checks" -}}
{{- with .Values.database -}}
{{- if eq .mode "external" -}}
{{- if and .external.url .external.existingSecret.name -}}
{{- fail "database.external: both url and existingSecret.name are set; keep one of them" -}}
{{- else if not (or .external.url .external.existingSecret.name) -}}
{{- fail "no database: set database.external.url or database.external.existingSecret.name, or database.mode to builtin or cloudnativepg" -}}
{{- else if not (or .external.existingSecret.name (hasPrefix "postgresql://" .external.url)) -}}
{{- fail "database.external.url must begin with postgresql:// (pods cannot share a SQLite file)" -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- with .Values.broker -}}
{{- if eq .mode "external" -}}
{{- if .publicAddress -}}
{{- fail "broker.publicAddress is for builtin and operator; with an external broker set broker.external.publicUrl" -}}
{{- else if and (or .external.url .external.publicUrl) .external.existingSecret.name -}}
{{- fail "broker.external: both URLs and existingSecret.name are set; keep one of them" -}}
{{- else if not (or .external.url .external.existingSecret.name) -}}
{{- fail "no broker: set broker.external.url or broker.external.existingSecret.name, or broker.mode to builtin or operator" -}}
{{- end -}}
{{- range $what := list "url" "publicUrl" -}}
{{- if not (regexMatch "^(amqps?://.+)?$" (get $.Values.broker.external $what)) -}}
{{- fail (printf "broker.external.%s must begin with amqp:// or amqps://" $what) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- with .Values.ingress -}}
{{- if and .enabled (not .dashboard.host) (not .hub.host) -}}
{{- fail "ingress.enabled is true, but neither ingress.dashboard.host nor ingress.hub.host is set" -}}
{{- end -}}
{{- end -}}
{{- if and .Values.dashboard.userHeader (not .Values.dashboard.trustedProxies) -}}
{{- fail "dashboard.userHeader needs dashboard.trustedProxies: else anybody could send that header" -}}
{{- end -}}
{{- if .Values.checkSecrets -}}{{- include "heliograph.checks.secrets" . -}}{{- end -}}
{{- end -}}

{{- define "heliograph.checks.secrets" -}}
{{- include "heliograph.checks.secret" (list . .Values.auth.existingSecret "auth.existingSecret" (list "join-token" "read-token" "signing-secret" "dashboard-password" "dashboard-token")) -}}
{{- with .Values.database -}}
{{- if eq .mode "external" -}}
{{- include "heliograph.checks.secret" (list $ .external.existingSecret.name "database.external.existingSecret.name" (list .external.existingSecret.key)) -}}
{{- else if eq .mode "builtin" -}}
{{- include "heliograph.checks.secret" (list $ .builtin.existingSecret "database.builtin.existingSecret" (list "password" "database")) -}}
{{- end -}}
{{- end -}}
{{- with .Values.broker -}}
{{- if eq .mode "external" -}}
{{- include "heliograph.checks.secret" (list $ .external.existingSecret.name "broker.external.existingSecret.name" (compact (list .external.existingSecret.key .external.existingSecret.publicKey))) -}}
{{- else -}}
{{- $keys := ternary (list "definitions.json" "bus" "public-bus") (list "definitions.json" "bus") (not (empty .publicAddress)) -}}
{{- include "heliograph.checks.secret" (list $ (get (get . .mode) "existingSecret") (printf "broker.%s.existingSecret" .mode) $keys) -}}
{{- end -}}
{{- end -}}
{{- include "heliograph.checks.secret" (list . .Values.hub.tls.existingSecret "hub.tls.existingSecret" (list "tls.crt" "tls.key")) -}}
{{- end -}}

{{/* In: list of root, Secret, the value that names it, keys. Says nothing where no cluster can be asked. */}}
{{- define "heliograph.checks.secret" -}}
{{- $root := index . 0 -}}{{- $name := index . 1 -}}{{- $value := index . 2 -}}{{- $keys := index . 3 -}}
{{- if and $name (hasKey (lookup "v1" "Secret" $root.Release.Namespace "") "items") -}}
{{- $found := lookup "v1" "Secret" $root.Release.Namespace $name -}}
{{- if not $found -}}
{{- fail (printf "%s names the Secret %s, which is not in the namespace %s; create it with the keys %s" $value $name $root.Release.Namespace (join ", " $keys)) -}}
{{- end -}}
{{- range $keys -}}
{{- if not (hasKey (default dict $found.data) .) -}}
{{- fail (printf "%s names the Secret %s, which has no key %s; it needs %s" $value $name . (join ", " $keys)) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- end -}}
