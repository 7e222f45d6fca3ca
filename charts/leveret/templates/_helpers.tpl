{{/* Name of the chart within its release. */}}
{{- define "leveret.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 63 | trimSuffix "-" }}
{{- end }}

{{/* What all objects are named after. 50 characters leave room for suffixes. */}}
{{- define "leveret.fullname" -}}
{{- if .Values.fullnameOverride }}
{{- .Values.fullnameOverride | trunc 50 | trimSuffix "-" }}
{{- else }}
{{- $name := include "leveret.name" . }}
{{- if contains $name .Release.Name }}
{{- .Release.Name | trunc 50 | trimSuffix "-" }}
{{- else }}
{{- printf "%s-%s" .Release.Name $name | trunc 50 | trimSuffix "-" }}
{{- end }}
{{- end }}
{{- end }}

{{- define "leveret.serviceAccount" -}}
{{- if .Values.serviceAccount.create }}
{{- default (include "leveret.fullname" .) .Values.serviceAccount.name }}
{{- else }}
{{- default "default" .Values.serviceAccount.name }}
{{- end }}
{{- end }}

{{/* Labels that never change: they select pods, and a broker's NetworkPolicy lets in pods of this name. */}}
{{- define "leveret.selector" -}}
app.kubernetes.io/name: leveret-operator
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/component: operator
{{- end }}

{{- define "leveret.labels" -}}
app.kubernetes.io/name: leveret-operator
app.kubernetes.io/instance: {{ .Release.Name }}
{{ include "leveret.moreLabels" . }}
{{- end }}

{{- define "leveret.moreLabels" -}}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name (.Chart.Version | replace "+" "_") }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
app.kubernetes.io/part-of: leveret
{{- with .Values.commonLabels }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{- define "leveret.image" -}}
{{- if .Values.image.digest }}
{{- printf "%s@%s" .Values.image.repository .Values.image.digest }}
{{- else }}
{{- printf "%s:%s" .Values.image.repository (default .Chart.AppVersion .Values.image.tag) }}
{{- end }}
{{- end }}

{{/* Namespaces to watch as arguments of the operator. */}}
{{- define "leveret.watch" -}}
{{- range .Values.watchNamespaces }}
- --watch-namespace={{ . }}
{{- end }}
{{- end }}

{{/* Pod of a Job that runs the operator's program once. */}}
{{- define "leveret.jobPod" -}}
restartPolicy: Never
{{- with .Values.imagePullSecrets }}
imagePullSecrets:
  {{- toYaml . | nindent 2 }}
{{- end }}
securityContext:
  {{- toYaml .Values.operator.podSecurityContext | nindent 2 }}
{{- with .Values.operator.nodeSelector }}
nodeSelector:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.operator.tolerations }}
tolerations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.operator.priorityClassName }}
priorityClassName: {{ . }}
{{- end }}
{{- end }}

{{- define "leveret.jobContainer" -}}
image: {{ include "leveret.image" . }}
imagePullPolicy: {{ .Values.image.pullPolicy }}
securityContext:
  {{- toYaml .Values.operator.securityContext | nindent 2 }}
resources:
  requests: { cpu: 10m, memory: 32Mi }
  limits: { memory: 128Mi }
{{- end }}

{{/* Metadata of an object of the release that a user gave: name, labels, annotations. */}}
{{- define "leveret.given" -}}
name: {{ .entry.name }}
namespace: {{ .root.Release.Namespace }}
labels:
  app.kubernetes.io/instance: {{ .root.Release.Name }}
  {{- include "leveret.moreLabels" .root | nindent 2 }}
  {{- with .entry.labels }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
{{- with .entry.annotations }}
annotations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}

{{- define "leveret.broker" -}}
{{- default (printf "%s-broker" (include "leveret.fullname" .)) .Values.broker.name }}
{{- end }}
