{{/* Name of everything that the release makes once: its own. */}}
{{- define "dfs-operator.name" -}}
{{- if contains "dfs-operator" .Release.Name -}}
{{- .Release.Name | trunc 53 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-dfs-operator" (.Release.Name | trunc 40 | trimSuffix "-") -}}
{{- end -}}
{{- end }}

{{- define "dfs-operator.serviceAccount" -}}
{{- if .Values.serviceAccount.create -}}
{{- .Values.serviceAccount.name | default (include "dfs-operator.name" .) -}}
{{- else -}}
{{- .Values.serviceAccount.name | default "default" -}}
{{- end -}}
{{- end }}

{{/* Cluster-wide objects must not meet those of a release in another namespace. */}}
{{- define "dfs-operator.clusterName" -}}
{{- if eq .Release.Namespace (include "dfs-operator.name" .) -}}
{{- include "dfs-operator.name" . -}}
{{- else -}}
{{- printf "%s-%s" .Release.Namespace (include "dfs-operator.name" .) -}}
{{- end -}}
{{- end }}

{{- define "dfs-operator.selector" -}}
app.kubernetes.io/name: dfs-operator
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "dfs-operator.labels" -}}
{{ include "dfs-operator.selector" . }}
app.kubernetes.io/component: operator
app.kubernetes.io/part-of: dfs
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{- end }}

{{- define "dfs-operator.image" -}}
{{- if hasPrefix "sha256:" .Values.image.tag -}}
{{- printf "%s@%s" .Values.image.repository .Values.image.tag -}}
{{- else -}}
{{- printf "%s:%s" .Values.image.repository .Values.image.tag -}}
{{- end -}}
{{- end }}

{{/* What the restricted Pod Security Standard asks for, and a root file system that cannot be written. */}}
{{- define "dfs-operator.containerSecurity" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities: {drop: [ALL]}
{{- end }}

{{- define "dfs-operator.podSecurity" -}}
runAsNonRoot: true
runAsUser: 65532
runAsGroup: 65532
seccompProfile: {type: RuntimeDefault}
{{- end }}
