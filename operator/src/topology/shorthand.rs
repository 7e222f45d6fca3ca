//! The shorthands of a queue: fields of its spec, and the arguments that they stand for.
//!
//! In: the spec of a Queue, or arguments. Out: the other of them. Does not know about what the arguments do.

use serde::de::DeserializeOwned;
use serde_json::{Map, Value, json};

use super::arguments::Arguments;
use crate::resource::{
    DeadLetter, DeadLetterStrategy, DelayedRetry, Overflow, Period, PeriodError, QueueSpec, QueueType, RetryType,
};

/// The arguments of a queue: those of its spec, and those that its shorthands stand for. Times are integers in
/// milliseconds.
///
/// # Errors
/// A text is no time.
pub(super) fn arguments(spec: &QueueSpec) -> Result<Arguments, PeriodError> {
    // Without `..`: no field may be forgotten.
    let QueueSpec {
        broker_ref: _,
        name: _,
        vhost: _,
        queue_type,
        durable: _,
        auto_delete: _,
        max_length,
        max_length_bytes,
        overflow,
        message_ttl,
        expires,
        max_priority,
        dead_letter,
        delivery_limit,
        delayed_retry,
        single_active_consumer,
        consumer_timeout,
        deduplication,
        arguments,
        deletion_policy: _,
        adoption_policy: _,
        update_policy: _,
    } = spec;
    let mut arguments = Arguments::from(arguments.clone());
    let mut put = |name: &str, value: Option<Value>| {
        if let Some(value) = value {
            arguments.insert(name, &value);
        }
    };
    let millis = |period: &Option<Period>| match period {
        None => Ok(None),
        Some(period) => period.millis().map(|millis| Some(json!(millis))),
    };
    if *queue_type != QueueType::Classic {
        put("x-queue-type", Some(json!(queue_type.as_str())));
    }
    put("x-max-length", max_length.map(Value::from));
    put("x-max-length-bytes", max_length_bytes.map(Value::from));
    put("x-overflow", overflow.map(|overflow| json!(overflow.as_str())));
    put("x-message-ttl", millis(message_ttl)?);
    put("x-expires", millis(expires)?);
    put("x-max-priority", max_priority.map(Value::from));
    if let Some(DeadLetter {
        exchange,
        routing_key,
        strategy,
    }) = dead_letter
    {
        put("x-dead-letter-exchange", Some(json!(exchange)));
        put(
            "x-dead-letter-strategy",
            strategy.map(|strategy| json!(strategy.as_str())),
        );
        put("x-dead-letter-routing-key", routing_key.as_ref().map(|key| json!(key)));
    }
    put("x-delivery-limit", delivery_limit.map(Value::from));
    if let Some(DelayedRetry { after, min, max }) = delayed_retry {
        put("x-delayed-retry-type", Some(json!(after.as_str())));
        put("x-delayed-retry-min", min.millis().map(|millis| Some(json!(millis)))?);
        put("x-delayed-retry-max", millis(max)?);
    }
    put("x-single-active-consumer", single_active_consumer.map(Value::from));
    put("x-consumer-timeout", millis(consumer_timeout)?);
    if let Some(deduplication) = deduplication {
        put("x-message-deduplication", Some(json!(true)));
        put("x-cache-size", Some(json!(deduplication.cache_size)));
        put("x-cache-ttl", millis(&deduplication.cache_ttl)?);
        put(
            "x-deduplication-header",
            deduplication.header.as_ref().map(|header| json!(header)),
        );
    }
    Ok(arguments)
}

/// Takes the arguments out that fields of a spec can stand for, and gives these fields. Others stay.
pub(super) fn take(arguments: &mut Arguments) -> Map<String, Value> {
    let mut fields = Map::new();
    for Part { argument, key, say, .. } in SINGLE {
        if let Some(said) = arguments.get(argument).and_then(say) {
            arguments.remove(argument);
            fields.insert(key.to_owned(), said);
        }
    }
    for (field, parts) in GROUPS {
        if let Some(said) = grouped(arguments, parts) {
            for part in parts {
                arguments.remove(part.argument);
            }
            fields.insert(field.to_owned(), Value::Object(said));
        }
    }
    fields
}

/// The object that says all arguments of a group; `None` when there are none, or it cannot say one of them.
fn grouped(arguments: &Arguments, parts: &[Part]) -> Option<Map<String, Value>> {
    let mut object = Map::new();
    for part in parts {
        match arguments.get(part.argument) {
            Some(value) => {
                let said = (part.say)(value)?;
                if !part.key.is_empty() {
                    object.insert(part.key.to_owned(), said);
                }
            }
            None if part.required => return None,
            None => {}
        }
    }
    Some(object)
}

/// An argument with the key that stands for it.
struct Part {
    argument: &'static str,
    /// Empty where the object as a whole stands for it.
    key: &'static str,
    say: Say,
    /// The object has it always.
    required: bool,
}

/// The value of the field for a value of the argument; `None` for values that the field cannot have.
type Say = fn(Value) -> Option<Value>;

const fn optional(argument: &'static str, key: &'static str, say: Say) -> Part {
    let required = false;
    Part {
        argument,
        key,
        say,
        required,
    }
}

const fn required(argument: &'static str, key: &'static str, say: Say) -> Part {
    Part {
        required: true,
        ..optional(argument, key, say)
    }
}

/// Arguments with a field of their own.
const SINGLE: [Part; 10] = [
    // Arguments may not have it: an unknown type is refused as one.
    optional("x-queue-type", "type", text::<0>),
    optional("x-max-length", "maxLength", number::<0, { i64::MAX }>),
    optional("x-max-length-bytes", "maxLengthBytes", number::<0, { i64::MAX }>),
    optional("x-overflow", "overflow", one_of::<Overflow>),
    optional("x-message-ttl", "messageTtl", period),
    optional("x-expires", "expires", period),
    optional("x-max-priority", "maxPriority", number::<1, 255>),
    optional("x-delivery-limit", "deliveryLimit", number::<-1, { i64::MAX }>),
    optional("x-single-active-consumer", "singleActiveConsumer", one_of::<bool>),
    optional("x-consumer-timeout", "consumerTimeout", period),
];

/// Fields that stand for several arguments: for all of them, or for none.
const GROUPS: [(&str, &[Part]); 3] = [
    (
        "deadLetter",
        &[
            required("x-dead-letter-exchange", "exchange", text::<0>),
            optional("x-dead-letter-routing-key", "routingKey", text::<0>),
            optional("x-dead-letter-strategy", "strategy", one_of::<DeadLetterStrategy>),
        ],
    ),
    (
        "delayedRetry",
        &[
            required("x-delayed-retry-type", "type", one_of::<RetryType>),
            required("x-delayed-retry-min", "min", period),
            optional("x-delayed-retry-max", "max", period),
        ],
    ),
    (
        "deduplication",
        &[
            required("x-message-deduplication", "", |value| (value == true).then_some(value)),
            required("x-cache-size", "cacheSize", number::<1, { i64::MAX }>),
            optional("x-cache-ttl", "cacheTtl", period),
            optional("x-deduplication-header", "header", text::<1>),
        ],
    ),
];

fn one_of<T: DeserializeOwned>(value: Value) -> Option<Value> {
    serde_json::from_value::<T>(value.clone()).is_ok().then_some(value)
}

fn number<const LEAST: i64, const MOST: i64>(value: Value) -> Option<Value> {
    let fits = value.as_i64().is_some_and(|number| (LEAST..=MOST).contains(&number));
    fits.then_some(value)
}

/// A text of AMQP's length, which has at least so many bytes.
fn text<const LEAST: usize>(value: Value) -> Option<Value> {
    let fits = value.as_str().is_some_and(|text| (LEAST..=255).contains(&text.len()));
    fits.then_some(value)
}

fn period(value: Value) -> Option<Value> {
    let millis = value.as_i64().and_then(|millis| u64::try_from(millis).ok())?;
    Some(json!(unit(millis)))
}

/// The largest unit that holds it exactly.
fn unit(millis: u64) -> String {
    let units = [(86_400_000, "d"), (3_600_000, "h"), (60_000, "m"), (1_000, "s")];
    let fitting = units
        .into_iter()
        .find(|(unit, _)| millis > 0 && millis.is_multiple_of(*unit));
    fitting.map_or_else(
        || format!("{millis}ms"),
        |(unit, name)| format!("{}{name}", millis / unit),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::resource::admission::admit;

    /// The spec that an export writes for these arguments.
    fn exported(arguments: Value) -> Value {
        let mut arguments: Arguments = serde_json::from_value(arguments).unwrap();
        let mut spec = take(&mut arguments);
        if !arguments.is_empty() {
            spec.insert("arguments".to_owned(), serde_json::to_value(arguments).unwrap());
        }
        Value::Object(spec)
    }

    /// A spec with all of them.
    fn full() -> Value {
        json!({
            "type": "quorum", "maxLength": 0, "maxLengthBytes": 1000, "overflow": "reject-publish-dlx",
            "messageTtl": "1500ms", "expires": "7d", "maxPriority": 255, "deliveryLimit": -1,
            "singleActiveConsumer": false, "consumerTimeout": "30m",
            "deadLetter": {"exchange": "", "routingKey": "failed", "strategy": "at-least-once"},
            "delayedRetry": {"type": "all", "min": "1500ms", "max": "1m"},
            "deduplication": {"cacheSize": 10, "cacheTtl": "1h", "header": "id"},
        })
    }

    /// The arguments that [`full`] stands for.
    fn meant() -> Arguments {
        let mut spec = full();
        spec["brokerRef"] = json!({"name": "main"});
        arguments(&serde_json::from_value(spec).unwrap()).unwrap()
    }

    #[test]
    fn every_shorthand_is_exported_as_it_was_written() {
        assert_eq!(exported(serde_json::to_value(meant()).unwrap()), full());
    }

    #[test]
    fn no_argument_may_stand_beside_its_shorthand() {
        for (argument, value) in meant().iter() {
            let mut manifest = json!({
                "apiVersion": "leveret.dev/v1alpha1", "kind": "Queue", "metadata": {"name": "q"}, "spec": full()
            });
            manifest["spec"]["brokerRef"] = json!({"name": "main"});
            assert_eq!(admit(&manifest).err(), None);
            manifest["spec"]["arguments"] = json!({argument: value});
            let refusals = admit(&manifest).err().unwrap_or_default();
            let named = refusals
                .iter()
                .any(|refusal| refusal.to_string().contains(&format!("arguments.{argument}")));
            assert!(named, "{argument}: {refusals:?}");
        }
    }

    #[test]
    fn arguments_that_no_shorthand_can_say_stay_arguments() {
        for said in [
            json!({"x-max-priority": 0}),
            json!({"x-delivery-limit": -2}),
            json!({"x-message-ttl": -1}),
            json!({"x-max-length": null}),
            json!({"x-dead-letter-routing-key": "without an exchange"}),
            json!({"x-dead-letter-exchange": "", "x-dead-letter-strategy": "unheard-of"}),
            json!({"x-delayed-retry-type": "disabled", "x-delayed-retry-min": 5}),
            json!({"x-delayed-retry-type": "all"}),
            json!({"x-delayed-retry-type": "all", "x-delayed-retry-min": 5, "x-delayed-retry-max": -1}),
            json!({"x-message-deduplication": false, "x-cache-size": 10}),
            json!({"x-message-deduplication": true}),
        ] {
            assert_eq!(exported(said.clone()), json!({ "arguments": said }));
        }
    }

    #[test]
    fn periods_are_exact() {
        for (millis, text) in [
            (0, "0ms"),
            (1, "1ms"),
            (1_000, "1s"),
            (90_000, "90s"),
            (7_200_000, "2h"),
            (86_400_000, "1d"),
        ] {
            assert_eq!(unit(millis), text);
        }
    }
}
