//! What a type of exchange is: a name, and a router made for each exchange of the type.
//!
//! Comes in: bindings, and of a message its keys and properties. Goes out: destinations.
//! Does not know which types there are.

use super::binding::Binding;
use super::target::Target;
use leveret_amqp::FieldTable;
use leveret_amqp::properties::raw;
use std::cell::OnceCell;
use std::fmt;

/// A type of exchange.
pub struct Type {
    /// Its name in a declaration.
    pub name: &'static str,
    /// A sentence for the HTTP API.
    pub description: &'static str,
    /// Makes the router of a new exchange from its arguments. Fails with a text for the client (406).
    pub router: fn(&FieldTable) -> Result<Box<dyn Router>, String>,
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

    /// Looks at a binding before it is made.
    ///
    /// # Errors
    /// A text for the client (406).
    fn check(&self, _binding: &Binding) -> Result<(), String> {
        Ok(())
    }

    /// Adds a binding. The exchange has seen to it that there is none like it.
    fn bind(&mut self, binding: &Binding, target: Target);

    /// Removes a binding.
    fn unbind(&mut self, binding: &Binding, target: &Target);

    /// Calls `found` for each destination of a message; the same one may come more than once.
    fn route<'a>(&'a self, routing: &Routing<'_>, found: &mut dyn FnMut(&'a Target));
}

/// The router of a type without arguments.
pub(super) fn plain<R: Router + Default + 'static>(_: &FieldTable) -> Result<Box<dyn Router>, String> {
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
}

impl<'a> Properties<'a> {
    /// From property flags and list, as on the wire.
    pub fn new(list: &'a [u8]) -> Self {
        Self {
            list,
            headers: OnceCell::new(),
        }
    }

    /// The headers; none if they can't be read. Parsed once.
    pub fn headers(&self) -> &FieldTable {
        self.headers.get_or_init(|| {
            raw::headers(self.list)
                .and_then(|headers| FieldTable::parse(headers).ok())
                .unwrap_or_default()
        })
    }
}
