{{/* An image: (dict "repository" … "tag" … "digest" …). */}}
{{- define "kompass.bundled.image" -}}
{{- if .digest -}}
{{ .repository }}@{{ .digest }}
{{- else -}}
{{ .repository }}:{{ .tag }}
{{- end -}}
{{- end }}

{{/*
What a pod and the operator's Prometheus have in common: where pods go, and with which Secrets their images are pulled. The
keys of the same names for KOMPASS's own pods are out of a subchart's sight.
*/}}
{{- define "kompass.bundled.placement" -}}
{{- $bundled := .Values.bundled -}}
{{- with $bundled.pullSecrets }}
imagePullSecrets:
  {{- range . }}
  - name: {{ . }}
  {{- end }}
{{- end }}
{{- with $bundled.nodeSelector }}
nodeSelector:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with $bundled.tolerations }}
tolerations:
  {{- toYaml . | nindent 2 }}
{{- end }}
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
