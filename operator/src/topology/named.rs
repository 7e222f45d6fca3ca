//! Objects with a name: all kinds but the binding.
//!
//! In: a `Definition` and a `Name`. Out: `Named`, which answers for both. Does not know about the kinds.

use std::collections::BTreeMap;
use std::fmt::Debug;

use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use super::backlog::Backlog;
use super::declaration::{Declare, Demands, Labels, Need, Policies, Reference, Request};
use super::name::{Name, Target};
use super::touch::Touch;
use crate::object::LastStatus;
use crate::resource::Kind;

/// The properties that objects of one kind are declared with. Two definitions are equal when a broker takes them for
/// the same.
pub trait Definition: Clone + Debug + PartialEq + Eq + Send {
    /// See [`Declare::KIND`], as for all that have the same name there.
    const KIND: Kind;
    const LABELS: Labels;
    const MUTABLE: bool = false;
    const GUARDED: bool = false;
    /// Such objects stand in a virtual host.
    const IN_VHOST: bool = true;
    /// The end of the phrase `delete queue 'x' ...` in a plan.
    const REMOVAL: Removal;

    type Spec;
    type Row: DeserializeOwned + Send;

    /// The name on the broker of what the resource called `metadata_name` wants.
    fn name(spec: &Self::Spec, metadata_name: &str) -> Name;

    /// The definition that a resource wants.
    ///
    /// # Errors
    /// There can be no such object, and why.
    fn wanted(spec: &Self::Spec) -> Result<Self, String>;

    fn policies(spec: &Self::Spec) -> Policies;

    /// See [`Declare::lists`].
    fn lists() -> Vec<String>;

    fn listed(row: Self::Row) -> Named<Self>;

    /// Takes a row of any of the lists in.
    fn take(row: Self::Row, all: &mut BTreeMap<Name, Self>) {
        let Named { name, definition } = Self::listed(row);
        all.insert(name, definition);
    }

    /// See [`Declare::backlog`].
    fn backlog(_row: &Self::Row) -> Option<(Name, Backlog)> {
        None
    }

    fn spec(&self) -> Map<String, Value>;

    /// Properties of `found` that are not as in this one.
    fn differences(&self, found: &Self) -> Vec<String>;

    /// See [`Declare::completes`].
    fn completes(&self, _found: &Self) -> bool {
        false
    }

    /// Objects that the spec names, by name in the same virtual host.
    fn references(&self, _vhost: &str) -> Vec<Reference> {
        Vec::new()
    }

    /// All that it reaches for in that virtual host, and elsewhere, beside its own name.
    fn reaches(&self, vhost: &str) -> Vec<Touch> {
        let references = self.references(vhost).into_iter();
        references.map(|reference| Touch::Name(reference.target)).collect()
    }

    /// The definition that stands after it has been declared where `found` stood.
    fn after(self, _found: Option<Self>) -> Self {
        self
    }

    /// See [`Declare::parts`].
    fn parts(&self, _found: Option<&Self>) -> Vec<Need> {
        Vec::new()
    }

    /// See [`Declare::without`].
    fn without(&mut self, _missing: &Target) {}

    /// See [`Declare::demands`].
    fn demands(&self) -> Demands {
        Demands::default()
    }

    /// Takes away the parts that go with `gone`.
    fn lose(&mut self, _gone: &Target) {}

    fn is_reserved(name: &Name) -> bool {
        name.is_reserved()
    }

    /// The words in brackets with which a plan tells of a new one.
    fn remark(&self) -> Option<String> {
        None
    }

    /// See [`Declare::put`].
    fn put(&self, _name: &Name) -> Option<Request> {
        None
    }

    /// See [`Declare::puts`]; `found`: what stands of that name.
    fn puts(&self, name: &Name, _found: Option<&Self>) -> Vec<Request> {
        self.put(name).into_iter().collect()
    }

    /// See [`Declare::delete`].
    fn delete(_name: &Name) -> Option<Request> {
        None
    }
}

/// Ends of phrases for removing something.
pub struct Removal {
    pub if_free: &'static str,
    pub always: &'static str,
}

/// A definition with its name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Named<D> {
    pub name: Name,
    pub definition: D,
}

impl<D> Named<D> {
    pub fn new(name: Name, definition: D) -> Self {
        Self { name, definition }
    }
}

impl<D: Definition> Declare for Named<D> {
    const KIND: Kind = D::KIND;
    const LABELS: Labels = D::LABELS;
    const MUTABLE: bool = D::MUTABLE;
    const GUARDED: bool = D::GUARDED;

    type Spec = D::Spec;
    type Row = D::Row;
    type Identity = Name;
    type All = BTreeMap<Name, D>;

    fn wanted(spec: &D::Spec, metadata_name: &str) -> Result<Self, String> {
        Ok(Self::new(D::name(spec, metadata_name), D::wanted(spec)?))
    }

    fn policies(spec: &D::Spec) -> Policies {
        D::policies(spec)
    }

    fn lists() -> Vec<String> {
        D::lists()
    }

    fn listed(row: D::Row) -> Option<Self> {
        Some(D::listed(row))
    }

    fn take(row: D::Row, all: &mut Self::All) {
        D::take(row, all);
    }

    fn backlog(row: &D::Row) -> Option<(Name, Backlog)> {
        D::backlog(row)
    }

    fn spec(&self) -> Map<String, Value> {
        self.definition.spec()
    }

    fn identity(&self) -> &Name {
        &self.name
    }

    fn target(identity: &Name) -> Option<Target> {
        Some(Target::new(D::KIND, identity.clone()))
    }

    fn vhost(identity: &Name) -> &str {
        &identity.vhost
    }

    fn is_reserved(identity: &Name) -> bool {
        D::is_reserved(identity)
    }

    fn describe(identity: &Name) -> String {
        Target::new(D::KIND, identity.clone()).to_string()
    }

    fn remember(identity: &Name, last: &mut LastStatus) {
        last.name = Some(identity.name.clone());
        last.vhost = D::IN_VHOST.then(|| identity.vhost.clone());
    }

    fn recall(last: &LastStatus) -> Vec<Name> {
        let vhost = match D::IN_VHOST {
            true => last.vhost.as_deref(),
            false => Some(""),
        };
        let known = vhost.zip(last.name.as_deref());
        known.map(|(vhost, name)| Name::new(vhost, name)).into_iter().collect()
    }

    fn references(&self) -> Vec<Reference> {
        self.definition.references(&self.name.vhost)
    }

    fn reaches(&self) -> Vec<Touch> {
        let mut all = Self::touches(&self.name);
        all.extend(self.definition.reaches(&self.name.vhost));
        all
    }

    fn parts(&self, all: &Self::All) -> Vec<Need> {
        self.definition.parts(all.get(&self.name))
    }

    fn without(&mut self, missing: &Target) {
        self.definition.without(missing);
    }

    fn demands(&self) -> Demands {
        self.definition.demands()
    }

    fn contains(all: &Self::All, identity: &Name) -> bool {
        all.contains_key(identity)
    }

    fn has(all: &Self::All, name: &Name) -> bool {
        all.contains_key(name)
    }

    fn differences(&self, all: &Self::All) -> Option<Vec<String>> {
        all.get(&self.name).map(|found| self.definition.differences(found))
    }

    fn completes(&self, all: &Self::All) -> bool {
        all.get(&self.name)
            .is_some_and(|found| self.definition.completes(found))
    }

    fn insert(self, all: &mut Self::All) {
        let found = all.remove(&self.name);
        all.insert(self.name, self.definition.after(found));
    }

    fn remove(all: &mut Self::All, identity: &Name) -> bool {
        all.remove(identity).is_some()
    }

    fn forsake(all: &mut Self::All, gone: &Target) {
        if gone.kind == Kind::Vhost {
            all.retain(|name, _| name.vhost != gone.name.name);
        }
        all.values_mut().for_each(|definition| definition.lose(gone));
    }

    fn each(all: &Self::All) -> impl Iterator<Item = Self> {
        all.iter()
            .map(|(name, definition)| Self::new(name.clone(), definition.clone()))
    }

    fn declaring(&self) -> String {
        let remark = self.definition.remark().map(|remark| format!(" ({remark})"));
        format!("declare {}{}", Self::describe(&self.name), remark.unwrap_or_default())
    }

    fn removing(identity: &Name, if_free: bool) -> String {
        let end = if if_free { D::REMOVAL.if_free } else { D::REMOVAL.always };
        format!("delete {}{end}", Self::describe(identity))
    }

    fn put(&self) -> Option<Request> {
        self.definition.put(&self.name)
    }

    fn puts(&self, all: &Self::All) -> Vec<Request> {
        self.definition.puts(&self.name, all.get(&self.name))
    }

    fn delete(identity: &Name) -> Option<Request> {
        D::delete(identity)
    }
}
