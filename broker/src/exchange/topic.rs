//! `topic`: by the words of the key. `*` stands for one word, `#` for any number, also none (AMQP 0-9-1, 3.1.3.3).
//!
//! The binding keys are a trie of words, so that the cost of a message grows with the words of its key and the
//! wildcards on its way, not with the number of bindings. A node is looked at once for each place in the key, however
//! many ways lead there: the work is never more than nodes times words.

use super::binding::Binding;
use super::router::{OutOfSteps, Router, Routing, Steps, Type, plain};
use super::target::{Target, Targets};
use std::collections::HashMap;
use std::sync::Arc;

/// The type.
pub static TYPE: Type = Type {
    name: "topic",
    description: "AMQP topic exchange, as per the AMQP specification",
    check,
    router: plain::<Topic>,
};

/// `#` in one binding key, at most (RabbitMQ's limit). Earlier versions took more: the log may have such keys.
const MOST_HASHES: usize = 2;

fn check(binding: &Binding) -> Result<(), String> {
    let hashes = words(binding.routing_key.as_bytes())
        .filter(|word| word == b"#")
        .count();
    if hashes <= MOST_HASHES {
        return Ok(());
    }
    let key = binding.routing_key.to_str_lossy();
    Err(format!(
        "Topic binding key '{key}' uses {hashes} '#' wildcards, at most {MOST_HASHES} are allowed"
    ))
}

/// Words of a key for which no memory is asked for.
const FEW: usize = 16;

/// Number of a node among all of its exchange.
type NodeId = u32;
/// The node for the empty key. It is no other one's child, so as a child it stands for none.
const ROOT: NodeId = 0;

/// Destinations by pattern.
struct Topic {
    nodes: Vec<Node>,
    /// Numbers of nodes that are of no use at present.
    free: Vec<NodeId>,
}

#[derive(Default)]
struct Node {
    words: HashMap<Box<[u8]>, NodeId, foldhash::fast::RandomState>,
    one: NodeId,
    many: NodeId,
    /// True below a `#`: the same node may be come to at several places in a key.
    below_many: bool,
    targets: Targets,
}

impl Default for Topic {
    fn default() -> Self {
        Self {
            nodes: vec![Node::default()],
            free: Vec::new(),
        }
    }
}

impl Router for Topic {
    fn bind(&mut self, binding: &Arc<Binding>, target: Target) {
        self.add(binding.routing_key.as_bytes(), target);
    }

    fn unbind(&mut self, binding: &Arc<Binding>, target: &Target) {
        self.remove(binding.routing_key.as_bytes(), target);
    }

    fn route<'a>(
        &'a self,
        routing: &Routing<'_>,
        steps: &mut Steps,
        found: &mut dyn FnMut(&'a Target),
    ) -> Result<(), OutOfSteps> {
        for key in routing.keys {
            self.find(key, steps, found)?;
        }
        Ok(())
    }
}

/// A node to be looked at, for the word at a place in the key and, behind a `#`, for all of them up to another place.
struct Look {
    node: NodeId,
    at: u32,
    until: u32,
}

/// One key on its way through the trie.
struct Way<'w> {
    words: &'w [&'w [u8]],
    looks: Vec<Look>,
    /// For nodes behind a second `#`: the first place that they were looked at for. All behind it follow.
    first: HashMap<NodeId, u32, foldhash::fast::FixedState>,
}

impl Way<'_> {
    fn go_on(&mut self, node: NodeId, at: u32) {
        self.looks.push(Look { node, at, until: at });
    }

    /// Goes on to a node behind a `#`, which stands for any number of words from a place on. `many_before`: the same
    /// `#` may be come to again.
    fn go_on_behind_many(&mut self, node: NodeId, at: u32, many_before: bool) {
        let mut until = self.words.len() as u32;
        if many_before {
            if let Some(first) = self.first.get(&node) {
                if *first <= at {
                    return;
                }
                until = first - 1;
            }
            self.first.insert(node, at);
        }
        self.looks.push(Look { node, at, until });
    }

    /// True if a node behind a `#`, where a pattern ends, is come to for the first time.
    fn is_first(&mut self, node: NodeId) -> bool {
        self.first.insert(node, 0).is_none()
    }
}

impl Topic {
    fn node(&self, id: NodeId) -> Option<&Node> {
        self.nodes.get(id as usize)
    }

    fn node_mut(&mut self, id: NodeId) -> Option<&mut Node> {
        self.nodes.get_mut(id as usize)
    }

    fn add(&mut self, key: &[u8], target: Target) {
        let mut at = ROOT;
        for word in words(key) {
            at = self.child_or_new(at, word);
        }
        if let Some(node) = self.node_mut(at) {
            node.targets.add(target);
        }
    }

    fn child_or_new(&mut self, parent: NodeId, word: &[u8]) -> NodeId {
        let Some(node) = self.node(parent) else { return ROOT };
        if let Some(child) = node.child(word) {
            return child;
        }
        let new = Node {
            below_many: node.below_many || word == b"#",
            ..Node::default()
        };
        let child = match self.free.pop() {
            Some(free) => free,
            None => {
                self.nodes.push(Node::default());
                (self.nodes.len() - 1) as NodeId
            }
        };
        if let Some(node) = self.node_mut(child) {
            *node = new;
        }
        if let Some(node) = self.node_mut(parent) {
            node.set_child(word, child);
        }
        child
    }

    fn remove(&mut self, key: &[u8], target: &Target) {
        let mut passed = Vec::new();
        let mut at = ROOT;
        for word in words(key) {
            let Some(child) = self.node(at).and_then(|node| node.child(word)) else {
                return;
            };
            passed.push((at, word));
            at = child;
        }
        if let Some(node) = self.node_mut(at) {
            node.targets.remove(target);
        }
        while self.node(at).is_some_and(Node::is_idle) {
            let Some((parent, word)) = passed.pop() else { return };
            if let Some(node) = self.node_mut(at) {
                *node = Node::default();
            }
            self.free.push(at);
            if let Some(parent) = self.node_mut(parent) {
                parent.forget_child(word);
            }
            at = parent;
        }
    }

    fn find<'a>(&'a self, key: &[u8], steps: &mut Steps, found: &mut dyn FnMut(&'a Target)) -> Result<(), OutOfSteps> {
        let (mut few, mut many) = ([&[][..]; FEW], Vec::new());
        let mut way = Way {
            words: split(key, &mut few, &mut many),
            looks: Vec::with_capacity(8),
            first: HashMap::default(),
        };
        way.go_on(ROOT, 0);
        while let Some(Look { node: id, at, until }) = way.looks.pop() {
            steps.take(1)?;
            let Some(node) = self.node(id) else { continue };
            if at < until {
                way.looks.push(Look {
                    node: id,
                    at: at + 1,
                    until,
                });
            }
            if node.many != ROOT
                && let Some(many) = self.node(node.many)
            {
                if !many.is_end() {
                    way.go_on_behind_many(node.many, at, node.below_many);
                } else if !node.below_many || way.is_first(node.many) {
                    // The pattern ends here, so the `#` takes all the rest.
                    steps.take(many.targets.len())?;
                    many.targets.iter().for_each(&mut *found);
                }
            }
            match way.words.get(at as usize) {
                None => {
                    steps.take(node.targets.len())?;
                    node.targets.iter().for_each(&mut *found);
                }
                Some(word) => {
                    if let Some(child) = node.words.get(*word) {
                        way.go_on(*child, at + 1);
                    }
                    if node.one != ROOT {
                        way.go_on(node.one, at + 1);
                    }
                }
            }
        }
        Ok(())
    }
}

impl Node {
    fn child(&self, word: &[u8]) -> Option<NodeId> {
        match word {
            b"*" => Some(self.one).filter(|child| *child != ROOT),
            b"#" => Some(self.many).filter(|child| *child != ROOT),
            word => self.words.get(word).copied(),
        }
    }

    fn set_child(&mut self, word: &[u8], child: NodeId) {
        match word {
            b"*" => self.one = child,
            b"#" => self.many = child,
            word => _ = self.words.insert(word.into(), child),
        }
    }

    fn forget_child(&mut self, word: &[u8]) {
        match word {
            b"*" => self.one = ROOT,
            b"#" => self.many = ROOT,
            word => _ = self.words.remove(word),
        }
    }

    /// True if no key goes on from here.
    fn is_end(&self) -> bool {
        self.words.is_empty() && self.one == ROOT && self.many == ROOT
    }

    /// True if it is of no use.
    fn is_idle(&self) -> bool {
        self.targets.is_empty() && self.is_end()
    }
}

/// The words of a key: in `few` if they find room there, and else in `many`.
fn split<'k, 'w>(key: &'k [u8], few: &'w mut [&'k [u8]; FEW], many: &'w mut Vec<&'k [u8]>) -> &'w [&'k [u8]] {
    let mut words = words(key);
    let mut count = 0;
    for (place, word) in few.iter_mut().zip(&mut words) {
        *place = word;
        count += 1;
    }
    if count < FEW {
        return few.get(..count).unwrap_or_default();
    }
    many.extend(few.iter().copied().chain(words));
    many
}

fn words(key: &[u8]) -> impl Iterator<Item = &[u8]> {
    // An empty key is no word at all, as in RabbitMQ: `#` matches it, `*` doesn't.
    let empty = key.is_empty();
    key.split(|byte| *byte == b'.').take(if empty { 0 } else { usize::MAX })
}

#[cfg(test)]
mod tests {
    use super::*;
    use leveret_amqp::ShortString;
    use proptest::prelude::*;

    fn target(name: &str) -> Target {
        Target::Exchange(ShortString::try_from(name).expect("short"))
    }

    fn routes(topic: &Topic, key: &str) -> Vec<String> {
        let mut found = Vec::new();
        let routed = topic.find(key.as_bytes(), &mut Steps::new(usize::MAX), &mut |target| {
            if let Target::Exchange(name) = target {
                found.push(name.to_str_lossy().into_owned());
            }
        });
        assert_eq!(routed, Ok(()));
        found.sort();
        let all = found.len();
        found.dedup();
        assert_eq!(found.len(), all, "each pattern is found once");
        found
    }

    /// Steps that a key takes.
    fn steps(topic: &Topic, key: &str) -> usize {
        let mut steps = Steps::new(1_000_000);
        assert_eq!(topic.find(key.as_bytes(), &mut steps, &mut |_| {}), Ok(()));
        1_000_000 - steps.left()
    }

    /// The definition of a match, word by word.
    fn matches(pattern: &[&str], key: &[&str]) -> bool {
        match (pattern.split_first(), key.split_first()) {
            (None, None) => true,
            (Some((&"#", rest)), _) => {
                matches(rest, key) || key.split_first().is_some_and(|(_, k)| matches(pattern, k))
            }
            (Some((&"*", rest)), Some((_, key))) => matches(rest, key),
            (Some((word, rest)), Some((first, key))) => word == first && matches(rest, key),
            _ => false,
        }
    }

    #[test]
    fn wildcards_stand_for_words() {
        let mut topic = Topic::default();
        for pattern in ["*.orange.*", "*.*.rabbit", "lazy.#", "#", "a.#.b", ""] {
            topic.add(pattern.as_bytes(), target(pattern));
        }
        assert_eq!(routes(&topic, "quick.orange.rabbit"), ["#", "*.*.rabbit", "*.orange.*"]);
        assert_eq!(routes(&topic, "lazy"), ["#", "lazy.#"]);
        assert_eq!(routes(&topic, "a.b"), ["#", "a.#.b"]);
        assert_eq!(routes(&topic, "a.x.y.b"), ["#", "a.#.b"]);
        assert_eq!(routes(&topic, ""), ["", "#"]);
    }

    #[test]
    fn a_key_has_as_many_words_as_it_has() {
        for count in 0..40 {
            let key = vec!["ab"; count].join(".");
            let (mut few, mut many) = ([&[][..]; FEW], Vec::new());
            let words = split(key.as_bytes(), &mut few, &mut many);
            assert_eq!(words, vec![b"ab"; count], "{key}");
        }
        let mut topic = Topic::default();
        let long = ["*"; 17].join(".");
        topic.add(long.as_bytes(), target("long"));
        for (words, found) in [(16, 0), (17, 1), (18, 0)] {
            assert_eq!(routes(&topic, &vec!["x"; words].join(".")).len(), found, "{words}");
        }
    }

    /// A key that earlier versions took, in the log still: every split of the words among the `#` is a way.
    #[test]
    fn the_work_for_a_key_is_at_most_nodes_times_words() {
        for hashes in [2, 8, 12, 60] {
            let mut topic = Topic::default();
            let pattern = "#.a.".repeat(hashes) + "b";
            topic.add(pattern.as_bytes(), target("x"));
            for words in [30, 60, 120] {
                let key = vec!["a"; words].join(".");
                let most = topic.nodes.len() * (words + 1);
                assert!(
                    steps(&topic, &key) <= most,
                    "{hashes} in {words} words: {}",
                    steps(&topic, &key)
                );
                let found = routes(&topic, &(key + ".b"));
                assert_eq!(found.len(), usize::from(words >= hashes), "{hashes} in {words} words");
            }
        }
    }

    #[test]
    fn a_message_that_needs_more_steps_is_given_up() {
        let mut topic = Topic::default();
        for number in 0..50 {
            topic.add(format!("#.{number}.#").as_bytes(), target("x"));
            topic.add(b"#", target(&number.to_string()));
        }
        let key = b"a.b.c.d.e.f.g.h";
        let needed = steps(&topic, "a.b.c.d.e.f.g.h");
        assert_eq!(topic.find(key, &mut Steps::new(needed), &mut |_| {}), Ok(()));
        assert_eq!(
            topic.find(key, &mut Steps::new(needed - 1), &mut |_| {}),
            Err(OutOfSteps)
        );
    }

    proptest! {
        #[test]
        fn the_trie_matches_as_the_definition_does(
            patterns in proptest::collection::vec("([abc*#](\\.[abc*#]){0,4})", 1..12),
            keys in proptest::collection::vec("([abc](\\.[abc]){0,5})", 1..12),
            removed in any::<usize>(),
        ) {
            let mut patterns: Vec<String> = patterns;
            patterns.sort();
            patterns.dedup();
            let mut topic = Topic::default();
            for pattern in &patterns {
                topic.add(pattern.as_bytes(), target(pattern));
            }
            let gone = patterns.remove(removed % patterns.len());
            topic.remove(gone.as_bytes(), &target(&gone));
            for key in &keys {
                let words: Vec<&str> = key.split('.').collect();
                let expected: Vec<String> = patterns
                    .iter()
                    .filter(|pattern| matches(&pattern.split('.').collect::<Vec<_>>(), &words))
                    .cloned()
                    .collect();
                prop_assert_eq!(routes(&topic, key), expected, "key {}", key);
            }
            for pattern in &patterns {
                topic.remove(pattern.as_bytes(), &target(pattern));
            }
            prop_assert!(topic.node(ROOT).is_some_and(Node::is_idle), "nothing is left");
            prop_assert_eq!(topic.free.len() + 1, topic.nodes.len());
        }
    }
}
