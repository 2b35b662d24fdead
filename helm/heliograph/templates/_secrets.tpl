{{/* What is secret: made once, and where each role reads it. */}}

{{/*
The value of a key of a Secret of this release: what stands there, else a new one. In: list of root, Secret, key.
Remembered while the chart is rendered, so that all who ask get the same.
*/}}
{{- define "heliograph.kept" -}}
{{- $root := index . 0 -}}{{- $name := index . 1 -}}{{- $key := index . 2 -}}
{{- $memory := get $root.Values "_kept" | default dict -}}
{{- $_ := set $root.Values "_kept" $memory -}}
{{- $at := printf "%s/%s" $name $key -}}
{{- if not (hasKey $memory $at) -}}
{{- $there := dig "data" $key "" (lookup "v1" "Secret" $root.Release.Namespace $name) -}}
{{- $_ := set $memory $at (empty $there | ternary (randAlphaNum 48) (b64dec $there)) -}}
{{- end -}}
{{- get $memory $at -}}
{{- end -}}

{{- define "heliograph.secret.auth" -}}
{{- default (printf "%s-auth" (include "heliograph.fullname" .)) .Values.auth.existingSecret -}}
{{- end -}}

{{- define "heliograph.secret.rabbitmq" -}}
{{- $given := ternary .Values.broker.builtin.existingSecret .Values.broker.operator.existingSecret (eq .Values.broker.mode "builtin") -}}
{{- default (printf "%s-rabbitmq" (include "heliograph.fullname" .)) $given -}}
{{- end -}}

{{- define "heliograph.secret.postgresql" -}}
{{- default (printf "%s-postgresql" (include "heliograph.fullname" .)) .Values.database.builtin.existingSecret -}}
{{- end -}}

{{/*
Addresses that the chart knows: JSON of a map of `database`, `bus`, `public-bus`. What is not in it stands in a Secret of
somebody else's.
*/}}
{{- define "heliograph.addresses" -}}
{{- $name := include "heliograph.fullname" . -}}
{{- $known := dict -}}
{{- with .Values.database -}}
{{- if and (eq .mode "external") (not .external.existingSecret.name) -}}
{{- $_ := set $known "database" .external.url -}}
{{- else if and (eq .mode "builtin") (not .builtin.existingSecret) -}}
{{- $password := include "heliograph.kept" (list $ (include "heliograph.secret.postgresql" $) "password") -}}
{{- $_ := set $known "database" (printf "postgresql://heliograph:%s@%s-postgresql/heliograph" $password $name) -}}
{{- end -}}
{{- end -}}
{{- with .Values.broker -}}
{{- $given := or .builtin.existingSecret .operator.existingSecret -}}
{{- if eq .mode "external" -}}
{{- if not .external.existingSecret.name -}}
{{- $_ := set $known "bus" .external.url -}}
{{- with .external.publicUrl -}}{{- $_ := set $known "public-bus" . -}}{{- end -}}
{{- end -}}
{{- else if not (ternary .builtin.existingSecret .operator.existingSecret (eq .mode "builtin")) -}}
{{- $secret := include "heliograph.secret.rabbitmq" $ -}}
{{- $server := include "heliograph.kept" (list $ $secret "server-password") -}}
{{- $_ := set $known "bus" (printf "amqp://server:%s@%s-rabbitmq/heliograph" $server $name) -}}
{{- with .publicAddress -}}
{{- $agent := include "heliograph.kept" (list $ $secret "agent-password") -}}
{{- $_ := set $known "public-bus" (printf "amqp://agent:%s@%s/heliograph" $agent .) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- toJson $known -}}
{{- end -}}

{{/* Whether agents are told of the broker. */}}
{{- define "heliograph.hasPublicBus" -}}
{{- with .Values.broker -}}
{{- if eq .mode "external" -}}
{{- if ternary .external.existingSecret.publicKey .external.publicUrl (not (empty .external.existingSecret.name)) -}}yes{{- end -}}
{{- else if .publicAddress -}}yes{{- end -}}
{{- end -}}
{{- end -}}

{{/*
Sources of a projected volume. In: root, names (files), known (the Secret with the addresses that the chart knows).
*/}}
{{- define "heliograph.sources" -}}
{{- $root := .root -}}{{- $known := .known -}}
{{- $addresses := include "heliograph.addresses" $root | fromJson -}}
{{- range .names }}
{{- if eq . "database" }}
{{- with $root.Values.database }}
{{- if hasKey $addresses "database" }}
{{ include "heliograph.source" (list $known "database" "database") }}
{{- else if eq .mode "external" }}
{{ include "heliograph.source" (list .external.existingSecret.name .external.existingSecret.key "database") }}
{{- else if eq .mode "builtin" }}
{{ include "heliograph.source" (list .builtin.existingSecret "database" "database") }}
{{- else }}
{{ include "heliograph.source" (list (printf "%s-postgresql-app" (include "heliograph.fullname" $root)) "uri" "database") }}
{{- end }}
{{- end }}
{{- else if or (eq . "bus") (eq . "public-bus") }}
{{- $name := . }}
{{- with $root.Values.broker }}
{{- if hasKey $addresses $name }}
{{ include "heliograph.source" (list $known $name $name) }}
{{- else if eq .mode "external" }}
{{ include "heliograph.source" (list .external.existingSecret.name (ternary .external.existingSecret.key .external.existingSecret.publicKey (eq $name "bus")) $name) }}
{{- else }}
{{ include "heliograph.source" (list (include "heliograph.secret.rabbitmq" $root) $name $name) }}
{{- end }}
{{- end }}
{{- else }}
{{ include "heliograph.source" (list (include "heliograph.secret.auth" $root) . .) }}
{{- end }}
{{- end }}
{{- end -}}

{{/* In: list of Secret, key, file. */}}
{{- define "heliograph.source" -}}
- secret:
    name: {{ index . 0 }}
    items: [{key: {{ index . 1 }}, path: {{ index . 2 }}}]
{{- end -}}

{{/* Changes when something secret that the chart knows does. */}}
{{- define "heliograph.checksum.secrets" -}}
{{- $auth := "" -}}
{{- if not .Values.auth.existingSecret -}}{{- $auth = include "heliograph.auth" . -}}{{- end -}}
{{- printf "%s%s" (include "heliograph.addresses" .) $auth | sha256sum -}}
{{- end -}}

{{- define "heliograph.auth" -}}
{{- range list "join-token" "read-token" "signing-secret" "dashboard-password" "dashboard-token" }}
{{ . }}: {{ include "heliograph.kept" (list $ (include "heliograph.secret.auth" $) .) | quote }}
{{- end }}
{{- end -}}

{{/* What RabbitMQ loads when it starts: who may do what. The servers declare exchanges and queues. */}}
{{- define "heliograph.definitions" -}}
{{- $secret := include "heliograph.secret.rabbitmq" . -}}
{{- $ours := `^heliograph\.v1(\..*)?$` -}}
{{- $users := list -}}
{{- range $user, $tags := dict "admin" "administrator" "server" "" "agent" "" -}}
{{- $password := include "heliograph.kept" (list $ $secret (printf "%s-password" $user)) -}}
{{- $users = append $users (dict "name" $user "password" $password "tags" $tags) -}}
{{- end -}}
{{- $rights := list
  (dict "user" "admin" "vhost" "heliograph" "configure" ".*" "write" ".*" "read" ".*")
  (dict "user" "server" "vhost" "heliograph" "configure" $ours "write" $ours "read" $ours)
  (dict "user" "agent" "vhost" "heliograph" "configure" "^$" "write" `^heliograph\.v1$` "read" "^$") -}}
{{- dict "users" $users "vhosts" (list (dict "name" "heliograph")) "permissions" $rights | toPrettyJson -}}
{{- end -}}
