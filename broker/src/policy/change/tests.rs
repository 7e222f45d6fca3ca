use super::*;
use crate::pattern;
use leveret_amqp::{FieldTable, FieldValue, ShortString};
use proptest::prelude::*;

fn policy(class: Class, name: &str, pattern: &str, priority: i64) -> Policy {
    let pair = |(name, value)| (ShortString::from_static(name), value);
    let definition: FieldTable = [("max-length", 1.into())].into_iter().map(pair).collect();
    let fields = [
        ("pattern", pattern.into()),
        ("priority", priority.into()),
        ("definition", FieldValue::Table(definition)),
    ];
    Policy::parse(class, name, &fields.into_iter().map(pair).collect()).expect("a policy")
}

/// An object by its name, with what applies to it.
type Object = (String, Option<Arc<Applied>>);

/// Puts or removes a policy, and has each object have what applies to it.
fn change(policies: &mut Arc<Policies>, class: Class, name: &str, put: Option<Policy>, objects: &mut [Object]) {
    let old = policies.get(class, name).cloned();
    let mut changed = Policies::clone(policies);
    let differs = match put {
        Some(policy) => changed.put(class, policy),
        None => changed.remove(class, name).is_some(),
    };
    if !differs {
        return;
    }
    *policies = Arc::new(changed);
    let change = Change::new(policies.clone(), class, name, old);
    for (name, applied) in objects {
        *applied = change.applies(applied.as_ref(), Kind::Classic, name.as_bytes());
    }
}

#[derive(Clone, Debug)]
struct Step {
    class: Class,
    name: String,
    put: Option<(&'static str, i64)>,
}

fn step() -> impl Strategy<Value = Step> {
    let pattern = prop::sample::select(vec!["", "a", "^b", "c$", "^(a|c)", "x"]);
    let put = prop::option::weighted(0.8, (pattern, -2..3_i64));
    (any::<bool>(), 0..5, put).prop_map(|(operator, name, put)| Step {
        class: if operator { Class::Operator } else { Class::User },
        name: format!("p{name}"),
        put,
    })
}

proptest! {
    #[test]
    fn what_follows_from_each_change_is_what_a_search_finds(steps in prop::collection::vec(step(), 1..40)) {
        let mut policies = Arc::new(Policies::default());
        let names = ["a", "b", "c", "ab", "bc", "ca", "z"];
        let mut objects: Vec<Object> = names.iter().map(|name| (name.to_string(), None)).collect();
        for Step { class, name, put } in steps {
            let put = put.map(|(pattern, priority)| policy(class, &name, pattern, priority));
            change(&mut policies, class, &name, put, &mut objects);
            for (name, applied) in &objects {
                prop_assert_eq!(applied, &policies.of(Kind::Classic, name.as_bytes()));
            }
        }
    }
}

#[test]
fn a_change_matches_one_pattern_for_each_object_however_many_policies_there_are() {
    let mut policies = Policies::default();
    for number in 0..1000 {
        let of_one = policy(Class::User, &format!("p{number}"), &format!("^q{number}$"), 1);
        assert!(policies.put(Class::User, of_one));
    }
    let mut policies = Arc::new(policies);
    let of = |name: String| {
        let applied = policies.of(Kind::Classic, name.as_bytes());
        (name, applied)
    };
    let mut objects: Vec<Object> = (990..1190).map(|number| of(format!("q{number}"))).collect();
    let mut looks = |class, name: &str, put: Option<Policy>| {
        let before = pattern::looks();
        change(&mut policies, class, name, put, &mut objects);
        let under = objects.iter().filter(|(_, applied)| applied.is_some()).count();
        (pattern::looks() - before, under)
    };
    let all = |priority| Some(policy(Class::User, "all", "", priority));
    let own = Some(policy(Class::Operator, "own", "^q1", 0));
    assert_eq!(looks(Class::Operator, "own", own), (200, 200));
    assert_eq!(looks(Class::Operator, "own", None), (0, 10));
    // Those with a policy of higher priority are not asked.
    assert_eq!(looks(Class::User, "all", all(0)), (190, 200));
    assert_eq!(looks(Class::User, "all", all(2)), (200, 200));
    // Who loses a policy looks for the next: behind it.
    let (looked, under) = looks(Class::User, "all", all(-1));
    assert!((190 * 1000..200 * 1001).contains(&looked) && under == 200);
    assert_eq!(looks(Class::User, "all", None), (0, 10));
}
