{{/*
Prefix of all names. Fixed: there is one KOMPASS in a cluster, and its programs and command know the names.
*/}}
{{- define "kompass.fullname" -}}
kompass
{{- end }}

{{/*
Labels of every object. Call with (dict "root" $ "component" "scheduler"); the component may be empty.
*/}}
{{- define "kompass.labels" -}}
{{ include "kompass.selectorLabels" . }}
app.kubernetes.io/part-of: kompass
app.kubernetes.io/version: {{ .root.Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .root.Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .root.Chart.Name .root.Chart.Version | replace "+" "_" }}
{{- with .root.Values.commonLabels }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{/*
Labels by which Deployments, Services, budgets and policies find pods. They never change.
*/}}
{{- define "kompass.selectorLabels" -}}
app.kubernetes.io/name: kompass
app.kubernetes.io/instance: {{ .root.Release.Name }}
{{- with .component }}
app.kubernetes.io/component: {{ . }}
{{- end }}
{{- end }}

{{/*
metadata of an object in the release's namespace: (dict "root" $ "component" "scheduler" "name" "kompass-scheduler").
*/}}
{{- define "kompass.metadata" -}}
name: {{ .name }}
namespace: {{ .root.Release.Namespace }}
labels:
  {{- include "kompass.labels" . | nindent 2 }}
{{- end }}

{{/*
The same for an object of the whole cluster.
*/}}
{{- define "kompass.clusterMetadata" -}}
name: {{ .name }}
labels:
  {{- include "kompass.labels" . | nindent 2 }}
{{- end }}

{{/*
Image of one of KOMPASS's own programs: (dict "root" $ "image" .Values.scheduler.image). A digest wins over a tag.
*/}}
{{- define "kompass.image" -}}
{{- $all := .root.Values.image -}}
{{- $name := .image.repository -}}
{{- with $all.registry -}}
{{- $name = printf "%s/%s" (trimSuffix "/" .) $name -}}
{{- end -}}
{{- if .image.digest -}}
{{ $name }}@{{ .image.digest }}
{{- else -}}
{{ $name }}:{{ .image.tag | default $all.tag | default .root.Chart.AppVersion }}
{{- end -}}
{{- end }}

{{/*
The cluster's minor version as a number. Providers write 31+.
*/}}
{{- define "kompass.clusterMinor" -}}
{{ regexFind "[0-9]+" .Capabilities.KubeVersion.Minor }}
{{- end }}

{{/*
Tag of kube-scheduler's image: that of the cluster's minor version, unless one is given. Never newer than the API server.
*/}}
{{- define "kompass.kubeSchedulerTag" -}}
{{- $minor := include "kompass.clusterMinor" . | int -}}
{{- $given := .Values.scheduler.kubeScheduler.image.tag -}}
{{- if $given -}}
{{- $parts := regexFind "^v?1\\.[0-9]+" $given | splitList "." -}}
{{- if and (eq (len $parts) 2) (gt (last $parts | int) $minor) -}}
{{- fail (printf "scheduler.kubeScheduler.image.tag is %s, which is newer than the API server (1.%d): a kube-scheduler must not be. Take a tag of 1.%d, or leave it empty." $given $minor $minor) -}}
{{- end -}}
{{ $given }}
{{- else -}}
{{- $table := .Files.Get "files/kube-scheduler-versions.yaml" | fromYaml -}}
{{- $tag := get $table (printf "1.%d" $minor) -}}
{{- if not $tag -}}
{{- fail (printf "no kube-scheduler is known for Kubernetes 1.%d: this version of KOMPASS knows %s. Use a newer version of the chart, or name the image by scheduler.kubeScheduler.image.tag (its minor version must not be above 1.%d)." $minor (keys $table | sortAlpha | join ", ") $minor) -}}
{{- end -}}
{{ $tag }}
{{- end -}}
{{- end }}

{{- define "kompass.kubeSchedulerImage" -}}
{{- $image := .Values.scheduler.kubeScheduler.image -}}
{{- if $image.digest -}}
{{ $image.repository }}@{{ $image.digest }}
{{- else -}}
{{ $image.repository }}:{{ include "kompass.kubeSchedulerTag" . }}
{{- end -}}
{{- end }}

{{/*
Not empty where there is a predictor: a Prometheus to learn from is named, or comes with the chart and the size of nodes is
known.
*/}}
{{- define "kompass.predictor.enabled" -}}
{{- $node := .Values.predictor.node -}}
{{- if or .Values.predictor.prometheus.url (and (include "kompass.monitoring.bundled" .) $node.cpuMilli $node.memoryMib) -}}
true
{{- end -}}
{{- end }}

{{/*
Not empty where the chart brings Prometheus.
*/}}
{{- define "kompass.monitoring.bundled" -}}
{{- if dig "bundled" "enabled" false (.Values.monitoring | default dict) -}}
true
{{- end -}}
{{- end }}

{{/*
Which Prometheus the predictor learns from.
*/}}
{{- define "kompass.predictor.prometheusUrl" -}}
{{- .Values.predictor.prometheus.url | default (printf "http://kompass-prometheus.%s.svc:9090" .Release.Namespace) -}}
{{- end }}

{{/*
securityContext of every pod: passes PodSecurity "restricted".
*/}}
{{- define "kompass.podSecurityContext" -}}
runAsNonRoot: true
runAsUser: 65532
runAsGroup: 65532
fsGroup: 65532
seccompProfile:
  type: RuntimeDefault
{{- end }}

{{/*
securityContext of every container.
*/}}
{{- define "kompass.securityContext" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
runAsNonRoot: true
capabilities:
  drop: [ALL]
{{- end }}

{{/*
Where the pods of a part go: (dict "root" $ "part" .Values.scheduler "component" "scheduler"). Replicas lie on different
nodes and in different zones where there are such.
*/}}
{{- define "kompass.placement" -}}
{{- with .part.priorityClassName }}
priorityClassName: {{ . }}
{{- end }}
{{- with .part.nodeSelector | default .root.Values.nodeSelector }}
nodeSelector:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .part.tolerations | default .root.Values.tolerations }}
tolerations:
  {{- toYaml . | nindent 2 }}
{{- end }}
affinity:
{{- if .part.affinity }}
  {{- toYaml .part.affinity | nindent 2 }}
{{- else }}
  podAntiAffinity:
    preferredDuringSchedulingIgnoredDuringExecution:
      - weight: 100
        podAffinityTerm:
          topologyKey: kubernetes.io/hostname
          labelSelector:
            matchLabels:
              {{- include "kompass.selectorLabels" . | nindent 14 }}
{{- end }}
topologySpreadConstraints:
  - maxSkew: 1
    topologyKey: topology.kubernetes.io/zone
    whenUnsatisfiable: ScheduleAnyway
    labelSelector:
      matchLabels:
        {{- include "kompass.selectorLabels" . | nindent 8 }}
    # Those of an older version, which go, don't count.
    matchLabelKeys: [pod-template-hash]
{{- end }}

{{/*
Probes of one of KOMPASS's own programs.
*/}}
{{- define "kompass.probes" -}}
startupProbe:
  httpGet:
    path: /livez
    port: metrics
  periodSeconds: 1
  failureThreshold: 60
livenessProbe:
  httpGet:
    path: /livez
    port: metrics
  periodSeconds: 10
  timeoutSeconds: 5
  failureThreshold: 6
readinessProbe:
  httpGet:
    path: /readyz
    port: metrics
  periodSeconds: 2
  timeoutSeconds: 2
  failureThreshold: 3
{{- end }}

{{/*
A duration as the programs read it, such as 250ms or 3s, in milliseconds.
*/}}
{{- define "kompass.milliseconds" -}}
{{- $units := dict "ms" 1 "s" 1000 "m" 60000 "h" 3600000 -}}
{{- /* A number that begins with 0 would be read as an octal one. */ -}}
{{- $number := regexReplaceAll "^0+" (regexFind "^[0-9]+" .) "" | default "0" -}}
{{- mul (int64 $number) (get $units (regexFind "[a-z]+$" .)) -}}
{{- end }}

{{/*
Name of the pod and logs: arguments that every program has.
*/}}
{{- define "kompass.commonArgs" -}}
- --log={{ .Values.log.level }}
- --log-format={{ .Values.log.format }}
- --shutdown-grace={{ .Values.shutdown.grace }}
- --shutdown-drain={{ .Values.shutdown.drain }}
{{- end }}

{{/*
Annotations and labels of pods that the user adds.
*/}}
{{- define "kompass.podAnnotations" -}}
{{- with merge dict .part.podAnnotations .root.Values.podAnnotations }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{- define "kompass.imagePullSecrets" -}}
{{- with .Values.image.pullSecrets }}
imagePullSecrets:
  {{- range . }}
  - name: {{ . }}
  {{- end }}
{{- end }}
{{- end }}

{{/*
Rights of the profiler where Spark runs: in all namespaces, or in those that bind them.
*/}}
{{- define "kompass.profilerRules" -}}
- apiGroups: [""]
  resources: [configmaps]
  verbs: [get, list, watch]
- apiGroups: [""]
  resources: [pods]
  verbs: [patch]
{{- if .Values.admissionWebhook.driverBudget }}
- apiGroups: [policy]
  resources: [poddisruptionbudgets]
  verbs: [list, create, patch, delete]
{{- end }}
{{- end }}

{{- define "kompass.webhookAccount" -}}
- kind: ServiceAccount
  name: kompass-admission-webhook
  namespace: {{ .Release.Namespace }}
{{- end }}

{{- define "kompass.predictorAccount" -}}
- kind: ServiceAccount
  name: kompass-predictor
  namespace: {{ .Release.Namespace }}
{{- end }}

{{- define "kompass.fromApiServer" -}}
{{- with .Values.networkPolicy.apiServerCidrs -}}
from:
  {{- range . }}
  - ipBlock:
      cidr: {{ . }}
  {{- end }}
{{- end }}
{{- end }}

{{- define "kompass.fromMonitoring" -}}
{{- $root := . -}}
{{- with .Values.networkPolicy.metricsFrom -}}
from:
  {{- toYaml . | nindent 2 }}
  {{- if include "kompass.monitoring.bundled" $root }}
  # The chart's own Prometheus, by the labels that the operator gives it.
  - podSelector:
      matchLabels:
        app.kubernetes.io/name: prometheus
        operator.prometheus.io/name: kompass
  {{- end }}
{{- end }}
{{- end }}

{{/*
Configuration of kube-scheduler: one profile of the name kompass, with every filter and nothing else, and the extender.
*/}}
{{- define "kompass.kubeSchedulerConfig" -}}
apiVersion: kubescheduler.config.k8s.io/v1
kind: KubeSchedulerConfiguration
clientConnection:
  qps: 5000
  burst: 10000
leaderElection:
  leaderElect: true
  resourceName: kompass-scheduler
  resourceNamespace: {{ .Release.Namespace | quote }}
# A planned node must never be missing in the list that Filter gets: no sampling.
percentageOfNodesToScore: 100
podInitialBackoffSeconds: 1
podMaxBackoffSeconds: 5
profiles:
  - schedulerName: kompass
    plugins:
      preScore:
        disabled:
          - name: "*"
      score:
        disabled:
          - name: "*"
      postFilter:
        disabled:
          - name: "*"
extenders:
  - urlPrefix: "http://127.0.0.1:8888"
    filterVerb: filter
    bindVerb: bind
    preemptVerb: preempt
    nodeCacheCapable: true
    ignorable: false
    enableHTTPS: false
    httpTimeout: 5000ms
{{- end }}
