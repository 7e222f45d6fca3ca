// Terraform's provider, driven without Terraform: its own code makes resources, reads them, plans, changes and destroys.
// The environment says where the API is: RABBITMQ_ENDPOINT. Prints `ok`, or what is wrong.
package main

import (
	"context"
	"fmt"
	"io"
	"log"
	"os"

	"github.com/hashicorp/terraform-plugin-sdk/v2/diag"
	"github.com/hashicorp/terraform-plugin-sdk/v2/helper/schema"
	"github.com/hashicorp/terraform-plugin-sdk/v2/terraform"
	"github.com/terraform-providers/terraform-provider-rabbitmq/rabbitmq"
)

type object = map[string]any

// A block of a configuration, which may be there several times.
func block(fields object) []any { return []any{fields} }

// A resource: its type, its configuration, and another one that it is changed to.
type resource struct {
	kind    string
	config  object
	changed object
}

type world struct {
	provider *schema.Provider
	meta     any
}

func check(diags diag.Diagnostics, doing string) {
	for _, one := range diags {
		if one.Severity == diag.Error {
			fail("%s: %s %s", doing, one.Summary, one.Detail)
		}
	}
}

func fail(format string, arguments ...any) {
	fmt.Printf(format+"\n", arguments...)
	os.Exit(1)
}

// Plans the way from a state to a configuration. Nil: nothing to do.
func (w world) plan(r *schema.Resource, state *terraform.InstanceState, config object) *terraform.InstanceDiff {
	diff, err := r.SimpleDiff(context.Background(), state, terraform.NewResourceConfigRaw(config), w.meta)
	if err != nil {
		fail("plan: %v", err)
	}
	if diff == nil || len(diff.Attributes) == 0 {
		return nil
	}
	return diff
}

// Brings a resource to a configuration; reading it again finds nothing to do.
func (w world) apply(kind string, state *terraform.InstanceState, config object) *terraform.InstanceState {
	r := w.provider.ResourcesMap[kind]
	doing := fmt.Sprintf("%s %v", kind, config)
	if diff := w.plan(r, state, config); diff != nil {
		if diff.RequiresNew() && state != nil {
			w.destroy(kind, state)
			state = nil
			diff = w.plan(r, nil, config)
		}
		next, diags := r.Apply(context.Background(), state, diff, w.meta)
		check(diags, doing)
		state = next
	}
	state = w.read(kind, state)
	if state == nil {
		fail("%s: is gone", doing)
	}
	if again := w.plan(r, state, config); again != nil {
		fail("%s: the second plan is not empty: %v", doing, again.Attributes)
	}
	return state
}

func (w world) read(kind string, state *terraform.InstanceState) *terraform.InstanceState {
	next, diags := w.provider.ResourcesMap[kind].RefreshWithoutUpgrade(context.Background(), state, w.meta)
	check(diags, "read "+kind)
	return next
}

func (w world) destroy(kind string, state *terraform.InstanceState) {
	diff := &terraform.InstanceDiff{Destroy: true}
	_, diags := w.provider.ResourcesMap[kind].Apply(context.Background(), state, diff, w.meta)
	check(diags, "destroy "+kind)
}

func main() {
	log.SetOutput(io.Discard)
	provider := rabbitmq.Provider()
	diags := provider.Configure(context.Background(), terraform.NewResourceConfigRaw(object{
		"endpoint": os.Getenv("RABBITMQ_ENDPOINT"), "username": "guest", "password": "guest",
	}))
	check(diags, "configure")
	w := world{provider, provider.Meta()}
	name := os.Getenv("NAME")
	all := block(object{"configure": ".*", "write": ".*", "read": ".*"})
	resources := []resource{
		{"rabbitmq_vhost",
			object{"name": name, "description": "a tenant", "max_connections": "100", "max_queues": "200"},
			object{"name": name, "description": "another", "max_connections": "50", "tracing": true}},
		{"rabbitmq_user",
			object{"name": name, "password": "geheim", "tags": []any{"management"}},
			object{"name": name, "password": "anders", "tags": []any{"monitoring", "policymaker"}}},
		{"rabbitmq_permissions",
			object{"user": name, "vhost": name, "permissions": all},
			object{"user": name, "vhost": name,
				"permissions": block(object{"configure": "", "write": "^a", "read": "b$"})}},
		{"rabbitmq_permissions", object{"user": "guest", "vhost": name, "permissions": all}, nil},
		{"rabbitmq_topic_permissions",
			object{"user": name, "vhost": name, "permissions": []any{
				object{"exchange": "amq.topic", "write": "{username}.*", "read": ".*"},
				object{"exchange": "amq.fanout", "write": ".*", "read": ".*"}}},
			object{"user": name, "vhost": name, "permissions": []any{
				object{"exchange": "amq.topic", "write": ".*", "read": ""}}}},
		{"rabbitmq_policy",
			object{"name": "p", "vhost": name, "policy": block(object{"pattern": ".*", "priority": 1,
				"apply_to": "queues", "definition": object{"max-length": "10000"}})},
			object{"name": "p", "vhost": name, "policy": block(object{"pattern": "^a", "priority": 2,
				"apply_to": "all", "definition": object{"message-ttl": "60000", "dead-letter-exchange": "x"}})}},
		{"rabbitmq_operator_policy",
			object{"name": "o", "vhost": name, "policy": block(object{"pattern": ".*", "priority": 1,
				"apply_to": "queues", "definition": object{"max-length": "10000"}})},
			object{"name": "o", "vhost": name, "policy": block(object{"pattern": ".*", "priority": 1,
				"apply_to": "queues", "definition": object{"max-length": "202", "expires": "60000"}})}},
		{"rabbitmq_exchange",
			object{"name": "x", "vhost": name, "settings": block(object{"type": "topic", "durable": true})},
			object{"name": "x", "vhost": name, "settings": block(object{"type": "fanout", "durable": true,
				"arguments": object{"alternate-exchange": "amq.fanout"}})}},
		{"rabbitmq_exchange",
			object{"name": "auto", "vhost": name,
				"settings": block(object{"type": "direct", "durable": false, "auto_delete": true})}, nil},
		{"rabbitmq_queue",
			object{"name": "q", "vhost": name, "settings": block(object{"durable": true})}, nil},
		{"rabbitmq_queue",
			object{"name": "classic", "vhost": name, "settings": block(object{"durable": true,
				"arguments": object{"x-queue-type": "classic"}})}, nil},
		{"rabbitmq_queue",
			object{"name": "quorum", "vhost": name, "settings": block(object{"durable": true,
				"arguments": object{"x-queue-type": "quorum"}})}, nil},
		{"rabbitmq_queue",
			object{"name": "limited", "vhost": name, "settings": block(object{"durable": true, "arguments_json":
				`{"x-message-ttl": 60000, "x-dead-letter-exchange": "x", "x-max-length": 10}`})},
			object{"name": "limited", "vhost": name, "settings": block(object{"durable": true, "arguments_json":
				`{"x-message-ttl": 30000}`})}},
		{"rabbitmq_binding",
			object{"source": "x", "vhost": name, "destination": "q", "destination_type": "queue",
				"routing_key": "a/b c"}, nil},
		{"rabbitmq_binding",
			object{"source": "x", "vhost": name, "destination": "q", "destination_type": "queue",
				"routing_key": ""}, nil},
		{"rabbitmq_binding",
			object{"source": "x", "vhost": name, "destination": "classic", "destination_type": "queue",
				"routing_key": "#", "arguments": object{"key": "value"}}, nil},
		{"rabbitmq_binding",
			object{"source": "x", "vhost": name, "destination": "amq.topic", "destination_type": "exchange",
				"routing_key": "#"}, nil},
		{"rabbitmq_shovel",
			object{"name": "s", "vhost": name, "info": block(object{"source_uri": "amqp:///one",
				"source_queue": "q", "destination_uri": "amqp:///two", "destination_queue": "classic"})}, nil},
		{"rabbitmq_federation_upstream",
			object{"name": "f", "vhost": name, "definition": block(object{"uri": "amqp://server-name",
				"prefetch_count": 1000, "reconnect_delay": 1, "ack_mode": "on-confirm", "trust_user_id": false,
				"max_hops": 1})}, nil},
	}
	states := make([]*terraform.InstanceState, len(resources))
	for at, one := range resources {
		states[at] = w.apply(one.kind, nil, one.config)
	}
	for at, one := range resources {
		if one.changed != nil {
			states[at] = w.apply(one.kind, states[at], one.changed)
		}
	}
	// By the last changes exchange and queue were made anew, and bindings went with them.
	for at, one := range resources {
		if one.kind == "rabbitmq_binding" {
			states[at] = w.apply(one.kind, w.read(one.kind, states[at]), one.config)
		}
	}
	for _, source := range []struct {
		kind   string
		config object
	}{
		{"rabbitmq_vhost", object{"name": name}},
		{"rabbitmq_user", object{"name": name}},
		{"rabbitmq_exchange", object{"name": "x", "vhost": name}},
	} {
		r := w.provider.DataSourcesMap[source.kind]
		diff, err := r.SimpleDiff(context.Background(), nil, terraform.NewResourceConfigRaw(source.config), w.meta)
		if err != nil {
			fail("data %s: %v", source.kind, err)
		}
		_, diags := r.ReadDataApply(context.Background(), diff, w.meta)
		check(diags, "data "+source.kind)
	}
	for at := len(resources) - 1; at >= 0; at-- {
		w.destroy(resources[at].kind, states[at])
		// What was deleted by hand, too, is no error.
		if left := w.read(resources[at].kind, states[at]); left != nil {
			fail("%s is still there: %v", resources[at].kind, left)
		}
	}
	fmt.Println("ok")
}
