{{/* The kinds of leveret.dev as a list for YAML, out of crds/: their plurals, with "suffix" after each. */}}
{{- define "leveret.kinds" -}}
{{- $all := list }}
{{- range $path, $_ := .root.Files.Glob "crds/*.yaml" }}
{{- $all = append $all (printf "%s%s" (trimSuffix ".yaml" (base $path)) (default "" $.suffix)) }}
{{- end }}
{{- join ", " $all }}
{{- end }}

{{/* The kinds of rabbitmq.com that are reconciled (operator.rabbitmqResources), with a suffix after each. */}}
{{- define "leveret.theirKinds" -}}
{{- $all := list }}
{{- range list "vhosts" "users" "permissions" "topicpermissions" "operatorpolicies" "policies" "exchanges" "queues" "bindings" }}
{{- $all = append $all (printf "%s%s" . $) }}
{{- end }}
{{- join ", " $all }}
{{- end }}

{{/* What the operator may do in a namespace that it watches. Each verb says what for. */}}
{{- define "leveret.rules" -}}
# The resources themselves. list and watch: to know them all and each change; get: to read one again after a conflict;
# patch: the finalizer. Never create or delete: they are the users'.
- apiGroups: [leveret.dev]
  resources: [{{ include "leveret.kinds" (dict "root" .) }}]
  verbs: [get, list, watch, patch]
# patch: status, by server-side apply; of a Broker also which of several operators keeps it.
- apiGroups: [leveret.dev]
  resources: [{{ include "leveret.kinds" (dict "root" . "suffix" "/status") }}]
  verbs: [patch]
# update: an owner reference to a Broker that blocks its foreground deletion, where the cluster demands this right for
# it.
- apiGroups: [leveret.dev]
  resources: [brokers/finalizers]
  verbs: [update]
{{- if .Values.operator.rabbitmqResources }}
# Those of RabbitMQ's topology operator, by the same rights: patch is for its finalizers, and its statuses.
- apiGroups: [rabbitmq.com]
  resources: [{{ include "leveret.theirKinds" "" }}]
  verbs: [get, list, watch, patch]
- apiGroups: [rabbitmq.com]
  resources: [{{ include "leveret.theirKinds" "/status" }}]
  verbs: [patch]
{{- end }}
# Credentials. get, list, watch: those that Brokers and Users name, each by its name, and the operator's own, by their
# label; never all of them. create, patch: the generated administrator of a Broker that runs here, and generated
# passwords of Users; delete: when the Broker no longer runs here.
- apiGroups: [""]
  resources: [secrets]
  verbs: [get, list, watch, create, patch, delete]
# Parts of a broker that runs here. create, patch: server-side apply; get, list, watch: to see what others change in
# them; delete: what an edited Broker no longer asks for (the rest goes with it, by owner references).
- apiGroups: [""]
  resources: [services, configmaps]
  verbs: [get, list, watch, create, patch, delete]
- apiGroups: [apps]
  resources: [statefulsets]
  verbs: [get, list, watch, create, patch, delete]
- apiGroups: [policy]
  resources: [poddisruptionbudgets]
  verbs: [get, list, watch, create, patch, delete]
- apiGroups: [networking.k8s.io]
  resources: [networkpolicies]
  verbs: [get, list, watch, create, patch, delete]
- apiGroups: [monitoring.coreos.com]
  resources: [servicemonitors]
  verbs: [get, list, watch, create, patch, delete]
# Volumes. get: the size; patch: a larger one. Never delete: the StatefulSet does that, with storage.deletionPolicy
# Delete.
- apiGroups: [""]
  resources: [persistentvolumeclaims]
  verbs: [get, patch]
# Why a broker is not up: the state of its pod, in which the end of its log stands. delete: one whose broker was killed
# and which the kubelet holds back, so that another one starts at once. (Who may patch a StatefulSet can replace its
# pods anyway.)
- apiGroups: [""]
  resources: [pods]
  verbs: [get, list, watch, delete]
# What happened, for `kubectl describe`. create the first time, patch the count.
- apiGroups: [events.k8s.io]
  resources: [events]
  verbs: [create, patch]
{{- end }}

{{/* What only a cluster-wide operator may. */}}
{{- define "leveret.clusterRules" -}}
# Labels of namespaces, for Brokers with allowedNamespaces: { from: Selector }.
- apiGroups: [""]
  resources: [namespaces]
  verbs: [get, list, watch]
# The public keys of service accounts, for Brokers with serviceAccountTokens. The cluster gives every service account this
# right, unless somebody has taken it away; a Role cannot hold it.
- nonResourceURLs: [/.well-known/openid-configuration, /openid/v1/jwks]
  verbs: [get]
{{- end }}

{{/* In the operator's own namespace. */}}
{{- define "leveret.leaseRules" -}}
# Which of several operators reconciles. create: the first time (no name can be given for that); get, patch: to look and
# renew; delete: before an uninstall.
- apiGroups: [coordination.k8s.io]
  resources: [leases]
  verbs: [create]
- apiGroups: [coordination.k8s.io]
  resources: [leases]
  resourceNames: [{{ include "leveret.fullname" . }}]
  verbs: [get, patch, delete]
# What is left on a broker when a resource goes with its namespace, told beside the Lease.
- apiGroups: [events.k8s.io]
  resources: [events]
  verbs: [create, patch]
{{- end }}

{{/* The hook that runs before the release goes. */}}
{{- define "leveret.retireHook" -}}
helm.sh/hook: pre-delete
helm.sh/hook-delete-policy: before-hook-creation,hook-succeeded
{{- end }}

{{/* The hook that runs after an upgrade. */}}
{{- define "leveret.waitHook" -}}
helm.sh/hook: post-upgrade,post-rollback
helm.sh/hook-delete-policy: before-hook-creation,hook-succeeded
{{- end }}

{{/* Those of watchNamespaces that exist, one a line; all of them where no cluster can be asked (`helm template`). */}}
{{- define "leveret.namespaces" -}}
{{- range .Values.watchNamespaces }}
{{- if or (eq . $.Release.Namespace) (not $.Values.rbac.checkNamespaces) }}
{{ . }}
{{- else if lookup "v1" "Namespace" "" . }}
{{ . }}
{{- else if not (or (lookup "v1" "Namespace" "" $.Release.Namespace) (lookup "v1" "Namespace" "" "kube-system")) }}
{{ . }}
{{- end }}
{{- end }}
{{- end }}
