//! `topic`: by the words of the key. `*` stands for one word, `#` for any number, also none (AMQP 0-9-1, 3.1.3.3).
//!
//! The binding keys are a trie of words, so that the cost of a message grows with the words of its key and the
//! wildcards on its way, not with the number of bindings.

use super::binding::Binding;
use super::router::{Router, Routing, Type, plain};
use super::target::{Target, Targets};
use std::collections::HashMap;

/// The type.
pub static TYPE: Type = Type {
    name: "topic",
    description: "AMQP topic exchange, as per the AMQP specification",
    router: plain::<Topic>,
};

/// `#` in one binding key, at most: the work for a message grows by a factor with each (RabbitMQ's limit).
const MOST_HASHES: usize = 2;

/// Destinations by pattern.
#[derive(Default)]
struct Topic {
    root: Node,
}

#[derive(Default)]
struct Node {
    words: HashMap<Box<[u8]>, Node>,
    one: Option<Box<Node>>,
    many: Option<Box<Node>>,
    targets: Targets,
}

impl Router for Topic {
    fn check(&self, binding: &Binding) -> Result<(), String> {
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

    fn bind(&mut self, binding: &Binding, target: Target) {
        self.add(binding.routing_key.as_bytes(), target);
    }

    fn unbind(&mut self, binding: &Binding, target: &Target) {
        self.remove(binding.routing_key.as_bytes(), target);
    }

    fn route<'a>(&'a self, routing: &Routing<'_>, found: &mut dyn FnMut(&'a Target)) {
        for key in routing.keys {
            self.find(key, found);
        }
    }
}

impl Topic {
    fn add(&mut self, key: &[u8], target: Target) {
        let mut node = &mut self.root;
        for word in words(key) {
            node = match word {
                b"*" => node.one.get_or_insert_default(),
                b"#" => node.many.get_or_insert_default(),
                word => node.words.entry(word.into()).or_default(),
            };
        }
        node.targets.add(target);
    }

    fn remove(&mut self, key: &[u8], target: &Target) {
        let words: Vec<&[u8]> = words(key).collect();
        self.root.unbind(&words, target);
    }

    fn find<'a>(&'a self, key: &[u8], found: &mut dyn FnMut(&'a Target)) {
        // A key is at most 255 bytes, so at most 256 words.
        let words: Vec<&[u8]> = words(key).collect();
        self.root.route(&words, found);
    }
}

impl Node {
    fn route<'a>(&'a self, words: &[&[u8]], found: &mut dyn FnMut(&'a Target)) {
        if let Some(many) = &self.many {
            many.route_after_many(words, found);
        }
        let Some((first, rest)) = words.split_first() else {
            self.targets.iter().for_each(found);
            return;
        };
        if let Some(node) = self.words.get(*first) {
            node.route(rest, found);
        }
        if let Some(one) = &self.one {
            one.route(rest, found);
        }
    }

    /// This node stands behind a `#`, which takes any number of the words.
    fn route_after_many<'a>(&'a self, words: &[&[u8]], found: &mut dyn FnMut(&'a Target)) {
        if self.words.is_empty() && self.one.is_none() && self.many.is_none() {
            // The pattern ends here, so the `#` takes all the rest.
            self.targets.iter().for_each(found);
            return;
        }
        for taken in 0..=words.len() {
            self.route(words.get(taken..).unwrap_or_default(), found);
        }
    }

    /// Removes a target; true if the node is of no more use.
    fn unbind(&mut self, words: &[&[u8]], target: &Target) -> bool {
        match words.split_first() {
            None => self.targets.remove(target),
            Some((&b"*", rest)) => {
                if self.one.as_mut().is_some_and(|node| node.unbind(rest, target)) {
                    self.one = None;
                }
            }
            Some((&b"#", rest)) => {
                if self.many.as_mut().is_some_and(|node| node.unbind(rest, target)) {
                    self.many = None;
                }
            }
            Some((word, rest)) => {
                if self.words.get_mut(*word).is_some_and(|node| node.unbind(rest, target)) {
                    self.words.remove(*word);
                }
            }
        }
        self.targets.is_empty() && self.words.is_empty() && self.one.is_none() && self.many.is_none()
    }
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
        topic.find(key.as_bytes(), &mut |target| {
            if let Target::Exchange(name) = target {
                found.push(name.to_str_lossy().into_owned());
            }
        });
        found.sort();
        found.dedup();
        found
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
            prop_assert!(topic.root.words.is_empty() && topic.root.one.is_none() && topic.root.many.is_none());
        }
    }
}
