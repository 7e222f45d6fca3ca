//! Exchanges: what they are declared with, and what there is to say of them.
//!
//! In: the spec of an Exchange, rows of `GET /api/exchanges`. Out: `ExchangeDefinition`.
//! Does not know about queues, bindings, or the wire.

use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::arguments::{Arguments, Table};
use super::declaration::{Deletion, Labels, Policies, Reference, compare, compare_arguments, exchange_named, rest};
use super::name::Name;
use super::named::{Definition, Named, Removal};
use crate::resource::{ExchangeDeletionPolicy, ExchangeSpec, Kind};

/// An exchange by its name.
pub type Declaration = Named<ExchangeDefinition>;

/// The properties that an exchange is declared with.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ExchangeDefinition {
    pub kind: String,
    pub durable: bool,
    pub auto_delete: bool,
    pub internal: bool,
    pub arguments: Arguments,
}

/// An exchange as the management API lists it.
#[derive(Deserialize)]
pub struct Row {
    vhost: String,
    name: String,
    #[serde(rename = "type")]
    kind: String,
    #[serde(default)]
    durable: bool,
    #[serde(default)]
    auto_delete: bool,
    #[serde(default)]
    internal: bool,
    #[serde(default)]
    arguments: Table,
}

impl Definition for ExchangeDefinition {
    const KIND: Kind = Kind::Exchange;
    const LABELS: Labels = Labels {
        declare: "declare_exchange",
        remove: "delete_exchange",
    };
    const REMOVAL: Removal = Removal {
        if_free: " if nothing is bound to it",
        always: "",
    };

    type Spec = ExchangeSpec;
    type Row = Row;

    fn name(spec: &ExchangeSpec, metadata_name: &str) -> Name {
        Name::new(&spec.vhost, spec.broker_name(metadata_name))
    }

    fn wanted(spec: &ExchangeSpec) -> Result<Self, String> {
        // Without `..`: no field may be forgotten.
        let ExchangeSpec {
            broker_ref: _,
            name: _,
            vhost: _,
            exchange_type,
            durable,
            auto_delete,
            internal,
            alternate_exchange,
            arguments,
            deletion_policy: _,
            adoption_policy: _,
            update_policy: _,
        } = spec;
        let mut arguments = Arguments::from(arguments.clone());
        if let Some(alternate) = alternate_exchange {
            arguments.insert("alternate-exchange", &json!(alternate));
        }
        Ok(Self {
            kind: exchange_type.clone(),
            durable: *durable,
            auto_delete: *auto_delete,
            internal: *internal,
            arguments,
        })
    }

    fn policies(spec: &ExchangeSpec) -> Policies {
        Policies {
            deletion: match spec.deletion_policy {
                ExchangeDeletionPolicy::Delete => Deletion::Delete,
                ExchangeDeletionPolicy::DeleteIfUnused => Deletion::DeleteIfFree,
                ExchangeDeletionPolicy::Retain => Deletion::Retain,
            },
            adoption: spec.adoption_policy,
        }
    }

    fn lists() -> Vec<String> {
        vec![
            "/api/exchanges?columns=vhost,name,type,durable,auto_delete,internal,arguments&disable_stats=true"
                .to_owned(),
        ]
    }

    fn listed(row: Row) -> Named<Self> {
        let definition = Self {
            kind: row.kind,
            durable: row.durable,
            auto_delete: row.auto_delete,
            internal: row.internal,
            arguments: row.arguments.into(),
        };
        Named::new(Name::new(row.vhost, row.name), definition)
    }

    fn spec(&self) -> Map<String, Value> {
        let mut spec = Map::new();
        let mut arguments = self.arguments.clone();
        if self.kind != "direct" {
            spec.insert("type".to_owned(), json!(self.kind));
        }
        if !self.durable {
            spec.insert("durable".to_owned(), json!(false));
        }
        if self.auto_delete {
            spec.insert("autoDelete".to_owned(), json!(true));
        }
        if self.internal {
            spec.insert("internal".to_owned(), json!(true));
        }
        if let Some(Value::String(alternate)) = arguments.get("alternate-exchange").filter(|value| *value != "") {
            arguments.remove("alternate-exchange");
            spec.insert("alternateExchange".to_owned(), json!(alternate));
        }
        rest(&mut spec, &arguments);
        spec
    }

    fn differences(&self, found: &Self) -> Vec<String> {
        let mut list = Vec::new();
        compare(&mut list, "type", &self.kind, &found.kind);
        compare(&mut list, "durable", &self.durable, &found.durable);
        compare(&mut list, "autoDelete", &self.auto_delete, &found.auto_delete);
        compare(&mut list, "internal", &self.internal, &found.internal);
        compare_arguments(&mut list, &self.arguments, &found.arguments);
        list
    }

    fn references(&self, vhost: &str) -> Vec<Reference> {
        exchange_named(&self.arguments, "alternate-exchange", "alternateExchange", vhost)
    }

    fn remark(&self) -> Option<String> {
        Some(self.kind.clone())
    }
}
