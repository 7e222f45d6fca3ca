use super::*;
use bytes::Bytes;
use proptest::prelude::*;

#[test]
fn columns_choose_fields_also_of_objects_within() {
    let columns = Columns::parse("name,stats.publish,nothing").expect("short paths");
    let json = object(columns.as_ref(), |o| {
        o.text("name", "a\"\n");
        o.number("messages", 1);
        o.object("stats", |o| {
            o.number("publish", 2);
            o.number("ack", 3);
        });
    });
    assert_eq!(
        String::from_utf8_lossy(&json),
        r#"{"name":"a\"\n","stats":{"publish":2}}"#
    );
    assert_eq!(Columns::parse(",,"), Ok(None));
}

#[test]
fn a_column_that_is_nested_too_deep_is_refused() {
    assert!(Columns::parse("a.b.c.d.e.f.g.h,b").is_ok_and(|columns| columns.is_some()));
    let refused = Columns::parse(&format!("name,{}", vec!["a"; 100_000].join("."))).expect_err("too deep");
    let text = refused.to_string();
    assert!(text.starts_with("the column 'a.a.a") && text.len() < 200, "{text}");
}

#[test]
fn numbers_that_json_does_not_have_are_null() {
    let mut table = FieldTable::new();
    table.push(ShortString::from_static("nan"), FieldValue::Double(f64::NAN));
    table.push(ShortString::from_static("inf"), FieldValue::Float(f32::INFINITY));
    table.push(ShortString::from_static("pi"), FieldValue::Double(3.25));
    table.push(ShortString::from_static("pi"), FieldValue::Int(3));
    table.push(
        ShortString::from_static("price"),
        FieldValue::Decimal { scale: 2, value: 1250 },
    );
    table.push(
        ShortString::from_static("raw"),
        FieldValue::LongString(Bytes::from_static(b"\xff")),
    );
    let json = object(None, |o| o.table("t", &table));
    let back: Value = serde_json::from_slice(&json).expect("JSON");
    let expected = serde_json::json!({"t": {"nan": null, "inf": null, "pi": 3.25, "price": 12.5, "raw": "Not UTF-8, base64 is: /w=="}});
    assert_eq!(back, expected);
}

#[test]
fn what_amqp_has_no_type_for_is_refused() {
    let large = serde_json::json!({"n": u64::MAX});
    assert_eq!(
        table(Some(&large)),
        Err(TableError::TooLarge("18446744073709551615".into()))
    );
    let text = serde_json::json!("x");
    assert_eq!(table(Some(&text)), Err(TableError::NotAnObject("\"x\"".into())));
    let mut deep = serde_json::json!(1);
    for _ in 0..40 {
        deep = serde_json::json!({ "a": deep });
    }
    assert_eq!(table(Some(&deep)), Err(TableError::TooDeep));
    let long = serde_json::json!({ "x".repeat(256): 1 });
    assert_eq!(table(Some(&long)), Err(TableError::LongName("x".repeat(256))));
    assert_eq!(table(Some(&serde_json::json!([]))), Ok(FieldTable::new()));
}

#[test]
fn types_are_those_that_rabbitmq_chooses() {
    let json = serde_json::json!({"i": 1, "d": 1.5, "s": "x", "b": true, "n": null, "a": [1, "y"], "t": {"k": -1}});
    let table = table(Some(&json)).expect("a table");
    let letters: Vec<(String, u8)> = table
        .iter()
        .map(|(name, value)| (name.to_str_lossy().into_owned(), value.type_letter()))
        .collect();
    let of = |name: &str| letters.iter().find(|(key, _)| key == name).map(|(_, letter)| *letter);
    for (name, letter) in [
        ("i", b'l'),
        ("d", b'd'),
        ("s", b'S'),
        ("b", b't'),
        ("n", b'V'),
        ("a", b'A'),
        ("t", b'F'),
    ] {
        assert_eq!(of(name), Some(letter), "{name}");
    }
}

#[test]
fn a_key_is_quoted_as_rabbitmq_does() {
    assert_eq!(quoted("a b/c~d".as_bytes()), "a+b%2Fc%7Ed");
    assert_eq!(quoted(b"a.#"), "a.%23");
    assert_eq!(unquoted("a.#"), b"a.#");
    assert_eq!(unquoted("100%"), b"100%");
    assert_eq!(unquoted("%zz"), b"%zz");
}

proptest! {
    #[test]
    fn quoting_reads_back(bytes in proptest::collection::vec(any::<u8>(), 0..40)) {
        prop_assert_eq!(unquoted(&quoted(&bytes)), bytes);
    }

    #[test]
    fn any_text_is_valid_json(text in any::<String>()) {
        let mut out = Pieces::whole();
        put_text(&mut out, &text);
        prop_assert_eq!(serde_json::from_slice::<String>(&out.into_rest()).expect("JSON"), text);
    }
}
