//! Step 2 (pure): what should stand on one broker, and which resource owns what.
//!
//! In: the `Snapshot` and the broker. Out: `Desired`, one `Item` for each resource that refers to the broker.
//! Does not know about what stands on the broker, or how anything gets there.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::referred::{Referred, name_users, reveal};
use super::tenancy::{Room, Tenant};
use crate::object::{
    FORCE_DELETE, Kind, Meta, OBSERVE, Object, ObjectKey, PAUSED, Password, Reason, Snapshot, is_confirmed, is_set,
};
use crate::resource::{AdoptionPolicy, BrokerRef, BrokerSpec, ZeroMqSocketSpec};
use crate::topology::{Declared, Deletion, Demands, Identity, Listen, Name, Policies, Target, Topology, Wish, wish};

/// The standing of a resource before the broker has been looked at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Standing {
    Wanted(Declared),
    /// Wanted, and nothing can be done for it yet.
    Waiting(Reason, String),
    /// Wanted, and a part of it is still being looked for.
    Unknown,
    /// Being deleted since a time (Unix seconds); `forced` by annotation.
    Leaving {
        since: i64,
        forced: bool,
    },
    Paused,
    /// Compared with the broker, and nothing is done for it.
    Observed(Declared),
    /// Nothing is done on the broker for it.
    Refused(Reason, String),
}

/// One resource that refers to the broker.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Item {
    pub key: ObjectKey,
    pub uid: String,
    pub generation: i64,
    pub finalized: bool,
    /// By annotation: nothing on the broker is touched for it.
    pub paused: bool,
    pub deletion: Deletion,
    pub adoption: AdoptionPolicy,
    /// The Secret that the operator has made for it.
    pub secret: Option<String>,
    pub standing: Standing,
    /// Objects that it owned and may not touch any more, as its Broker says by now, and why.
    pub barred: BTreeMap<Identity, String>,
}

/// Named objects that resources want, or that their bindings need.
pub type Relevant = BTreeSet<Target>;

/// All resources that refer to one broker.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Desired {
    pub items: Vec<Item>,
    /// Owners: of all resources that want the same the oldest.
    pub claims: BTreeMap<Identity, ObjectKey>,
    /// Owners of users that are declared with all their rights.
    pub wholes: BTreeMap<Target, ObjectKey>,
    /// The operator's own, which is never removed.
    pub reserved: Option<Identity>,
}

impl Desired {
    /// There is no such broker: nothing can be wanted of it.
    pub fn lose_broker(&mut self, message: &str) {
        for item in &mut self.items {
            if let Standing::Wanted(_) | Standing::Waiting(..) | Standing::Unknown | Standing::Observed(_) =
                item.standing
            {
                item.standing = Standing::Refused(Reason::WaitingForBroker, message.to_owned());
            }
        }
    }

    /// Keeps `user`, as which the operator itself is logged in, from being anybody else's.
    pub fn reserve(&mut self, user: &str) {
        let own = Identity::User(Name::new("", user));
        for item in &mut self.items {
            let Standing::Wanted(declared) = &item.standing else {
                continue;
            };
            let identity = declared.identity();
            if identity == own {
                let message = format!("{own} is the operator's own on this broker: give another name");
                item.standing = Standing::Refused(Reason::NotAllowed, message);
            } else if identity.whole().is_some_and(|whole| own.target() == Some(whole)) {
                let message = format!("{own} is the operator's own on this broker, and nobody else gives it rights");
                item.standing = Standing::Refused(Reason::NotAllowed, message);
            }
        }
        self.reserved = Some(own);
    }

    /// True if a resource owns an object, or that of which it is a part, and it is not `key`.
    pub fn is_others(&self, identity: &Identity, key: &ObjectKey) -> bool {
        let whole = identity.whole().and_then(|whole| self.wholes.get(&whole));
        let owner = self.claims.get(identity).or(whole);
        owner.is_some_and(|owner| owner != key)
    }

    /// The operator's own, or a part of it.
    pub fn is_reserved(&self, identity: &Identity) -> bool {
        let own = self.reserved.as_ref();
        let whole = identity.whole();
        own.is_some_and(|own| own == identity || (whole.is_some() && own.target() == whole))
    }

    /// Named objects that anything here is, or depends on.
    pub fn relevant(&self) -> Relevant {
        let observed = self.items.iter().filter_map(|item| match &item.standing {
            Standing::Observed(declared) => Some(declared.identity()),
            _ => None,
        });
        let all = self.claims.keys().cloned().chain(observed);
        let all = all.flat_map(|identity| {
            let needed = identity.needs().into_iter().map(|need| need.target);
            identity.target().into_iter().chain(needed)
        });
        let nothing = Topology::default();
        let parts = self.items.iter().flat_map(|item| match &item.standing {
            Standing::Wanted(declared) => [declared.parts(&nothing), declared.needs()].concat(),
            _ => Vec::new(),
        });
        all.chain(parts.map(|need| need.target)).collect()
    }
}

/// The broker that a resource in `namespace` refers to.
pub fn broker_key(reference: &BrokerRef, namespace: &str) -> ObjectKey {
    ObjectKey::broker(reference, namespace)
}

/// True if its Broker lets a resource in, with all that it reaches for.
pub fn is_let_in(snapshot: &Snapshot, key: &ObjectKey) -> bool {
    let Some((object, reference)) = snapshot
        .any(key)
        .and_then(|object| Some((object, object.broker_ref()?)))
    else {
        return false;
    };
    let broker = broker_key(reference, &key.namespace);
    let tenant = Tenant::new(
        &broker,
        snapshot.get(&broker).map(Arc::as_ref),
        &key.namespace,
        snapshot,
    );
    wish(object).is_some_and(|wish| match (wish.declared, wish.lacks) {
        (Ok(declared), _) => tenant.admits(key.kind, || declared.reaches()).is_ok(),
        // Its name stands in the Secret that it needs: what it may be called is looked at when that is known.
        (Err(_), Reason::WaitingForSecret) => tenant.admits(key.kind, Vec::new).is_ok(),
        (Err(_), _) => false,
    })
}

/// The ports at which others reach a broker for its ZeroMQ sockets: of all that may stand there.
pub fn open_ports(snapshot: &Snapshot, key: &ObjectKey) -> BTreeSet<u16> {
    let is_here = |socket: &Arc<Object<ZeroMqSocketSpec>>| {
        broker_key(&socket.spec.broker_ref, &socket.meta.key.namespace) == *key
    };
    if !snapshot.iter::<ZeroMqSocketSpec>().any(is_here) {
        return BTreeSet::new();
    }
    let desired = desired(snapshot, key);
    let stay = desired
        .items
        .iter()
        .filter(|item| !matches!(item.standing, Standing::Refused(..) | Standing::Leaving { .. }));
    let listen = |item: &Item| wish(snapshot.any(&item.key)?)?.declared.ok()?.demands().listen;
    let places = stay.filter_map(listen).filter(Listen::is_open);
    places.map(|place| place.port).collect()
}

/// Every broker that exists or is referred to.
pub fn broker_keys(snapshot: &Snapshot) -> BTreeSet<ObjectKey> {
    let places = snapshot.objects().map(|object| {
        let key = &object.meta().key;
        match object.broker_ref() {
            Some(reference) => (reference.namespace.as_ref().unwrap_or(&key.namespace), &reference.name),
            None => (&key.namespace, &key.name),
        }
    });
    let places: BTreeSet<(&String, &String)> = places.collect();
    let keys = places.into_iter();
    keys.map(|(namespace, name)| ObjectKey::new(Kind::Broker, namespace, name))
        .collect()
}

/// Objects on the broker by the resource that owns them. A binding that is being edited owns two for a while.
pub type Owned = BTreeMap<ObjectKey, BTreeSet<Identity>>;

/// Everything that should stand on the broker `key`.
pub fn desired(snapshot: &Snapshot, key: &ObjectKey) -> Desired {
    desired_among(snapshot, key, &BTreeSet::new(), &Owned::new())
}

/// Everything that should stand on the broker by its Broker `key`, where others lead to the same broker: what they want
/// counts when it comes to who owns what. `owned`: who owned what when that was last known, beside what statuses say.
pub fn desired_among(snapshot: &Snapshot, key: &ObjectKey, twins: &BTreeSet<ObjectKey>, owned: &Owned) -> Desired {
    let gate = |key| Gate {
        key,
        broker: snapshot.get(key).map(Arc::as_ref),
        snapshot,
    };
    let gates: BTreeMap<&ObjectKey, Gate<'_>> = twins.iter().chain([key]).map(|key| (key, gate(key))).collect();
    let mut tenants: BTreeMap<(&ObjectKey, &str), Tenant<'_>> = BTreeMap::new();
    let mut candidates = Vec::new();
    for object in snapshot.objects() {
        let meta = object.meta();
        let Some(reference) = object.broker_ref() else { continue };
        let broker = broker_key(reference, &meta.key.namespace);
        let (Some(gate), Some(wish)) = (gates.get(&broker), wish(object)) else {
            continue;
        };
        let namespace = meta.key.namespace.as_str();
        let tenant = tenants
            .entry((gate.key, namespace))
            .or_insert_with(|| gate.tenant(namespace));
        let mut candidate = gate.candidate(meta, wish, owned.get(&meta.key), tenant);
        if let (Some(here), true) = (gates.get(key), broker != *key)
            && here.has_rules()
        {
            let tenant = tenants
                .entry((key, namespace))
                .or_insert_with(|| here.tenant(namespace));
            candidate.is_held_against(tenant);
        }
        candidates.push(candidate);
    }
    resolve(candidates, key)
}

/// A resource with what it would own, and how old it is.
struct Candidate {
    item: Item,
    claim: Option<Identity>,
    created: i64,
    broker: ObjectKey,
    /// It owns that already.
    owns: bool,
    /// Limits for the number of such objects, of which one must have room; none: without limit.
    rooms: Vec<Room>,
    /// It takes up room, whether it owns anything or not.
    counts: bool,
    /// See [`Declared::has_all_rights`].
    has_all_rights: bool,
    /// Users as whom others act by it, which must be users of its namespace.
    acts: BTreeSet<String>,
    /// The place at which the broker listens for it.
    listen: Option<Listen>,
}

impl Candidate {
    /// Comes by another Broker that leads to the same broker: it takes nothing from those who come by this one, unless
    /// this one would let it in.
    fn is_held_against(&mut self, tenant: &Tenant<'_>) {
        let refused = |claim: &Identity| tenant.admits(claim.kind(), || claim.touches()).is_err();
        if self.claim.as_ref().is_some_and(refused) {
            self.claim = None;
        }
    }
}

/// Objects of a kind that a namespace has by a rule.
#[derive(Default)]
struct Taken<'a>(BTreeMap<(usize, &'a str, Kind), u32>);

impl<'a> Taken<'a> {
    /// Takes room for one more; false when there is none.
    fn one_more(&mut self, key: &'a ObjectKey, rooms: &[Room]) -> bool {
        let free = rooms.iter().find_map(|room| {
            let place = (room.rule, key.namespace.as_str(), key.kind);
            let taken = self.0.get(&place).copied().unwrap_or_default();
            (taken < room.most).then_some((place, taken))
        });
        let Some((place, taken)) = free else {
            return rooms.is_empty();
        };
        self.0.insert(place, taken + 1);
        true
    }
}

/// Everything that has been given so far, and to whom.
#[derive(Default)]
struct Given {
    claims: BTreeMap<Identity, ObjectKey>,
    /// The Brokers by which owners come, where it is another that leads to the same broker.
    ways: BTreeMap<Identity, ObjectKey>,
    /// Objects that were given with all their parts.
    wholes: BTreeMap<Target, ObjectKey>,
    places: Vec<(Listen, ObjectKey)>,
}

impl Given {
    /// The reason why a candidate cannot have what it wants.
    fn refusal(&self, identity: &Identity, candidate: &Candidate) -> Option<(Reason, String)> {
        let whole = identity
            .whole()
            .and_then(|whole| Some((self.wholes.get(&whole)?, whole)));
        if let Some((owner, whole)) = whole {
            let message = format!("{identity} belongs to {owner}, which gives {whole} all its rights");
            return Some((Reason::Conflict, message));
        }
        if let Some(winner) = self.claims.get(identity) {
            let way = self.ways.get(identity);
            let way = way.map(|way| format!("; {way} leads to the same broker"));
            let message = format!(
                "{identity} belongs to {winner}, which is older{}",
                way.unwrap_or_default()
            );
            return Some((Reason::Conflict, message));
        }
        let listen = candidate.listen.as_ref();
        let mut places = self.places.iter();
        if let Some((listen, (_, winner))) =
            listen.and_then(|listen| Some((listen, places.find(|(place, _)| place.meets(listen))?)))
        {
            let message = format!("port {} belongs to {winner}, which is older", listen.port);
            return Some((Reason::Conflict, message));
        }
        let namespace = &candidate.item.key.namespace;
        let is_theirs = |user: &&String| {
            let owner = self.claims.get(&Identity::User(Name::new("", user.as_str())));
            owner.is_none_or(|owner| owner.namespace != *namespace)
        };
        let wanted = matches!(candidate.item.standing, Standing::Wanted(_));
        let user = candidate.acts.iter().find(is_theirs).filter(|_| wanted)?;
        let message = format!(
            "{} does not allow this from namespace {namespace}: user '{user}' is none that a User of that namespace \
             declares",
            candidate.broker
        );
        Some((Reason::NotAllowed, message))
    }

    fn take(&mut self, identity: Identity, candidate: &Candidate, is_here: bool) {
        let key = &candidate.item.key;
        if !is_here {
            self.ways.insert(identity.clone(), candidate.broker.clone());
        }
        self.places
            .extend(candidate.listen.clone().map(|listen| (listen, key.clone())));
        let whole = identity.target().filter(|_| candidate.has_all_rights);
        self.wholes.extend(whole.zip(Some(key.clone())));
        self.claims.insert(identity, key.clone());
    }
}

/// Gives everything to the oldest that wants it. Ages count in seconds: of one age, the one that owns it keeps it, and
/// without an owner namespace and name decide, so that every replica and every restart decides alike.
fn resolve(mut candidates: Vec<Candidate>, broker: &ObjectKey) -> Desired {
    let mut order: Vec<usize> = (0..candidates.len()).collect();
    order.sort_by(|a, b| {
        let age = |index: &usize| {
            candidates.get(*index).map(|candidate| {
                // Parts last: whose their wholes are is known then. And sockets, by which others act as users.
                let is_part = candidate.claim.as_ref().is_some_and(|claim| claim.whole().is_some());
                let is_last = is_part || candidate.listen.is_some();
                (is_last, candidate.created, !candidate.owns, &candidate.item.key)
            })
        };
        age(a).cmp(&age(b))
    });
    let mut given = Given::default();
    let mut taken = Taken::default();
    let keys: Vec<ObjectKey> = candidates.iter().map(|candidate| candidate.item.key.clone()).collect();
    for index in order {
        let (Some(candidate), Some(key)) = (candidates.get_mut(index), keys.get(index)) else {
            continue;
        };
        let here = candidate.broker == *broker;
        let Some(identity) = candidate.claim.clone() else {
            if candidate.counts && here {
                taken.one_more(key, &candidate.rooms);
            }
            continue;
        };
        if let Some((reason, message)) = given.refusal(&identity, candidate) {
            candidate.item.standing = Standing::Refused(reason, message);
        } else if here && !taken.one_more(key, &candidate.rooms) {
            let message = Tenant::too_many(broker, key, &candidate.rooms);
            candidate.item.standing = Standing::Refused(Reason::NotAllowed, message);
        } else {
            given.take(identity, candidate, here);
        }
    }
    Desired {
        items: candidates
            .into_iter()
            .filter(|candidate| candidate.broker == *broker)
            .map(|candidate| candidate.item)
            .collect(),
        claims: given.claims,
        wholes: given.wholes,
        reserved: None,
    }
}

/// Decides which resources may come in.
struct Gate<'a> {
    key: &'a ObjectKey,
    broker: Option<&'a Object<BrokerSpec>>,
    snapshot: &'a Snapshot,
}

impl<'a> Gate<'a> {
    /// The rights of a namespace here.
    fn tenant<'n>(&self, namespace: &'n str) -> Tenant<'n>
    where
        'a: 'n,
    {
        Tenant::new(self.key, self.broker, namespace, self.snapshot)
    }

    fn has_rules(&self) -> bool {
        self.broker
            .is_some_and(|broker| !broker.spec.allowed_namespaces.rules.is_empty())
    }

    fn candidate(&self, meta: &Meta, wish: Wish, owned: Option<&BTreeSet<Identity>>, tenant: &Tenant<'_>) -> Candidate {
        let Wish {
            mut declared,
            lacks,
            policies,
        } = wish;
        let named = declared
            .as_mut()
            .map(|declared| name_users(self.snapshot, meta, self.key, declared));
        let unnamed = named.unwrap_or(Ok(())).err();
        let Policies { deletion, adoption } = policies;
        let claim = declared.as_ref().ok().map(Declared::identity);
        let has_all_rights = declared.as_ref().is_ok_and(Declared::has_all_rights);
        let reaches = || declared.as_ref().map(Declared::reaches).unwrap_or_default();
        let (rooms, refusal) = match tenant.admits(meta.key.kind, reaches) {
            Ok(rooms) => (rooms, None),
            Err(message) => (Vec::new(), Some(message)),
        };
        let counts = refusal.is_none() && meta.deleting.is_some();
        let Demands { acts, listen, needs: _ } = declared.as_ref().map(Declared::demands).unwrap_or_default();
        let standing = match (meta.deleting, refusal, declared) {
            (Some(since), _, _) => Standing::Leaving {
                since,
                forced: is_confirmed(&meta.annotations, FORCE_DELETE) || self.is_hands_off(meta),
            },
            (None, Some(message), _) => Standing::Refused(Reason::NotAllowed, message),
            (None, None, Err(message)) if lacks == Reason::InvalidArgument => Standing::Refused(lacks, message),
            (None, None, Err(message)) => self.without_name(meta, lacks, message),
            (None, None, Ok(_)) if self.is_paused(meta) => Standing::Paused,
            (None, None, Ok(declared)) if self.is_marked(meta, OBSERVE) => Standing::Observed(declared),
            (None, None, Ok(declared)) => match unnamed {
                Some((Reason::InvalidArgument, message)) => Standing::Refused(Reason::InvalidArgument, message),
                Some((reason, message)) => Standing::Waiting(reason, message),
                None => self.wanted(meta, declared),
            },
        };
        let claims = matches!(
            standing,
            Standing::Wanted(_) | Standing::Waiting(..) | Standing::Unknown | Standing::Paused
        );
        let barred = barred(tenant, meta, owned);
        Candidate {
            item: Item {
                key: meta.key.clone(),
                uid: meta.uid.clone(),
                generation: meta.generation,
                finalized: meta.finalized,
                paused: self.is_paused(meta),
                // Paused, or observed, means that nothing on the broker is touched, whatever happens to the resource.
                deletion: if self.is_hands_off(meta) {
                    Deletion::Retain
                } else {
                    deletion
                },
                adoption,
                secret: self.secret(meta),
                standing,
                barred,
            },
            owns: claim.as_ref().is_some_and(|claim| {
                let known = owned.is_some_and(|owned| owned.contains(claim));
                known || Identity::recall(meta.key.kind, &meta.status).contains(claim)
            }),
            claim: claim.filter(|_| claims),
            created: meta.created,
            broker: self.key.clone(),
            rooms,
            counts,
            has_all_rights,
            acts: if tenant.is_free() { BTreeSet::new() } else { acts },
            listen,
        }
    }

    /// A resource that wants an object, with what is in Secrets.
    fn wanted(&self, meta: &Meta, mut declared: Declared) -> Standing {
        match reveal(self.snapshot, meta, &mut declared) {
            Referred::Whole => Standing::Wanted(declared),
            Referred::Missing(reason, message) => Standing::Waiting(reason, message),
            Referred::Unknown => Standing::Unknown,
        }
    }

    /// The name of the object, or of the user that it is a part of, is still to be found.
    fn without_name(&self, meta: &Meta, lacks: Reason, message: String) -> Standing {
        let passwords = self.snapshot.passwords.as_ref().filter(|_| meta.key.kind == Kind::User);
        match passwords.map(|all| all.get(&meta.key)) {
            None => Standing::Waiting(lacks, message),
            Some(Some(Password::Missing(reason, message))) => Standing::Waiting(*reason, message.clone()),
            Some(None | Some(Password::Known { .. })) => Standing::Unknown,
        }
    }

    fn secret(&self, meta: &Meta) -> Option<String> {
        match self.snapshot.passwords.as_ref()?.get(&meta.key)? {
            Password::Known { secret, .. } => secret.clone(),
            Password::Missing(..) => None,
        }
    }

    fn is_paused(&self, meta: &Meta) -> bool {
        self.is_marked(meta, PAUSED)
    }

    /// Nothing on the broker is touched for it.
    fn is_hands_off(&self, meta: &Meta) -> bool {
        self.is_paused(meta) || self.is_marked(meta, OBSERVE)
    }

    /// The resource has an annotation, or its Broker has it for all.
    fn is_marked(&self, meta: &Meta, annotation: &str) -> bool {
        let broker = self
            .broker
            .is_some_and(|broker| is_set(&broker.meta.annotations, annotation));
        broker || is_set(&meta.annotations, annotation)
    }
}

/// The part of what a resource owns, or says that it owns, that it may not touch. While the labels of its namespace are
/// not known that is nothing: what is being deleted just then is not left behind for it.
fn barred(tenant: &Tenant<'_>, meta: &Meta, owned: Option<&BTreeSet<Identity>>) -> BTreeMap<Identity, String> {
    if tenant.is_free() || tenant.is_doubtful {
        return BTreeMap::new();
    }
    // A status costs more to read than what is known of it.
    let owned = owned
        .cloned()
        .unwrap_or_else(|| Identity::recall(meta.key.kind, &meta.status));
    let refused = |identity: Identity| {
        let refusal = tenant.admits(identity.kind(), || identity.touches()).err()?;
        Some((identity, refusal))
    };
    owned.into_iter().filter_map(refused).collect()
}

#[cfg(test)]
pub(crate) mod tests;
