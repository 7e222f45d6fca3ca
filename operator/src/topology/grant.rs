//! Rights that a user has, each declared by an object of its own: one permission, or one topic permission.
//!
//! In: a place (user, virtual host, exchange) with rights, and the users that stand. Out: `Grant`: what is other there,
//! and the requests for it. What stands is kept with the users, of which it is a part: with them it goes. Does not know
//! about whose specs ask for it.

use std::collections::BTreeMap;
use std::marker::PhantomData;

use serde::de::IgnoredAny;
use serde_json::{Map, Value, json};

use super::declaration::{Declare, Deletion, Labels, Need, Policies, Reference, Request};
use super::name::{Name, Target};
use super::named::Definition;
use super::touch::Touch;
use super::user::UserDefinition;
use crate::object::{LastStatus, Reason};
use crate::resource::{AdoptionPolicy, Kind};

/// The place in which a user has rights.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Place {
    pub user: String,
    pub vhost: String,
    /// Of a topic permission.
    pub exchange: Option<String>,
}

impl Place {
    /// The user, as users are named.
    pub fn of(&self) -> Name {
        Name::new("", &self.user)
    }

    /// The place among the rights of the user.
    fn within(&self) -> (&str, Option<&str>) {
        (&self.vhost, self.exchange.as_deref())
    }
}

/// A class of rights.
pub trait Class: Clone + std::fmt::Debug + PartialEq + Eq {
    const KIND: Kind;
    const LABELS: Labels;

    type Spec;

    /// The place and the rights there, as a user has them that has nothing else.
    ///
    /// # Errors
    /// The name of the user is not known.
    fn wanted(spec: &Self::Spec) -> Result<(Place, UserDefinition), String>;
}

/// One entry of a user's rights.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Grant<C> {
    place: Place,
    /// A user that has this entry alone.
    part: UserDefinition,
    class: PhantomData<C>,
}

impl<C: Class> Declare for Grant<C> {
    const KIND: Kind = C::KIND;
    const LABELS: Labels = C::LABELS;
    const MUTABLE: bool = true;
    const GUARDED: bool = true;
    const LACKS: Reason = Reason::WaitingForUser;

    type Spec = C::Spec;
    type Row = IgnoredAny;
    type Identity = Place;
    type All = BTreeMap<Name, UserDefinition>;

    fn wanted(spec: &C::Spec, _metadata_name: &str) -> Result<Self, String> {
        let (place, part) = C::wanted(spec)?;
        let class = PhantomData;
        Ok(Self { place, part, class })
    }

    /// As that operator does it: rights that are there are set anew.
    fn policies(_spec: &C::Spec) -> Policies {
        Policies {
            deletion: Deletion::Delete,
            adoption: AdoptionPolicy::Always,
        }
    }

    /// They are listed with the users.
    fn lists() -> Vec<String> {
        Vec::new()
    }

    fn listed(_row: IgnoredAny) -> Option<Self> {
        None
    }

    fn spec(&self) -> Map<String, Value> {
        self.part.spec()
    }

    fn identity(&self) -> &Place {
        &self.place
    }

    fn target(_identity: &Place) -> Option<Target> {
        None
    }

    fn whole(identity: &Place) -> Option<Target> {
        Some(Target::new(Kind::User, identity.of()))
    }

    fn vhost(identity: &Place) -> &str {
        &identity.vhost
    }

    fn is_reserved(_identity: &Place) -> bool {
        false
    }

    fn describe(identity: &Place) -> String {
        let Place { user, vhost, exchange } = identity;
        let word = C::KIND.word();
        match exchange {
            None => format!("the {word} of user '{user}' in vhost '{vhost}'"),
            Some(exchange) => format!("the {word} of user '{user}' for exchange '{exchange}' in vhost '{vhost}'"),
        }
    }

    fn remember(identity: &Place, last: &mut LastStatus) {
        last.name = Some(identity.user.clone());
        last.vhost = Some(identity.vhost.clone());
        last.applied = identity.exchange.as_ref().map(|exchange| json!(exchange));
    }

    fn recall(last: &LastStatus) -> Vec<Place> {
        let exchange = last.applied.as_ref().and_then(Value::as_str).map(str::to_owned);
        let known = last.name.clone().zip(last.vhost.clone());
        let place = known.map(|(user, vhost)| Place { user, vhost, exchange });
        place.into_iter().collect()
    }

    fn needs(identity: &Place) -> Vec<Need> {
        vec![
            Need {
                target: Target::new(Kind::User, identity.of()),
                reason: Reason::WaitingForUser,
            },
            Need {
                target: Target::new(Kind::Vhost, Name::new("", &identity.vhost)),
                reason: Reason::WaitingForVhost,
            },
        ]
    }

    fn references(&self) -> Vec<Reference> {
        self.part.references("")
    }

    fn reaches(&self) -> Vec<Touch> {
        let mut all = Self::touches(&self.place);
        all.extend(self.part.reaches(""));
        all
    }

    fn contains(all: &Self::All, identity: &Place) -> bool {
        all.get(&identity.of()).is_some_and(|user| {
            let (vhost, exchange) = identity.within();
            user.has(vhost, exchange)
        })
    }

    fn has(_all: &Self::All, _name: &Name) -> bool {
        false
    }

    fn differences(&self, all: &Self::All) -> Option<Vec<String>> {
        let user = all.get(&self.place.of())?;
        let (vhost, exchange) = self.place.within();
        user.has(vhost, exchange)
            .then(|| self.part.differences(&user.only(vhost, exchange)))
    }

    fn insert(self, all: &mut Self::All) {
        if let Some(user) = all.get_mut(&self.place.of()) {
            user.permissions.extend(self.part.permissions);
            user.topics.extend(self.part.topics);
        }
    }

    fn remove(all: &mut Self::All, identity: &Place) -> bool {
        let (vhost, exchange) = identity.within();
        let user = all.get_mut(&identity.of());
        user.is_some_and(|user| user.lose_at(vhost, exchange))
    }

    /// The users see to it.
    fn forsake(_all: &mut Self::All, _gone: &Target) {}

    /// They come with the users.
    fn each(_all: &Self::All) -> impl Iterator<Item = Self> {
        std::iter::empty()
    }

    fn declaring(&self) -> String {
        format!("declare {}", Self::describe(&self.place))
    }

    fn removing(identity: &Place, _if_free: bool) -> String {
        format!("delete {}", Self::describe(identity))
    }

    fn put(&self) -> Option<Request> {
        self.part.rights(&self.place.of(), &UserDefinition::default()).pop()
    }

    fn puts(&self, all: &Self::All) -> Vec<Request> {
        let user = self.place.of();
        let (vhost, exchange) = self.place.within();
        let found = all.get(&user).map(|found| found.only(vhost, exchange));
        self.part.rights(&user, &found.unwrap_or_default())
    }

    fn delete(identity: &Place) -> Option<Request> {
        let nothing = UserDefinition::default();
        let (vhost, exchange) = identity.within();
        nothing
            .rights(&identity.of(), &UserDefinition::bare(vhost, exchange))
            .pop()
    }
}

impl UserDefinition {
    /// True if it has rights in a place.
    fn has(&self, vhost: &str, exchange: Option<&str>) -> bool {
        match exchange {
            None => self.permissions.contains_key(vhost),
            Some(exchange) => self.topics.contains_key(&(vhost.to_owned(), exchange.to_owned())),
        }
    }

    /// A user that has the rights in one place, where this one has any, and nothing else.
    fn only(&self, vhost: &str, exchange: Option<&str>) -> Self {
        let mut only = Self::default();
        match exchange {
            None => {
                let rights = self.permissions.get_key_value(vhost);
                only.permissions
                    .extend(rights.map(|(vhost, rights)| (vhost.clone(), rights.clone())));
            }
            Some(exchange) => {
                let rights = self.topics.get_key_value(&(vhost.to_owned(), exchange.to_owned()));
                only.topics
                    .extend(rights.map(|(place, rights)| (place.clone(), rights.clone())));
            }
        }
        only
    }

    /// A user that has some rights in one place, and nothing else.
    fn bare(vhost: &str, exchange: Option<&str>) -> Self {
        let mut bare = Self::default();
        match exchange {
            None => drop(bare.permissions.insert(vhost.to_owned(), Default::default())),
            Some(exchange) => {
                let place = (vhost.to_owned(), exchange.to_owned());
                bare.topics.insert(place, Default::default());
            }
        }
        bare
    }

    /// Takes the rights in one place away; whether there were any.
    fn lose_at(&mut self, vhost: &str, exchange: Option<&str>) -> bool {
        match exchange {
            None => self.permissions.remove(vhost).is_some(),
            Some(exchange) => {
                let place = (vhost.to_owned(), exchange.to_owned());
                self.topics.remove(&place).is_some()
            }
        }
    }
}
