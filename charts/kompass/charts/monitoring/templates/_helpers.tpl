{{/* An image: (dict "repository" … "tag" … "digest" …). */}}
{{- define "kompass.bundled.image" -}}
{{- if .digest -}}
{{ .repository }}@{{ .digest }}
{{- else -}}
{{ .repository }}:{{ .tag }}
{{- end -}}
{{- end }}

{{/*
Whether the kinds of the operator are known already. They are after a first install (from crds/, which Helm makes before all
else); where they only come with this upgrade, what is of these kinds comes with the next one.
*/}}
{{- define "kompass.bundled.kindsKnown" -}}
{{- if .Capabilities.APIVersions.Has "monitoring.coreos.com/v1/Prometheus" -}}
true
{{- end -}}
{{- end }}
