{{/*
Not empty where monitors and rules are made: where they are asked for, or the chart brings the Prometheus that reads them.
Where that one's CRDs come only now, by an upgrade, Kubernetes does not know the kinds yet: they follow with the next one. At
an install they are made before all else, and what Helm says of them then may be of a moment before.
Call with (dict "root" $ "part" .Values.monitoring.rules).
*/}}
{{- define "kompass.monitoring.wanted" -}}
{{- $known := or .root.Release.IsInstall (.root.Capabilities.APIVersions.Has "monitoring.coreos.com/v1/ServiceMonitor") -}}
{{- if or .part.enabled (and $known (include "kompass.monitoring.bundled" .root)) -}}
true
{{- end -}}
{{- end }}

{{/*
One endpoint of a ServiceMonitor: (dict "root" $ "port" "metrics" "job" "kompass-scheduler"). The label job is what rules
and dashboards know the part by, whatever its Service is called.
*/}}
{{- define "kompass.monitoring.endpoint" -}}
- port: {{ .port }}
  interval: {{ .root.Values.monitoring.serviceMonitor.interval }}
  {{- if eq .port "kube-scheduler" }}
  # Its certificate is its own, for this run only; who asks must show that he may (ClusterRole kompass-metrics-reader).
  scheme: https
  bearerTokenFile: /var/run/secrets/kubernetes.io/serviceaccount/token
  tlsConfig:
    insecureSkipVerify: true
  {{- end }}
  relabelings:
    - targetLabel: job
      replacement: {{ .job }}
{{- end }}
