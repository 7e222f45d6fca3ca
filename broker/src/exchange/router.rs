//! What a type of exchange is: a name, and a router made for each exchange of the type.
//!
//! Comes in: bindings, and of a message its keys and properties. Goes out: destinations.
//! Does not know which types there are.

use super::binding::Binding;
use super::target::Target;
use leveret_amqp::properties::raw;
use leveret_amqp::{FieldTable, FieldValue, RawTable, ShortString};
use std::cell::OnceCell;
use std::collections::HashMap;
use std::fmt;
use std::hash::BuildHasher;
use std::sync::Arc;

/// A type of exchange.
pub struct Type {
    /// Its name in a declaration.
    pub name: &'static str,
    /// A sentence for the HTTP API.
    pub description: &'static str,
    /// Looks at a binding before it is made. Fails with a text for the client (406).
    pub check: fn(&Binding) -> Result<(), String>,
    /// Makes the router of a new exchange from its arguments. Fails with a text for the client (406).
    pub router: fn(&RawTable) -> Result<Box<dyn Router>, String>,
}

impl PartialEq for Type {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name
    }
}

impl fmt::Debug for Type {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name)
    }
}

/// The bindings of one exchange, arranged for the rule of its type.
pub trait Router: Send + Sync {
    /// True if messages with the same key always go the same way: then a route is kept with its key.
    fn by_key(&self) -> bool {
        true
    }

    /// Adds a binding. The exchange has seen to it that there is none like it, and keeps it until it is removed.
    fn bind(&mut self, binding: &Arc<Binding>, target: Target);

    /// Removes a binding: the very one that was added.
    fn unbind(&mut self, binding: &Arc<Binding>, target: &Target);

    /// Calls `found` for each destination of a message; the same one may come more than once. Every look at something
    /// of which users can make many is a step.
    ///
    /// # Errors
    /// The steps are used up.
    fn route<'a>(
        &'a self,
        routing: &Routing<'_>,
        steps: &mut Steps,
        found: &mut dyn FnMut(&'a Target),
    ) -> Result<(), OutOfSteps>;
}

/// Steps that one message may take on its way through exchanges.
#[derive(Debug)]
pub struct Steps(usize);

/// The message has taken all the steps that it may.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OutOfSteps;

impl Steps {
    /// So many.
    pub fn new(steps: usize) -> Self {
        Self(steps)
    }

    /// Takes some.
    ///
    /// # Errors
    /// There are not so many left.
    #[inline]
    pub fn take(&mut self, steps: usize) -> Result<(), OutOfSteps> {
        self.0 = self.0.checked_sub(steps).ok_or(OutOfSteps)?;
        Ok(())
    }

    /// Those that are left.
    pub fn left(&self) -> usize {
        self.0
    }
}

/// The check of a type that takes every binding.
pub(super) fn any(_: &Binding) -> Result<(), String> {
    Ok(())
}

/// The router of a type without arguments.
pub(super) fn plain<R: Router + Default + 'static>(_: &RawTable) -> Result<Box<dyn Router>, String> {
    Ok(Box::<R>::default())
}

/// A message, as far as exchanges look at it.
#[derive(Clone, Copy)]
pub struct Routing<'a> {
    /// Its routing key, and those of its CC and BCC headers.
    pub keys: &'a [&'a [u8]],
    /// Its properties.
    pub properties: &'a Properties<'a>,
}

/// The properties of a message, read when a type of exchange asks for them.
#[derive(Default)]
pub struct Properties<'a> {
    list: &'a [u8],
    headers: OnceCell<FieldTable>,
    places: OnceCell<Places>,
}

/// Places of headers by a hash of their names. Of names with one hash it has one: a place has to be looked at.
type Places = HashMap<u64, usize, foldhash::fast::RandomState>;

/// Headers up to which a search is as quick as a map.
const FEW: usize = 8;

impl<'a> Properties<'a> {
    /// From property flags and list, as on the wire.
    pub fn new(list: &'a [u8]) -> Self {
        Self {
            list,
            headers: OnceCell::new(),
            places: OnceCell::new(),
        }
    }

    /// The headers in the order of their names; none if they can't be read. Parsed and sorted once.
    pub fn headers(&self) -> &FieldTable {
        self.headers.get_or_init(|| {
            let headers = raw::headers(self.list).and_then(|headers| FieldTable::parse(headers).ok());
            let mut headers = headers.unwrap_or_default();
            headers.0.sort_by(|(a, _), (b, _)| a.cmp(b));
            headers
        })
    }

    /// A header, in the same time however many there are. Of several with one name the last one counts, as in RabbitMQ.
    pub fn header(&self, name: &[u8]) -> Option<&FieldValue> {
        let headers = &self.headers().0;
        if headers.len() > FEW {
            let places = self.places.get_or_init(|| places(headers));
            let place = places.get(&places.hasher().hash_one(name))?;
            if let Some((found, value)) = headers.get(*place)
                && found.as_bytes() == name
            {
                return Some(value);
            }
        }
        let end = headers.partition_point(|(other, _)| other.as_bytes() <= name);
        let (last, value) = headers.get(end.checked_sub(1)?)?;
        (last.as_bytes() == name).then_some(value)
    }
}

fn places(headers: &[(ShortString, FieldValue)]) -> Places {
    let mut places = Places::with_capacity_and_hasher(headers.len(), foldhash::fast::RandomState::default());
    for (place, (name, _)) in headers.iter().enumerate() {
        places.insert(places.hasher().hash_one(name.as_bytes()), place);
    }
    places
}

#[cfg(test)]
mod tests {
    use super::*;
    use leveret_amqp::BasicProperties;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn of_headers_with_one_name_the_last_is_found(names in proptest::collection::vec(0..40_u8, 0..60)) {
            let name = |number: u8| ShortString::truncated(&format!("h{number}"));
            let headers = (0..).zip(&names).map(|(at, number)| (name(*number), FieldValue::Int(at)));
            let properties = BasicProperties {
                headers: Some(headers.collect()),
                ..BasicProperties::default()
            };
            let list = properties.to_bytes();
            let properties = Properties::new(&list);
            for number in 0..40 {
                let last = names.iter().rposition(|other| *other == number);
                let expected = last.map(|at| FieldValue::Int(at as i32));
                prop_assert_eq!(properties.header(name(number).as_bytes()), expected.as_ref());
            }
            prop_assert_eq!(properties.header(b""), None);
        }

        /// A place that is another name's, as with a collision of hashes, is not the end of the search.
        #[test]
        fn names_with_one_hash_are_told_apart(wrong in 0..20_usize) {
            let headers: Vec<_> = (0..20).map(|at| (ShortString::truncated(&format!("h{at:02}")), FieldValue::Int(at))).collect();
            let mut all = places(&headers);
            all.values_mut().for_each(|place| *place = wrong);
            let properties = Properties::default();
            prop_assert!(properties.headers.set(FieldTable(headers.clone())).is_ok() && properties.places.set(all).is_ok());
            for (name, value) in &headers {
                prop_assert_eq!(properties.header(name.as_bytes()), Some(value));
            }
        }
    }
}
