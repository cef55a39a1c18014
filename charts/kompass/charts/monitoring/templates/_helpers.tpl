{{/* An image: (dict "repository" … "tag" … "digest" …). */}}
{{- define "kompass.bundled.image" -}}
{{- if .digest -}}
{{ .repository }}@{{ .digest }}
{{- else -}}
{{ .repository }}:{{ .tag }}
{{- end -}}
{{- end }}

{{/*
Whether the kinds of the operator are known already. They are at an install (from crds/, which Helm makes before all else);
where they only come with an upgrade, what is of these kinds comes with the next one.
*/}}
{{- define "kompass.bundled.kindsKnown" -}}
{{- if or .Release.IsInstall (.Capabilities.APIVersions.Has "monitoring.coreos.com/v1/Prometheus") -}}
true
{{- end -}}
{{- end }}
